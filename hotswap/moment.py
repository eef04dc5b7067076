"""A moment: something that happens, and may be waited for in any thread, and on any event loop."""

from __future__ import annotations

import asyncio
import threading
import time

__all__ = ["Moment"]

_STEP = 0.02
"""Seconds between two looks of who waits on an event loop: what happens does so anywhere, and may not call into it."""


class Moment:
    """An event that may be waited for in any thread, and on any event loop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, and return whether it has happened.

        Arguments:
            timeout: seconds; None waits for ever.
        """
        return self._event.wait(timeout)

    async def wait_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as `wait` has it
        """Do the same without blocking the event loop."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._event.is_set():
            if until is not None and time.monotonic() >= until:
                return False
            await asyncio.sleep(_STEP)
        return True

    def set(self) -> None:
        """Note that it has happened."""
        self._event.set()

    def clear(self) -> None:
        """Note that it is still to happen."""
        self._event.clear()
