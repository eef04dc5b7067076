"""A collection that goes on in another thread: it runs a finalizer, which waits."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collecting_elsewhere"]


@contextmanager
def collecting_elsewhere() -> Iterator[None]:
    """Have another thread be in the middle of a full collection for as long as the block."""
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            begun.set()
            go.wait(30)

    Slow()
    thread = threading.Thread(target=gc.collect)
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        go.set()
        thread.join()
