"""FastAPI: routes, routers, dependencies and models of living applications, with requests."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from hotswap import CommitError, LoadError, Patch, Patcher, Rollout
from hotswap.swap import Writes
from tests.adapters.asgi import answers, received
from tests.adapters.programs import Program, flip

pytest.importorskip("fastapi", reason="FastAPI is not installed here")
pytestmark = pytest.mark.threads

from fastapi import FastAPI  # noqa: E402 - the library may be missing

REQUESTS: list[tuple[str, str, Any]] = [
    *(("GET", path, None) for path in ("/", "/a", "/a?n=2", "/b", "/c", "/v1/a", "/v1/b", "/v2/a", "/openapi.json")),
    ("POST", "/item", {"name": "x"}),
    ("POST", "/item", {"name": "x", "size": 3}),
    ("POST", "/item", {"size": "no number"}),
]


def look(app: FastAPI) -> Any:
    return [answer[:4] for answer in answers(app, REQUESTS)]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[dict[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[dict[str, str]], Program]

HEAD = "from fastapi import APIRouter, Depends, FastAPI, WebSocket\n"
BOTH = "from . import app, routes\n"


class TestAppInTheChangedModule:
    V1 = f"{HEAD}app = FastAPI()\n@app.get('/a')\ndef a() -> str: return 'a1'\n@app.get('/b')\ndef b(): return 'b1'\n"
    V2 = f"""{HEAD}app = FastAPI()
@app.get('/c')
def c(): return 'c2'
@app.get('/a')
async def a(n: int = 0) -> int:
    "It has another signature."
    return n
"""
    FILES: ClassVar = {"__init__.py": "from . import app\n", "app.py": V1}

    def test_routes_and_signatures(self, program: Start) -> None:
        service = program(self.FILES)
        app = service.package.app.app
        service.goes({"app.py": self.V2})
        assert service.package.app.app is app

    def test_a_constructor_that_changed(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.V1.replace("FastAPI()", "FastAPI(title='Two', version='2')")})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"app.py": self.V2 + "1 / 0\n"}, LoadError)


class TestAppInAnUnchangedModule:
    FILES: ClassVar = {
        "__init__.py": BOTH,
        "app.py": f"{HEAD}app = FastAPI()\n",
        "routes.py": f"""{HEAD}from .app import app
@app.get('/a')
def a(): return 'a1'
@app.get('/b')
def b(): return 'b1'
""",
    }

    def test_routes_and_signatures(self, program: Start) -> None:
        routes = f"""{HEAD}from .app import app
@app.get('/c')
def c(): return 'c2'
@app.get('/a')
def a(n: int): return n
"""
        program(self.FILES).goes({"routes.py": routes})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"routes.py": self.FILES["routes.py"] + "1 / 0\n"}, LoadError)

    def test_websockets(self, program: Start) -> None:
        routes = f"""{HEAD}from .app import app
@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    await socket.send_text("1")
    await socket.close()
