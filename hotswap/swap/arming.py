"""Arming: both generations are reachable, and everybody is on the old one.

The forks of the functions and of the attributes of classes are installed before the swap, and answer "old" to all but
code of the candidate and whoever previews it. So installing them, and taking them away, changes nothing for anybody;
what the swap writes besides (modules, names, data) is written when it is made.

Who is on the candidate when it is disarmed goes on with it (see `left`): the forks are turned then, and stay until the
last such session, and the last call of the candidate's code, has ended.

Guarantees: with the GIL, the forks are installed in one C call. Names of modules have none, nor has what a framework
may look at in its classes (see `frameworks`): who previews gets the data there of the old, while functions lead him on
by their code. Assumes: nobody else swaps the same packages while they are armed.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import starmap
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeAlias

from hotswap import collector, walk
from hotswap.swap.doubles import stand_in
from hotswap.swap.forked_attributes import Attribute, asking, behind, cloned, is_forked, passed
from hotswap.swap.forwarding import code_of, ways_of
from hotswap.swap.given import Given
from hotswap.swap.installing import fork_attribute, fork_function
from hotswap.swap.junctions import ARMED, Junction
from hotswap.swap.left import Left
from hotswap.swap.nested import NestedCode
from hotswap.swap.releasing import settle
from hotswap.swap.several import together, unclaimed
from hotswap.swap.slots import ShadowSlot
from hotswap.swap.ways import ClosureWays, Ways
from hotswap.swap.wrappers import part
from hotswap.swap.writes import Op, Writes

__all__ = ["Arming", "HandedOut", "Held"]

Held: TypeAlias = Iterable[tuple[FunctionType, FunctionType, FunctionType]]
"""Closures that somebody holds, each with what runs its own code meanwhile, and what runs that of the candidate."""

HandedOut: TypeAlias = Callable[[NestedCode, NestedCode, Container[int], Writes, Callable[[], Junction]], Held]
"""Gives them: see `Closures.armed`."""


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


class _Fork(NamedTuple):
    """A fork that stands while the candidate is armed.

    Attributes:
        ways: what it is for whom.
        function: the function, and what it looks like; None if it is no function.
        attribute: the attribute, as the class has it; None if it is none.
        was: what runs for everybody when it is disarmed.
    """

    ways: Ways
    function: tuple[FunctionType, CodeType | None] | None
    attribute: tuple[type, str] | None
    was: Any


class Arming:
    """The forks of an armed candidate. Lives until it is disarmed, or until the swap is made.

    Arguments:
        junction: of the generation that is live.
        given: what the swap will change.
        functions: those of the candidate.
        nested: its nested code.
        closures: those that are led to it.
    """

    def __init__(
        self,
        junction: Junction,
        given: Given,
        functions: Iterable[FunctionType],
        nested: NestedCode,
        closures: Held,
    ) -> None:
        self.junction = junction
        self._closures = [*closures]
        self._given = given
        self._own = {id(function): function for function in functions if not walk.is_forwarder(function.__code__)}
        self._runs = [(function, function) for function in self._own.values()]
        self._nested = nested
        self._forks: list[_Fork] = []
        self._held: list[Any] = []

    def arm(self) -> None:
        """Install the forks."""
        junction = self.junction
        junction.same = self._given.same()
        for stray in unclaimed(junction, self._given.strays()):
            junction.stray(stray.code, stray.facts)
        junction.tell_apart()
        own = _Own()
        ops = [*part(junction, *self._given.nested), *self._functions(own), *self._waiting(own), *self._attributes(own)]
        ops += self._handed_out()
        functions = {id(fork.function[0]) for fork in self._forks if fork.function}
        ops += (on for on, _ in asking(functions, self._given.attributes()))
        junction.number = ARMED
        over = Junction.about_to_go
        over.difference_update([one for one in list(over) if one.over or not one.armed])
        over.add(junction)
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
            if function is not was and (leads := ways_of(was.__code__)) is not None:
                old = together(old, leads.lasting)
            ways = Ways(old, successor, None, made)
            if function is not was:
                ways = Ways(old, successor, was) if standing is None else standing.moved(old, successor, was)
            self._held.append(function.__code__)
            self._forks.append(_Fork(ways, (function, made.__code__), None, made if function is was else was))
            yield from fork_function(function, ways, shown, made.__code__, outside)

    def _waiting(self, own: _Own) -> Iterator[Op]:
        """The candidate's own functions, if it was live before: somebody may have kept them, and is on the old now."""
        for made, back, code, outside in self._given.waiting():
            standing = ways_of(made.__code__)
            old = [(self.junction, own.clone(back)), *(standing.lasting if standing is not None else [])]
            runs = stand_in(made, code, outside)
            ways = Ways(old, runs, back)
            self._runs.append((made, runs))
            self._held.append(made.__code__)
            self._forks.append(_Fork(ways, (made, None), None, back))
            yield from fork_function(made, ways, None, code_of(back) if type(back) is FunctionType else None)

    def _handed_out(self) -> Iterator[Op]:
        closures, self._closures = self._closures, []
        for closure, made, successor in closures:
            standing = ways_of(closure.__code__)
            old = [(self.junction, made), *(standing.lasting if standing is not None else [])]
            ways = ClosureWays(old, successor, made.__code__, None, made)
            self._held.append(closure.__code__)
            self._forks.append(_Fork(ways, (closure, made.__code__), None, made))
            yield from fork_function(closure, ways, successor.__code__, made.__code__)

    def _attributes(self, own: _Own) -> Iterator[Op]:
        for cls, name, was, will in self._given.attributes():
            if not is_forked(cls, name, was, will) or type(will) is ShadowSlot:
                continue  # what a preview put into an added slot would stand in another one, for everybody
            standing = walk.class_space(cls).get(name)
            before = behind(was, standing, self.junction)
            ways = Ways([(self.junction, cloned(was, own)), *before], will, was)
            led, put_back = passed(cls, name, was)
            self._held += [standing, put_back]
            self._forks.append(_Fork(ways, None, (cls, name), was))
            yield from led
            yield fork_attribute(cls, name, ways)

    def disarm(self, later: Callable[[Callable[[], None]], None]) -> Left | None:
        """Take the forks away, but for who is on the candidate. Nobody may make a swap meanwhile.

        Arguments:
            later: as that of `Left`.

        Returns what is left of it; None if nobody is on it.
        """
        left = Left(self.junction, self._runs, self._nested, later)
        if left.begin():
            self._turn(left.junction)
        else:
            for fork in self._forks:
                fork.ways.new = fork.was
        self._forks.clear()
        self._runs.clear()
        settle(self.junction)
        return None if left.junction.over else left

    def _turn(self, left: Junction) -> None:
        """Have the forks be those of a generation that is behind all others. They stay what they are to everybody."""
        ops: list[Op] = []
        for ways, function, attribute, _ in self._forks:
            if not ways.lasting or ways.lasting[0][0] is not self.junction:
                continue
            (_, now), *before = ways.lasting
            turned = ways.moved([*before, (left, ways.new)], now, ways.aim)
            turned.own = ways.own
            if attribute is not None:
                standing = walk.class_space(attribute[0]).get(attribute[1])
                if isinstance(standing, Attribute) and standing.ways is ways:
                    left.attributes[id(attribute[0]), attribute[1]] = attribute
                    standing.ways = turned
            elif function is not None and ways_of(function[0].__code__) is ways:
                self._held.append(function[0].__code__)
                ops += fork_function(function[0], turned, function[1])
        deque(starmap(operator.call, ops), maxlen=0)
        self._held.clear()
