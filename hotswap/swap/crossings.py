"""Crossings: what a swap writes beside where calls of the generation that goes are in flight, in either direction."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from hotswap.swap.bodies import Bodies
from hotswap.swap.drain import InFlight, OldWorld
from hotswap.swap.forks import Forks
from hotswap.swap.nested import is_nested
from hotswap.swap.pairs import Pairing
from hotswap.swap.plan import Op, Writes
from hotswap.swap.settling import Settling
from hotswap.swap.ways import Changed, Junction

__all__ = ["Crossings"]

_CODE: Any = vars(FunctionType)["__code__"]


class Crossings:
    """Makes the forks of a swap. Lives as long as the swap.

    Arguments:
        pairing: which function leads to which.
        facts: the outsides of the functions.
        writes: those of the swap.
        translate: gives the living object for a twin.
        worlds: those of the generation that goes, and of the one that comes.
        alone: what has no successor in the one that comes, and no predecessor in the one that goes.
    """

    def __init__(
        self,
        pairing: Pairing,
        facts: Bodies,
        writes: Writes,
        translate: Callable[[Any], Any],
        worlds: tuple[OldWorld, OldWorld],
        alone: tuple[Iterable[Any], Iterable[Any]],
    ) -> None:
        self._pairing, self._facts, self._writes, self._translate = pairing, facts, writes, translate
        self._changed: list[Changed] = []
        self._gone, self._added = (
            [f for f in ones if _is_own(f, world)] for ones, world in zip(alone, worlds, strict=True)
        )
        for function in (*self._gone, *self._added):
            writes.hold_code(function)
        writes.late(self._copies)
        self.there, self.back = (Junction(id(facts) for facts in world.namespaces()) for world in worlds)

    def add(self, changed: Iterable[Changed]) -> None:
        """Note attributes that change. The metaclass of a framework may do what it likes with them: it is let alone."""
        self._changed += [one for one in changed if type(one.cls) in (type, abc.ABCMeta)]

    def _copies(self, _: bool) -> Iterator[Op]:
        """Have who holds a function that is gone go on with a copy: so its code dies with the last of its calls."""
        return ((_CODE.__set__, one, one.__code__.replace()) for one in (*self._gone, *self._added))

    @property
    def going(self) -> list[FunctionType]:
        """The functions whose calls may be in flight when the swap is made."""
        return [*(pair.old for pair in self._pairing.functions), *self._gone]

    @property
    def returning(self) -> list[FunctionType]:
        """Those whose calls may be in flight when it is taken back."""
        return [*(pair.made for pair in self._pairing.functions if self._facts.is_new(pair.made)), *self._added]

    def clear(self) -> None:
        """Forget the swap."""
        self._changed.clear()
        self._gone, self._added = [], []
        self._pairing = Pairing()
        self._facts = Bodies(self._pairing, {}, ())

    def forward(self, settling: Settling) -> Forks:
        """Return the forks of the commit. Code is held by them until they have `landed`."""
        assert settling.cloning is not None, "the clones are made when the swap is prepared"
        running = InFlight(self.going, self._writes)
        return Forks(self.there, running, settling.cloning, self._attributes, self._led)

    def backward(self, settling: Settling) -> Forks:
        """Return those of the way back."""
        assert settling.cloning is not None, "the clones are made when the swap is prepared"
        running = InFlight(self.returning, self._writes)
        return Forks(self.back, running, settling.cloning, self._attributes_back, self._led_back)

    def _attributes(self) -> Iterator[tuple[type, str, Any, Any]]:
        return ((one.cls, one.name, one.was, self._translate(one.will)) for one in self._changed)

    def _attributes_back(self) -> Iterator[tuple[type, str, Any, Any]]:
        return ((one.cls, one.name, self._translate(one.will), one.was) for one in self._changed)

    def _led(self) -> Iterator[tuple[FunctionType, Any, CodeType | None]]:
        for pair in self._pairing.functions:
            if not is_nested(self._facts.of(pair.old)["__code__"]):
                yield pair.old, pair.new, self._code(pair.new)

    def _led_back(self) -> Iterator[tuple[FunctionType, Any, CodeType | None]]:
        for pair in self._pairing.functions:
            if self._facts.is_new(pair.made) and not is_nested(self._facts.of(pair.made)["__code__"]):
                yield pair.made, pair.back, self._code(pair.back)

    def _code(self, function: Any) -> CodeType | None:
        facts = self._facts.known(function)
        return None if facts is None else facts["__code__"]


def _is_own(value: Any, world: OldWorld) -> bool:
    """Whether something is a function of a generation, and no closure."""
    if type(value) is not FunctionType or is_nested(value.__code__):
        return False
    return any(value.__globals__ is facts for facts in world.namespaces())
