"""Registers: live objects in which the candidate's import has registered something, to be registered at the commit.

A container is merged like one that a changed module keeps: entries of what is registered as before follow, what is
registered anew is added, what is gone is dropped. Entries that no definition explains (a lambda, a wrapper that the
decorator made) are compared with what stands there: the same kind of entry takes the place of the old one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any

from hotswap import walk
from hotswap.effects import Holding, Journal
from hotswap.generation import GONE
from hotswap.swap.assignments import MISSING, in_slot
from hotswap.swap.bodies import Bodies, same_code
from hotswap.swap.contents import Kept
from hotswap.swap.fates import Fates, leads_to
from hotswap.swap.kin import is_nested
from hotswap.swap.nested import line_of
from hotswap.swap.pairs import FunctionPair, Pairing
from hotswap.swap.parts import cell_contents, is_empty
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.writes import Op, Writes

__all__ = ["register"]

_SET, _DELETE = type.__setattr__, type.__delattr__
_MISSING: Any = object()

_LEVELS = 3
"""How deep an entry is looked into to tell what it is."""


def register(
    journal: Journal,
    containers: list[Kept],
    fates: Fates,
    pairing: Pairing,
    bodies: Bodies,
    translate: Callable[[Any], Any],
    writes: Writes,
) -> Fates:
    """Have the swap register what the candidate's import has registered in live objects.

    Arguments:
        journal: what the candidate's import did.
        containers: the pairs of containers that are merged; gets more.
        fates: what becomes of definitions.
        pairing: what takes the place of what; gets the functions that are known again by where they are registered.
        bodies: the outsides of its functions; gets those, too.
        translate: gives the living object for a twin.
        writes: receives the writes for names of live modules and classes, and for virtual subclasses.

    Returns fates that also know what becomes of entries that no definition explains.
    """
    containers += [
        Kept(deed.twin, deed.living, place=deed.place, partial=True, layout=(deed.before, deed.after))
        for deed in journal.holdings
        if not deed.names
    ]
    _set_names(journal, translate, writes)
    fates = _explained(journal, fates, pairing, bodies, translate)
    for holding in journal.holdings:
        if not holding.names and isinstance(holding.twin, dict):
            _take_places(holding, fates, translate, writes)
    return fates


def _explained(
    journal: Journal, fates: Fates, pairing: Pairing, bodies: Bodies, translate: Callable[[Any], Any]
) -> Fates:
    explained = {id(o) for pair in pairing.functions for o in (pair.new, pair.made)}
    explained |= {id(pair.new) for pair in pairing.classes} | {id(pair.old) for pair in pairing.classes}
    successors = dict(fates.successors)
    fresh: set[int] = set()
    for holding in journal.holdings:
        if holding.names:
            continue
        there = list(_entries(holding.living))
        certain = _certain(holding, translate)
        for value in _entries(holding.twin):
            if leads_to(value, explained) or _is_told_by_sources(holding, value):
                continue
            told = _told(value, translate)
            position = next((i for i, old in enumerate(there) if _told(old, translate) == told), None)
            if position is None:
                fresh.add(id(value))
                continue
            old = there.pop(position)
            if not _is_state(value):
                successors[id(old)] = (old, value)
                if type(value) is FunctionType is type(old) and not is_nested(old.__code__):
                    _lead(old, value, pairing, bodies, sure=told in certain)
    return Fates(successors, fates.gone, _Either(fates.fresh, fresh), fates.leads, fates.objects)


def _certain(holding: Holding, translate: Callable[[Any], Any]) -> set[Any]:
    """What entries of functions are told by if it is sure which takes the place of which: as many as before are there.

    Those of a loop (``for unit in UNITS: @on(unit) def convert(): ...``) come in its order; of lambdas only a single
    one is known again.
    """
    before, after = (
        Counter(_told(value, translate) for value in _entries(one) if type(value) is FunctionType)
        for one in (holding.living, holding.twin)
    )
    return {told for told, count in after.items() if before[told] == count and (count == 1 or told[2] != "<lambda>")}


def _lead(old: FunctionType, new: FunctionType, pairing: Pairing, bodies: Bodies, *, sure: bool) -> None:
    """Lead a function that no name leads to, as those of a loop but the last: somebody may hold it beside the registry.

    What a function made is led when its calls have ended.
    """
    if id(old) in pairing.places or old.__globals__ is new.__globals__:
        return
    key = f"{old.__module__}:{line_of(old)}"
    if sure:
        pair = FunctionPair(key, old, new, new, old)
        pairing.functions.append(pair)
        pairing.places[id(old)] = (old, new)
        bodies.add(pair)
    elif not same_code(old, new):
        told = (
            f"{key} has no name that leads to it: where it is registered stands the new one, who else holds it keeps it"
        )
        pairing.replaced.append(told)


def _take_places(holding: Holding, fates: Fates, translate: Callable[[Any], Any], writes: Writes) -> None:
    """Write entries that take the place of something that no old version has put there: a default, say."""
    old = _Either(fates.successors, fates.gone)
    for twin, value in holding.twin.items():
        key = translate(twin)
        there = dict.get(holding.living, key, _MISSING)
        if there is _MISSING or type(there) in (dict, list, set) or leads_to(there, old):
            continue
        if _is_told_by_sources(holding, value):
            continue
        after = translate(value)
        if after is not there and _told(there, translate) != _told(value, translate):
            writes.item(holding.living, key, after)


def _is_told_by_sources(holding: Holding, value: Any) -> bool:
    """Whether the merge asks the sources what becomes of an entry (see `revisions`): it is plain data."""
    return holding.place is not None and type(value) in UNIQUE_NEVER


class _Either:
    """Two sets of ids as one."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self._parts)


