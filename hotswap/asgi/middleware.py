"""The middleware: which connections have a session, and how long."""

from __future__ import annotations

from typing import Literal, get_args

from hotswap.asgi.conversation import Conversation
from hotswap.asgi.outside import receiving_outside, sending_outside
from hotswap.asgi.protocol import Application, Receive, Scope, Send
from hotswap.session import Session, number_here

__all__ = ["SessionMiddleware"]

Unit = Literal["message", "connection"]


class SessionMiddleware:
    """ASGI middleware: each unit of work keeps the generation that it began with. Lives as long as your application.

    A request is a unit from the call until the application has returned, background tasks of Starlette included. The
    lifespan, and what is neither HTTP nor WebSocket, is passed on without a session: it may last as long as the
    process. Within a session that is open already, all of it belongs to that one.

    Arguments:
        app: the application.
        websocket: what is a unit of a WebSocket. With `"message"` it is the handshake, until the application has
            accepted, and then each message, from when it is received until the same task asks for the next one, or
            another task has received it. The session holds for the task that received the message, and for what that
            task starts. With `"connection"` it is the connection as a whole, which may last for hours.

    Raises ValueError for another `websocket`.
    """

    def __init__(self, app: Application, *, websocket: Unit = "message") -> None:
        if websocket not in get_args(Unit):
            raise ValueError(f"websocket is 'message' or 'connection', not {websocket!r}")
        self.app = app
        self.websocket = websocket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: called by the server, or by the middleware around this one."""
        kind = scope["type"]
        is_outermost = number_here() is None
        if kind == "http" or (kind == "websocket" and self.websocket == "connection"):
            held = Session(scope)
            if is_outermost:
                receive, send = receiving_outside(receive), sending_outside(send, lambda: held)
            with held:
                await self.app(scope, receive, send)
        elif kind == "websocket" and is_outermost:
            await Conversation(scope, receive, send).hold(self.app)
        else:
            await self.app(scope, receive, send)
