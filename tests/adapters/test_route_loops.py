"""Starlette and FastAPI: what loops registered, and what goes when they do not register it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.adapters.asgi import answers
from tests.adapters.programs import Program

pytest.importorskip("fastapi", reason="FastAPI is not installed here")
pytestmark = pytest.mark.threads

PATHS = ("/p", "/q", "/r", "/boom")


def look(app: Any) -> Any:
    handlers = sorted(str(key) for key in app.exception_handlers)
    return sorted(route.path for route in app.routes), handlers, answers(app, [("GET", path, None) for path in PATHS])


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = """
import functools
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse as Text
"""
FAST, STAR = "app = FastAPI()\n", "app = Starlette()\n"
LOOPS = {
    "lambdas": (FAST, "for n in ('p', 'q'):\n    app.add_api_route('/' + n, lambda: '1')\n"),
    "decorated": (FAST, "for n in ('p', 'q'):\n    @app.get('/' + n)\n    def one(n=n): return n + ' 1'\n"),
    "partials": (
        FAST,
        (
            "def one(n): return n + ' 1'\n"
            "for n in ('p', 'q'):\n    app.add_api_route('/' + n, functools.partial(one, n))\n"
        ),
    ),
    "a table": (
        FAST,
        (
            "def p(): return 'p 1'\ndef q(): return 'q 1'\ndef r(): return 'r 1'\nVIEWS = {'p': p, 'q': q}\n"
            "for path, view in VIEWS.items():\n    app.add_api_route('/' + path, view)\n"
        ),
    ),
    "of Starlette": (STAR, "for n in ('p', 'q'):\n    app.add_route('/' + n, lambda request, n=n: Text(n + ' 1'))\n"),
    "handlers": (
        STAR,
        "for n in (404, 405):\n    app.add_exception_handler(n, lambda request, error, n=n: Text(f'{n} 1'))\n",
    ),
}


def other(text: str) -> str:
    """The same, over something else."""
    changed = text.replace("('p', 'q')", "('p', 'r')").replace("'q': q", "'r': r").replace("404, 405", "404, 406")
    return changed.replace("1'", "2'")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("alone", [False, True], ids=["with the application", "alone"])
def test_a_loop(program: Start, loop: str, alone: bool) -> None:
    app, text = LOOPS[loop]
    files = {"__init__.py": "from . import app, more\n", "app.py": HEAD + app, "more.py": ""}
    name, head = ("more.py", HEAD + "from .app import app\n") if alone else ("app.py", HEAD + app)
    service = program({**files, name: head + text})
    service.goes({name: head + other(text)}).confirm()
    service.goes({name: head}).confirm()


def test_a_handler_of_another_module_that_is_added_again_stays(program: Start) -> None:
    files = {
        "__init__.py": "from . import app, more\n",
        "app.py": HEAD + STAR,
        "handlers.py": HEAD + "def missing(request, error): return Text('missing')\n",
        "more.py": "from . import handlers\nfrom .app import app\napp.add_exception_handler(404, handlers.missing)\n",
    }
    program(files).goes({"more.py": files["more.py"] + "LIMIT = 1\n"})
