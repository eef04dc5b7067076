"""What a server does for a request is not part of it.

A server may start the next request while the end of an answer is sent, and asyncio goes on reading from a connection in
the context in which that was resumed: all that follows on the connection would be found in the session of an earlier
request, or keep it in memory.
"""

from __future__ import annotations

from types import TracebackType

from hotswap.asgi.protocol import Message, Receive, Send
from hotswap.session import Session

__all__ = ["receiving_outside", "sending_outside"]


class _Outside(Session):
    """A block that has no session, within one that has: it is a session that has ended as soon as it begins."""

    __slots__ = ()

    def __enter__(self) -> _Outside:
        super().__enter__()
        self._period = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        # A context that was copied in the block may live on, and what it leads to must not lead to the session around.
        self._token = None


def receiving_outside(receive: Receive) -> Receive:
    """Return the server's `receive`, to be awaited in a session that does not hold for it."""

    async def received() -> Message:
        with _Outside():
            return await receive()

    return received


def sending_outside(send: Send) -> Send:
    """Return the server's `send`, to be awaited in a session that does not hold for it."""

    async def sent(message: Message) -> None:
        with _Outside():
            await send(message)

    return sent
