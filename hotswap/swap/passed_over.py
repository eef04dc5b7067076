"""Passed over: generations that nobody is on, though sessions are open that began before they went.

A session that stays open over many patches keeps the generation that it began with. Nobody is on those that came in
between: forks would ask for each of them in vain, and all of their code would live.

Assumes: references are counted, so that their number tells who holds the keeper of a period beside that of the period
before.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from itertools import combinations
from typing import Any

from hotswap import tally, walk
from hotswap.periods import Keeper
from hotswap.swap.forwarding import ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.parts import functions_behind

__all__ = ["is_passed_over"]


def is_passed_over(junction: Junction, clones: Container[int]) -> bool:
    """Whether all open sessions that are older than a swap are older than an earlier one, too, which waits for them.

    Nobody may make a swap of these packages meanwhile.

    Arguments:
        junction: the generation that went in that swap.
        clones: the ids of its clones, which are led on as soon as nothing of it is in flight.
    """
    ours = [one for one in list(Junction.in_flight) if one.packages == junction.packages and one.serves]
    earlier = [one for one in ours if one.number < junction.number]
    is_last = not any(one.number > junction.number for one in ours)
    # Of one that was brought back others may have got the same functions.
    comes_back = any(one.live for one in ours)
    comes_back = comes_back or any(not one.spaces.isdisjoint(other.spaces) for one, other in combinations(ours, 2))
    # One that began on a candidate is older than the swap that made it live, and not on what went then.
    is_on_candidate = any(mark() is not None for one in ours for mark in one.marks)
    if is_last or comes_back or is_on_candidate or not earlier:
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
    return not _shares(junction, clones)


def _shares(junction: Junction, clones: Container[int]) -> bool:
    """Whether another generation gets a clone of this one's by a fork."""
    functions = [held for known in list(junction.functions.values()) if (held := known()) is not None]
    ways = [ways_of(function.__code__) for function in functions]
    attributes: list[Any] = [walk.class_space(cls).get(name) for cls, name in list(junction.attributes.values())]
    ways += [one.ways for one in attributes if issubclass(type(one), walk.Fork)]
    others = (value for one in ways if one is not None for known, value in one.old if known is not junction)
    return any(id(function) in clones for value in others for function in functions_behind(value))


def _references(keeper: Keeper) -> int:
    """How many there are to the keeper of the period after one."""
    return sys.getrefcount(keeper.later)


def _usual() -> int:
    """How many there are if no session holds it."""
    keeper = Keeper(tally.Counts(0))
    keeper.later = Keeper(tally.Counts(1))
    return _references(keeper)


_USUAL = _usual()
