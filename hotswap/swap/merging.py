"""Merging: kept registries get what the new version registers, and lose what it has not any more.

Registries are containers that decorators, `__init_subclass__` and metaclasses fill while a module is imported. Keeping
the old one loses the new entries; taking the new one loses what was registered at run time. So they are merged.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from hotswap import walk
from hotswap.generation import Definitions, Kind, Selection, unchanged
from hotswap.swap.keys import REBUILT, Leads, Table, is_quiet, namesake
from hotswap.swap.parts import functions_of, resolved
from hotswap.swap.plan import Op, Writes
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Fates", "Kept", "fresh_definitions", "inside", "leads_to", "merge"]

_MISSING: Any = object()

_REGISTRY = 100_000
"""A kept list, set or dict with more items is a cache, not a registry; what it holds is not walked."""

_PARTS = 64
"""An entry with more parts is data, not the description of a function."""

_WRAPPED = 8
"""How many wrappers of a function are followed."""

_NESTED = 3
"""How deep kept objects are looked into for registries: an application, its router, its table of routes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is kept: the dropped twin, and the living one.

    `touched` says that other statements put something into it, ``TABLE["x"] = 1``, and that they differ in the new
    version: then entries of plain data are added too.
    """

    twin: Any
    living: Any
    touched: bool = False


class Translate(Protocol):
    """Gives the living object for a dropped twin."""

    def __call__(self, value: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of definitions, by the ids of the functions and classes.

    `successors` maps an old one to (it, its successor). `gone` are old ones whose definition is gone, or is registered
    anew: its decorators, bases or arguments differ. `fresh` are new ones that were not there, or are registered anew.
    What is registered as before and lacks in a registry was taken out at run time, and stays out. `leads` tells where
    functions lead that are parts of tuples and the like.
    """

    successors: Mapping[int, tuple[Any, Any]]
    gone: Container[int]
    fresh: Container[int]
    leads: Leads

    def current(self, value: Any) -> Any:
        """Return the successor of an old definition, or the value itself."""
        successor = self.successors.get(id(value))
        return successor[1] if successor is not None and successor[0] is value else self.leads.of(value)


def fresh_definitions(
    modules: Mapping[str, ModuleType],
    old: Mapping[str, Definitions],
    new: Mapping[str, Definitions],
    selection: Selection,
    owned: Iterable[object],
) -> set[int]:
    """Return the ids of the functions and classes that the new version registers otherwise than the old one.

    Arguments:
        modules: the new modules.
        old, new: what the sources say.
        selection: knows which imported data is different.
        owned: the objects that the candidate created: a registry may hold functions that no name leads to.
    """
    named: set[tuple[str, str]] = set()
    for name in modules:
        before, after = old.get(name) or Definitions(), new.get(name) or Definitions()
        named |= {(name, path) for path in _fresh(before, after, "", selection.stale(after, modules[name]))}
    fresh: set[int] = set()
    ours = {id(module.__dict__) for module in modules.values()}
    reached = (function for _, function in functions_of(modules, lambda function: id(function.__globals__) in ours))
    for function in (*reached, *(one for one in owned if type(one) is FunctionType)):
        if (
            id(function.__globals__) in ours
            and (function.__globals__["__name__"], function.__code__.co_qualname) in named
        ):
            fresh.add(id(function))
    for name, path in named:
        value = resolved(modules[name], path)
        if value is not None:
            fresh.add(id(value))
    return fresh


def _fresh(old: Definitions, new: Definitions, prefix: str, stale: set[str]) -> Iterator[str]:
    for name, binding in new.bindings.items():
        if binding.kind not in (Kind.FUNCTION, Kind.CLASS):
            continue
        before = old.bindings.get(name)
        other = binding.kind is Kind.FUNCTION and binding.reads & stale
        if before is None or before.head != binding.head or other or _reads_other_data(binding.reads, old, new):
            yield prefix + name
        if name in new.classes:
            yield from _fresh(old.classes.get(name) or Definitions(), new.classes[name], f"{prefix}{name}.", stale)


def _reads_other_data(reads: Iterable[str], old: Definitions, new: Definitions) -> bool:
    return any(
        Kind.DATA in (old.kind(read), new.kind(read)) and not unchanged(read, old, new)
        for read in reads
        if old.kind(read) or new.kind(read)
    )


def inside(kept: Iterable[Kept], translate: Translate) -> Iterator[Kept]:
    """Yield the containers and instances in kept objects.

    Arguments:
        kept: the kept objects.
        translate: gives the living class for a twin.
    """
    level = list(kept)
    for _ in range(_NESTED):
        further: list[Kept] = []
        for pair in level:
            if translate(type(pair.twin)) is not type(pair.living) or walk.is_class(pair.twin):
                continue
            if type(pair.twin) is dict:
                before, after = pair.living, pair.twin
            else:
                before, after = walk.instance_dict(pair.living) or {}, walk.instance_dict(pair.twin) or {}
            for name, value in list(after.items()) if len(after) <= _REGISTRY else ():
                if not is_quiet(name):
                    continue
                held = before.get(name)
                if held is None or held is value or type(value) in UNIQUE_NEVER:
                    continue
                if type(held) is dict and translate(held) is value:
                    continue  # the namespace of a module: each generation has its own
                further.append(Kept(value, held, pair.touched))
                if translate(type(value)) is type(held):
                    yield further[-1]
        level = further


