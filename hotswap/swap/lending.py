"""Lending: what calls of an old generation get of modules that stayed when it went, and that a later swap changes.

They get private clones of their own. Those of the generation that goes in that later swap are led to the new code when
its own calls have ended, which may be long before theirs.

Assumes: who lends holds the lock under which swaps of these packages are made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap.apart import Apart
from hotswap.swap.cloning import Cloning
from hotswap.swap.forked_attributes import cloned
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Reference

__all__ = ["lent", "let_go", "staying"]


class Lending(Cloning):
    """The clones of one old generation. Lives as long as something of it is in flight.

    Arguments:
        junction: that generation.
    """

    def __init__(self, junction: Junction) -> None:
        super().__init__({}, {})
        self._junction = self._going = junction
        self._originals: dict[int, FunctionType] = {}
        self._lent: list[tuple[Reference, Reference]] = []

    def take(self, value: Any, going: Junction, originals: dict[int, FunctionType], known: Mapping[int, Any]) -> Any:
        """Return a clone of what a later generation gets.

        Arguments:
            value: what it gets.
            going: the one that goes, which has clones of its own.
            originals: the functions of which it has them, by the ids of these; those that are lent are added.
            known: the ids of functions that later generations get, each with what this one gets in its place.
        """
        self._going, self._originals = going, originals
        self._clones.update((key, (None, given)) for key, given in known.items())
        return cloned(value, self)

    def _function(self, function: FunctionType) -> Any:
        space = id(function.__globals__)
        # A decorator of another package has put a function of its own there: `contextlib.contextmanager`, say.
        is_wrapper = id(function) in self._originals and space not in self._going.spaces
        if not (is_wrapper or space in self._junction.staying) or walk.is_forwarder(function.__code__):
            return function
        self._codes = {id(function): function.__code__}
        clone = super()._function(function)
        Junction.copy_wrapper(function.__code__, clone.__code__)
        if space in self._junction.others:
            Junction.note_wrapper(clone.__code__)  # made by the decorators of the next version: these are its helpers
        else:
            self._junction.belongs(clone.__code__, function.__globals__, self._going)
        # It is led on as that is of which the other is a clone. The generation before gets one of its own in its place:
        # this one may end sooner.
        original = self._originals[id(clone)] = self._originals.get(id(function), function)
        self._lent.append((Reference(original), Reference(clone)))
        return clone

    def clones(self) -> list[tuple[FunctionType, FunctionType]]:
        """Return those that are there still, each with what it is a clone of; with itself if that is gone."""
        held = [(original, known, clone) for original, known in self._lent if (clone := known()) is not None]
        self._lent = [(original, known) for original, known, _ in held]
        return [(original() or clone, clone) for original, _, clone in held]

    def let_go(self) -> None:
        """Keep none of them any longer: forks do, as long as calls may come to them."""
        self._clones.clear()
        self.functions.clear()
        self.cells.clear()
        self.wrapped.clear()
        self._originals = {}


def lent(
    junction: Junction, value: Any, going: Junction, originals: dict[int, FunctionType], known: Mapping[int, Any]
) -> Any:
    """Return what an old generation gets of something that it never got by a fork.

    Arguments:
        junction: the old generation.
        value: what the next one that went gets.
        going: the one that goes.
        originals: the functions of which that has clones, by the ids of these; those that are lent are added.
        known: the ids of functions that later generations get, each with what this one gets in its place.
    """
    if not junction.staying:
        return value
    if junction.lending is None:
        junction.lending = Lending(junction)
    lending: Lending = junction.lending
    return lending.take(value, going, originals, known)


def let_go() -> None:
    """Note that a swap was made, or not: what was lent for it is in forks."""
    for junction in [*Junction.in_flight, *Apart.standing]:  # another patcher may add one
        if junction.lending is not None:
            junction.lending.let_go()


def staying(junction: Junction) -> list[dict[str, Any]]:
    """Return the globals of modules that stayed when a generation went, those of their old versions included.

    Arguments:
        junction: the generation.
    """
    modules = [module for module in list(sys.modules.values()) if type(module) is ModuleType]
    lending: Lending | None = junction.lending
    changed = () if lending is None else (clone.__globals__ for _, clone in lending.clones())
    every = {id(facts): facts for facts in (*map(vars, modules), *changed)}
    return [facts for key, facts in every.items() if key in junction.staying]
