"""FastAPI looks at the signatures of functions when it likes, and keeps what it found: also while they are forks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotswap import Rollout
from tests.adapters.asgi import answers
from tests.adapters.programs import Program
from tests.races.threads import forks_go

pytest.importorskip("fastapi", reason="FastAPI is not installed here")
pytestmark = pytest.mark.threads

from fastapi import APIRouter, Depends, FastAPI  # noqa: E402 - the library may be missing

V1 = """
from fastapi import APIRouter, Depends, FastAPI
app, router = FastAPI(), APIRouter()
def helper(x): return "1"
def page(limit: int = 10): return limit
@router.get("/x")
def x(d: int = Depends(page), q: str = "q"): return [helper(1), d, q]
app.include_router(router)
async def endpoint(q: int = 3): return q
def work():
    while True: yield helper(1)
"""
V2 = (
    V1.replace('"1"', '"2"')
    .replace("limit: int = 10", "limit: int = 10, offset: int = 0")
    .replace('q: str = "q"', 'q: str = "q", lang: str = "en"')
    .replace("q: int = 3", "q: int = 3, r: int = 4")
    .replace("helper(x)", "helper(x, y)")
    .replace("helper(1)", "helper(1, 2)")
)

REQUESTS: list[tuple[str, str, Any]] = [("GET", path, None) for path in ("/x", "/x?limit=3&lang=de", "/openapi.json")]


def look(app: FastAPI) -> Any:
    return [answer[2:4] for answer in answers(app, REQUESTS)]


@pytest.fixture
def program(start: Callable[..., Program]) -> Iterator[Program]:
    files = {"__init__.py": "from . import app\n", "app.py": V1}
    yield start(files, hold=lambda package: package.app.app, look=look)
    assert forks_go()


def staged(program: Program) -> Rollout:
    rollout = program.stage({"app.py": V2})
    rollout.verify()
    return rollout


def late(module: Any) -> FastAPI:
    """An application that is put together now, as plugins do, of what a module has."""
    app, router = FastAPI(), APIRouter()

    @router.get("/late")
    def handler(d: int = Depends(module.page)) -> int:
        return d

    router.get("/endpoint")(module.endpoint)
    app.include_router(router)
    return app


LATE: list[tuple[str, str, Any]] = [
    ("GET", path, None) for path in ("/late", "/late?limit=3", "/late?limit=no", "/endpoint", "/openapi.json")
]


class TestForks:
    def test_first_request_while_an_old_call_goes_on(self, program: Program) -> None:
        call = program.package.app.work()
        next(call)
        rollout = staged(program)
        rollout.commit()
        new = program.fresh(program.files)
        assert program.seen() == new
        call.close()
        assert rollout.drained.wait(10)
        assert program.seen() == new

    def test_first_request_after_it_was_taken_back(self, program: Program) -> None:
        old = program.seen()
        rollout = staged(program)
        rollout.commit()
        call = program.package.app.work()
        next(call)
        program.patcher.rollback()
        assert program.seen() == old
        call.close()
        assert rollout.drained.wait(10)
        assert program.seen() == old

    def test_an_application_that_is_made_while_it_is_armed(self, program: Program) -> None:
        expected = answers(late(program.package.app), LATE)
        rollout = staged(program)
        rollout.arm()
        app = late(program.package.app)
        assert answers(app, LATE) == expected
        rollout.disarm()
        assert answers(app, LATE) == expected
        rollout.abort()

    def test_an_application_that_is_made_while_an_old_call_goes_on(self, program: Program) -> None:
        call = program.package.app.work()
        next(call)
        rollout = staged(program)
        rollout.commit()
        app = late(program.package.app)
        new = answers(app, LATE)
        assert [answer[2] for answer in new] == [200, 200, 422, 200, 200]
        call.close()
        assert rollout.drained.wait(10)
        assert answers(late(program.package.app), LATE) == answers(app, LATE) == new
