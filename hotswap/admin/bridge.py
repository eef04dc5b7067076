"""The bridge from WSGI: the admin app on an event loop, in a thread of its own, for servers that know none.

Guarantees: the thread begins with the first request, in the process that answers it: a server that forks its workers
after the application was made has one in each. It is a daemon. Assumes: nothing; any thread may call.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from a2wsgi import ASGIMiddleware

from hotswap.admin.problems import ProblemError
from hotswap.process_copy import in_children
from hotswap.session import context_outside

__all__ = ["Bridge"]


class Bridge:
    """A WSGI application. Lives as long as the application in which it is mounted.

    Arguments:
        app: the ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._here: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        in_children(self.forget)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        with self._lock:
            if self._here is None:
                self._here = self._begin()
            loop, _ = self._here
        return _Answer(self._app, loop, environ, start_response)

    def close(self) -> None:
        """End its thread, if there is one; the next request begins another."""
        with self._lock:
            here, self._here = self._here, None
        if here is None:
            return
        loop, thread = here
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end_tasks())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="hotswap admin", daemon=True)
        thread.start()
        return loop, thread

    def forget(self) -> None:
        """In a child there is no thread, and nobody who holds the lock."""
        self._lock, self._here = threading.Lock(), None


class _Answer:
    """What is sent to one client, which may leave at any time. Lives until the server closes it.

    Of a2wsgi, a client that leaves while it is sent something leaves a task behind that waits for ever; and one that
    leaves in the middle of its body has an application read on and on, since it is told that more will come.
    """

    def __init__(
        self, app: Any, loop: asyncio.AbstractEventLoop, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> None:
        self._app, self._loop = app, loop
        self._task: asyncio.Task[Any] | None = None
        self._context = context_outside()  # that of the server's thread: a trace goes on
        # In chunks, which the server puts together; only some tell where they end, by nothing that is read.
        self._chunks = "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH")
        self._has_end = not self._chunks or bool(environ.get("wsgi.input_terminated"))
        if self._chunks and self._has_end:
            environ = {**environ, "CONTENT_LENGTH": str(sys.maxsize)}  # a2wsgi reads as much as it is told of
        self._parts = ASGIMiddleware(self._run, loop=loop)(environ, start_response)  # type: ignore[arg-type]  # what WSGI has

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        """End what goes on for it: the server calls this in any case."""
        self._parts.close()  # type: ignore[attr-defined]  # a generator
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so has ended it
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        if self._chunks:
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        over = False

        async def received() -> Any:
            nonlocal over
            if not self._has_end:
                text = "the server of this service does not tell where a body in chunks ends: send a Content-Length"
                raise ProblemError(411, "length-required", text)
            if over:
                await asyncio.get_running_loop().create_future()  # until it is cancelled: nothing comes any more
            message = await receive()
            if message["type"] == "http.request" and message["more_body"] and not message["body"]:
                over = self._chunks
                return {**message, "more_body": False} if over else {"type": "http.disconnect"}
            return message

        self._task = asyncio.create_task(self._app(scope, received, send), context=self._context)
        await self._task


async def _end_tasks() -> None:
    """Cancel what waits still, of clients that follow events say, and see it end."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
