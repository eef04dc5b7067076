"""Merging: kept registries get what the new version registers, and lose what it has not any more.

Registries are containers that decorators, `__init_subclass__` and metaclasses fill while a module is imported. Keeping
the old one loses the new entries; taking the new one loses what was registered at run time. So they are merged.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol

from hotswap import walk
from hotswap.swap.fates import Fates, leads_to
from hotswap.swap.keys import REBUILT, Table, elements, is_quiet, namesake, size, values
from hotswap.swap.plan import Op, Writes
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Kept", "inside", "merge"]

_MISSING: Any = object()

_REGISTRY = 100_000
"""A kept list, set or dict with more items is a cache, not a registry; what it holds is not walked."""

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
            for before, after in _named(pair.living, pair.twin):
                for name, value in list(dict.items(after)) if dict.__len__(after) <= _REGISTRY else ():
                    if not is_quiet(name):
                        continue
                    held = dict.get(before, name)
                    if held is None or held is value or type(value) in UNIQUE_NEVER:
                        continue
                    if type(held) is dict and translate(held) is value:
                        continue  # the namespace of a module: each generation has its own
                    further.append(Kept(value, held, pair.touched))
                    if translate(type(value)) is type(held):
                        yield further[-1]
        level = further


def _named(living: Any, twin: Any) -> Iterator[tuple[dict[Any, Any], dict[Any, Any]]]:
    """What two objects hold by key and by attribute: those made of a dict may do both."""
    if issubclass(type(living), dict) and issubclass(type(twin), dict):
        yield living, twin
    attributes = walk.instance_dict(living), walk.instance_dict(twin)
    if attributes[0] is not None and attributes[1] is not None:
        yield attributes[0], attributes[1]


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
        merge_of = _merge_of(type(pair.living))
        if merge_of is None or merge_of is not _merge_of(type(pair.twin)) or id(pair.living) in merged:
            continue
        merged.add(id(pair.living))
        writes.late(merge_of(pair, fates, translate, writes, removed).ops)
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
        return self.touched or any(leads_to(part, self.fates.fresh) for part in _registered(value))

    def is_gone(self, value: Any) -> bool:
        """Whether an entry of the living container is to go, unless the new version has it too."""
        return leads_to(value, self.fates.gone)


class _DictMerge(_Merge):
    changes: dict[Any, tuple[Any, Any]] | None = None
    """Key -> (what was there, what was written), once it is known. Keys are those of the new version."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.inner: list[_DictMerge | _ListMerge | _SetMerge] = []
        """What merges containers under keys that the new version does not make."""

    def ops(self, forward: bool) -> Iterator[Op]:
        small = size(self.living) <= _REGISTRY
        led = self.table.ops(forward) if small else []
        there = self.table.view() if small else self.living
        if self.changes is None:
            self.changes = dict(self.found(there))
        if forward:
            yield from led
        for merge_ in self.inner:
            yield from merge_.ops(forward)
        kind: Any = walk.kind_of(self.living)
        for key, (before, after) in self.changes.items():
            now = dict.get(there, key, _MISSING)
            if now is not before and now is not after:
                continue  # somebody has changed it since
            wanted = after if forward else before
            self.writes.hold(now)
            gone = wanted is _MISSING
            yield (kind.pop, self.living, key, None) if gone else (kind.__setitem__, self.living, key, wanted)
        if not forward:
            yield from led

    def found(self, there: dict[Any, Any]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
        small = dict.__len__(there) <= _REGISTRY
        again = self._registered_anew() if small else set()
        twin = {key: self.translate(value) for key, value in self._translated() if is_quiet(key)}
        for key, value in twin.items():
            living = dict.get(there, key, _MISSING)
            if living is _MISSING:
                if self.is_new(value) or self.is_new(key):
                    yield key, (_MISSING, value)
            elif self._is_merged(living, value) and self.fates.current(living) is living:
                continue  # for itself
            elif (self.is_gone(living) and not _is_definition(living)) or key in again:
                yield key, (living, value)
            elif (then := namesake(self.fates.current(living), value)) is not living:
                yield key, (living, then)
        for key, living in list(dict.items(there)) if small else ():
            if not is_quiet(key) or key in twin:
                continue
            if self.is_gone(key) or key in again or self._is_left(living):
                yield key, (living, _MISSING)
            elif self.fates.current(living) is not living:
                yield key, (living, self.fates.current(living))

    def _is_merged(self, living: Any, value: Any) -> bool:
        return walk.is_container(type(living)) and self._translate(type(value)) is type(living)

    def _is_left(self, living: Any) -> bool:
        """Whether an entry that the new version does not make is left by definitions that are gone.

        In a container that has others too, their entries are what goes; what is plain only describes a definition.
        """
        if not walk.is_container(type(living)):
            return self.is_gone(living)
        parts = _registered(living)
        others = [part for part in parts if not self.is_gone(part)]
        if len(others) == len(parts):
            return False
        if all(type(part) in UNIQUE_NEVER for part in others):
            return True
        merge_of = _merge_of(type(living))
        assert merge_of is not None, "it is a container"
        self.inner.append(
            merge_of(Kept(walk.kind_of(living)(), living), self.fates, self._translate, self.writes, None)
        )
        return False

    def _registered_anew(self) -> set[Any]:
        """The keys that led to an old definition which the new version registers anew, or not any more."""
        return {self.table.after(key) for key in elements(self.living) if self.is_gone(key) and is_quiet(key)}

    def _translated(self) -> Iterator[tuple[Any, Any]]:
        for key, value in list(dict.items(self.twin)):
            yield self.translate(key), value


class _ListMerge(_Merge):
    """The same for a deque."""

    lists: tuple[list[Any], list[Any]] | None = None
    """What was there, and what was written, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if size(self.living) > _REGISTRY:
            return
        now = elements(self.living)
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
        if issubclass(type(self.living), list):
            yield (list.__setitem__, self.living, slice(None), wanted)
        elif self._is_led(before, after):
            # Items are replaced where they stand, so that a loop over the deque that is under way goes on.
            yield from self.table.ops(forward)
        else:
            yield from ((deque.clear, self.living), (deque.extend, self.living, wanted))

    def _is_led(self, before: list[Any], after: list[Any]) -> bool:
        return walk.same_items(list(map(self.fates.leads.of, before)), after)

    def merged(self, living: list[Any]) -> list[Any]:
        twin = [self.translate(value) for value in elements(self.twin)]
        after = []
        for value in living:
            successor = self.fates.current(value)
            if _has(twin, successor) or not self.is_gone(value):
                after.append(successor)
        new = [v for v in twin if leads_to(v, self.fates.fresh) and not _has(after, v)]
        most = self.living.maxlen if issubclass(type(self.living), deque) else None
        return after + new if most is None else after + new[: most - len(after)]


class _SetMerge(_Merge):
    sets: tuple[list[Any], list[Any]] | None = None
    """What goes, and what comes, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if size(self.living) > _REGISTRY:
            return
        led = self.table.ops(forward)
        if self.sets is None:
            twin = {value for value in map(self.translate, elements(self.twin)) if is_quiet(value)}
            living = elements(self.living)
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


_MERGES: tuple[tuple[type, type[_DictMerge | _ListMerge | _SetMerge]], ...] = (
    (dict, _DictMerge),
    (list, _ListMerge),
    (deque, _ListMerge),
    (set, _SetMerge),
)


def _merge_of(kind: type) -> type[_DictMerge | _ListMerge | _SetMerge] | None:
    return next((merge_of for base, merge_of in _MERGES if issubclass(kind, base)), None)


def _registered(value: Any) -> list[Any]:
    """The entries of a container in a registry; anything else is one entry."""
    return values(value) if walk.is_container(type(value)) and size(value) <= _REGISTRY else [value]


def _is_definition(value: Any) -> bool:
    return type(value) is FunctionType or walk.is_class(value)


def _has(values: Iterable[Any], value: Any) -> bool:
    return any(item is value for item in values)