def merge(kept: Iterable[Kept], fates: Fates, translate: Translate, writes: Writes) -> set[int]:
    """Bring the kept containers up to date: registries that decorators and `__init_subclass__` fill at import.

    Entries of what the new version registers anew are added; entries that lead to an old definition lead to its
    successor; entries whose definition is gone are dropped. What was put in at run time stays, what was taken out at
    run time stays out, and what stands under a key whose hash is computed by Python code is left alone.

    Arguments:
        kept: the kept objects.
        fates: what becomes of definitions.
        translate: gives the living object for a dropped twin.
        writes: receives the writes; they are made out when the time comes, from what is there then.

    Returns the ids of the containers that are brought up to date.
    """
    merged: set[int] = set()
    listed = list(kept)
    weak = [(inner, removed) for pair in listed if (found := _weak(pair)) is not None for inner, removed in [found]]
    for pair, removed in [*weak, *((pair, None) for pair in listed)]:
        kind = type(pair.living)
        if kind is not type(pair.twin) or id(pair.living) in merged or kind not in _MERGES:
            continue
        merged.add(id(pair.living))
        writes.late(_MERGES[kind](pair, fates, translate, writes, removed).ops)
    return merged


def _weak(pair: Kept) -> tuple[Kept, Callable[[Any], None]] | None:
    """What a weak dict or set keeps in a plain one, and whom its weak references tell when they die."""
    kind = type(pair.living)
    if kind not in (weakref.WeakKeyDictionary, weakref.WeakSet) or type(pair.twin) is not kind:
        return None
    living, twin = (walk.instance_dict(one) or {} for one in (pair.living, pair.twin))
    if not {"data", "_remove"} <= living.keys() & twin.keys():
        return None
    return Kept(twin["data"], living["data"], pair.touched), living["_remove"]


class _Merge:
    def __init__(
        self,
        pair: Kept,
        fates: Fates,
        translate: Translate,
        writes: Writes,
        removed: Callable[[Any], None] | None,
    ) -> None:
        self.twin, self.living, self.touched = pair.twin, pair.living, pair.touched
        self.fates, self.writes, self._translate, self._removed = fates, writes, translate, removed
        self.table = Table(pair.living, fates.leads)

    def translate(self, value: Any) -> Any:
        """Return the living object for a twin; a weak reference tells the living container when it dies."""
        held = weakref.ref.__call__(value) if type(value) is weakref.ref else None
        if held is None or self._removed is None:
            return self._translate(value)
        return weakref.ref(self._translate(held), self._removed)

    def is_new(self, value: Any) -> bool:
        """Whether an entry of the twin is to be added."""
        return self.touched or leads_to(value, self.fates.fresh)

    def is_gone(self, value: Any) -> bool:
        """Whether an entry of the living container is to go, unless the new version has it too."""
        return leads_to(value, self.fates.gone)


