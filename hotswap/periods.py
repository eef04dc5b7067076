"""Periods: the times between two swaps of the process, which tell what is older than a swap, and what is younger.

Each swap ends a period and begins the next. The keeper of a period lives until the last session that began in it, or
before it, has ended: a weak reference to it tells.

Guarantees: a period ends by one write of the swap. Assumes: setting an entry of a dict, and reading one, are one step,
with the GIL and without.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hotswap import tally

__all__ = ["Keeper", "Period", "Turn", "now", "turning"]


class Keeper:
    """Lives as long as its period is present, or a session is open that began in it or before it."""

    __slots__ = ("__weakref__", "counts", "later")

    later: Keeper | None
    """That of the next period: whoever is older than the one period is older than the other."""

    def __init__(self, counts: tally.Counts) -> None:
        self.later = None
        self.counts = counts
        """What is counted of the sessions that began in it."""


class Period(NamedTuple):
    """The time between two swaps of the process.

    Attributes:
        number: how many swaps there were before it.
        keeper: is held by the sessions that begin in it.
    """

    number: int
    keeper: Keeper


_PRESENT = "period"
_present: dict[str, Period] = {_PRESENT: Period(0, Keeper(tally.Counts(0)))}
_turning = threading.Lock()


def now() -> Period:
    """Return the present period."""
    return _present[_PRESENT]


class Turn(NamedTuple):
    """The end of a period.

    Attributes:
        old, new: the one that ends, and the one that begins.
        ops: the writes that make it so: C functions.
        undo: those that take it back.
    """

    old: Period
    new: Period
    ops: list[tuple[Any, ...]]
    undo: list[tuple[Any, ...]]


@contextmanager
def turning() -> Iterator[Turn]:
    """Prepare the end of the period, in a block in which nobody else can end it."""
    with _turning:
        old = now()
        number = old.number + 1
        new = Period(number, Keeper(tally.Counts(number, old.keeper.counts)))
        old.keeper.later = new.keeper
        put: Callable[..., Any] = operator.setitem
        yield Turn(old, new, [(put, _present, _PRESENT, new)], [(put, _present, _PRESENT, old)])
