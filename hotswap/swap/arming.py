"""Arming: both generations are reachable, and everybody is on the old one.

The forks of the functions and of the attributes of classes are installed before the swap, and answer "old" to all but
code of the candidate and whoever previews it. So installing them, and taking them away, changes nothing for anybody;
what the swap writes besides (modules, names, data) is written when it is made.

Who is on the candidate when it is disarmed goes on with it: the forks stay until the last such session has ended.

Guarantees: with the GIL, the forks are installed in one C call. Names of modules, and of classes with another
metaclass, have none: who previews gets the data there of the old, while functions lead him on by their code. Assumes:
nobody else swaps the same packages while they are armed.
"""

from __future__ import annotations

import operator
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import starmap
from types import FunctionType
from typing import Any

from hotswap import collector, walk
from hotswap.session import Mark
from hotswap.swap.forked_attributes import Attribute, cloned, is_forked
from hotswap.swap.forks import Given, fork_attribute, fork_function, stand_in
from hotswap.swap.forwarding import code_of, ways_of
from hotswap.swap.plan import Op
from hotswap.swap.releasing import settle
from hotswap.swap.slots import ShadowSlot
from hotswap.swap.ways import ARMED, Junction, Ways

__all__ = ["Arming"]


class _Own:
    """Gives for a function what runs its code while forks stand in it."""

    def __init__(self) -> None:
        self._made: dict[int, FunctionType] = {}

    def of(self, function: FunctionType) -> FunctionType:
        made = self._made.get(id(function))
        if made is None:
            made = self._made[id(function)] = stand_in(function, code_of(function))
        return made

    def clone(self, value: Any) -> Any:
        return self._made.get(id(value), value)


class Arming:
    """The forks of an armed candidate. Lives until it is disarmed and nobody is on it, or until the swap is made.

    Arguments:
        junction: of the generation that is live.
        given: what the swap will change.
    """

    def __init__(self, junction: Junction, given: Given) -> None:
        self.junction = junction
        self._given = given
        self._ways: list[tuple[Ways, Any]] = []
        self._held: list[Any] = []
        self._watching: list[weakref.ref[Mark]] = []

    def arm(self) -> None:
        """Install the forks."""
        junction = self.junction
        junction.same = self._given.same()
        for stray in self._given.strays():
            junction.stray(stray.code)
        own = _Own()
        ops = [*self._functions(own), *self._waiting(own), *self._attributes(own)]
        junction.number = ARMED
        with collector.switched_off():
            deque(starmap(operator.call, ops), maxlen=0)
        self._held.clear()

    def _functions(self, own: _Own) -> Iterator[Op]:
        for function, was, successor, shown, _, outside, is_cached in self._given.functions():
            if is_cached:
                continue  # it would remember for everybody what a preview got
            standing = ways_of(function.__code__)
            made = own.of(was)
            # What it is, also while it stands for others: who looks at it is shown its own signature.
            old = [(self.junction, made), *(standing.lasting if standing is not None else [])]
            ways = Ways(old, successor, None, made) if function is was else Ways(old, successor, was)
            self._held.append(function.__code__)
            self._ways.append((ways, made if function is was else was))
            yield fork_function(function, ways, shown, made.__code__, outside)

    def _waiting(self, own: _Own) -> Iterator[Op]:
        """The candidate's own functions, if it was live before: somebody may have kept them, and is on the old now."""
        for made, back, code, outside in self._given.waiting():
            standing = ways_of(made.__code__)
            old = [(self.junction, own.clone(back)), *(standing.lasting if standing is not None else [])]
            ways = Ways(old, stand_in(made, code, outside), back)
            self._held.append(made.__code__)
            self._ways.append((ways, back))
            yield fork_function(made, ways, None)

    def _attributes(self, own: _Own) -> Iterator[Op]:
        for cls, name, was, will in self._given.attributes():
            if not is_forked(cls, name, was, will) or type(will) is ShadowSlot:
                continue  # what a preview put into an added slot would stand in another one, for everybody
            standing = walk.class_space(cls).get(name)
            before = standing.ways.lasting if isinstance(standing, Attribute) else []
            ways = Ways([(self.junction, cloned(was, own)), *before], will, was)
            self._held.append(standing)
            self._ways.append((ways, was))
            yield fork_attribute(cls, name, ways)

    def disarm(self, later: Callable[[Callable[[], None]], None]) -> bool:
        """Take the forks away, as soon as no session is on the candidate any more. Nobody may make a swap meanwhile.

        Arguments:
            later: has something done when nobody makes a swap. It is called wherever the last session ends, so it must
                be quick, and must not raise.

        Returns whether a session is on it now.
        """
        _draining.add(self)
        self._watching = [*_watched(self.junction, lambda _: self._look(later))]
        if self.junction.has_left:
            self.end()
        return self in _draining

    def _look(self, later: Callable[[Callable[[], None]], None]) -> None:
        if self.junction.has_left:
            later(self.end)

    def end(self) -> None:
        """Take the forks away now, whoever is on the candidate. Nobody may make a swap meanwhile; may be repeated."""
        if self.junction.over:
            return
        for ways, was in self._ways:
            ways.new = was
        self._ways.clear()
        self._watching.clear()
        settle(self.junction)
        _draining.discard(self)


_draining: set[Arming] = set()
"""Those that wait: nothing else keeps them, once their candidate is given up."""


def _watched(junction: Junction, ended: Callable[[Any], None]) -> Iterator[weakref.ref[Mark]]:
    """Weak references to the marks that are left, with a callback. No mark is held by whoever asks."""
    for known in junction.marks:
        mark = known()
        if mark is not None:
            yield weakref.ref(mark, ended)
        del mark
