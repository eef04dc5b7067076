"""A bake in a real service: an ASGI application behind the session middleware, asked over its own interface."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import httpx
import pytest

from hotswap import Patch, Patcher, State, asgi, tally, wsgi
from hotswap.periods import now, turning

pytestmark = pytest.mark.threads

starlette = pytest.importorskip("starlette.applications", reason="the service is one of Starlette's")

Make = Callable[..., ModuleType]

_serial = itertools.count(1)

VIEWS = """
from starlette.responses import PlainTextResponse

async def quote(request):
    return PlainTextResponse(str({answer}))
"""


@pytest.fixture(autouse=True)
def fresh_period() -> None:
    """Sessions of other tests count for nobody here."""
    with turning() as turn:
        for write, *arguments in turn.ops:
            write(*arguments)


class Service:
    """A Starlette application whose endpoint is in a package, and a patcher of that."""

    def __init__(self, make: Make) -> None:
        from starlette.routing import Route

        self.name = f"servicing{next(_serial)}"
        package = make(
            {"__init__.py": f"import {self.name}.views\n", "views.py": VIEWS.format(answer="1")}, name=self.name
        )
        self.app = asgi.SessionMiddleware(starlette.Starlette(routes=[Route("/quote", package.views.quote)]))
        self.patcher = Patcher([self.name], bake=600)

    def patch(self, version: str, answer: str) -> Patch:
        return Patch.from_sources({f"{self.name}.views": VIEWS.format(answer=answer)}, version)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://service")


class TestASGI:
    def test_a_service_that_answers_500_gets_its_old_version_back(self, make_package: Make) -> None:
        service = Service(make_package)
        failed: list[int] = []

        async def serve() -> Any:
            async with service.client() as client:
                for _ in range(200):
                    assert (await client.get("/quote")).text == "1"
                rollout = await service.patcher.apply_async(service.patch("1.0", "1 // 0"))
                while not rollout.baked.is_set():
                    response = await client.get("/quote")
                    if response.status_code == 500:
                        failed.append(1)
                assert (await client.get("/quote")).text == "1"
                return rollout

        rollout = asyncio.run(serve())
        assert rollout.state is State.ROLLED_BACK
        assert rollout.bake.old.count == 200
        assert rollout.bake.old.errors == 0
        assert failed
        assert "sessions failed, and 0 of 200 before" in rollout.reason

    def test_one_that_answers_is_confirmed(self, make_package: Make) -> None:
        service = Service(make_package)

        async def serve() -> Any:
            async with service.client() as client:
                rollout = await service.patcher.apply_async(service.patch("1.0", "2"), bake=0.2)
                while not rollout.baked.is_set():
                    assert (await client.get("/quote")).text == "2"
                return rollout

        rollout = asyncio.run(serve())
        assert rollout.state is State.PERMANENT
        assert rollout.bake.new.count >= 20


async def asked(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> None:
    """Call an application as a server does."""
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        return None

    await app(scope, receive, send)


class TestWhatHasFailed:
    @pytest.fixture(autouse=True)
    def counted(self) -> Any:
        class Who:
            pass

        who = Who()
        tally.want(who)
        yield
        del who

    def errors(self, call: Callable[[], object]) -> tuple[int, int]:
        """How many sessions a call has, and how many of them failed."""
        counts = now().keeper.counts
        before = tally.total([counts])
        with suppress(ZeroDivisionError):  # it goes on to the server
            call()
        after = tally.total([counts])
        return after.count - before.count, after.errors - before.errors

    @pytest.mark.parametrize(("status", "errors"), [(200, 0), (404, 0), (500, 1), (503, 1)])
    def test_by_the_status(self, status: int, errors: int) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": status})

        middleware = asgi.SessionMiddleware(app)
        assert self.errors(lambda: asyncio.run(asked(middleware, {"type": "http"}))) == (1, errors)

    def test_by_an_exception(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            1 // 0

        middleware = asgi.SessionMiddleware(app)
        assert self.errors(lambda: asyncio.run(asked(middleware, {"type": "http"}))) == (1, 1)

    def test_the_message_of_a_websocket_that_fails(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            for _ in range(2):
                await receive()
            1 // 0

        middleware = asgi.SessionMiddleware(app)
        messages = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": "x"} for _ in range(2))]
        # The handshake and the first message went well.
        assert self.errors(lambda: asyncio.run(asked(middleware, {"type": "websocket"}, *messages))) == (3, 1)

    @pytest.mark.parametrize(("code", "errors"), [(1000, 0), (1011, 1)])
    def test_a_websocket_by_the_code_with_which_it_is_closed(self, code: int, errors: int) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.close", "code": code})

        middleware = asgi.SessionMiddleware(app)
        assert self.errors(lambda: asyncio.run(asked(middleware, {"type": "websocket"}))) == (1, errors)

    @pytest.mark.parametrize(("status", "errors"), [("200 OK", 0), ("404 Not Found", 0), ("502 Bad Gateway", 1)])
    def test_of_wsgi_by_the_status(self, status: str, errors: int) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response(status, [])
            return [b""]

        assert self.errors(lambda: wsgi.SessionMiddleware(app)({}, lambda *_: None)) == (1, errors)

    def test_of_wsgi_by_an_exception(self) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            1 // 0
            return []

        def later(environ: Any, start_response: Any) -> Any:
            yield b"half"
            1 // 0

        assert self.errors(lambda: wsgi.SessionMiddleware(app)({}, lambda *_: None)) == (1, 1)

        def serve() -> None:
            response: Any = wsgi.SessionMiddleware(later)({}, lambda *_: None)
            try:
                list(response)
            finally:
                response.close()

        assert self.errors(serve) == (1, 1)
