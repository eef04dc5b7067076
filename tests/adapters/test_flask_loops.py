"""Flask: what loops, conditions and factories registered, and what goes when they do not register it again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from tests.adapters.programs import Program

pytest.importorskip("flask", reason="Flask is not installed here")
pytestmark = pytest.mark.threads

from flask import Flask, render_template_string  # noqa: E402 - the library may be missing

PATHS = ("/p", "/q", "/r", "/s", "/in/p", "/in/q", "/boom/0", "/boom/1")
NAMES = ("p", "q", "r")


def look(app: Flask) -> Any:
    client = app.test_client()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answers = [(path, [client.open(path, method=method).text for method in ("GET", "POST")]) for path in PATHS]
    rules = sorted((rule.rule, rule.endpoint, sorted(rule.methods or ())) for rule in app.url_map.iter_rules())
    tables: list[dict[str, Any]] = [app.jinja_env.filters, app.jinja_env.tests, app.jinja_env.globals]
    templates = [[table[name]("x") if name in table else None for name in NAMES] for table in tables]
    with app.test_request_context():
        context = render_template_string("{{ a }} {{ b }}")
    config = {key: value for key, value in app.config.items() if key not in Flask.default_config}
    return rules, sorted(app.view_functions), answers, templates, context, config


@pytest.fixture
def program(start: Callable[..., Program], monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], Program]:
    # What is logged with its traceback holds frames of old code, until the end of the test.
    monkeypatch.setattr(logging.getLogger("x"), "disabled", True)
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = "import functools\nfrom flask import Blueprint, Flask\nfrom flask.views import MethodView\n"
APP = f"{HEAD}app = Flask('x')\n"
LOOPS: dict[str, str] = {
    "lambdas": "for n in ('p', 'q'):\n    app.add_url_rule('/' + n, n, lambda n=n: n + ' 1')\n",
    "functions": "for n in ('p', 'q'):\n    def one(n=n): return n + ' 1'\n    app.add_url_rule('/' + n, n, one)\n",
    "decorated": "for n in ('p', 'q'):\n    @app.get('/' + n, endpoint=n)\n    def one(n=n): return n + ' 1'\n",
    "partials": """
def one(n): return n + ' 1'
for n in ('p', 'q'):
    app.add_url_rule('/' + n, n, functools.partial(one, n))
""",
    "classes": """
class One(MethodView):
    def __init__(self, n): self.n = n
    def get(self): return self.n + ' 1'
for n in ('p', 'q'):
    app.add_url_rule('/' + n, view_func=One.as_view(n, n))
""",
    "a table": """
def p(): return 'p 1'
def q(): return 'q 1'
def r(): return 'r 1'
VIEWS = {'p': p, 'q': q}
for path, view in VIEWS.items():
    app.add_url_rule('/' + path, view_func=view)
""",
    "a factory": """
def create_app():
    app = Flask('x')
    for n in ('p', 'q'):
        app.add_url_rule('/' + n, n, lambda n=n: n + ' 1')
    return app
