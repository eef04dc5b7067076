"""Climbing: from what refers to a dropped object up to what keeps it alive.

That something refers to a dropped object is no proof that anybody can get hold of it: nothing but other dropped objects
and the journal may lead there. So it is looked who refers to a holder, and who to those, until something is reached
that lives by itself: a module, a call that runs, an object of a C library. What none of these leads to goes with what
was dropped. The way that was climbed also says where a holder is.

A referrer that the collector can't show (a local of a running call, a C structure, what `gc.freeze` has set aside) is
noticed by the count of references: it is higher than what all referrers together account for.

Assumes: a full collection has just run, and nobody swaps meanwhile. No other thread is building a tuple that refers to
a dropped object: what is found is held, and before CPython 3.14 the builder would get a `SystemError`
(`tests/cpython/test_tuples.py`). One that a running call holds looks just the same, and has to be found.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import collector

__all__ = ["Climb"]

_ROUNDS = 32
"""How many steps are climbed at most; what is held from further away counts as kept."""

_WIDTH = 4096
"""From how many objects is climbed in a step; others count as kept."""

_AT_ONCE = 128
"""For how many of them it is asked at once: each is compared with every reference in the process, holding the GIL."""


class Climb:
    """Who refers to dropped objects, and what keeps them. Lives as long as an audit.

    Arguments:
        gone: the dropped objects, by id.
        ours: the ids of the objects of the journal.
        shared: the ids of containers of the journal, which others may hold too.
        passed: says of a referrer whether it does not count.

    `holders` are those that refer to dropped objects, and that something keeps besides those and the journal.
    """

    def __init__(
        self, gone: Mapping[int, Any], ours: set[int], shared: set[int], passed: Callable[[Any], bool]
    ) -> None:
        self._gone, self._ours, self._passed = gone, ours, passed
        self._nodes: dict[int, Any] = {}
        self._below: dict[int, list[int]] = {}
        self._above: dict[int, int | None] = {}
        """What is kept: by what, or None if it lives by itself."""
        first = [key for key in self._referrers([*gone.values()])[0] if key not in shared]
        level: Iterable[int] = first
        for _ in range(_ROUNDS):
            above = [key for key in level if key not in self._above]
            if not above:
                break
            self._keep((key, None) for key in above[_WIDTH:])
            level = self._climb([self._nodes[key] for key in above[:_WIDTH]])
        self._keep((key, None) for key in level)
        self.holders = [self._nodes[key] for key in first if key in self._above]

    def way(self, holder: Any) -> list[Any]:
        """Return what leads to a holder: first what lives by itself, last the holder."""
        found, above = [holder], self._above[id(holder)]
        while above is not None:
            found.append(self._nodes[above])
            above = self._above[above]
        return found[::-1]

    def _climb(self, level: list[Any]) -> Iterable[int]:
        """Find what some objects are kept by; return the ids of those to climb from next."""
        level.append([])  # nothing refers to it but what refers to all of them
        after, told = self._referrers(level)
        level.reverse()
        usual: int | None = None
        unseen = []
        for held in level:
            count = sys.getrefcount(held) - told[id(held)]
            if usual is None:
                usual = count
            elif count > usual:
                unseen.append(id(held))
        # The collector knows functions, but not their code, which has constants.
        tuples = {key for key in unseen if type(self._nodes[key]) is tuple}
        for function in collector.known_objects()[0] if tuples else ():
            if type(function) is FunctionType and id(function.__code__.co_consts) in tuples:
                self._add(function, [constants := id(function.__code__.co_consts)], after)
                unseen = [key for key in unseen if key != constants]
        self._keep((key, None) for key in unseen)
        return after

    def _referrers(self, level: list[Any]) -> tuple[dict[int, None], dict[int, int]]:
        """Return the ids of those that refer to some objects and are new, and how many references to each were seen."""
        told = dict.fromkeys(map(id, level), 0)
        after: dict[int, None] = {}
        for start in range(0, len(level), _AT_ONCE):
            arguments = tuple(level[start : start + _AT_ONCE])  # given with a star, it is passed on as it is
            asked, own = {*map(id, arguments)}, {id(level), id(arguments), id(self._nodes), id(self._gone)}
            for holder in gc.get_referrers(*arguments):
                found = [key for key in map(id, gc.get_referents(holder)) if key in asked]
                # The tuple of the arguments is made for some of them only, and is gone when they are counted.
                for key in found if id(holder) != id(arguments) else ():
                    told[key] += 1
                if id(holder) not in own:
                    self._add(holder, found, after)
        return after, told

    def _add(self, holder: Any, below: list[int], after: dict[int, None]) -> None:
        key = id(holder)
        if key in self._ours or key in self._gone or self._passed(holder):
            return
        self._below.setdefault(key, []).extend(below)
        if key not in self._nodes:
            self._nodes[key] = holder
            after[key] = None
            if _is_root(holder):
                self._keep([(key, None)])
        if key in self._above:
            self._keep((child, key) for child in below)

    def _keep(self, found: Iterable[tuple[int, int | None]]) -> None:
        """Note by what something is kept, and everything below it."""
        stack = list(found)
        while stack:
            key, above = stack.pop()
            if key in self._nodes and key not in self._above:
                self._above[key] = above
                stack += [(child, key) for child in self._below[key]]


def _is_root(holder: Any) -> bool:
    """Whether something lives by itself: a module that can be imported, or the namespace of one."""
    if issubclass(type(holder), ModuleType):
        facts = ModuleType.__getattribute__(holder, "__dict__")
        return sys.modules.get(str(facts.get("__name__"))) is holder
    if type(holder) is not dict or type(holder.get("__name__")) is not str:
        return False
    module = sys.modules.get(holder["__name__"])
    return issubclass(type(module), ModuleType) and ModuleType.__getattribute__(module, "__dict__") is holder
