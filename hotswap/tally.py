"""The tally: how many sessions of a period have begun, ended and failed, and how long they took.

It is kept only while somebody wants it: as long as a patcher is there that bakes what it rolls out.

The durations stand in a histogram of a fixed size, whose steps are an eighth of a power of two wide (HdrHistogram, Gil
Tene, and its successors do the same): a quantile is exact to an eighth, however many sessions there were.

Guarantees: counting takes no lock, never waits, and never raises. The memory of a period does not grow with its
sessions; of a long one, the last ten minutes are kept, or the last thousand sessions if those are more. Assumes: `+=`
on an attribute or an element is one step, as it is with the GIL. Without it counts may be lost now and then, which no
verdict depends on.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Counts", "Sum", "above", "edge", "step_of", "total", "want", "wanted"]

_STEPS = 8
"""Steps of a power of two."""

_LEAST = -20
"""The power of two of the shortest duration that is told from shorter ones: a microsecond."""

_SIZE = _STEPS * 38
"""Steps in all: the longest duration that is told from longer ones is a day and a half."""

_WINDOW = 600.0
"""Seconds after which sessions may be forgotten."""

_ENOUGH = 1_000
"""Sessions that are kept in any case."""

_EARLIER = 8
"""Periods that are remembered."""


def step_of(seconds: float) -> int:
    """Return the step of a duration in the histogram."""
    part, power = math.frexp(seconds)
    step = (power - _LEAST) * _STEPS + int(part * 2 * _STEPS) - _STEPS
    return 0 if step < 0 or part <= 0 else min(step, _SIZE - 1)


def edge(step: int) -> float:
    """Return the duration at which a step ends, in seconds."""
    return math.ldexp((step % _STEPS + _STEPS + 1) / (2 * _STEPS), step // _STEPS + _LEAST)


class Counts:
    """The tally of one period. Lives as long as the period, a session of it, or whoever compares it.

    Arguments:
        number: of the period.
        earlier: that of the period before.
    """

    __slots__ = ("_before", "_now", "_rotating", "_until", "alarms", "begun", "earlier", "ended", "number")

    def __init__(self, number: int, earlier: Counts | None = None) -> None:
        self.number = number
        self.earlier = earlier
        self.begun = 0
        """How many sessions have begun in it."""
        self.ended = 0
        """How many of them have ended."""
        self.alarms: tuple[Callable[[], None], ...] = ()
        """Are called when one has failed: by the thread in which it ended, so they must neither wait nor raise."""
        # Each list has one more element than the histogram: the last is for sessions that failed.
        self._now = [0] * (_SIZE + 1)
        self._before = [0] * (_SIZE + 1)
        self._until = 0.0
        self._rotating = threading.Lock()
        last: Counts | None = self
        for _ in range(_EARLIER):
            last = None if last is None else last.earlier
        if last is not None:
            last.earlier = None

    def add(self, seconds: float, *, failed: bool, at: float) -> None:
        """Count a session that has ended.

        Arguments:
            seconds: how long it took.
            failed: whether it failed; how long it took is not counted then.
            at: when it ended, by `time.monotonic`.
        """
        self.ended += 1
        self._now[_SIZE if failed else step_of(seconds)] += 1
        if at >= self._until:
            self._rotate(at)
        if failed:
            for alarm in self.alarms:
                alarm()

    def _rotate(self, at: float) -> None:
        if self._rotating.acquire(blocking=False):
            try:
                if self._until and sum(self._now) >= _ENOUGH:
                    self._before, self._now = self._now, [0] * (_SIZE + 1)
                self._until = at + _WINDOW
            finally:
                self._rotating.release()

    def hold(self, alarm: Callable[[], None]) -> None:
        """Forget nothing from now on, and call somebody for each session that fails, until `release`."""
        self._until = math.inf
        if alarm not in self.alarms:
            self.alarms = (*self.alarms, alarm)

    def release(self, alarm: Callable[[], None]) -> None:
        """Forget again what is old, unless somebody else holds it, and call him no more."""
        self.alarms = tuple(one for one in self.alarms if one != alarm)
        if not self.alarms:
            self._until = 0.0

    def lists(self) -> tuple[list[int], list[int]]:
        """Return what is remembered, in two parts."""
        return self._before, self._now

    def until(self, number: int) -> list[Counts]:
        """Return this tally and those of the periods before it that are remembered, back to that of a number."""
        found: list[Counts] = []
        here: Counts | None = self
        while here is not None and here.number >= number:
            found.append(here)
            here = here.earlier
        return found


@dataclass(frozen=True, slots=True)
class Sum:
    """Several tallies in one: the histogram of the sessions that went well, and how many failed."""

    steps: list[int]
    errors: int

    @property
    def count(self) -> int:
        """How many sessions there were."""
        return sum(self.steps) + self.errors

    def quantile(self, share: float) -> float | None:
        """Return the seconds that a share of the sessions that went well took at most; None if there were none."""
        left = share * sum(self.steps)
        if left <= 0:
            return None
        for step, count in enumerate(self.steps):
            left -= count
            if count and left <= 1e-9:
                return edge(step)
        return edge(_SIZE - 1)


def total(tallies: Iterable[Counts]) -> Sum:
    """Return what several tallies have together."""
    columns = [part for one in tallies for part in one.lists()]
    whole = [sum(column) for column in zip(*columns, strict=True)] or [0] * (_SIZE + 1)
    return Sum(whole[:_SIZE], whole[_SIZE])


def above(steps: Sequence[int], step: int) -> int:
    """Return how many sessions of a histogram took longer than a step."""
    return sum(steps[step + 1 :])


wanted: set[weakref.ref[object]] = set()
"""Who wants sessions to be counted; empty while nobody does."""


def want(who: object) -> None:
    """Have sessions counted from now on, for as long as somebody lives. A second time changes nothing."""
    wanted.add(weakref.ref(who, wanted.discard))