"""
        service = program({**self.FILES, "routes.py": routes})
        app = service.package.app.app
        assert received(app, "/chat")[1] == "1"
        service.goes({"routes.py": routes.replace('"1"', '"2"')})
        assert received(app, "/chat")[1] == "2"


class TestPathsMadeOfConstants:
    """The statement that registers a route is the same in both versions; its path is not."""

    CONSTANTS: ClassVar = {"constants.py": "P, Q = '/v1', '/b'\n"}
    CHANGED: ClassVar = {"constants.py": "P, Q = '/v2', '/c'\n"}
    USE = f"{HEAD}from .constants import P, Q\n"

    def test_decorated(self, program: Start) -> None:
        app = (
            f"{self.USE}app = FastAPI()\n@app.get(P + '/a')\ndef a(): return 'a'\n@app.get('/a')\ndef b(): return 'b'\n"
        )
        program({"__init__.py": "from . import app\n", "app.py": app, **self.CONSTANTS}).goes(self.CHANGED)

    def test_decorated_in_another_module(self, program: Start) -> None:
        routes = f"{self.USE}from . import app\n@app.app.get(path=f'{{P}}/a')\n@app.app.get('/')\ndef a(): return 'a'\n"
        files = {"__init__.py": BOTH, "app.py": f"{HEAD}app = FastAPI()\n", "routes.py": routes, **self.CONSTANTS}
        program(files).goes(self.CHANGED)

    def test_added_by_a_call(self, program: Start) -> None:
        app = f"{self.USE}app = FastAPI()\ndef a(): return 'a'\napp.add_api_route(Q, a)\napp.add_api_route('/a', a)\n"
        program({"__init__.py": "from . import app\n", "app.py": app, **self.CONSTANTS}).goes(self.CHANGED)

    def test_the_prefix_of_a_router(self, program: Start) -> None:
        app = f"{self.USE}router = APIRouter(prefix=P)\n@router.get('/a')\ndef a(): return 'a'\n"
        app += "app = FastAPI()\napp.include_router(router)\n"
        program({"__init__.py": "from . import app\n", "app.py": app, **self.CONSTANTS}).goes(self.CHANGED)

    def test_the_prefix_of_an_included_router(self, program: Start) -> None:
        app = f"{self.USE}router = APIRouter()\n@router.get('/a')\ndef a(): return 'a'\n"
        app += "app = FastAPI()\napp.include_router(router, prefix=P)\n"
        program({"__init__.py": "from . import app\n", "app.py": app, **self.CONSTANTS}).goes(self.CHANGED)

    def test_what_an_unchanged_module_registers_stays(self, program: Start) -> None:
        views = f"{self.USE}from .app import app\n@app.get(Q)\ndef a(): return 'a'\napp.add_api_route(P, a)\n"
        routes = "from .app import app\nfrom . import views\napp.add_api_route('/a', views.b)\n"
        files = {
            "__init__.py": "from . import app, views, routes\n",
            "app.py": f"{HEAD}app = FastAPI()\n",
            "views.py": views + "@app.get('/')\ndef b(): return 'b'\n",
            "routes.py": routes,
            **self.CONSTANTS,
        }
        program(files).goes({"constants.py": "P, Q = '/v2', '/v2/a'\n"})


class TestRouters:
    FILES: ClassVar = {
        "__init__.py": BOTH,
        "routes.py": f"{HEAD}router = APIRouter()\n@router.get('/a')\ndef a(): return 'a1'\n",
        "app.py": f"{HEAD}from .routes import router\napp = FastAPI()\napp.include_router(router, prefix='/v1')\n",
    }

    def test_routes_of_an_included_router(self, program: Start) -> None:
        routes = f"""{HEAD}router = APIRouter()
@router.get('/b')
def b(): return 'b2'
@router.get('/a')
def a(n: int = 3): return n
"""
        program(self.FILES).goes({"routes.py": routes})

    def test_a_router_with_another_prefix(self, program: Start) -> None:
        app = self.FILES["app.py"].replace(", prefix='/v1'", "")
        routes = self.FILES["routes.py"].replace("APIRouter()", "APIRouter(prefix='/v1')")
        program({**self.FILES, "app.py": app, "routes.py": routes}).goes({"routes.py": routes.replace("v1", "v2")})

    def test_included_with_another_prefix(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.FILES["app.py"].replace("v1", "v2")})

    def test_included_no_more(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": f"{HEAD}from .routes import router\napp = FastAPI()\n"})

    def test_a_router_that_is_new(self, program: Start) -> None:
        more = "from .more import router as more\napp.include_router(more, prefix='/v2')\n"
        program(self.FILES).goes({"app.py": self.FILES["app.py"] + more, "more.py": self.FILES["routes.py"]})

    def test_a_router_in_a_router(self, program: Start) -> None:
        files = {
            **self.FILES,
            "middle.py": f"""{HEAD}from .routes import router as inner
