"""Stacks: plain calls of nested code are found on the stacks of threads, and looked for until they have ended.

The death of its code tells when the last call of a function has ended. Nested code is held by closures as well, and
there may be any number of them; a plain call of it has no generator or coroutine that would die with it.

Guarantees: a call that was found is waited for until a look no longer finds it. Looks come soon after the swap, and
then ever more seldom: they take some percent of the time at most, and are a second apart at most.

Assumes: a frame object is the same as long as its call goes on (`tests/cpython/test_frames.py`). Another call of the
same code that gets the memory of one that has ended is taken for it, until a look comes in between. Where no thread can
be had nobody looks; there are no forks either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from types import CodeType

from hotswap import clock
from hotswap.swap.calls import running_frames
from hotswap.swap.forwarding import KIND_FLAGS

__all__ = ["Stacks"]

_FIRST, _LAST = 0.005, 1.0
"""Seconds to the first look, and at most to the next one."""

_PART = 0.2
"""The part of the time since the swap after which a look follows another."""


class Stacks:
    """The plain calls of nested code that one drain waits for.

    Arguments:
        changed: is called when some of them have ended.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._calls: dict[int, CodeType] = {}
        self._since = 0.0
        self._alarm: clock.Alarm | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def codes(self) -> list[CodeType]:
        """The code that they run."""
        return list(self._calls.values())

    def wait_for(self, codes: Iterable[CodeType]) -> None:
        """Wait for the plain calls that run some code now."""
        self._calls = _found(codes)
        self._since = time.monotonic()
        self._wait()

    def let_go(self, codes: Container[int]) -> None:
        """Wait no longer for those that run some code.

        Arguments:
            codes: the ids of the code.
        """
        self._calls = {frame: code for frame, code in self._calls.items() if id(code) not in codes}
        if not self._calls and self._alarm is not None:
            self._alarm.cancel()

    def _wait(self) -> None:
        if self._calls:
            pause = min(max((time.monotonic() - self._since) * _PART, _FIRST), _LAST)
            self._alarm = clock.after(pause, self._look)

    def _look(self) -> None:
        calls = self._calls
        still = _found(calls.values())
        self._calls = {frame: code for frame, code in self._calls.items() if still.get(frame) is code}
        self._wait()
        if len(self._calls) < len(calls):
            self._changed()


def _found(codes: Iterable[CodeType]) -> dict[int, CodeType]:
    plain = {id(code): code for code in codes if not code.co_flags & KIND_FLAGS}
    return {id(frame): frame.f_code for _, frame in running_frames(plain)} if plain else {}
