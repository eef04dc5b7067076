"""What a server does for a request is not part of it.

A server may start the next request while the end of an answer is sent, and asyncio goes on reading from a connection in
the context in which that was resumed: all that follows on the connection would be found in the session of an earlier
request, or keep it in memory.
"""

from __future__ import annotations

from hotswap.asgi.protocol import Message, Receive, Send
from hotswap.session import outside

__all__ = ["receiving_outside", "sending_outside"]


def receiving_outside(receive: Receive) -> Receive:
    """Return the server's `receive`, to be awaited in a session that does not hold for it."""

    async def received() -> Message:
        with outside():
            return await receive()

    return received


def sending_outside(send: Send) -> Send:
    """Return the server's `send`, to be awaited in a session that does not hold for it."""

    async def sent(message: Message) -> None:
        with outside():
            await send(message)

    return sent