router = APIRouter()
router.include_router(inner)
""",
            "app.py": self.FILES["app.py"].replace(".routes", ".middle"),
        }
        routes = self.FILES["routes.py"].replace("a1", "a2") + "@router.get('/b')\ndef b(): return 'b2'\n"
        program(files).goes({"routes.py": routes})


class TestDependencies:
    FILES: ClassVar = {
        "__init__.py": "from . import app\n",
        "deps.py": "def depend(): return 'one'\n",
        "app.py": f"""{HEAD}from . import deps
app = FastAPI()
@app.get("/a")
def a(got = Depends(deps.depend)): return got
""",
    }

    def test_a_dependency_with_another_signature(self, program: Start) -> None:
        program(self.FILES).goes({"deps.py": "async def depend(n: int = 5): return n\n"})

    def test_of_a_dependency(self, program: Start) -> None:
        files = {
            **self.FILES,
            "deps.py": "from fastapi import Depends\nfrom .deep import deep\ndef depend(x=Depends(deep)): return x\n",
        }
        files["deep.py"] = "def deep(): return 1\n"
        program(files).goes({"deep.py": "def deep(n: int): return n\n"})

    def test_overrides_hold(self, program: Start) -> None:
        service = program(self.FILES)
        app, deps = service.package.app.app, service.package.deps
        app.dependency_overrides[deps.depend] = lambda: "override"
        request = [("GET", "/a", None)]
        rollout = service.stage({"deps.py": "def depend(): return 'two'\n"})
        rollout.verify()
        rollout.commit()
        assert answers(app, request)[0][3] == '"override"'
        app.dependency_overrides.clear()
        assert answers(app, request)[0][3] == '"two"'
        app.dependency_overrides[service.package.deps.depend] = lambda: "again"
        assert answers(app, request)[0][3] == '"again"'

    OVERRIDE = "app.dependency_overrides[depend] = fake\n"

    @pytest.mark.parametrize("where", ["app.py", "fakes.py"])
    @pytest.mark.parametrize("fake", ["def fake(): return 'fake'\n", "fake = lambda: 'fake'\n"])
    def test_overrides_of_a_statement_follow_it(self, program: Start, where: str, fake: str) -> None:
        files = {**self.FILES, "fakes.py": "from .app import app\n"}
        if where == "fakes.py":
            files["__init__.py"] = files.get("__init__.py", "") + "from . import app, fakes\n"
        files[where] += f"from .deps import depend\n{fake}"
        said = {**files, where: files[where] + self.OVERRIDE}
        program(said).goes({where: files[where]})
        program(files).goes({where: said[where]})
        program(said).goes({where: said[where].replace("'fake'", "'other'")})

    def test_overrides_of_a_statement_that_the_program_has_changed_stay(self, program: Start) -> None:
        more = "from .deps import depend\ndef fake(): return 'fake'\n"
        files = {**self.FILES, "app.py": self.FILES["app.py"] + more}
        service = program({**files, "app.py": files["app.py"] + self.OVERRIDE})
        app = service.package.app.app
        app.dependency_overrides[service.package.deps.depend] = lambda: "mine"
        rollout = service.stage({"app.py": files["app.py"]})
        rollout.verify()
        rollout.commit()
        assert answers(app, [("GET", "/a", None)])[0][3] == '"mine"'
        assert rollout.plan is not None
        assert [one for one in rollout.plan.warnings if "dependency_overrides keeps what it has for depend" in one]

    @pytest.mark.parametrize("where", ["app.py", "fakes.py"])
    @pytest.mark.parametrize(
        "statement",
        [
            "app.dependency_overrides.update({depend: fake})\n",
            "app.dependency_overrides.setdefault(depend, fake)\n",
            "app.dependency_overrides |= {depend: fake}\n",
            "app.dependency_overrides = {depend: fake}\n",
            "for key in [depend]: app.dependency_overrides[key] = fake\n",
            "import functools\napp.dependency_overrides[depend] = functools.partial(fake)\n",
        ],
    )
    def test_overrides_put_there_otherwise(self, program: Start, where: str, statement: str) -> None:
        files = {**self.FILES, "fakes.py": "from .app import app\n", "__init__.py": "from . import app, fakes\n"}
        files[where] += "from .deps import depend\ndef fake(): return 'fake'\ndef other(): return 'other'\n"
        said = {**files, where: files[where] + statement}
        program(said).goes({where: files[where]})
        program(files).goes({where: said[where]})
        program(said).goes({where: files[where] + statement.replace("fake", "other")})

    def test_overrides_put_there_by_a_function(self, program: Start) -> None:
        head = "from .deps import depend\ndef fake(): return 'fake'\ndef other(): return 'other'\n"
        call = "def put(app): app.dependency_overrides[depend] = fake\nput(app)\n"
        bare = {**self.FILES, "app.py": self.FILES["app.py"] + head}
        files = {**bare, "app.py": bare["app.py"] + call}
        program(files).goes({"app.py": bare["app.py"] + call.replace("fake", "other")})
        rollout = program(files).stage({"app.py": bare["app.py"]})
        assert any("dependency_overrides keeps what it has for depend" in one for one in rollout.plan.warnings)
        rollout.abort()

    @pytest.mark.parametrize("assigned", [False, True])
    def test_overrides_set_while_a_patch_is_live_hold_after_its_rollback(self, program: Start, assigned: bool) -> None:
        service = program(self.FILES)
        app, request = service.package.app.app, [("GET", "/a", None)]
        rollout = service.stage({"deps.py": "def depend(): return 'two'\n"})
        rollout.verify()
        rollout.commit()
        if assigned:
            app.dependency_overrides = {}
        app.dependency_overrides[service.package.deps.depend] = lambda: "mine"
        rollout.rollback()
        assert answers(app, request)[0][3] == '"mine"'
        assert list(app.dependency_overrides) == [service.package.deps.depend]

    def test_overrides_stay_when_a_rollback_fails(self, program: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        service = program(self.FILES)
        app, request = service.package.app.app, [("GET", "/a", None)]
        app.dependency_overrides[service.package.deps.depend] = lambda: "before"
        rollout = service.stage({"deps.py": "def depend(): return 'two'\n"})
        rollout.verify()
        rollout.commit()
        assert rollout.wait_settled(30)  # it writes too, in a thread of its own, and would meet the error
        app.dependency_overrides[service.package.deps.depend] = lambda: "mine"
        before = dict(app.dependency_overrides)
        with monkeypatch.context() as patched:
            # The last write of all is one that raises; those that take the others back do not.
            made, errors = Writes._ops, [OSError("no space left")]
            patched.setattr(Writes, "_ops", lambda writes, way: [*made(writes, way), (_failing, errors)])
            with pytest.raises(CommitError):
                rollout.rollback()
        assert app.dependency_overrides == before
        assert answers(app, request)[0][3] == '"mine"'
        rollout.rollback()
        assert answers(app, request)[0][3] == '"mine"'

    def test_overrides_changed_while_a_patch_is_live_hold_after_its_rollback(self, program: Start) -> None:
        service = program(self.FILES)
        app, request = service.package.app.app, [("GET", "/a", None)]
        for change, expected in ((lambda: "mine", '"mine"'), (None, '"one"')):
            app.dependency_overrides[service.package.deps.depend] = lambda: "before"
            rollout = service.stage({"deps.py": "def depend(): return 'two'\n"})
            rollout.verify()
            rollout.commit()
            assert answers(app, request)[0][3] == '"before"'
            del app.dependency_overrides[service.package.deps.depend]
            if change is not None:
                app.dependency_overrides[service.package.deps.depend] = change
            rollout.rollback()
            assert answers(app, request)[0][3] == expected

    def test_in_the_changed_module(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.FILES["app.py"].replace("def a(got", "def a(n: int = 1, got")})


class TestModels:
    FILES: ClassVar = {
        "__init__.py": "from . import app\n",
        "models.py": "from dataclasses import dataclass\n@dataclass\nclass Item:\n    name: str\n",
        "app.py": f"""{HEAD}from .models import Item
