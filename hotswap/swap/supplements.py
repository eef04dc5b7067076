"""Supplements: kept objects get what only the new constructor makes.

A module-level object whose definition did not change stays, but its class may have learned something: the new
``__init__`` sets an attribute, or puts a key into a dict, that the new code reads and that the old one never made. The
candidate has made such an object, the twin that is dropped; so what is missing is known. What is there in both stays
as it is in the living one.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.generation import Candidate, Live
from hotswap.patch import decode, parse
from hotswap.swap.assignments import MISSING, in_slot
from hotswap.swap.contents import Kept, inside
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.writes import Op, Writes

__all__ = ["Wording", "supplement"]

_ENTRIES = 10_000
"""A twin with more attributes or keys was filled with data; nobody looks for what a constructor put there."""

_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)

_DEEP = 3
"""How deep sequences in kept objects are looked into: a list of tables, their rows."""

_COMPARED = 64
"""Of more items not each of the ones is compared with each of the others."""


class Wording:
    """Which keys the new version speaks of and the old one did not. Lives as long as a swap is prepared.

    Arguments:
        live: the managed modules as they run.
        candidate: what is to take their place.
    """

    def __init__(self, live: Live, candidate: Candidate) -> None:
        self._live, self._candidate = live, candidate
        self._known: dict[str, bool] = {}

    def is_new(self, key: str) -> bool:
        """Whether a key is written in the new sources, and not in the old ones.

        What the old version knew and the living object lacks was taken out at run time, and stays out.
        """
        if key not in self._known:
            new, old = self._texts
            self._known[key] = any(_mentions(t, key) for t in new) and not any(_mentions(t, key) for t in old)
        return self._known[key]

    @cached_property
    def _texts(self) -> tuple[list[str], list[str]]:
        """The new sources, and all old ones; no new ones where an old one is not known, so that nothing is new."""
        patch = self._candidate.patch
        if any(entry.source is None and entry.name in patch.sources for entry in self._live):
            return [], []
        new = [decode(source.data) for source in patch.sources.values()]
        return new, [entry.source for entry in self._live if entry.source is not None]


def _mentions(text: str, key: str) -> bool:
    """Whether a source has the key as a string, or as the name of an argument: ``dict(key=...)``."""
    if key not in text:
        return False
    return any(
        (isinstance(node, ast.Constant) and node.value == key and type(node.value) is str)
        or (isinstance(node, ast.keyword) and node.arg == key)
        for statement in parse(text)
        for node in ast.walk(statement)
    )


def supplement(kept: Iterable[Kept], translate: Callable[[Any], Any], wording: Wording, writes: Writes) -> None:
    """Add the writes that give kept objects the attributes and keys which their twins have and they lack.

    Arguments:
        kept: the kept objects, and what is inside of them.
        translate: gives the living object for a dropped twin.
        wording: knows which keys of dicts are new; attributes of instances need not be.
        writes: receives the writes; they are made out when the time comes. A rollback takes out what they put in.
    """
    whole = list(kept)
    pairs = {id(pair.living): pair for pair in (*whole, *_members(whole, translate)) if pair.living is not pair.twin}
    inner = {id(pair.twin): pair for pair in pairs.values()}

    def living(value: Any) -> Any:
        found = inner.get(id(value))
        return translate(value) if found is None or found.twin is not value else found.living

    for pair in pairs.values():
        if translate(type(pair.twin)) is not type(pair.living) or walk.is_class(pair.twin):
            continue
        holder: dict[Any, Any] | None
        source: dict[Any, Any] | None
        if type(pair.twin) is dict:
            holder, source = pair.living, pair.twin
        elif all(translate(base) is base for base in walk.mro(type(pair.twin))):
            continue  # its constructor is what it was: what is missing was taken out
        else:
            holder, source = walk.instance_dict(pair.living), walk.instance_dict(pair.twin)
            slots = _empty_slots(pair)
            if slots:
                writes.late(_Slots(pair.living, {slot: living(value) for slot, value in slots}).ops)
        if holder is None or source is None:
            continue
        if holder is pair.living:
            names = [name for name in _lacking(holder, source) if wording.is_new(name)]
        else:
            names = [name for name in _lacking(holder, source) if not _is_computed(type(pair.twin), name)]
        if names:
            writes.late(_Items(holder, {name: living(source[name]) for name in names}).ops)


def _members(kept: list[Kept], translate: Callable[[Any], Any]) -> Iterator[Kept]:
    """Yield what is in the lists, tuples and sets of kept objects, paired with the twins of it, and what is inside.

    The same statement has made both, so that what stands at the same place is the same thing, as long as the lengths
    agree, and nothing at another place is more like it.
    """
    known = {id(pair.living) for pair in kept}
    level = kept
    for _ in range(_DEEP):
        found: list[Kept] = []
        for pair in level:
            kind = type(pair.living)
            if kind is not type(pair.twin) or pair.touched or pair.living is pair.twin:
                continue
            if kind in _SEQUENCES and len(pair.living) == len(pair.twin) <= _ENTRIES:
                found += _placed(list(pair.twin), list(pair.living), translate)
            elif kind in _SETS and len(pair.living) == len(pair.twin) <= _COMPARED:
                found += _alike(list(pair.twin), list(pair.living), translate)
        found = [pair for pair in found if _is_new_pair(pair, known, translate)]
        level = [*found, *inside(found, translate)]
        yield from level


def _is_new_pair(pair: Kept, known: set[int], translate: Callable[[Any], Any]) -> bool:
    if type(pair.twin) in UNIQUE_NEVER or walk.is_class(pair.twin) or pair.living is pair.twin:
        return False
    kind = type(pair.living)
    if translate(type(pair.twin)) is not kind or id(pair.living) in known:
        return False
    if kind not in (dict, *_SEQUENCES, *_SETS) and kind is type(pair.twin):
        return False  # its class is what it was
    known.add(id(pair.living))
    return True


def _placed(twins: list[Any], livings: list[Any], translate: Callable[[Any], Any]) -> Iterator[Kept]:
    """Pair the items of two sequences."""
    for twin, living in zip(twins, livings, strict=False):
        if _is_alike(twin, living, translate):
            yield Kept(twin, living)
        elif len(twins) <= _COMPARED and not any(_is_alike(other, living, translate) for other in twins):
            yield Kept(twin, living)  # it has changed since


def _alike(twins: list[Any], livings: list[Any], translate: Callable[[Any], Any]) -> Iterator[Kept]:
    """Pair the items of two sets that have no place: those that are alike in what both have, if that is clear."""
    matches = [[living for living in livings if _is_alike(twin, living, translate)] for twin in twins]
    for twin, found in zip(twins, matches, strict=True):
        if len(found) == 1 and sum(found[0] is living for others in matches for living in others) == 1:
            yield Kept(twin, found[0])


def _is_alike(twin: Any, living: Any, translate: Callable[[Any], Any]) -> bool:
    if translate(type(twin)) is not type(living):
        return False
    mine, theirs = walk.instance_dict(living) or {}, walk.instance_dict(twin) or {}
    return all(_told(mine[name]) == _told(value) for name, value in list(theirs.items()) if name in mine)


def _told(value: Any) -> Any:
    """What tells a value from others of its kind, as far as that is seen without running its code."""
    kind = type(value)
    if kind is FunctionType:
        return kind, value.__module__, value.__qualname__
    return (kind, value) if kind in UNIQUE_NEVER else None


def _lacking(holder: dict[Any, Any], source: dict[Any, Any]) -> list[str]:
    if len(source) > _ENTRIES:
        return []
    return [key for key in list(source) if type(key) is str and key not in holder]


def _is_computed(cls: type, name: str) -> bool:
    """Whether an attribute is what a descriptor has remembered in the instance, as `cached_property` does."""
    for base in walk.mro(cls):
        if name in walk.class_dict(base):
            kind = type(walk.class_dict(base)[name])
            return kind is not FunctionType and any("__get__" in walk.class_dict(above) for above in walk.mro(kind))
    return False


def _empty_slots(pair: Kept) -> list[tuple[Any, Any]]:
    """The slots that are empty in the living object and not in the twin: (descriptor of the living class, value)."""
    there = {slot.__name__: slot for slot in walk.slot_descriptors(type(pair.living))}
    found = []
    for slot in walk.slot_descriptors(type(pair.twin)):
        mine = there.get(slot.__name__)
        value = in_slot(slot, pair.twin)
        if mine is not None and value is not MISSING and in_slot(mine, pair.living) is MISSING:
            found.append((mine, value))
    return found


class _Items:
    """Attributes or keys to add. Only what is missing at that time is added; only what was added is taken out."""

    def __init__(self, holder: Any, values: dict[Any, Any]) -> None:
        self.holder, self.values = holder, values
        self.added: set[Any] = set()

    def ops(self, forward: bool) -> Iterator[Op]:
        for name, value in self.values.items():
            there = self.there(name)
            if there is not MISSING and not (name in self.added and there is value):
                continue  # it is there, or somebody has changed it since
            if forward:
                self.added.add(name)
                yield self.put(name, value)
            elif name in self.added:
                # A deletion is a write and a deletion, so that it works whether or not it is there.
                yield from (self.put(name, value), self.take(name))

    def there(self, name: Any) -> Any:
        return self.holder.get(name, MISSING)

    def put(self, name: Any, value: Any) -> Op:
        return (dict.__setitem__, self.holder, name, value)

    def take(self, name: Any) -> Op:
        return (dict.pop, self.holder, name, None)


class _Slots(_Items):
    """The same for slots; `values` maps their descriptors."""

    def there(self, name: Any) -> Any:
        return in_slot(name, self.holder)

    def put(self, name: Any, value: Any) -> Op:
        return (name.__set__, self.holder, value)

    def take(self, name: Any) -> Op:
        return (name.__delete__, self.holder)
