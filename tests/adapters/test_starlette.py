"""Starlette: routes, mounts, middleware and handlers of living applications, with requests."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from hotswap import LoadError, Patch
from tests.adapters.asgi import answers, received
from tests.adapters.programs import Program

pytest.importorskip("starlette", reason="Starlette is not installed here")
pytestmark = pytest.mark.threads

from starlette.applications import Starlette  # noqa: E402 - the library may be missing
from starlette.routing import Mount, Router  # noqa: E402 - the library may be missing

PATHS = ("/", "/a", "/b", "/c", "/d", "/sub/a", "/sub/b", "/boom", "/a/1", "/files/x")


def table(routes: Any) -> list[Any]:
    told: list[Any] = []
    for route in routes:
        endpoint = getattr(route, "endpoint", None)
        methods = getattr(route, "methods", None)
        inner = table(route.routes) if isinstance(route, Mount) else None
        name = getattr(endpoint, "__qualname__", None)
        told.append((type(route).__name__, route.path, sorted(methods) if methods else None, name, inner))
    return told


def look(app: Starlette) -> Any:
    return table(app.routes), answers(app, [("GET", path, None) for path in PATHS])


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[dict[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[dict[str, str]], Program]

HEAD = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse as Text
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.middleware import Middleware
"""


class TestAppInTheChangedModule:
    V1 = f"""{HEAD}
async def a(request): return Text("a1")
async def b(request): return Text("b1")
app = Starlette()
app.add_route("/a", a)
app.add_route("/b", b)
"""
    V2 = f"""{HEAD}
async def c(request): return Text("c2")
async def a(request): return Text("a2")
app = Starlette()
app.add_route("/c", c)
app.add_route("/a", a)
app.add_route("/a/{{n:int}}", a)
"""

    def test_routes_added_changed_removed(self, program: Start) -> None:
        service = program({"__init__.py": "from . import app\n", "app.py": self.V1})
        living = service.package.app.app
        rollout = service.goes({"app.py": self.V2})
        assert service.package.app.app is living
        told = {(change.fate, change.why) for change in rollout.plan.names if change.why.startswith("route")}
        assert told == {
            ("added", "route GET /c"),
            ("added", "route GET /a/{n:int}"),
            ("changed", "route GET /a"),
            ("removed", "route GET /b"),
        }

    def test_routes_in_the_constructor(self, program: Start) -> None:
        v1 = f"{HEAD}\nasync def a(request): return Text('a1')\napp = Starlette(routes=[Route('/a', a)])\n"
        v2 = (
            f"{HEAD}\nasync def a(request): return Text('a2')\ndef b(request): return Text('b2')\n"
            "app = Starlette(routes=[Route('/b', b), Route('/a', a), Mount('/sub', routes=[Route('/a', b)])])\n"
        )
        service = program({"__init__.py": "from . import app\n", "app.py": v1})
        service.goes({"app.py": v2})

    def test_the_order_decides_who_answers(self, program: Start) -> None:
        rest = "async def rest(request): return Text('rest')\n"
        v1 = f"{HEAD}{rest}async def a(request): return Text('a1')\napp = Starlette()\napp.add_route('/a', a)\n"
        v1 += "app.add_route('/{path:path}', rest)\n"
        v2 = v1.replace("app.add_route('/a', a)", "app.add_route('/a', a)\napp.add_route('/b', a)")
        program({"__init__.py": "from . import app\n", "app.py": v1}).goes({"app.py": v2})

    def test_a_constructor_that_changed(self, program: Start) -> None:
        v2 = self.V2.replace("Starlette()", "Starlette(debug=True)")
        service = program({"__init__.py": "from . import app\n", "app.py": self.V1})
        living = service.package.app.app
        service.goes({"app.py": v2})
        assert service.package.app.app is living
        assert living.debug is True
        service.patcher.rollback()
        assert living.debug is False

    def test_another_kind_of_endpoint(self, program: Start) -> None:
        v2 = self.V1.replace("async def a(request)", "def a(request)")
        service = program({"__init__.py": "from . import app\n", "app.py": self.V1})
        service.goes({"app.py": v2})

    def test_an_endpoint_class(self, program: Start) -> None:
        v1 = f"""{HEAD}
from starlette.endpoints import HTTPEndpoint
class A(HTTPEndpoint):
    async def get(self, request): return Text("a1")
app = Starlette(routes=[Route("/a", A)])
"""
        service = program({"__init__.py": "from . import app\n", "app.py": v1})
        service.goes({"app.py": v1.replace("a1", "a2").replace("[Route", "[Route('/b', A), Route")})

    def test_websockets(self, program: Start) -> None:
        v1 = f"""{HEAD}
async def chat(socket):
    await socket.accept()
    await socket.send_text("1")
    await socket.close()
app = Starlette(routes=[WebSocketRoute("/chat", chat)])
"""
        service = program({"__init__.py": "from . import app\n", "app.py": v1})
        app = service.package.app.app
        v2 = v1.replace('"1"', '"2"').replace("[WebSocketRoute", "[WebSocketRoute('/more', chat), WebSocketRoute")
        service.goes({"app.py": v2})
        for path in ("/chat", "/more"):
            assert received(app, path)[1] == "2"

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        service = program({"__init__.py": "from . import app\n", "app.py": self.V1})
        service.is_left_alone_by({"app.py": self.V2 + "1 / 0\n"}, LoadError)