app = FastAPI()
@app.post("/item")
def item(item: Item) -> Item:
    assert isinstance(item, Item)
    return item
""",
    }
    MORE = FILES["models.py"] + "    size: int = 0\n"

    def test_a_field_added(self, program: Start) -> None:
        program(self.FILES).goes({"models.py": self.MORE})

    def test_with_the_routes(self, program: Start) -> None:
        app = self.FILES["app.py"].replace("return item", "item.name += '!'\n    return item")
        program(self.FILES).goes({"models.py": self.MORE, "app.py": app})

    def test_in_the_same_module(self, program: Start) -> None:
        source = self.FILES["app.py"].replace("from .models import Item\n", self.FILES["models.py"])
        files = {"__init__.py": "from . import app\n", "app.py": source}
        program(files).goes({"app.py": source.replace("    name: str\n", "    name: str\n    size: int = 0\n")})

    def test_of_pydantic(self, program: Start) -> None:
        models = "from pydantic import BaseModel\nclass Item(BaseModel):\n    name: str\n"
        app = self.FILES["app.py"].replace("-> Item", "-> list[Item]").replace("return item", "return [item]")
        more = models + "    size: int = 0\n"
        service = program({**self.FILES, "models.py": models, "app.py": app})
        service.goes({"models.py": more})
        service.goes({"models.py": models, "app.py": app.replace("[item]", "[item, item]")})


def _failing(errors: list[OSError]) -> None:
    if errors:
        raise errors.pop()


class TestWarm:
    """What is flipped back and forth: what FastAPI has derived is derived anew each time."""

    FILES: ClassVar = {
        "__init__.py": "from . import app, core\n",
        "app.py": f"{HEAD}app = FastAPI()\n",
        "core.py": f"""{HEAD}from .app import app
