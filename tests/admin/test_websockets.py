"""A connection over a WebSocket whose handler a patch changed: who looks sees that it goes on, and since when."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from websockets.sync.client import ClientConnection, connect

from hotswap import Patch, Patcher
from hotswap.asgi import SessionMiddleware, admin
from tests.admin.conftest import READER, TOKENS, client, serving

pytestmark = pytest.mark.threads

TALK = """
from starlette.websockets import WebSocketDisconnect

async def talk(socket):
    await socket.accept()
    try:
        while True:
            await socket.send_text("{said} " + await socket.receive_text())
    except WebSocketDisconnect:
        return
"""


@pytest.mark.parametrize("of_sessions", [False, True])
@pytest.mark.parametrize("handover", [None, 0])
def test_its_handler_is_named(
    make_package: Callable[..., ModuleType], of_sessions: bool, handover: float | None
) -> None:
    package = make_package({"__init__.py": "from . import live\n", "live.py": TALK.format(said="said")})
    name = f"{package.__name__}.live"
    patcher = Patcher([package.__name__], handover=handover)
    routes = [WebSocketRoute("/talk", package.live.talk), Mount("/hotswap", admin(patcher, authorize=TOKENS))]
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware)] if of_sessions else [])
    with serving(app, ws="websockets-sansio") as address, client(address, READER) as http:

        def flights(rollout: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = http.get(f"/hotswap/rollouts/{rollout}").json()["in_flight"]
            return found

        with connect(address.replace("http", "ws") + "/talk", proxy=None) as old:
            assert said(old) == "said hello"
            rollout = patcher.apply(Patch.from_sources({name: TALK.format(said="heard")}, version="2"))
            with connect(address.replace("http", "ws") + "/talk", proxy=None) as new:
                assert (said(old), said(new)) == ("said hello", "heard hello")
                (flight,) = rollout.in_flight()
                assert (flight.function, flight.line) == (f"{name}:talk", 8)
                assert [one["function"] for one in flights(rollout.id)] == [f"{name}:talk"]
                assert not rollout.drained.is_set()
                assert said(old) == "said hello"
        assert rollout.drained.wait(20)
        assert flights(rollout.id) == []


def said(connection: ClientConnection) -> str:
    connection.send("hello")
    return str(connection.recv(timeout=20))
