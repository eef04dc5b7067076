"""Figures: what shadow runs have shown, as numbers and texts. None of it keeps code or objects of the service alive."""

from __future__ import annotations

import itertools
import reprlib
from collections import deque
from dataclasses import dataclass

__all__ = ["Durations", "Mismatch", "Quantiles", "Tally", "brief"]

_KEPT = 1000
"""How many times of calls are kept for the quantiles: those of the last ones."""


class Tally:
    """A number that threads count up without a lock, which a live call might have to wait for.

    Assumes: `itertools.count` gives each number once, also to threads; it is written in C.
    """

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add = self._count.__next__

    @property
    def value(self) -> int:
        """How often it was counted."""
        return int(repr(self._count).removeprefix("count(").removesuffix(")"))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How long calls took, in seconds: of the last thousand that were compared. All are 0 where there was none."""

    median: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    worst: float = 0.0


class Durations:
    """How long the last calls took."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """Note one call."""
        self._last.append(seconds)

    @property
    def quantiles(self) -> Quantiles:
        """What they come to."""
        known = list(self._last)
        if not known:
            return Quantiles()
        import statistics  # it takes milliseconds to import, which who shadows nothing need not wait for

        parts = statistics.quantiles(known, n=100, method="inclusive") if len(known) > 1 else known * 99
        return Quantiles(statistics.median(known), parts[94], parts[98], max(known))


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One call that the candidate answered otherwise, in texts.

    Attributes:
        arguments: with which both were called, as they were before the run.
        old: what the live code returned or raised.
        new: what the candidate returned or raised.
    """

    arguments: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"({self.arguments}): {self.old}, and now {self.new}"


_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother, _brief.maxlong = 4, 100, 100, 60
_brief.maxdict = _brief.maxlist = _brief.maxtuple = _brief.maxset = _brief.maxfrozenset = 12


def brief(value: object) -> str:
    """The text of a value, not too long. Objects whose `__repr__` raises are named by their class."""
    return _brief.repr(value)
