"""A clock: calls are made when their time has come, each in a thread of its own.

Another clock can stand in for it (`replace`): that of a test, which goes on when it is told to.

Guarantees: asking for a call never waits for one. The thread that watches the time is there only while something is to
be called, and none that `threading` counts. A forked process begins with nothing to be called.

Assumes: a thread can be had; where none can (WebAssembly, an interpreter that shuts down) nothing is called.
"""

from __future__ import annotations

import _thread
import bisect
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

__all__ = ["HAS_THREADS", "NONE", "Alarm", "Clock", "after", "now", "replace"]

HAS_THREADS = sys.platform not in ("emscripten", "wasi")
"""Whether this platform has threads."""


class Alarm(Protocol):
    """A call to be made. Made by `after`."""

    def cancel(self) -> None:
        """Have it not made, if it was not yet."""


class _Never:
    """An alarm that never rings."""

    def cancel(self) -> None:
        """Do nothing."""


NONE: Alarm = _Never()


class Clock(Protocol):
    """What tells the time, and has calls made when their time has come."""

    def now(self) -> float:
        """Seconds since some moment; it never goes back."""

    def after(self, seconds: float, call: Callable[[], object]) -> Alarm:
        """Have something called, as `hotswap.clock.after` says."""


class _Alarm:
    def __init__(self, clock: _Clock, due: float, call: Callable[[], object]) -> None:
        self._clock, self._due, self._call = clock, due, call

    def __lt__(self, other: _Alarm) -> bool:
        return self._due < other._due

    @property
    def left(self) -> float:
        """Seconds until it is due."""
        return self._due - time.monotonic()

    def ring(self) -> None:
        """Make the call, in a thread of its own."""
        with suppress(RuntimeError):  # the interpreter shuts down
            threading.Thread(target=self._call, name="hotswap-handover", daemon=True).start()

    def cancel(self) -> None:
        """Have it not made, if it was not yet."""
        self._clock.remove(self)


class _Clock:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[_Alarm] = []
        self._watched = False
        self._changed = threading.Lock()
        """Is held, but for moments in which another alarm is the next."""
        self._changed.acquire()

    def now(self) -> float:
        return time.monotonic()

    def after(self, seconds: float, call: Callable[[], object]) -> Alarm:
        alarm = _Alarm(self, self.now() + seconds, call)
        self._add(alarm)
        return alarm

    def _add(self, alarm: _Alarm) -> None:
        with self._lock:
            bisect.insort(self._due, alarm)
            if self._watched:
                self._wake(alarm)
                return
            with suppress(RuntimeError):
                _thread.start_new_thread(self._watch, ())
                self._watched = True

    def remove(self, alarm: _Alarm) -> None:
        with self._lock:
            if alarm in self._due:
                self._wake(alarm)
                self._due.remove(alarm)

    def _wake(self, alarm: _Alarm) -> None:
        if self._due[0] is alarm and self._changed.locked():
            self._changed.release()

    def _watch(self) -> None:
        while True:
            with self._lock:
                if not self._due:
                    self._watched = False
                    return
                left = self._due[0].left
                alarm = self._due.pop(0) if left <= 0 else None
            if alarm is not None:
                alarm.ring()
            else:
                self._changed.acquire(timeout=min(left, threading.TIMEOUT_MAX))


_clock: Clock = _Clock()


def now() -> float:
    """Return the time: seconds since some moment; it never goes back."""
    return _clock.now()


def after(seconds: float, call: Callable[[], object]) -> Alarm:
    """Have something called, and return what cancels that.

    Arguments:
        seconds: in how long.
        call: what is called, in a thread of its own. What it raises goes to `threading.excepthook`. It may return what
            waits, for so many seconds, until all that it has begun is done: a clock that a test holds asks for it.
    """
    return _clock.after(seconds, call)


def replace(clock: Clock) -> Callable[[], None]:
    """Have another clock tell the time, and return what puts the one back that did so before.

    What was asked of that one is still called by it.
    """
    global _clock
    before, _clock = _clock, clock

    def put_back() -> None:
        global _clock  # noqa: PLW0603
        _clock = before

    return put_back


def _begin_anew() -> None:
    global _clock  # noqa: PLW0603 - the child of a fork has none of the threads
    _clock = _Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
