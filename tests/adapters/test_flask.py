"""Flask: rules, blueprints, hooks and handlers of living applications, with requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from hotswap import LoadError
from tests.adapters.programs import Program

pytest.importorskip("flask", reason="Flask is not installed here")
pytestmark = pytest.mark.threads

from flask import Flask  # noqa: E402 - the library may be missing

PATHS = ("/", "/a", "/b", "/c", "/p/a", "/p/b", "/q/a", "/p/in/a", "/p/in/b", "/boom", "/t", "/static/x", "/a/1,2")


def look(app: Flask) -> Any:
    client = app.test_client()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    responses = [(path, client.get(path)) for path in PATHS]
    rules = [(rule.rule, rule.endpoint, sorted(rule.methods or ())) for rule in app.url_map.iter_rules()]
    views = {endpoint: function.__qualname__ for endpoint, function in app.view_functions.items()}
    hooks = {key: [f.__name__ for f in functions] for key, functions in app.before_request_funcs.items() if functions}
    handlers = {
        (name, code, key.__name__, handler.__name__)
        for name, codes in app.error_handler_spec.items()
        for code, table in codes.items()
        for key, handler in table.items()
    }
    answers = [(path, response.status_code, response.text) for path, response in responses]
    return sorted(rules), views, sorted(app.blueprints), hooks, handlers, answers


@pytest.fixture
def program(start: Callable[..., Program], monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], Program]:
    # What is logged with its traceback holds frames of old code, until the end of the test.
    monkeypatch.setattr(logging.getLogger("x"), "disabled", True)
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = "from flask import Blueprint, Flask, render_template_string\n"


class TestAppInTheChangedModule:
    V1 = f"{HEAD}app = Flask('x')\n@app.route('/a')\ndef a(): return 'a1'\n@app.get('/b')\ndef b(): return 'b1'\n"
    V2 = f"{HEAD}app = Flask('x')\n@app.route('/c')\ndef c(): return 'c2'\n@app.post('/a')\ndef a(): return 'a2'\n"
    FILES: ClassVar = {"__init__.py": "from . import app\n", "app.py": V1}

    def test_rules(self, program: Start) -> None:
        service = program(self.FILES)
        app = service.package.app.app
        rollout = service.goes({"app.py": self.V2})
        assert service.package.app.app is app
        told = {(change.fate, change.why) for change in rollout.plan.names if change.why.startswith("rule")}
        assert told == {
            ("added", "rule GET /c"),
            ("added", "rule POST /a"),
            ("removed", "rule GET /a"),
            ("removed", "rule GET /b"),
        }

    def test_a_rule_that_moved(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.V1.replace("'/b'", "'/c'")})

    def test_a_rule_without_a_decorator(self, program: Start) -> None:
        views = "def a(): return 'a1'\ndef b(): return 'b1'\n"
        v1 = f"{HEAD}from . import views\napp = Flask('x')\napp.add_url_rule('/a', view_func=views.a)\n"
        v2 = v1.replace("'/a', view_func=views.a", "'/b', view_func=views.b")
        files = {"__init__.py": "from . import app\n", "app.py": v1, "views.py": views}
        program(files).goes({"app.py": v2})
        program(files).goes({"views.py": views.replace("a1", "a2")})

    def test_settings(self, program: Start) -> None:
        v1 = f"{HEAD}app = Flask('x')\napp.config['LIMIT'] = 1\n"
        v1 += "@app.get('/a')\ndef a(): return str(app.config['LIMIT'])\n"
        program({"__init__.py": "from . import app\n", "app.py": v1}).goes({"app.py": v1.replace("= 1", "= 2")})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"app.py": self.V2 + "1 / 0\n"}, LoadError)


class TestAppInAnUnchangedModule:
    ONE = f"{HEAD}from .app import app\n@app.get('/a')\ndef a(): return 'a1'\n"
    FILES: ClassVar = {
        "__init__.py": "from . import app, one, two\n",
        "app.py": f"{HEAD}app = Flask('x')\n",
        "one.py": ONE,
        "two.py": ONE.replace("a(", "b(").replace("/a", "/b"),
    }

    def test_rules(self, program: Start) -> None:
        one = (
            f"{HEAD}from .app import app\n@app.get('/c')\ndef c(): return 'c2'\n@app.get('/a')\ndef a(): return 'a2'\n"
        )
        program(self.FILES).goes({"one.py": one})

    def test_all_removed(self, program: Start) -> None:
        program(self.FILES).goes({"one.py": ""})

    def test_a_new_module(self, program: Start) -> None:
        three = self.ONE.replace("a(", "c(").replace("/a", "/c")
        program(self.FILES).goes({"__init__.py": "from . import app, one, two, three\n", "three.py": three})

    def test_a_module_removed(self, program: Start) -> None:
        program(self.FILES).goes({"__init__.py": "from . import app, one\n", "two.py": None})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"one.py": self.ONE + "1 / 0\n"}, LoadError)

    def test_converters(self, program: Start) -> None:
        one = (
            self.ONE
            + """
from werkzeug.routing import BaseConverter
class Numbers(BaseConverter):
    def to_python(self, value): return [int(part) for part in value.split(",")]
