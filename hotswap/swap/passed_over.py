"""Passed over: generations that nobody is on, though sessions are open that began before they went.

A session that stays open over many patches keeps the generation that it began with. Nobody is on those that came in
between: forks would ask for each of them in vain, and all of their code would live.

Assumes: references are counted, so that their number tells who holds the keeper of a period beside that of the period
before.
"""

from __future__ import annotations

import sys
from itertools import combinations

from hotswap import tally
from hotswap.periods import Keeper
from hotswap.swap.junctions import Junction

__all__ = ["is_passed_over"]


def is_passed_over(junction: Junction) -> bool:
    """Whether all open sessions that are older than a swap are older than an earlier one, too, which waits for them.

    Nobody may make a swap of these packages meanwhile.

    Arguments:
        junction: the generation that went in that swap.
    """
    ours = [one for one in list(Junction.in_flight) if one.packages == junction.packages and one.serves]
    earlier = [one for one in ours if one.number < junction.number]
    if not earlier or all(one.number <= junction.number for one in ours):
        return False  # the last one may come back
    # Of one that was brought back others may have got the same functions.
    if any(one.live for one in ours) or any(not a.spaces.isdisjoint(b.spaces) for a, b in combinations(ours, 2)):
        return False
    # A session that began on a candidate is older than the swap that made it live, and not on what went then.
    if any(mark() is not None for one in ours for mark in one.marks):
        return False
    known, last = max(earlier, key=lambda one: one.number).keeper, junction.keeper
    keeper = None if known is None else known()
    if keeper is None or last is None:
        return False
    ends = id(last())  # the object itself would be one reference more
    while id(keeper) != ends:
        if keeper.later is None or _references(keeper) > _USUAL:
            return False
        keeper = keeper.later
    return True


def _references(keeper: Keeper) -> int:
    """How many there are to the keeper of the period after one."""
    return sys.getrefcount(keeper.later)


def _usual() -> int:
    """How many there are if no session holds it."""
    keeper = Keeper(tally.Counts(0))
    keeper.later = Keeper(tally.Counts(1))
    return _references(keeper)


_USUAL = _usual()
