"""The writes that put what a candidate has changed in living objects of SQLAlchemy in their place.

An attribute gets the copy that the candidate has changed, so that who iterates over the old container goes on with it.
Two kinds of containers are changed themselves: those that others hold (`table.c`, a class manager, to which each row
leads), and those that grow while the service runs (the tables of the metadata). What was computed from others, and
kept, is dropped on both ways.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import MemberDescriptorType
from typing import Any

import sqlalchemy
from sqlalchemy import event, util
from sqlalchemy.orm import clsregistry, decl_api
from sqlalchemy.sql import base

from hotswap import walk
from hotswap.adapters.sqlalchemy_aside import MISSING, Aside, Seen, is_memoized, slot_value
from hotswap.swap import Change, Facts, Op

__all__ = ["write_aside", "write_engines"]

_GROWING: dict[type, tuple[str, ...]] = {
    decl_api.registry: ("_class_registry", "_managers"),
    sqlalchemy.MetaData: ("tables", "_fk_memos"),
    clsregistry._ModuleMarker: ("contents",),
}
"""Containers to which the service itself adds while it runs: only the entries of the candidate come and go."""


def write_aside(aside: Aside, facts: Facts) -> bool:
    """Add the writes for all living objects; return whether more than entries in registries changes."""
    for copy, living in aside.copies.unchanged():
        facts.redirect(copy, living)  # what the candidate has made shares the living one
    touched = [_write_seen(seen, aside, facts) for seen in aside.seen.values()]
    for seen, changes in zip(aside.seen.values(), touched, strict=True):
        # Asked for the plan, and once more for the commit: another patch or the service may have been quicker.
        if changes and not seen.is_current():
            sentence = f"{seen.living} was mapped otherwise since the patch was staged: stage it once more"
            facts.plan.unsupported.append(Change("mapping-changed", "", "", sentence))
    for cls, name, value in aside.installed.values():
        # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
        back = [(type.__delattr__, cls, name), (type.__setattr__, cls, name, None)]
        facts.writes.both([(type.__setattr__, cls, name, value)], back)  # the way back is walked in reverse
    return any(touched)


def write_engines(engines: Iterable[Any], facts: Facts) -> None:
    """Give engines new caches of statements: those in the old ones were compiled for the old columns.

    The old caches come back with a rollback. A thread that is compiling a statement at the instant of the swap puts it
    into the cache with which it began.
    """
    made: dict[int, Any] = {}
    for engine in engines:
        old = engine.__dict__.get("_compiled_cache")
        if type(old) is util.LRUCache:
            new = made.setdefault(id(old), util.LRUCache(old.capacity, old.threshold, old.size_alert))
            facts.writes.item(engine.__dict__, "_compiled_cache", new)


def _write_seen(seen: Seen, aside: Aside, facts: Facts) -> bool:
    """Add the writes for one living object; return whether it is another one then."""
    living = seen.living
    growing = next((names for kind, names in _GROWING.items() if isinstance(living, kind)), ())
    wanted: dict[str, Any] = {}
    changed = False
    for name in dict.fromkeys([*seen.before, *seen.attributes]):
        before, value = seen.before.get(name, MISSING), seen.attributes.get(name, MISSING)
        if _same(value, before, aside):
            continue
        if name == "dispatch":
            _write_listeners(before, value, aside, facts)
        elif name in growing:
            _grow(before, value, aside, facts)
        elif isinstance(before, base.ColumnCollection) and aside.copies.original(value) is before:
            changed = True
            parts = {slot: slot_value(slot, value) for slot in walk.slot_descriptors(type(before))}
            parts = {slot: part for slot, part in parts.items() if slot.__name__ != "_parent"}
            _write_slots(
                before, {s: part for s, part in parts.items() if not _same(part, s.__get__(before), aside)}, facts
            )
        else:
            wanted[name] = value
            changed = changed or before is not MISSING or not is_memoized(seen, name)
    slots_wanted: dict[MemberDescriptorType, Any] = {}
    for slot, value in seen.slots.items():
        before = seen.slots_before.get(slot, MISSING)
        if _same(value, before, aside):
            continue
        if slot.__name__ in growing:
            _grow(before, value, aside, facts)
        else:
            slots_wanted[slot] = value
    _write_slots(living, slots_wanted, facts)
    added = {key: value for key, value in (seen.items or {}).items() if key not in seen.items_before}
    for key, value in added.items():
        undo = (dict.pop, living, key, None)
        facts.writes.both([(dict.__setitem__, living, key, value)], [undo])
    if changed:
        _write_attributes(seen, wanted, facts)
    return changed or bool(added)


def _same(value: Any, before: Any, aside: Aside) -> bool:
    if value is before:
        return True
    return before is not MISSING and aside.copies.original(value) is before and not aside.copies.changed(value)


def _write_slots(living: Any, wanted: Mapping[MemberDescriptorType, Any], facts: Facts) -> None:
    saved: dict[MemberDescriptorType, Any] = {}

    def late(forward: bool) -> Iterator[Op]:
        for slot, value in wanted.items():
            if slot not in saved:
                saved[slot] = slot_value(slot, living)
            target = value if forward else saved[slot]
            # A deletion is a write and a deletion, so that it works whether or not there is a value.
            yield (slot.__set__, living, None if target is MISSING else target)
            if target is MISSING:
                yield (slot.__delete__, living)

    if wanted:
        facts.writes.late(late)


def _write_listeners(living: Any, copy: Any, aside: Aside, facts: Facts) -> None:
    """Have the columns that are added hear what is told to listeners on a table: their types may be made with it."""
    for slot in walk.slot_descriptors(type(living)) if living is not MISSING else ():
        value = slot_value(slot, copy)
        if type(value) is not event.attr._ListenerCollection:
            continue
        there = aside.copies.original(value)
        if there is MISSING:
            _write_slots(living, {slot: value}, facts)
        elif aside.copies.changed(value):
            parts = [part for part in walk.slot_descriptors(type(value)) if part.__name__ in ("listeners", "propagate")]
            _write_slots(there, {part: part.__get__(value) for part in parts}, facts)


def _write_attributes(seen: Seen, wanted: Mapping[str, Any], facts: Facts) -> None:
    """Have an object get the attributes that the candidate sees, and lose what it has computed from the old ones."""
    namespace: Any = walk.instance_dict(seen.living)
    saved: dict[str, Any] = {}

    def computed() -> list[str]:
        return [name for name in namespace.get("_memoized_keys", ()) if name in namespace]

    def late(forward: bool) -> Iterator[Op]:
        if forward and not saved:
            saved.update(namespace)
        target = wanted if forward else {name: saved.get(name, MISSING) for name in (*wanted, *saved)}
        for name in dict.fromkeys([*target, *computed()]):
            value = target.get(name, MISSING)
            if not forward and name not in wanted and name in namespace and name not in computed():
                continue  # the service has set it meanwhile
            if value is not MISSING:
                yield (dict.__setitem__, namespace, name, value)
            elif name in namespace or name in wanted:
                yield (dict.pop, namespace, name, None)

    facts.writes.late(late)


def _grow(container: Any, copy: Any, aside: Aside, facts: Facts) -> None:
    """Add the entries that are in a copy and not in the living container."""
    facts.claim(container)
    if isinstance(container, weakref.WeakKeyDictionary):
        present = {id(key) for key in container}
        for key, value in list(copy.items()):
            if id(key) not in present:
                reference = weakref.ref(key, container._remove)  # type: ignore[attr-defined]  # as it does itself
                hash(reference)  # it is remembered: no code of the key runs in the commit
                facts.writes.item(container.data, reference, value)  # type: ignore[attr-defined]  # as above
        return
    weak = type(container) is weakref.WeakValueDictionary
    for key, value in list(copy.items()):
        before = container.get(key, MISSING)
        if _same(value, before, aside):
            continue
        if weak:
            reference = weakref.KeyedRef(facts.translate(value), container._remove, key)
            facts.writes.item(container.data, key, reference)
        else:
            facts.writes.item(container, key, value)
