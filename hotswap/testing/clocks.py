"""A clock that goes on when it is told to: what waits for a time is tested without waiting for it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from types import TracebackType

from hotswap import clock

__all__ = ["ManualClock"]


_PATIENCE = 10.0
"""Seconds, real ones, in which a probe that was asked has to answer before time goes on without it."""


class _Alarm:
    def __init__(self, due: float, number: int, call: Callable[[], object]) -> None:
        self.order = (due, number)
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class ManualClock:
    """Tells the time to hotswap as long as its `with` block lasts.

    Handovers, bakes and their probes, time limits of shadow runs in threads, and calls to be made later wait for it. It
    stands still until `advance`. Lives as long as a test. What the operating system waits for (a socket, a lock, the
    end of a thread) takes its own time.

    Arguments:
        start: the time at first, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._alarms: list[_Alarm] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._put_back: list[Callable[[], None]] = []

    def __enter__(self) -> ManualClock:
        self._put_back.append(clock.replace(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put_back.pop()()

    def now(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def after(self, seconds: float, call: Callable[[], object]) -> clock.Alarm:
        """Have something called when the time has come. hotswap asks for it; a test may, too.

        Returns what cancels it.
        """
        with self._lock:
            alarm = _Alarm(self._now + max(0.0, seconds), next(self._numbers), call)
            self._alarms.append(alarm)
        return alarm

    @property
    def due(self) -> tuple[float, ...]:
        """In how many seconds something is called, the next first."""
        with self._lock:
            return tuple(sorted(alarm.order[0] - self._now for alarm in self._alarms if alarm.call is not None))

    def advance(self, seconds: float = 0.0) -> int:
        """Let time go by, and make the calls whose time has come, in their order, here and now.

        What they ask for in turn is called as well, if its time comes within these seconds. A bake has looked when this
        returns: what it has asked of probes is answered, and if that is its verdict, it is carried out. A probe that
        does not answer is waited for once, for ten real seconds.

        Arguments:
            seconds: how much time goes by; with 0, what is due already is called.

        Returns how many calls were made. Raises ValueError for less than nothing, and what a call raises: the clock
        stands at its time then.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds!r}")
        until, made = self._now + seconds, 0
        while (call := self._next(until)) is not None:
            made += 1
            wait = call()
            if callable(wait):
                wait(_PATIENCE)
        return made

    def _next(self, until: float) -> Callable[[], object] | None:
        with self._lock:
            self._alarms = [alarm for alarm in self._alarms if alarm.call is not None]
            alarm = min(self._alarms, key=lambda alarm: alarm.order, default=None)
            if alarm is None or alarm.order[0] > until:
                self._now = max(self._now, until)
                return None
            self._alarms.remove(alarm)
            self._now = max(self._now, alarm.order[0])
            return alarm.call
