"""Sequences: lists and deques as they are without what a candidate has put in, be it in the place of something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

__all__ = ["apart"]

_LONG = 1_000
"""In longer ones that differ all along it is not told what stands in whose place."""


def apart(now: Sequence[Any], before: Sequence[Any], ours: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return what a sequence is without some elements, and what it was before with them.

    What stood where they stand now is put back; what others have added or taken out meanwhile is left so.

    Arguments:
        now: the sequence.
        before: what it was.
        ours: the elements, each as often as it was put in.
    """
    left = Counter(map(id, ours))
    rest: list[Any] = []
    made: list[Any] = []
    for there, come in _blocks(before, now):
        if there and [*map(id, there)] == [*map(id, come)]:
            rest += there
            made += there
            continue
        entered: list[Any] = []
        others: list[Any] = []
        for value in come:
            ours_now = left[id(value)] > 0
            left[id(value)] -= ours_now
            (entered if ours_now else others).append(value)
        made += entered or there
        rest += [*there, *others] if entered else others
    return rest, made


def _blocks(before: Sequence[Any], now: Sequence[Any]) -> list[tuple[list[Any], list[Any]]]:
    """What stands in the place of what, in order; what is the same stands by itself."""
    start, shorter = 0, min(len(before), len(now))
    while start < shorter and before[start] is now[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] is now[-1 - end]:
        end += 1
    lead, tail = list(before[:start]), list(before[len(before) - end :])
    middle = before[start : len(before) - end], now[start : len(now) - end]
    if max(map(len, middle)) > _LONG:
        inner = [(list(middle[0]), list(middle[1]))]
    else:
        ids = [[*map(id, part)] for part in middle]
        found = SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_opcodes()
        inner = [(list(middle[0][a:b]), list(middle[1][c:d])) for _, a, b, c, d in found]
    return [(lead, lead), *inner, (tail, tail)]