def given() -> int: return 1
@app.get('/a')
def a(n: int = Depends(given)) -> int: return n
""",
    }
    CHANGED = FILES["core.py"].replace("return 1", "return 2").replace("n: int =", "m: int = 0, n: int =")

    def armed(self, service: Program) -> Rollout:
        rollout = service.stage({"core.py": self.CHANGED})
        rollout.verify()
        rollout.arm()
        return rollout

    def test_a_rollout_is_warm_where_fastapi_is_imported(self, make_package: Callable[..., Any]) -> None:
        core = make_package({"core.py": "def one(): return 1\n"}).__name__ + ".core"
        one = importlib.import_module(core).one
        patcher = Patcher([core.partition(".")[0]])
        rollout = patcher.stage(Patch.from_sources({core: "def one(): return 2\n"}))
        rollout.verify()
        rollout.arm()
        for _ in range(2):
            rollout.commit()
            assert one() == 2
            rollout.rollback()
            assert one() == 1

    def test_an_application_follows_each_flip(self, program: Start) -> None:
        service = program(self.FILES)
        before, rollout = service.seen(), self.armed(service)
        for number in range(3):
            assert flip(rollout), "it is warm"
            assert service.seen() == service.fresh(service.files), number
            rollout.rollback()
            assert service.seen() == before, number

    def test_overrides_that_are_set_meanwhile_hold_in_each_direction(self, program: Start) -> None:
        service = program(self.FILES)
        app, rollout = service.package.app.app, self.armed(service)

        def answer() -> Any:
            return answers(app, [("GET", "/a", None)])[0][3]

        rollout.commit()
        rollout.rollback()
        plain = answer()
        app.dependency_overrides[service.package.core.given] = lambda: 7
        overridden = answer()
        assert overridden != plain
        for _ in range(2):
            assert flip(rollout), "it is warm"
            assert [*app.dependency_overrides] == [service.package.core.given]
            assert answer() == overridden
            rollout.rollback()
            assert [*app.dependency_overrides] == [service.package.core.given]
            assert answer() == overridden
        app.dependency_overrides.clear()
        assert flip(rollout), "it is warm"
        assert app.dependency_overrides == {}