app = create_app()
""",
}


def other(text: str) -> str:
    """The same, over something else."""
    return text.replace("('p', 'q')", "('p', 'r')").replace("'q': q", "'r': r").replace("1", "2")


def less(text: str) -> str:
    """The same, over less."""
    return text.replace("('p', 'q')", "('p',)").replace(", 'q': q", "")


class TestRules:
    FILES: ClassVar = {"__init__.py": "from . import app\n"}

    @pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
    @pytest.mark.parametrize("change", [other, less])
    def test_in_the_module_of_the_application(self, program: Start, loop: str, change: Callable[[str], str]) -> None:
        service = program({**self.FILES, "app.py": APP + loop})
        rollout = service.goes({"app.py": APP + change(loop)})
        told = {change.why for change in rollout.plan.names if change.fate == "removed"}
        assert "rule GET /q" in told
        rollout.confirm()

    @pytest.mark.parametrize("loop", [name for name in LOOPS if name != "a factory"])
    @pytest.mark.parametrize("change", [other, less])
    def test_in_another_module(self, program: Start, loop: str, change: Callable[[str], str]) -> None:
        files = {"__init__.py": "from . import app, more\n", "app.py": APP}
        text = f"{HEAD}from .app import app\n{LOOPS[loop]}"
        service = program({**files, "more.py": text})
        service.goes({"more.py": change(text)}).confirm()

    def test_a_table_in_another_module(self, program: Start) -> None:
        views = "def p(): return 'p 1'\ndef q(): return 'q 1'\ndef r(): return 'r 1'\n"
        urls = "from . import views\nfrom .app import app\nVIEWS = [('/p', views.p), ('/q', views.q)]\n"
        urls += "for path, view in VIEWS:\n    app.add_url_rule(path, view_func=view)\n"
        files = {"__init__.py": "from . import app, urls\n", "app.py": APP, "views.py": views, "urls.py": urls}
        service = program(files)
        service.goes({"urls.py": urls.replace("('/q', views.q)", "('/r', views.r)")}).confirm()
        service.goes({"urls.py": urls, "views.py": views.replace("1", "2")}).confirm()

    def test_another_path_for_a_view_of_another_module(self, program: Start) -> None:
        views = "def p(): return 'p 1'\n"
        app = f"{HEAD}from . import views\napp = Flask('x')\napp.add_url_rule('/p', view_func=views.p)\n"
        service = program({**self.FILES, "app.py": app, "views.py": views})
        service.goes({"app.py": app.replace("'/p'", "'/q'")})

    def test_a_condition(self, program: Start) -> None:
        text = f"{APP}DEBUG = True\nif DEBUG:\n    @app.get('/p')\n    def p(): return 'p'\n"
        program({**self.FILES, "app.py": text}).goes({"app.py": text.replace("True", "False")}).confirm()

    def test_what_modules_that_did_not_change_registered_stays(self, program: Start) -> None:
        views = f"{HEAD}from .app import app\ndef p(): return 'p 1'\n"
        views += "for n in ('q',):\n    app.add_url_rule('/' + n, n, lambda n=n: n + ' 1')\n"
        urls = "from . import views\nfrom .app import app\napp.add_url_rule('/p', view_func=views.p)\n"
        files = {"__init__.py": "from . import app, urls\n", "app.py": APP, "views.py": views, "urls.py": urls}
        program(files).goes({"views.py": views.replace("1", "2")}).confirm()

    def test_what_was_registered_at_run_time_stays(self, program: Start) -> None:
        late = "def late(n):\n    app.add_url_rule('/' + n, n, lambda: n + ' 1')\n"
        service = program({**self.FILES, "app.py": APP + LOOPS["lambdas"] + late})
        app = service.held
        app._got_first_request = False
        service.package.app.late("s")
        rollout = service.stage({"app.py": APP + other(LOOPS["lambdas"]) + late})
        rollout.verify()
        rollout.commit()
        assert app.test_client().get("/s").text == "s 1"
        rollout.confirm()

    def test_of_a_blueprint(self, program: Start) -> None:
        bp = f"{HEAD}bp = Blueprint('bp', __name__)\n" + LOOPS["lambdas"].replace("app.", "bp.")
        app = f"{HEAD}from .bp import bp\napp = Flask('x')\napp.register_blueprint(bp, url_prefix='/in')\n"
        program({**self.FILES, "bp.py": bp, "app.py": app}).goes({"bp.py": other(bp)}).confirm()


HOOKS = {
    "before_request": "lambda n=n: n + ' early' if request.path == '/boom/0' else None",
    "after_request": "lambda response, n=n: setattr(response, 'data', response.data + n.encode()) or response",
    "context_processor": "lambda n=n: {'a' if n == 'p' else 'b': n + ' 1'}",
}


class TestHooksAndHandlers:
    FILES: ClassVar = {"__init__.py": "from . import app\n"}
    REST = "@app.get('/boom/<int:n>')\ndef boom(n): raise (KeyError, IndexError)[n]\n"
    LOOP = "for n in ('p', 'q'):\n    app.{}({})\n"

    @pytest.mark.parametrize("hook", HOOKS)
    @pytest.mark.parametrize("alone", [False, True], ids=["with the application", "alone"])
    def test_hooks(self, program: Start, hook: str, alone: bool) -> None:
        loop = "from flask import request\n" + self.LOOP.format(hook, HOOKS[hook])
        files = {"__init__.py": "from . import app, more\n", "app.py": APP + self.REST, "more.py": ""}
        name, head = ("more.py", "from .app import app\n") if alone else ("app.py", APP + self.REST)
        service = program({**files, name: head + loop})
        service.goes({name: head + other(loop)}).confirm()
        service.goes({name: head + less(loop)}).confirm()
        service.goes({name: head}).confirm()

    def test_handlers(self, program: Start) -> None:
        loop = "for error in (KeyError, IndexError):\n"
        loop += "    app.register_error_handler(error, lambda e: (type(e).__name__ + ' 1', 418))\n"
        service = program({**self.FILES, "app.py": APP + self.REST + loop})
        service.goes({"app.py": APP + self.REST + loop.replace("418", "419")}).confirm()
        service.goes({"app.py": APP + self.REST + loop.replace(", IndexError", ",")}).confirm()

    @pytest.mark.parametrize("kind", ["filter", "test", "global"])
    @pytest.mark.parametrize("form", ["add_template_{0}(lambda x, n=n: n + ' 1', n)", "jinja_env.{0}s[n]"])
    @pytest.mark.parametrize("alone", [False, True], ids=["with the application", "alone"])
    def test_templates(self, program: Start, kind: str, form: str, alone: bool) -> None:
        loop = f"for n in ('p', 'q'):\n    app.{form.format(kind)}"
        loop += "\n" if form.startswith("add") else " = lambda x, n=n: n + ' 1'\n"
        files = {"__init__.py": "from . import app, more\n", "app.py": APP, "more.py": ""}
        name, head = ("more.py", "from .app import app\n") if alone else ("app.py", APP)
        service = program({**files, name: head + loop})
        service.goes({name: head + other(loop)}).confirm()
        service.goes({name: head}).confirm()


class TestConfiguration:
    FILES: ClassVar = {"__init__.py": "from . import app, more\n", "app.py": APP, "more.py": ""}

    @pytest.mark.parametrize("alone", [False, True], ids=["with the application", "alone"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("app.config.update(A='old', B=1)\n", "app.config.update(A='new', C=2)\n"),
            ("app.config['A'] = 1\napp.config['B'] = 2\n", "app.config['A'] = 1\n"),
            ("app.config.from_mapping({'A': 1, 'B': 2})\n", "app.config.from_mapping({'A': 2, 'C': 2})\n"),
            (
                "class Settings:\n    A = 1\n    B = 2\napp.config.from_object(Settings)\n",
                "class Settings:\n    A = 2\n    C = 2\napp.config.from_object(Settings)\n",
            ),
            ("DATA = {'A': 1, 'B': 2}\napp.config.update(DATA)\n", "DATA = {'A': 2}\napp.config.update(DATA)\n"),
        ],
        ids=["keywords", "items", "a dict", "a class", "a dict with a name"],
    )
    def test_settings(self, program: Start, alone: bool, before: str, after: str) -> None:
        name, head = ("more.py", "from .app import app\n") if alone else ("app.py", APP)
        program({**self.FILES, name: head + before}).goes({name: head + after})

    def test_what_was_altered_since_stays(self, program: Start) -> None:
        service = program({**self.FILES, "app.py": f"{APP}app.config.update(A=1, B=2, C=3)\n"})
        service.held.config["B"] = 5
        service.held.config["D"] = 6
        rollout = service.stage({"app.py": f"{APP}app.config.update(A=2)\n"})
        rollout.verify()
        rollout.commit()
        assert {key: service.held.config.get(key) for key in "ABCD"} == {"A": 2, "B": 5, "C": None, "D": 6}
        service.patcher.rollback()
        assert {key: service.held.config.get(key) for key in "ABCD"} == {"A": 1, "B": 5, "C": 3, "D": 6}

    def test_a_default_comes_back(self, program: Start) -> None:
        service = program({**self.FILES, "app.py": f"{APP}app.config['TESTING'] = True\n"})
        rollout = service.stage({"app.py": f"{APP}LIMIT = 1\n"})
        rollout.verify()
        rollout.commit()
        assert service.held.config["TESTING"] is False

    def test_a_setting_that_is_only_read_stays_as_it_is(self, program: Start) -> None:
        text = f"{APP}if not app.config['TESTING']:\n    app.config['A'] = 1\n"
        service = program({**self.FILES, "app.py": text})
        service.held.config["TESTING"] = True
        rollout = service.stage({"app.py": text.replace("= 1", "= 2")})
        rollout.verify()
        rollout.commit()
        assert service.held.config["TESTING"] is True

    def test_an_attribute_that_is_kept_there_follows(self, program: Start) -> None:
        service = program({**self.FILES, "app.py": f"{APP}app.secret_key = 'v1'\n"})
        rollout = service.stage({"app.py": f"{APP}app.secret_key = 'v2'\n"})
        rollout.verify()
        rollout.commit()
        assert service.held.secret_key == service.held.config["SECRET_KEY"] == "v2"
        service.patcher.rollback()
        assert service.held.secret_key == "v1"