class _DictMerge(_Merge):
    changes: dict[Any, tuple[Any, Any]] | None = None
    """Key -> (what was there, what was written), once it is known. Keys are those of the new version."""

    def ops(self, forward: bool) -> Iterator[Op]:
        small = len(self.living) <= _REGISTRY
        led = self.table.ops(forward) if small else []
        there = self.table.view() if small else self.living
        if self.changes is None:
            self.changes = dict(self.found(there))
        if forward:
            yield from led
        for key, (before, after) in self.changes.items():
            now = there.get(key, _MISSING)
            if now is not before and now is not after:
                continue  # somebody has changed it since
            wanted = after if forward else before
            self.writes.hold(now)
            gone = wanted is _MISSING
            kind: Any = OrderedDict if type(self.living) is OrderedDict else dict
            yield (kind.pop, self.living, key, None) if gone else (kind.__setitem__, self.living, key, wanted)
        if not forward:
            yield from led

    def found(self, there: Mapping[Any, Any]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
        again = self._registered_anew() if len(there) <= _REGISTRY else set()
        twin = {key: self.translate(value) for key, value in self._translated() if is_quiet(key)}
        for key, value in twin.items():
            living = there.get(key, _MISSING)
            if living is _MISSING:
                if self.is_new(value) or self.is_new(key):
                    yield key, (_MISSING, value)
            elif type(value) is type(living) in (dict, list, set) and self.fates.current(living) is living:
                continue  # merged for itself
            elif (self.is_gone(living) and not _is_definition(living)) or key in again:
                yield key, (living, value)
            elif (then := namesake(self.fates.current(living), value)) is not living:
                yield key, (living, then)
        for key, living in list(there.items()) if len(there) <= _REGISTRY else ():
            if not is_quiet(key) or key in twin:
                continue
            whole = list(living) if type(living) in (list, set) else [living]
            if (whole and all(map(self.is_gone, whole))) or self.is_gone(key) or key in again:
                yield key, (living, _MISSING)
            elif self.fates.current(living) is not living:
                yield key, (living, self.fates.current(living))

    def _registered_anew(self) -> set[Any]:
        """The keys that led to an old definition which the new version registers anew, or not any more."""
        return {self.table.after(key) for key in list(self.living) if self.is_gone(key) and is_quiet(key)}

    def _translated(self) -> Iterator[tuple[Any, Any]]:
        for key, value in list(self.twin.items()):
            yield self.translate(key), value


class _ListMerge(_Merge):
    lists: tuple[list[Any], list[Any]] | None = None
    """What was there, and what was written, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if len(self.living) > _REGISTRY:
            return
        now = list(self.living)
        if self.lists is None:
            self.lists = now, self.merged(now)
        before, after = self.lists
        if walk.same_items(before, after):
            yield from self.table.ops(forward)
            return
        self.writes.hold(now)
        wanted, other = (after, before) if forward else (before, after)
        if not walk.same_items(now, other) and not walk.same_items(now, wanted):
            # Somebody has added or removed entries since.
            removed = [value for value in other if not _has(now, value)]
            leads = self.fates.leads if forward else self.fates.leads.back
            more = [leads.of(value) for value in now if not _has(other, value)]
            wanted = [value for value in wanted if not _has(removed, value)] + more
        yield (list.__setitem__, self.living, slice(None), wanted)

    def merged(self, living: list[Any]) -> list[Any]:
        twin = [self.translate(value) for value in self.twin]
        after = []
        for value in living:
            successor = self.fates.current(value)
            if _has(twin, successor) or not self.is_gone(value):
                after.append(successor)
        return after + [v for v in twin if leads_to(v, self.fates.fresh) and not _has(after, v)]


class _SetMerge(_Merge):
    sets: tuple[list[Any], list[Any]] | None = None
    """What goes, and what comes, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if len(self.living) > _REGISTRY:
            return
        led = self.table.ops(forward)
        if self.sets is None:
            twin = {value for value in map(self.translate, self.twin) if is_quiet(value)}
            living = list(self.living)
            there = {self.table.after(value) for value in living if is_quiet(value)}
            leave = [self.table.after(v) for v in living if self._is_listed(v) and self.is_gone(v)]
            come = [v for v in twin if self._is_listed(v) and self.is_new(v) and v not in there]
            self.sets = [v for v in leave if v not in twin], come
        leave, come = self.sets if forward else self.sets[::-1]
        self.writes.hold(leave)
        if forward:
            yield from led
        yield from ((set.discard, self.living, value) for value in leave)
        yield from ((set.add, self.living, value) for value in come)
        if not forward:
            yield from led

    def _is_listed(self, value: Any) -> bool:
        """Whether an element is a definition, or made of some: what an import registers, not the program's data."""
        return is_quiet(value) and (_is_definition(value) or type(value) in REBUILT)


_MERGES: dict[type, type[_DictMerge | _ListMerge | _SetMerge]] = {
    **dict.fromkeys((dict, defaultdict, OrderedDict), _DictMerge),
    list: _ListMerge,
    set: _SetMerge,
}


def leads_to(value: Any, ids: Container[int], depth: int = 0) -> bool:
    """Whether an entry of a registry is one of some functions and classes, or an object that holds one."""
    if id(value) in ids:
        return True
    kind = type(value)
    if kind is MethodType:
        return id(value.__func__) in ids
    if kind is FunctionType:
        inner = value
        for _ in range(_WRAPPED):
            inner = inner.__dict__.get("__wrapped__")
            if type(inner) is not kind:
                break
            if id(inner) in ids:
                return True
        # An object of a decorator's class, say.
        return type(inner) is not kind and leads_to(inner, ids, depth + 1)
    if depth > 1 or kind in UNIQUE_NEVER or walk.is_class(value):
        return False
    if kind in (tuple, list, frozenset):
        parts = list(value)
    elif kind is weakref.ref:
        parts = [weakref.ref.__call__(value)]
    elif kind is functools.partial:
        parts = [value.func, *value.args]
    else:
        parts = list((walk.instance_dict(value) or {}).values()) if kind is not dict else list(value.values())
    return len(parts) < _PARTS and any(leads_to(part, ids, depth + 1) for part in parts)


def _is_definition(value: Any) -> bool:
    return type(value) is FunctionType or walk.is_class(value)


def _has(values: Iterable[Any], value: Any) -> bool:
    return any(item is value for item in values)
