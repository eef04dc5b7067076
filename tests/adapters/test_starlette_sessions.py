"""Sessions of Starlette and FastAPI, with their own clients, and behind a real server."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import hotswap
from hotswap.asgi import SessionMiddleware
from hotswap.periods import now
from hotswap.session import number_here
from tests.test_session import swap

pytest.importorskip("fastapi", reason="FastAPI is not installed here")
pytestmark = pytest.mark.threads

import httpx  # noqa: E402 - the libraries may be missing
import uvicorn  # noqa: E402
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket, WebSocketDisconnect  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response, StreamingResponse  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

with warnings.catch_warnings():
    # Newer versions of starlette warn that they would rather have httpx2; either will do here.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


def got(app: Any, path: str) -> Any:
    """What a request is answered."""

    async def ask() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(path)).json()

    return asyncio.run(ask())


class TestStarlette:
    def test_streams_within_the_session(self) -> None:
        async def parts() -> AsyncIterator[str]:
            yield f"[{number_here()},"
            swap()
            yield f"{number_here()}]"

        async def stream(request: Request) -> Response:
            return StreamingResponse(parts())

        app = Starlette(routes=[Route("/", stream)], middleware=[Middleware(SessionMiddleware)])
        first = now().number
        assert got(app, "/") == [first, first]

    def test_a_route_may_have_it_alone(self) -> None:
        async def look(request: Request) -> Response:
            return JSONResponse(number_here())

        app = Starlette(routes=[Route("/with", look, middleware=[Middleware(SessionMiddleware)]), Route("/", look)])
        assert got(app, "/with") == now().number
        assert got(app, "/") is None

    def test_tasks_of_the_lifespan_have_no_session(self) -> None:
        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async def there() -> None:
                seen.append(number_here())

            await asyncio.create_task(there())
            yield
            seen.append(number_here())

        seen: list[int | None] = []
        app = Starlette(lifespan=lifespan, middleware=[Middleware(SessionMiddleware)])
        with TestClient(app):
            pass
        assert seen == [None, None]

    def test_messages_are_a_session_each(self) -> None:
        async def talk(socket: WebSocket) -> None:
            await socket.accept()
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    await socket.receive_text()
                    began = number_here()
                    swap()
                    await socket.send_json([began, number_here()])

        app = Starlette(routes=[WebSocketRoute("/", talk)], middleware=[Middleware(SessionMiddleware)])
        first = now().number
        with TestClient(app) as client, client.websocket_connect("/") as socket:
            for turn in range(3):
                socket.send_text("next")
                assert socket.receive_json() == [first + turn, first + turn]


class TestFastAPI:
    def test_dependencies_threads_and_background_tasks_belong_to_the_request(self) -> None:
        app = FastAPI()
        app.add_middleware(SessionMiddleware)
        seen = []

        def depends() -> Iterator[int | None]:
            yield number_here()
            seen.append(number_here())

        async def later() -> None:
            swap()
            seen.append(number_here())

        # In a thread, as FastAPI runs what is no coroutine function.
        @app.get("/")
        def look(tasks: BackgroundTasks, dependency: int = Depends(depends)) -> list[int | None]:
            tasks.add_task(later)
            swap()
            return [dependency, number_here()]

        first = now().number
        assert got(app, "/") == [first, first]
        assert seen == [first, first]

    def test_a_reader_has_sessions_beside_a_writer(self) -> None:
        app = FastAPI()
        app.add_middleware(SessionMiddleware, websocket="message")

        @app.websocket("/")
        async def both(socket: WebSocket) -> None:
            async def read() -> None:
                async for _ in socket.iter_text():
                    await queue.put(number_here())
                    swap()
                await queue.put(None)

            async def write() -> None:
                while (number := await queue.get()) is not None:
                    await socket.send_json([number, number_here()])

            queue: asyncio.Queue[int | None] = asyncio.Queue()
            await socket.accept()
            await asyncio.gather(read(), write())

        first = now().number
        with TestClient(app) as client, client.websocket_connect("/") as socket:
            for turn in range(3):
                socket.send_text("next")
                assert socket.receive_json() == [first + turn, None]


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve an application in a thread; gives the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="websockets-sansio", timeout_keep_alive=60, log_config=None))
    started = threading.Event()
    startup = server.startup

    async def told(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


class TestBehindAServer:
    def test_requests_and_messages_have_sessions_and_connections_have_none(self) -> None:
        async def look(request: Request) -> Response:
            swap()
            return JSONResponse(number_here())

        async def talk(socket: WebSocket) -> None:
            await socket.accept()
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    await socket.receive_text()
                    contexts.append(contextvars.copy_context())
                    swap()
                    await socket.send_json(number_here())

        app = Starlette(
            routes=[Route("/", look), WebSocketRoute("/talk", talk)],
            middleware=[Middleware(SessionMiddleware)],
        )
        contexts: list[contextvars.Context] = []
        first = now().number
        with served(app) as port:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                assert [client.get("/").json() for _ in range(3)] == [first, first + 1, first + 2]
            with connect(f"ws://127.0.0.1:{port}/talk") as socket:
                for turn in range(3, 6):
                    socket.send("next")
                    assert int(socket.recv()) == first + turn
        assert [context.run(number_here) for context in contexts] == [None] * 3

    def test_requests_that_are_sent_ahead_do_not_belong_to_those_before(self) -> None:
        """The server starts them while it sends the end of the answer before, whose background tasks come only then."""

        async def later() -> None:
            swap()
            await asyncio.sleep(0.01)

        async def look(request: Request) -> Response:
            return JSONResponse(number_here(), background=BackgroundTask(later))

        def sessions() -> int:
            gc.collect()
            return sum(issubclass(type(o), hotswap.Session) for o in gc.get_objects())

        app = Starlette(routes=[Route("/", look)], middleware=[Middleware(SessionMiddleware)])
        before = sessions()
        with served(app) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 50)
            answers = b""
            first = now().number
            while answers.count(b"HTTP/1.1 200 OK") < 50 or not answers[-1:].isdigit():
                answers += connection.recv(65536)
            deadline = time.monotonic() + 10
            while sessions() - before > 10:  # the background tasks go on for a moment
                assert time.monotonic() < deadline
        numbers = [int(answer.rpartition(b"\r\n")[2]) for answer in answers.split(b"HTTP/1.1 200 OK")[1:]]
        assert numbers[-1] > first
        assert len(set(numbers)) > 10

    def test_a_client_that_goes_away_ends_the_session(self) -> None:
        async def talk(socket: WebSocket) -> None:
            await socket.accept()
            await socket.receive_text()
            contexts.append(contextvars.copy_context())
            assert number_here() is not None
            with pytest.raises(WebSocketDisconnect):
                await socket.receive_text()
            contexts.append(contextvars.copy_context())
            assert number_here() is not None
            ended.set()

        app = Starlette(routes=[WebSocketRoute("/talk", talk)], middleware=[Middleware(SessionMiddleware)])
        contexts: list[contextvars.Context] = []
        ended = threading.Event()
        with served(app) as port:
            with connect(f"ws://127.0.0.1:{port}/talk") as socket:
                socket.send("one")
            assert ended.wait(30)
        assert [context.run(number_here) for context in contexts] == [None, None]
