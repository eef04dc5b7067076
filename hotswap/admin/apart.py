"""Work that takes a moment, apart from the event loop: each in a thread of its own.

Not in the threads of the loop: those are the service's, and when all of them hang, an operator has to get through.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from hotswap.session import context_outside

__all__ = ["apart"]

T = TypeVar("T")


async def apart(run: Callable[..., T], *arguments: object) -> T:
    """Run a function in a thread, and return what it returns, or raise what it raises.

    It goes on if the caller is cancelled. It runs in the caller's context, so that a trace goes on, but in no session.
    """
    found: Future[T] = Future()
    context = context_outside()

    def main() -> None:
        try:
            answer = context.run(run, *arguments)
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            found.set_exception(error)
        else:
            found.set_result(answer)

    threading.Thread(target=main, name="hotswap admin", daemon=True).start()
    return await asyncio.shield(asyncio.wrap_future(found))