def _entries(container: Any) -> Iterable[Any]:
    return list(container.values()) if isinstance(container, dict) else list(container)


def _is_state(value: Any) -> bool:
    """Whether an entry is an object with a state of its own, which lives on; its class is the new one."""
    return type(value) not in (FunctionType, MethodType, functools.partial, tuple, list)


def _told(value: Any, translate: Callable[[Any], Any], depth: int = 0) -> Any:
    """What an entry is, so that one of the old version and one of the new can be compared; no code of it runs."""
    kind = type(value)
    if kind in UNIQUE_NEVER:
        return (kind, value)
    if depth > _LEVELS:
        return id(value)
    deeper = [_told(part, translate, depth + 1) for part in _parts(value)]
    if kind is FunctionType:
        return (kind, str(value.__globals__.get("__name__")), value.__code__.co_qualname, *deeper)
    if walk.is_class(value):
        return (type, id(translate(value)))
    return (id(translate(kind)), *deeper)


def _parts(value: Any) -> Iterator[Any]:
    kind = type(value)
    if kind is FunctionType:
        for cell in value.__closure__ or ():
            if not is_empty(cell) and type(cell_contents(cell)) in (FunctionType, str, int):
                yield cell_contents(cell)
    elif kind is MethodType:
        yield value.__func__
    elif kind is functools.partial:
        yield value.func
        yield from value.args
    elif kind in (tuple, list):
        yield from value


def _set_names(journal: Journal, translate: Callable[[Any], Any], writes: Writes) -> None:
    for holding in journal.holdings:
        if holding.names and walk.is_class(holding.living):
            for name, value in holding.twin.items():
                _set_attribute(holding.living, name, translate(value), writes)
        elif holding.names and not isinstance(holding.living, dict):
            for slot, value in holding.twin.items():
                _set_slot(slot, holding.living, translate(value), writes)
        elif holding.names:
            for name, value in holding.twin.items():
                if value is GONE:
                    writes.drop(holding.living, name)
                else:
                    writes.item(holding.living, name, translate(value))
        elif holding.cache is not None:
            writes.late(_Forgetting(holding, writes).ops)
    for registration in journal.registrations:
        writes.late(lambda forward, entry=registration: entry.ops(translate, forward))  # type: ignore[misc]


def _set_attribute(cls: type, name: str, value: Any, writes: Writes) -> None:
    before = walk.class_dict(cls).get(name, _MISSING)
    # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
    undo: list[Op] = [(_SET, cls, name, before)]
    if before is _MISSING:
        undo = [(_DELETE, cls, name), (_SET, cls, name, None)]
    writes.both([(_SET, cls, name, value)], undo)


def _set_slot(slot: Any, owner: Any, value: Any, writes: Writes) -> None:
    """Set a slot of an object, or what a closure holds."""
    before = in_slot(slot, owner)
    undo: list[Op] = [(slot.__set__, owner, before)]
    if before is MISSING:
        undo = [(slot.__delete__, owner), (slot.__set__, owner, None)]
    writes.both([(slot.__set__, owner, value)], undo)


class _Forgetting:
    """What a `singledispatch` function remembers is forgotten with each change of its registry."""

    def __init__(self, holding: Holding, writes: Writes) -> None:
        self._cache, self._writes = holding.cache, writes

    def ops(self, _: bool) -> list[Op]:
        assert self._cache is not None
        self._writes.hold(list(self._cache.items()))
        return [(dict.clear, self._cache)]
