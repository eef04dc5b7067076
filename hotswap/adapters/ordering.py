"""Ordering: where new entries stand in a list in which the first match wins.

What the candidate registered is known in its order. What stands in the living list is known in its own. An entry that
is in both holds its place; a new one stands behind the one that it was registered after. So a list that one module
fills looks as after a restart; where several modules take turns, this is a guess, and a good one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Hashable, Sequence
from typing import Any

__all__ = ["matched", "ordered"]


def matched(living: Sequence[Any], new: Sequence[Any], key: Callable[[Any], Hashable]) -> dict[int, int]:
    """Pair entries with equal keys, in their order: index in `new` -> index in `living`."""
    places: dict[Hashable, list[int]] = {}
    for index, entry in enumerate(living):
        places.setdefault(key(entry), []).append(index)
    return {
        index: waiting.pop(0)
        for index, entry in enumerate(new)
        if (waiting := places.get(key(entry))) is not None and waiting
    }


def ordered(living: Sequence[Any], new: Sequence[Any], pairs: dict[int, int], gone: Container[int]) -> list[Any]:
    """Return the entries of a list after the swap.

    Arguments:
        living: the entries as they stand now.
        new: the entries that the candidate registered, in order.
        pairs: index in `new` -> index in `living` of the entry that it replaces.
        gone: indexes in `living` of entries that go without a successor.
    """
    fixed = _rising([(index, pairs[index]) for index in sorted(pairs)])
    before: dict[int, list[Any]] = {}
    behind: dict[int, list[Any]] = {}
    waiting: list[Any] = []
    place: int | None = None
    for index, entry in enumerate(new):
        if index in fixed:
            place = fixed[index]
            before[place] = [*waiting, entry]
            waiting = []
        elif place is None:
            waiting.append(entry)
        else:
            behind.setdefault(place, []).append(entry)
    replaced = set(pairs.values())
    if waiting:
        # None of them holds its place: they stand where the first that went stood.
        first = min((index for index in range(len(living)) if index in gone or index in replaced), default=len(living))
        before[first] = waiting
    result: list[Any] = []
    for index, entry in enumerate(living):
        result += before.get(index, [])
        if index not in replaced and index not in gone:
            result.append(entry)
        result += behind.get(index, [])
    return result + before.get(len(living), [])


def _rising(pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The longest part of the pairs in which both numbers rise; the first do already."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for position, (_, place) in enumerate(pairs):
        at = bisect_left(tails, place)
        tails[at:] = [place, *tails[at + 1 :]]
        previous.append(ends[at - 1] if at else -1)
        ends[at:] = [position, *ends[at + 1 :]]
    found: dict[int, int] = {}
    position = ends[-1] if ends else -1
    while position >= 0:
        index, place = pairs[position]
        found[index] = place
        position = previous[position]
    return found
