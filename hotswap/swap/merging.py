"""Merging: kept registries get what the new version registers, and lose what it has not any more.

Registries are containers that decorators, `__init_subclass__` and metaclasses fill while a module is imported. Keeping
the old one loses the new entries; taking the new one loses what was registered at run time. So they are merged.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hotswap import walk
from hotswap.patch import Place
from hotswap.swap.contents import LARGE, Kept, Translate
from hotswap.swap.fates import Fates, leads_to
from hotswap.swap.hashing import hashing
from hotswap.swap.keys import REBUILT, elements, namesake, size
from hotswap.swap.leaves import identities, is_spelled
from hotswap.swap.registry import Registry, entries_of, is_definition
from hotswap.swap.revisions import Revisions, Verdict
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.writes import Op, Writes

__all__ = ["merge"]

_MISSING: Any = object()


def merge(kept: Iterable[Kept], fates: Fates, translate: Translate, writes: Writes, revisions: Revisions) -> set[int]:
    """Bring the kept containers up to date: registries that decorators and `__init_subclass__` fill at import.

    Entries of what the new version registers anew are added; entries that lead to an old definition lead to its
    successor; entries whose definition is gone are dropped. What was put in at run time stays, what was taken out at
    run time stays out, and what stands under a key whose hash is computed by Python code is left alone, with a warning.

    Arguments:
        kept: the kept objects.
        fates: what becomes of definitions.
        translate: gives the living object for a dropped twin.
        writes: receives the writes; they are made out when the time comes, from what is there then.
        revisions: knows which entries the new version makes otherwise.

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
        if pair.inner and pair.place is not None and revisions.replaces(pair.place, pair.living, pair.twin):
            continue  # another one takes its place
        merging = merge_of(pair, fates, translate, writes, revisions, removed)
        if merging.place is not None and (unknown := merging.unknown()):
            revisions.warn(merging.place, unknown)
        if merging.place is not None and (unclear := merging.unclear()):
            revisions.warn(merging.place, unclear, departed=True)
        if not isinstance(merging, _ListMerge) and merging.place is not None and (unhashed := merging.unhashed()):
            revisions.leave(merging.place, unhashed)
        writes.late(merging.ops)
    return merged


def _weak(pair: Kept) -> tuple[Kept, Callable[[Any], None]] | None:
    """What a weak dict or set keeps in a plain one, and whom its weak references tell when they die."""
    kind = type(pair.living)
    if kind not in (weakref.WeakKeyDictionary, weakref.WeakSet) or type(pair.twin) is not kind:
        return None
    living, twin = (walk.instance_dict(one) or {} for one in (pair.living, pair.twin))
    if not {"data", "_remove"} <= living.keys() & twin.keys():
        return None
    return Kept(twin["data"], living["data"], pair.touched, pair.place), living["_remove"]