class TestAppInAnUnchangedModule:
    FILES: ClassVar = {
        "__init__.py": "from . import app, one, two\n",
        "app.py": f"{HEAD}\napp = Starlette()\n",
        "one.py": f"{HEAD}\nfrom .app import app\ndef a(request): return Text('a1')\napp.add_route('/a', a)\n",
        "two.py": f"{HEAD}\nfrom .app import app\ndef b(request): return Text('b1')\napp.add_route('/b', b)\n",
    }

    def test_routes_added_and_changed(self, program: Start) -> None:
        one = self.FILES["one.py"].replace("a1", "a2") + "def c(request): return Text('c2')\napp.add_route('/c', c)\n"
        program(self.FILES).goes({"one.py": one})

    def test_all_routes_of_a_module_removed(self, program: Start) -> None:
        program(self.FILES).goes({"one.py": ""})

    def test_a_route_removed_whose_function_stays(self, program: Start) -> None:
        program(self.FILES).goes({"one.py": self.FILES["one.py"].replace("app.add_route('/a', a)", "")})

    def test_a_new_module(self, program: Start) -> None:
        changes = {
            "__init__.py": "from . import app, one, two, three\n",
            "three.py": self.FILES["one.py"].replace("a1", "c1").replace("'/a'", "'/c'"),
        }
        program(self.FILES).goes(changes)

    def test_a_module_removed(self, program: Start) -> None:
        program(self.FILES).goes({"__init__.py": "from . import app, one\n", "two.py": None})

    def test_only_the_function_is_in_the_changed_module(self, program: Start) -> None:
        files = {
            "__init__.py": "from . import app\n",
            "app.py": f"{HEAD}\nfrom . import views\napp = Starlette(routes=[Route('/a', views.a)])\n",
            "views.py": f"{HEAD}\nasync def a(request): return Text('a1')\n",
        }
        program(files).goes({"views.py": files["views.py"].replace("a1", "a2")})

    def test_an_application_that_the_process_has_frozen(self, program: Start) -> None:
        service = program(self.FILES)
        gc.freeze()
        service.goes({"one.py": ""})

    def test_what_others_register_meanwhile_stays(self, program: Start) -> None:
        service = program(self.FILES)
        app = service.package.app.app
        rollout = service.stage(
            {"one.py": self.FILES["one.py"].replace("'/a'", "'/c'").replace("a(", "c(").replace(", a)", ", c)")}
        )
        app.add_route("/d", lambda request: None)
        rollout.verify()
        rollout.commit()
        assert [route.path for route in app.routes] == ["/c", "/b", "/d"]
        service.patcher.rollback()
        assert [route.path for route in app.routes] == ["/a", "/b", "/d"]

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        service = program(self.FILES)
        service.is_left_alone_by({"one.py": self.FILES["one.py"] + "1 / 0\n"}, LoadError)
        assert "routes" not in vars(Router)


class TestMounts:
    FILES: ClassVar = {
        "__init__.py": "from . import app\n",
        "sub.py": f"{HEAD}\ndef a(request): return Text('a1')\nsub = Router()\nsub.add_route('/a', a)\n",
        "app.py": f"{HEAD}\nfrom .sub import sub\napp = Starlette()\napp.mount('/sub', sub)\n",
    }

    def test_routes_of_a_mounted_router(self, program: Start) -> None:
        sub = self.FILES["sub.py"].replace("a1", "a2") + "sub.add_route('/b', a)\n"
        program(self.FILES).goes({"sub.py": sub})

    def test_a_mount_added(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.FILES["app.py"] + "app.mount('/files', sub)\n"})

    def test_a_mount_removed(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.FILES["app.py"].replace("app.mount('/sub', sub)", "")})

    def test_a_mount_by_another_module_stays(self, program: Start) -> None:
        files = {
            **self.FILES,
            "__init__.py": "from . import app, admin\n",
            "admin.py": "from .app import app\nfrom .sub import sub\napp.mount('/files', sub)\n",
        }
        app = self.FILES["app.py"] + "def b(request): return Text('b2')\napp.add_route('/b', b)\n"
        program(files).goes({"app.py": app})


