"""The bridge from WSGI: the admin app on an event loop, in a thread of its own, for servers that know none.

Guarantees: the thread begins with the first request, in the process that answers it: a server that forks its workers
after the application was made has one in each. It is a daemon. Assumes: nothing; any thread may call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from a2wsgi import ASGIMiddleware

from hotswap.process_copy import in_children

__all__ = ["Bridge"]


class Bridge:
    """A WSGI application. Lives as long as the application in which it is mounted.

    Arguments:
        app: the ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._here: tuple[asyncio.AbstractEventLoop, threading.Thread, ASGIMiddleware] | None = None
        in_children(self.forget)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        with self._lock:
            if self._here is None:
                self._here = self._begin()
            app = self._here[-1]
        return app(environ, start_response)  # type: ignore[arg-type]  # whatever WSGI has in it

    def close(self) -> None:
        """End its thread, if there is one; the next request begins another."""
        with self._lock:
            here, self._here = self._here, None
        if here is None:
            return
        loop, thread, _ = here
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end_tasks())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread, ASGIMiddleware]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="hotswap admin", daemon=True)
        thread.start()
        return loop, thread, ASGIMiddleware(self._app, loop=loop)

    def forget(self) -> None:
        """In a child there is no thread, and nobody who holds the lock."""
        self._lock, self._here = threading.Lock(), None


async def _end_tasks() -> None:
    """Cancel what waits still, of clients that follow events say, and see it end."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
