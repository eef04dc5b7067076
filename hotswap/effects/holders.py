"""Holders: who outside of the candidate holds something of it, among all objects that the collector knows.

A thread that passes over the heap (a profiler, or somebody who asks `in_flight`) holds every object for a moment. What
nobody refers to but the stack of a thread is no registry, and what is gone a moment later was held by nobody.

Guarantees: objects are counted, and their holders searched, at one instant, so that a thread that lets go of something
meanwhile does not leave a reference that nobody seems to have. Assumes: the GIL, within which that instant is one C
call.
"""

from __future__ import annotations

import gc
import operator
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat, starmap
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple

__all__ = ["Found", "Search"]

_AT_ONCE = 16
"""How many objects are searched for in one pass over the heap, which holds the GIL."""

_PAUSES = (0.0, 0.01, 0.05)
"""Seconds before each further look for holders that were not found: a reference on a stack is gone by then."""

_PASSING = (list, dict, set, tuple, deque)
_MANY = 100
"""A container with fewer objects is not what somebody has made who passes over the heap."""

_LED = 4
"""How far those are followed who refer to what stands on a stack: containers of containers, iterators of iterators."""


class Found(NamedTuple):
    """Who holds some objects.

    Attributes:
        holders: those that were found.
        held: the objects, and the tuples in which somebody holds them.
        hidden: those of them that somebody holds who can't be found.
    """

    holders: list[Any]
    held: list[Any]
    hidden: list[Any]


class Search:
    """One search of the heap for whoever outside holds some objects. What the application has frozen is not found.

    Arguments:
        held: the objects; nobody else may have this list.
        references: how many references to one of them are known, but for that of the list.
        is_outside: whether a holder is outside.
        own: the ids of lists of the caller's in which they stand.
        mark: what is older than they are, and held by nobody but the caller: and by who passes over the heap.
    """

    def __init__(
        self,
        held: list[Any],
        references: Callable[[Any], int],
        is_outside: Callable[[Any], bool],
        own: set[int],
        mark: object,
    ) -> None:
        held[:] = {id(o): o for o in held}.values()
        self._held, self._references, self._is_outside, self._mark = held, references, is_outside, mark
        self._holders: dict[int, Any] = {}
        self._own = {*own, id(held), id(self._holders)}
        self._hidden: set[int] = set()
        """The ids of what somebody holds who was not found in the last pass."""

    def run(self) -> Found:
        """Search, and search again for what is held by nobody who is found."""
        self._pass([*self._held])
        for pause in _PAUSES:
            if not self._hidden:
                break
            time.sleep(pause)
            self._pass([o for o in self._held if id(o) in self._hidden])
        hidden = [o for o in self._held if id(o) in self._hidden]
        return Found(list(self._holders.values()), self._held, hidden)

    def _pass(self, wanted: list[Any]) -> None:
        """Note who holds what is wanted, and what is held by somebody who is not found.

        Tuples that hold some of it are wanted, too.
        """
        self._hidden.clear()
        position = 0
        while position < len(wanted):
            part = wanted[position : position + _AT_ONCE]
            position += len(part)
            self._judge(part, wanted)
            part.clear()  # somebody may have got hold of this list, and keep it: it is not to hold anything

    def _judge(self, part: list[Any], wanted: list[Any]) -> None:
        counts, holders = _look(part, self._mark)
        own, parts, reached = {*self._own, id(part), id(wanted), id(holders)}, {*map(id, part)}, set[int]()
        there = {*map(id, self._held)}
        while holders:
            holder = holders.pop()
            if id(holder) in own or type(holder) is FrameType or not self._is_outside(holder):
                continue
            inside = {*map(id, gc.get_referents(holder))}
            reached |= inside & parts
            if id(self._mark) in inside or not inside & parts:
                continue  # it is of somebody who passes over the heap; or it holds only the mark, as we do
            if type(holder) is not tuple:
                if len(inside) < _MANY or type(holder) not in _PASSING or not _is_passing(holder, own, self._mark):
                    self._holders[id(holder)] = holder
            elif id(holder) not in there:
                self._held.append(holder)
                wanted.append(holder)
        for o, count in zip(part, counts, strict=True):
            if id(o) not in reached and count > self._references(o) + 2:  # by the two lists
                self._hidden.add(id(o))


def _look(part: list[Any], mark: object) -> tuple[list[int], list[Any]]:
    """Count the references to some objects, but for those from here and the list, and find who refers to them.

    In one C call: nobody lets go of anything in between.
    """
    counts: list[int] = []
    found: list[Any] = []
    asked = ((mark, *part),)
    part.append([])  # a list that nobody else holds tells how many references are our own
    steps: tuple[tuple[Any, ...], ...] = (
        (counts.extend, map(sys.getrefcount, part)),
        (found.extend, chain.from_iterable(starmap(gc.get_referrers, asked))),
    )
    deque(starmap(operator.call, steps), maxlen=0)
    part.pop()
    usual = counts.pop() + 1  # by the arguments
    found[:] = [o for o in found if o is not asked[0]]
    return [count - usual for count in counts], found


def _holds(holder: Any, mark: object) -> bool:
    """Whether a container holds the mark: whoever has put it there has put everything there."""
    return type(holder) in _PASSING and any(map(operator.is_, gc.get_referents(holder), repeat(mark)))


def _is_passing(holder: Any, own: set[int], mark: object, steps: int = _LED) -> bool:
    """Whether nobody refers to a container but the stacks of threads: somebody is about to look through it.

    Arguments:
        holder: the container, or an iterator.
        own: the ids of what is ours.
        mark: what is held only by who passes over the heap.
        steps: how much further those are followed who refer to it.
    """
    referrers = [o for o in gc.get_referrers(holder) if id(o) not in own and type(o) is not FrameType]
    own = {*own, id(holder), id(referrers)}
    while referrers:
        o = referrers.pop()
        if not _holds(o, mark) and not (steps and _may_pass(type(o)) and _is_passing(o, own, mark, steps - 1)):
            return False
    return True


def _may_pass(kind: type) -> bool:
    """Whether objects of a type may be what a stack goes on with: containers, iterators, and methods of those in C."""
    if kind in (*_PASSING, BuiltinFunctionType, GeneratorType, CoroutineType, AsyncGeneratorType):
        return True
    return kind.__module__ in ("builtins", "itertools") and "__next__" in kind.__dict__