app.url_map.converters["numbers"] = Numbers
@app.get("/a/<numbers:n>")
def total(n): return str(sum(n))
"""
        )
        service = program(self.FILES)
        service.goes({"one.py": one})
        service.goes({"one.py": one.replace("sum", "max")})


class TestBlueprints:
    BP = f"{HEAD}bp = Blueprint('bp', __name__)\n@bp.get('/a')\ndef a(): return 'a1'\n"
    APP = f"{HEAD}from .bp import bp\napp = Flask('x')\napp.register_blueprint(bp, url_prefix='/p')\n"
    FILES: ClassVar = {"__init__.py": "from . import app\n", "bp.py": BP, "app.py": APP}

    def test_rules_of_a_registered_blueprint(self, program: Start) -> None:
        bp = f"{HEAD}bp = Blueprint('bp', __name__)\n@bp.get('/b')\ndef b(): return 'b2'\n"
        bp += "@bp.get('/a')\ndef a(): return 'a2'\n"
        service = program(self.FILES)
        service.goes({"bp.py": bp})
        service.goes({"bp.py": self.BP.replace("a1", "a3")})

    def test_registered_under_another_prefix(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": self.APP.replace("/p", "/q")})

    def test_with_another_prefix_of_its_own(self, program: Start) -> None:
        files = {
            **self.FILES,
            "bp.py": self.BP.replace("__name__", "__name__, url_prefix='/p'"),
            "app.py": self.APP.replace(", url_prefix='/p'", ""),
        }
        program(files).goes({"bp.py": files["bp.py"].replace("/p", "/q")})

    def test_registered_no_more(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": f"{HEAD}from .bp import bp\napp = Flask('x')\n"})

    def test_a_new_one(self, program: Start) -> None:
        more = self.BP.replace("'bp'", "'more'")
        app = self.APP + "from .more import bp as more\napp.register_blueprint(more, url_prefix='/q')\n"
        program(self.FILES).goes({"app.py": app, "more.py": more})

    def test_views_in_a_module_of_their_own(self, program: Start) -> None:
        files = {
            "__init__.py": "from . import app\n",
            "bp.py": f"{HEAD}bp = Blueprint('bp', __name__)\nfrom . import views\n",
            "views.py": """
from .bp import bp
@bp.get('/a')
def a(): return 'a1'
@bp.before_request
def early(): pass
""",
            "app.py": self.APP,
        }
        views = files["views.py"].replace("a1", "a2") + "@bp.get('/b')\ndef b(): return 'b2'\n"
        program(files).goes({"views.py": views})

    def test_a_blueprint_in_a_blueprint(self, program: Start) -> None:
        files = {
            **self.FILES,
            "inner.py": self.BP.replace("'bp'", "'inner', url_prefix='/in'").replace("__name__", "__name__"),
        }
        files["inner.py"] = f"{HEAD}bp = Blueprint('inner', __name__)\n@bp.get('/a')\ndef a(): return 'a1'\n"
        files["bp.py"] = self.BP + "from .inner import bp as inner\nbp.register_blueprint(inner, url_prefix='/in')\n"
        inner = files["inner.py"].replace("a1", "a2") + "@bp.get('/b')\ndef b(): return 'b2'\n"
        program(files).goes({"inner.py": inner})

    def test_hooks_and_handlers_of_a_blueprint(self, program: Start) -> None:
        bp = (
            self.BP
            + """
@bp.before_request
def early(): pass
@bp.errorhandler(KeyError)
def broken(error): return "broken", 418
@bp.get("/b")
def b(): raise KeyError
"""
        )
        service = program(self.FILES)
        service.goes({"bp.py": bp})
        service.goes({"bp.py": bp.replace("418", "419")})
        service.goes({"bp.py": self.BP})


class TestHooksAndHandlers:
    V1 = (
        f"{HEAD}app = Flask('x')\n@app.get('/a')\ndef a(): return 'a1'\n@app.get('/boom')\ndef boom(): raise KeyError\n"
    )
    FILES: ClassVar = {"__init__.py": "from . import app, more\n", "app.py": V1, "more.py": ""}
    MORE = """
from .app import app
@app.before_request
def early(): pass
@app.after_request
def late(response):
    response.data += b"!"
    return response
@app.errorhandler(KeyError)
def broken(error): return "broken", 418
@app.errorhandler(404)
def missing(error): return "missing", 404
"""

    def test_in_another_module(self, program: Start) -> None:
        service = program(self.FILES)
        service.goes({"more.py": self.MORE})
        service.goes({"more.py": self.MORE.replace("broken", "torn").replace('b"!"', 'b"?"')})
        service.goes({"more.py": ""})

    def test_in_the_module_of_the_application(self, program: Start) -> None:
        more = self.MORE.replace("from .app import app", "")
        service = program(self.FILES)
        service.goes({"app.py": self.V1 + more})
        service.goes({"app.py": self.V1})

    def test_filters(self, program: Start) -> None:
        more = """
from flask import render_template_string
from .app import app
@app.template_filter()
def loud(text): return text + "!"
@app.get("/t")
def t(): return render_template_string("{{ 'x' | loud }}")
"""
        service = program({**self.FILES, "more.py": more})
        service.goes({"more.py": more.replace('"!"', '"?"')})
