"""Wrappers: what decorators of a module that goes have made for modules that stay.

A wrapper is a closure: its code stands inside a function of the decorator's module, in whose globals it runs, and a
name or a class of another module leads to it. So it is paired by the place of its code, with a function that has its
cells and runs what stands there in the next version; from there on it is a function of the swap like any other.

One that lacks something that the next version needs stays old. It is no call of its generation. So it gets what is of
that when it asks itself, and is looked through when what it calls asks: then it is the caller who counts. For that it
gets a copy of its code in the swap: who runs the original had begun before.

Its text may be the same in the next version and another one in that after it. So it is noted with each later swap what
nested code of earlier generations is not the same any more: from then on it calls its own helpers.

Guarantees: nothing is kept alive. Assumes: who calls this holds the lock under which swaps of these packages are made.
Wrappers that are held elsewhere only are led on when what is old has ended, and are taken for calls of their
generation until then.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap.bodies import unchanged
from hotswap.swap.forwarding import closure_facade, holds_weakly, identity_of, identity_ops, target_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import is_nested, nested_copy
from hotswap.swap.lineage import Reference
from hotswap.swap.made import MadeWith, cells_of, function_of
from hotswap.swap.nested import NestedCode, lacking
from hotswap.swap.order import Op
from hotswap.swap.pairs import FunctionPair, Pairing
from hotswap.swap.parts import cell_contents, functions_behind, functions_of, live_behind
from hotswap.swap.writes import Writes

__all__ = ["let_go_of_wrappers", "pair_wrappers", "part", "wrapper_copies"]

_CODE: Any = vars(FunctionType)["__code__"]

_wrappers: weakref.WeakKeyDictionary[ModuleType, list[tuple[str, Reference]]] = weakref.WeakKeyDictionary()
"""The functions that stand in modules and run in the globals of others, as they were found the first time."""


def pair_wrappers(pairing: Pairing, modules: Mapping[str, ModuleType], going: NestedCode, coming: NestedCode) -> None:
    """Pair the wrappers in modules that stay with functions that run the code of the next version.

    They have what the old ones were made with. One that lacks something that the next version needs stays as it is.

    Arguments:
        pairing: gets the pairs.
        modules: the modules that stay.
        going: the nested code of what goes.
        coming: that of what comes.
    """
    found = {id(one.old): one for one in _found(modules, going, coming)}
    old = {id(pair.old) for pair in pairing.functions} | found.keys()
    cells: list[tuple[CellType, Any]] = []
    for one in found.values():
        own = dict(one.cells)
        for name, cell in one.cells.items():
            value = cell_contents(cell)
            if any(id(live_behind(function)) in old for function in functions_behind(value)):
                # Calls in flight find a private clone in theirs.
                own[name] = CellType()
                cells.append((own[name], value))
        made = function_of(one.old, one.code, one.facts, one.made_with, own)
        pairing.functions.append(FunctionPair(one.key, one.old, made, made, one.old))
        pairing.wrappers[id(one.old)] = one.old, made
    for cell, value in cells:
        pair = pairing.wrappers.get(id(live_behind(value))) if type(value) is FunctionType else None
        cell.cell_contents = value if pair is None else pair[1]


def let_go_of_wrappers(pairing: Pairing, modules: Mapping[str, ModuleType], writes: Writes) -> None:
    """Have wrappers that were led on, and that no version has any more, hold what they lead to as closures do.

    What runs in their place has their cells, and by these often what holds them: a circle through code, where the
    collector does not look. As long as a name stands for them nobody asks for that.

    Arguments:
        pairing: what takes the place of what.
        modules: those that go.
        writes: receives the writes, in both directions.
    """
    for _, wrapper in _known(modules):
        runs = live_behind(wrapper)
        if runs is wrapper or id(wrapper) in pairing.places or not is_nested(runs.__code__):
            continue
        if ways_of(wrapper.__code__) is None:
            now, then = identity_of(wrapper), closure_facade(wrapper, runs, identity_of(runs))
            writes.both(identity_ops(wrapper, then, now), identity_ops(wrapper, now, then))


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """A wrapper that is led on.

    Attributes:
        key: names it.
        old: what runs it, or leads to that.
        code: what the new one runs.
        facts: in these globals.
        made_with: with this.
        cells: and these.
    """

    key: str
    old: FunctionType
    code: CodeType
    facts: dict[str, Any]
    made_with: MadeWith
    cells: dict[str, CellType]


def _found(modules: Mapping[str, ModuleType], going: NestedCode, coming: NestedCode) -> Iterator[_Wrapper]:
    for key, wrapper in _known(modules):
        old = live_behind(wrapper)
        while holds_weakly(old.__code__) and type(aim := target_of(old.__code__)) is FunctionType:
            old = live_behind(aim)  # no version has the wrapper any more: it leads to what one has
        runs = _runs(old)
        place = going.place(runs.__code__) if type(runs) is FunctionType and is_nested(runs.__code__) else None
        there = None if place is None else coming.counterpart(place)
        if place is None or there is None:
            continue
        cells, made_with = cells_of(old), MadeWith.of(runs, going.header(runs.__code__))
        if not lacking(place, there[0], cells, made_with.parameters):
            defaults, _ = made_with.under(coming.header(there[0]))
            yield _Wrapper(key, old, *there, replace(made_with, defaults=defaults), cells)


def wrapper_copies(
    modules: Mapping[str, ModuleType], spaces: Container[int], led: Container[int], held: list[Any]
) -> list[Op]:
    """Return the writes that give the wrappers of a generation that are not led on copies of their code.

    Arguments:
        modules: the modules that stay.
        spaces: the ids of the globals of that generation.
        led: the ids of the functions that are led on.
        held: gets what they have until then: it must not die within the writes.
    """
    ops: list[Op] = []
    copies: dict[int, CodeType] = {}
    for _, wrapper in _known(modules):
        runs = _runs(wrapper)
        if type(runs) is not FunctionType or id(runs.__globals__) not in spaces or not is_nested(runs.__code__):
            continue
        if id(live_behind(wrapper)) in led:
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


def _known(modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, FunctionType]]:
    for name, module in modules.items():
        known = _wrappers.get(module)
        if known is None:
            own = ModuleType.__getattribute__(module, "__dict__")
            found = functions_of({name: module}, lambda _: True)
            known = [(key, Reference(function)) for key, function in found if function.__globals__ is not own]
            _wrappers[module] = known
        yield from ((key, function) for key, reference in known if (function := reference()) is not None)


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
