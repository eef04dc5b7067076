"""Wrappers: what decorators of a module that goes have made for modules that stay.

A wrapper is a closure: its code stands inside a function of the decorator's module, in whose globals it runs. No name
of that module leads to it, so a swap does not lead it on; that is done when all that is old has ended. Until then
whoever calls it, for whatever reason, comes into code of the generation that has gone.

It is no call of that generation. So it gets what is of it when it asks itself, and is looked through when what it calls
asks: then it is the caller who counts. For that the wrappers that are known get copies of their code in the swap: who
runs the original had begun before.

Its text may be the same in the next version and another one in that after it. So it is noted with each later swap what
nested code of earlier generations is not the same any more: from then on it calls its own helpers.

Guarantees: nothing is kept alive. Assumes: who calls this holds the lock under which swaps of these packages are made.
Wrappers that are held elsewhere only are taken for calls of their generation.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap.bodies import unchanged
from hotswap.swap.forwarding import target_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import nested_copy
from hotswap.swap.lineage import Reference
from hotswap.swap.nested import NestedCode, is_nested
from hotswap.swap.order import Op
from hotswap.swap.parts import functions_of

__all__ = ["part", "wrapper_copies"]

_CODE: Any = vars(FunctionType)["__code__"]

_wrappers: weakref.WeakKeyDictionary[ModuleType, list[Reference]] = weakref.WeakKeyDictionary()
"""The functions that stand in modules and run in the globals of others, as they were found the first time."""


def wrapper_copies(modules: Mapping[str, ModuleType], spaces: Container[int], held: list[Any]) -> list[Op]:
    """Return the writes that give the wrappers of a generation copies of their code.

    Arguments:
        modules: the modules that stay.
        spaces: the ids of the globals of that generation.
        held: gets what they have until then: it must not die within the writes.
    """
    ops: list[Op] = []
    copies: dict[int, CodeType] = {}
    for wrapper in _known(modules):
        runs = _runs(wrapper)
        if type(runs) is not FunctionType or id(runs.__globals__) not in spaces or not is_nested(runs.__code__):
            continue
        code = runs.__code__
        if id(code) not in copies:
            copies[id(code)] = nested_copy(code)
            Junction.note_wrapper(copies[id(code)])
            held.append(code)
        ops.append((_CODE.__set__, runs, copies[id(code)]))
    return ops


def _runs(wrapper: FunctionType) -> Any:
    """What runs the code of a wrapper: what stands in its place while it is a fork, or what it was led to."""
    runs: Any = wrapper
    while type(runs) is FunctionType and walk.is_forwarder(runs.__code__):
        ways = ways_of(runs.__code__)
        runs = target_of(runs.__code__) if ways is None or ways.own is None else ways.own
    return runs


def _known(modules: Mapping[str, ModuleType]) -> Iterator[FunctionType]:
    for name, module in modules.items():
        known = _wrappers.get(module)
        if known is None:
            own = ModuleType.__getattribute__(module, "__dict__")
            found = (function for _, function in functions_of({name: module}, lambda _: True))
            known = [Reference(function) for function in found if function.__globals__ is not own]
            _wrappers[module] = known
        yield from (function for reference in known if (function := reference()) is not None)


def part(junction: Junction, going: NestedCode, coming: NestedCode) -> list[Op]:
    """Return the writes that note what nested code of earlier generations is not the same in the one that comes.

    Arguments:
        junction: of the generation that goes.
        going: its nested code.
        coming: that of the one that comes.
    """
    junction.nested = going
    ops: list[Op] = []
    for other in list(Junction.in_flight):
        nested: NestedCode | None = other.nested
        if other is junction or nested is None:
            continue
        there = ((code, place) for code, place in nested if place.module in coming.modules)
        codes = [id(code) for code, _ in there if unchanged(code, nested, coming) is None]
        if codes:
            ops.append((list.append, other.forget_parted(), (junction, frozenset(codes))))
    return ops