class _DictMerge(Registry):
    changes: dict[Any, tuple[Any, Any]] | None = None
    """Key -> (what was there, what was written), once it is known. Keys are those of the new version."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.inner: list[_DictMerge | _ListMerge | _SetMerge] = []
        """What merges containers under keys that the new version does not make, or that are led."""

    def ops(self, forward: bool) -> Iterator[Op]:
        small = size(self.living) <= LARGE
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
            yield from hashing((key,))
            yield (kind.pop, self.living, key, None) if gone else (kind.__setitem__, self.living, key, wanted)
        if not forward:
            yield from led

    def found(self, there: dict[Any, Any]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
        small = dict.__len__(there) <= LARGE
        again = self._registered_anew() if small else set()
        twin = {key: self.translate(value) for key, value in self._translated() if self.is_quiet(key)}
        for key, value in twin.items():
            living = dict.get(there, key, _MISSING)
            if living is _MISSING:
                if self.is_new(value) or self.is_new(key) or self._is_put_in(key):
                    yield key, (_MISSING, value)
            elif self._is_merged(living, value) and self.fates.current(living) is living:
                if self.place is not None and self.revisions.replaces(self.place.at(key), living, value):
                    yield key, (living, value)
                elif not dict.__contains__(self.living, key):  # else it is merged for itself
                    self._merge_inside(value, living, self.place and self.place.at(key))
            elif (
                (self.is_gone(living) and not is_definition(living))
                or key in again
                or self.judged(living, value, key) is Verdict.REVISED
            ):
                yield key, (living, value)
            elif (then := namesake(self.fates.current(living), value)) is not living:
                yield key, (living, then)
        for key, living in list(dict.items(there)) if small else ():
            if not self.is_quiet(key) or key in twin:
                continue
            if (
                self.is_gone(key)
                or key in again
                or self._is_left(living)
                or self._is_dropped(key, living)
                or self.departs(key, living) is Verdict.REVISED
            ):
                yield key, (living, _MISSING)
            elif self.fates.current(living) is not living:
                yield key, (living, self.fates.current(living))

    def unknown(self) -> list[Any]:
        """The keys of entries of which it can't be told whether they were changed at run time."""
        found: list[Any] = []
        if self.place is None:
            return found
        if size(self.living) <= LARGE and _plain(self.living) != _plain(self.twin):
            self.revisions.concern(self.place)  # the commit will ask: sources are read now
        for key, value in self._translated():
            living = dict.get(self.living, key, _MISSING) if self.is_quiet(key) else _MISSING
            after = self.translate(value)
            if living is _MISSING or self._is_merged(living, after) or self.is_gone(living):
                continue
            if self.judged(living, after, key) is Verdict.UNKNOWN:
                found.append(key)
        return found

    def unclear(self) -> list[Any]:
        """The keys of entries that the new version does not make, where it can't be told whether the old import did."""
        if size(self.living) > LARGE:
            return []
        twin = {key for key, _ in self._translated() if self.is_quiet(key)}
        return [
            key
            for key, living in list(dict.items(self.living))
            if self.is_quiet(key)
            and self.fates.leads.of(key) not in twin
            and not (self.is_gone(key) or self.is_gone(living))
            if self.departs(key, living) is Verdict.UNKNOWN and not self._is_dropped(key, living)
        ]

    def _is_put_in(self, key: Any) -> bool:
        """Whether only the new version speaks of a key that the living container lacks: nobody has taken it out."""
        return self.place is not None and self.revisions.adds(self.place, key)

    def _is_dropped(self, key: Any, living: Any) -> bool:
        """Whether the statement that put an entry in is gone: nobody speaks of its key any more."""
        if self.place is None or not is_spelled(key):
            return False
        place = self.place.at(key)
        return self.revisions.drops(place, key) and self.revisions.drops(place, living)

    def _is_merged(self, living: Any, value: Any) -> bool:
        return walk.is_container(type(living)) and self._translate(type(value)) is type(living)

    def _is_left(self, living: Any) -> bool:
        """Whether an entry that the new version does not make is left by definitions that are gone.

        In a container that has others too, their entries are what goes; what is plain only describes a definition.
        """
        if not walk.is_container(type(living)):
            return self.is_gone(living)
        parts = entries_of(living)
        others = [part for part in parts if not self.is_gone(part)]
        if len(others) == len(parts):
            return False
        if all(type(part) in UNIQUE_NEVER for part in others):
            return True
        self._merge_inside(walk.kind_of(living)(), living)
        return False

    def _merge_inside(self, twin: Any, living: Any, place: Place | None = None) -> None:
        """Merge a container that stands under a key which the new version does not make, or that is led."""
        merge_of = _merge_of(type(living))
        assert merge_of is not None, "it is a container"
        pair = Kept(twin, living, self.touched, place)
        self.inner.append(merge_of(pair, self.fates, self._translate, self.writes, self.revisions))

    def _registered_anew(self) -> set[Any]:
        """The keys that led to an old definition which the new version registers anew, or not any more."""
        return {self.table.after(key) for key in elements(self.living) if self.is_gone(key) and self.is_quiet(key)}

    def _translated(self) -> Iterator[tuple[Any, Any]]:
        for key, value in list(dict.items(self.twin)):
            yield self.translate(key), value


