"""What a server does for a request is not part of it.

A server may start the next request while the end of an answer is sent, and asyncio goes on reading from a connection in
the context in which that was resumed: all that follows on the connection would be found in the session of an earlier
request, or keep it in memory.

What is sent says whether the unit of work failed: a status from 500 on, or a WebSocket that is closed with 1011.
"""

from __future__ import annotations

from collections.abc import Callable

from hotswap.asgi.protocol import Message, Receive, Send
from hotswap.session import Session, outside

__all__ = ["receiving_outside", "sending_outside"]

_STARTS = ("http.response.start", "websocket.http.response.start")

_INTERNAL_ERROR = 1011
"""RFC 6455, section 7.4.1."""


def receiving_outside(receive: Receive) -> Receive:
    """Return the server's `receive`, to be awaited in a session that does not hold for it."""

    async def received() -> Message:
        with outside():
            return await receive()

    return received


def sending_outside(send: Send, unit: Callable[[], Session]) -> Send:
    """Return the server's `send`, to be awaited in a session that does not hold for it.

    Arguments:
        send: the server's.
        unit: gives the session that has failed if the message says so.
    """

    async def sent(message: Message) -> None:
        kind = message["type"]
        if (kind in _STARTS and message.get("status", 0) >= 500) or (
            kind == "websocket.close" and message.get("code") == _INTERNAL_ERROR
        ):
            unit().fail()
        with outside():
            await send(message)

    return sent