class TestPathsMadeOfConstants:
    """The statement that registers a route is the same in both versions; its path is not."""

    USE = f"{HEAD}\nfrom .constants import P\ndef a(request): return Text('a')\n"

    @pytest.mark.parametrize(
        "statements",
        [
            "app = Starlette(routes=[Route(P, a), Route('/d', a)])\n",
            "app = Starlette()\napp.add_route(P, a)\napp.add_route('/d', a)\n",
            "app = Starlette()\napp.routes.append(Route(P, endpoint=a))\n",
            "app = Starlette()\nsub = Router([Route('/a', a)])\napp.mount(P, sub)\napp.mount('/sub', sub)\n",
            "app = Starlette()\nfor path in (P, '/d'):\n    app.add_route(path, a)\n",
        ],
    )
    def test_paths(self, program: Start, statements: str) -> None:
        files = {"__init__.py": "from . import app\n", "constants.py": "P = '/b'\n", "app.py": self.USE + statements}
        program(files).goes({"constants.py": "P = '/c'\n"})


class TestMiddlewareAndHandlers:
    V1 = f"""{HEAD}
class By:
    def __init__(self, app, name): self.app, self.name = app, name
    async def __call__(self, scope, receive, send):
        async def more(message):
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-by", self.name.encode()))
            await send(message)
        await self.app(scope, receive, more)
def a(request): return Text("a1")
def boom(request): raise KeyError("boom")
app = Starlette()
app.add_route("/a", a)
app.add_route("/boom", boom)
"""

    def test_middleware_added(self, program: Start) -> None:
        program({"__init__.py": "from . import app\n", "app.py": self.V1}).goes(
            {"app.py": self.V1 + 'app.add_middleware(By, name="two")\n'}
        )

    def test_middleware_of_an_application_that_nobody_has_asked_yet(self, program: Start) -> None:
        v2 = self.V1 + 'app.add_middleware(By, name="two")\n'
        service = program({"__init__.py": "from . import app\n", "app.py": self.V1})
        rollout = service.patcher.apply(Patch.from_sources({f"{service.name}.app": v2}))
        assert service.seen() == service.fresh({"__init__.py": "from . import app\n", "app.py": v2})
        rollout.rollback()
        assert service.seen() == service.fresh({"__init__.py": "from . import app\n", "app.py": self.V1})

    def test_middleware_removed(self, program: Start) -> None:
        program(
            {"__init__.py": "from . import app\n", "app.py": self.V1 + 'app.add_middleware(By, name="one")\n'}
        ).goes({"app.py": self.V1})

    def test_middleware_with_other_arguments(self, program: Start) -> None:
        v1 = self.V1 + 'app.add_middleware(By, name="one")\n'
        program({"__init__.py": "from . import app\n", "app.py": v1}).goes({"app.py": v1.replace('"one"', '"two"')})

    def test_middleware_that_is_as_before_is_not_made_again(self, program: Start) -> None:
        v1 = self.V1 + 'app.add_middleware(By, name="one")\n'
        service = program({"__init__.py": "from . import app\n", "app.py": v1})
        service.seen()
        stack = service.package.app.app.middleware_stack
        service.goes({"app.py": v1.replace("a1", "a2")})
        assert service.package.app.app.middleware_stack is stack

    def test_middleware_from_an_unchanged_module_s_view(self, program: Start) -> None:
        more = 'from .app import app, By\napp.add_middleware(By, name="{}")\n'
        files = {"__init__.py": "from . import app, more\n", "app.py": self.V1, "more.py": more.format("one")}
        program(files).goes({"more.py": more.format("two")})

    def test_a_handler_added_changed_and_removed(self, program: Start) -> None:
        handler = (
            "async def broken(request, error): return Text('{}', 418)\napp.add_exception_handler(KeyError, broken)\n"
        )
        files = {"__init__.py": "from . import app\n", "app.py": self.V1}
        program(files).goes({"app.py": self.V1 + handler.format("first")})
        files = {"__init__.py": "from . import app\n", "app.py": self.V1 + handler.format("first")}
        program(files).goes({"app.py": self.V1 + handler.format("second")})
        program(files).goes({"app.py": self.V1})