class _ListMerge(Registry):
    """The same for a deque."""

    lists: tuple[list[Any], list[Any]] | None = None
    """What was there, and what was written, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if size(self.living) > LARGE:
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
            there, known = set(map(id, now)), set(map(id, other))
            leads = self.fates.leads if forward else self.fates.leads.back
            removed = known - there
            more = [leads.of(value) for value in now if id(value) not in known]
            wanted = [value for value in wanted if id(value) not in removed] + more
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
        like, again = self._by_definitions(twin), set(map(id, twin))
        after = []
        for value in living:
            successor = self.fates.current(value)
            if id(successor) in again or not (self.is_gone(value) or self.is_dropped(value, twin)):
                after.append(next(self._told(value, like, Verdict.REVISED), successor))
        there = set(map(id, after))
        new = [v for v in twin if id(v) not in there and (leads_to(v, self.fates.fresh) or self.is_added(v, after))]
        most = self.living.maxlen if issubclass(type(self.living), deque) else None
        if most is None and self.layout is not None and walk.same_items(after, living):
            laid_out = self._laid_out(living, twin, new)
            if laid_out is not None:
                return laid_out
        return after + new if most is None else after + new[: most - len(after)]

    def _laid_out(self, living: list[Any], twin: list[Any], new: list[Any]) -> list[Any] | None:
        """The new elements where the import has put them, in the place of others maybe; None if that is not known.

        It is not once the program has changed the list.
        """
        assert self.layout is not None
        before, after = self.layout
        made = list(map(self.translate, after))
        left_out = Counter(map(id, twin)) - Counter(map(id, new))
        if not walk.same_items(before, living) or (left_out and len(made) < len(before) + len(twin)):
            return None
        found: list[Any] = []
        for value in reversed(made):
            left_out[id(value)] -= 1
            if left_out[id(value)] < 0:
                found.append(value)
        return found[::-1]

    def unknown(self) -> list[Any]:
        """The elements of which it can't be told whether they were changed at run time."""
        if size(self.living) > LARGE:
            return []
        like = self._by_definitions([self.translate(value) for value in elements(self.twin)])
        living = elements(self.living)
        told = [v for v in living if like and next(self._told(v, like, Verdict.UNKNOWN), _MISSING) is not _MISSING]
        return told + self.untold(living)

    def _by_definitions(self, twin: list[Any]) -> dict[frozenset[int], list[Any]]:
        """The elements that are made of definitions, by those."""
        found: dict[frozenset[int], list[Any]] = {}
        for value in twin if self.place is not None else ():
            if type(value) in REBUILT and (parts := identities(value)):
                found.setdefault(parts, []).append(value)
        return found

    def _told(self, value: Any, like: Mapping[frozenset[int], list[Any]], verdict: Verdict) -> Iterator[Any]:
        """What the new version has put in the place of an element that is made of definitions."""
        if like and type(value) in REBUILT and not self.is_gone(value):
            others = like.get(identities(self.fates.current(value)), ())
            yield from (one for one in others if type(one) is type(value) and self.judged(value, one) is verdict)


class _SetMerge(Registry):
    sets: tuple[list[Any], list[Any]] | None = None
    """What goes, and what comes, once it is known."""

    def ops(self, forward: bool) -> Iterator[Op]:
        if size(self.living) > LARGE:
            return
        led = self.table.ops(forward)
        if self.sets is None:
            twin = {value for value in map(self.translate, elements(self.twin)) if self.is_quiet(value)}
            living = elements(self.living)
            there = {self.table.after(value) for value in living if self.is_quiet(value)}
            leave = [self.table.after(v) for v in living if self._is_listed(v) and self.is_gone(v)]
            leave += [v for v in living if self.is_dropped(v, twin)]
            come = [v for v in twin if self._is_listed(v) and self.is_new(v) and v not in there]
            come += [v for v in twin if self.is_added(v, there)]
            self.sets = [v for v in leave if v not in twin], come
        leave, come = self.sets if forward else self.sets[::-1]
        self.writes.hold(leave)
        if forward:
            yield from led
        yield from hashing([*leave, *come])
        yield from ((set.discard, self.living, value) for value in leave)
        yield from ((set.add, self.living, value) for value in come)
        if not forward:
            yield from led

    def unknown(self) -> list[Any]:
        """The elements of which it can't be told why they are there, or lack."""
        return self.untold(elements(self.living))

    def _is_listed(self, value: Any) -> bool:
        """Whether an element is a definition, or made of some: what an import registers, not the program's data."""
        return self.is_quiet(value) and (is_definition(value) or type(value) in REBUILT)


_MERGES: tuple[tuple[type, type[_DictMerge | _ListMerge | _SetMerge]], ...] = (
    (dict, _DictMerge),
    (list, _ListMerge),
    (deque, _ListMerge),
    (set, _SetMerge),
)


def _merge_of(kind: type) -> type[_DictMerge | _ListMerge | _SetMerge] | None:
    return next((merge_of for base, merge_of in _MERGES if issubclass(kind, base)), None)


def _plain(container: Any) -> set[Any]:
    return {value for value in elements(container) if type(value) in UNIQUE_NEVER}
