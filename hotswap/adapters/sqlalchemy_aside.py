"""What a candidate changes in the living objects of SQLAlchemy, kept aside until the commit.

A new mapped class and a new column change objects that live already: the registry, the metadata, tables, mappers. The
code that does so is SQLAlchemy's, and it runs events and checks. So it runs while the candidate is loaded, on the
living objects themselves, but its thread works with copies of what is in them: of their attributes, and of the
containers in those. References therefore need no translation afterwards; the commit puts the copies in place.

Guarantees: no other thread sees what is put aside. Assumes: SQLAlchemy reaches the attributes of these objects from
Python, and changes no living objects of other kinds than the `VIEWED` (`fingerprint` in the tests looks at the rest).
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from types import MemberDescriptorType
from typing import Any

import sqlalchemy
from sqlalchemy import event, util
from sqlalchemy.orm import attributes, clsregistry, decl_api, instrumentation, interfaces, mapperlib, relationships
from sqlalchemy.sql import base, selectable

from hotswap import walk

__all__ = ["MISSING", "VIEWED", "Aside", "Seen", "is_memoized", "slot_value"]

MISSING: Any = object()

VIEWED: tuple[type, ...] = (
    decl_api.registry,
    sqlalchemy.MetaData,
    sqlalchemy.Table,
    selectable.Join,
    mapperlib.Mapper,
    interfaces.MapperProperty,
    instrumentation.ClassManager,
    attributes.QueryableAttribute,
    relationships._RelationshipArg,
    clsregistry._ModuleMarker,
    clsregistry._MultipleClassMarker,
)
"""The classes of the objects that are changed."""

_WEAK: Any = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_RAW = (dict, list, set, deque, defaultdict, util.OrderedDict, util.OrderedSet, *_WEAK)
_MAPPED = ("_props", "_inheriting_mappers", "_columns")
"""Attributes of mappers and tables that are not computed from others."""

_SLOTTED = (base.ColumnCollection, util.Properties, event.base._Dispatch, event.attr._ListenerCollection)
_COMPUTED = (util.memoized_property, util.ro_memoized_property, util.ro_non_memoized_property)


class Seen:
    """A living object as the thread of the candidate sees it. Lives as long as the candidate.

    `before` has the attributes and slots as they were when it was first seen, `attributes`, `slots` and `items` those
    that the thread sees.
    """

    __slots__ = ("attributes", "before", "items", "items_before", "living", "sizes", "slots", "slots_before")

    def __init__(self, living: Any, copies: Copies) -> None:
        self.living = living
        self.before = dict(walk.instance_dict(living) or {})
        schema = issubclass(type(living), (sqlalchemy.Table, sqlalchemy.MetaData))  # types in columns listen to these
        self.attributes = {
            name: copies.of(value) if schema or name != "dispatch" else value for name, value in self.before.items()
        }
        values = {slot: slot_value(slot, living) for slot in walk.slot_descriptors(type(living))}
        self.slots_before = {slot: value for slot, value in values.items() if value is not MISSING}
        self.slots = {slot: copies.of(value) for slot, value in self.slots_before.items()}
        self.items: dict[Any, Any] | None = dict(dict.items(living)) if issubclass(type(living), dict) else None
        self.items_before = dict(self.items or {})
        self.sizes = {name: len(self.before[name]) for name in _MAPPED if name in self.before}

    def is_current(self) -> bool:
        """Whether nobody has mapped anything else to the living object since it was first seen."""
        namespace = walk.instance_dict(self.living) or {}
        same = all(namespace[name] is self.before[name] and len(namespace[name]) == n for name, n in self.sizes.items())
        return same and (self.items is None or self.items_before.keys() == dict.keys(self.living))

    def get(self, name: str) -> Any:
        """Return an attribute, as `object.__getattribute__` does."""
        if name == "__dict__":
            return self.attributes
        found = _of_class(self.living, name)
        kind = type(found)
        if kind is MemberDescriptorType:
            if found in self.slots:
                return self.slots[found]
            raise AttributeError(name)
        if hasattr(kind, "__set__") or hasattr(kind, "__delete__"):
            return found.__get__(self.living, type(self.living))
        if name in self.attributes:
            return self.attributes[name]
        if found is MISSING:
            raise AttributeError(f"{type(self.living).__name__!r} object has no attribute {name!r}")
        return found.__get__(self.living, type(self.living)) if hasattr(kind, "__get__") else found

    def set(self, name: str, value: Any) -> None:
        """Set an attribute, as `object.__setattr__` does."""
        found = _of_class(self.living, name)
        if type(found) is MemberDescriptorType:
            self.slots[found] = value
        elif hasattr(type(found), "__set__"):
            found.__set__(self.living, value)
        else:
            self.attributes[name] = value

    def delete(self, name: str) -> None:
        """Remove an attribute, as `object.__delattr__` does."""
        found = _of_class(self.living, name)
        if type(found) is MemberDescriptorType:
            self.slots.pop(found, None)
        elif name in self.attributes:
            del self.attributes[name]
        else:
            raise AttributeError(name)


class Copies:
    """Copies of containers. What shares a container shares its copy."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any, Any]] = {}
        self._of: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """Return the copy of a container of SQLAlchemy's, and anything else as it is."""
        known = self._made.get(id(value))
        if known is not None:
            return known[1]
        made = self._copied(value)
        if made is not value:
            self._made[id(value)] = (value, made, _shape(made))
            self._of[id(made)] = value
        return made

    def original(self, copy: Any) -> Any:
        """Return the living container for a copy, or `MISSING`."""
        return self._of.get(id(copy), MISSING)

    def changed(self, copy: Any) -> bool:
        """Whether a copy, or a copy in it, was changed."""
        living = self._of.get(id(copy), MISSING)
        if living is MISSING:
            return False
        return _shape(copy) != self._made[id(living)][2] or any(map(self.changed, _inside(copy)))

    def unchanged(self) -> Iterator[tuple[Any, Any]]:
        """Yield the copies that are as the living containers were: (copy, living)."""
        for living, made, _ in list(self._made.values()):
            if not self.changed(made):
                yield made, living

    def _copied(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind in _RAW:
            made = value.copy()
        elif kind is util.WeakSequence:
            made = util.WeakSequence(list(value))  # type: ignore[arg-type,no-untyped-call,unused-ignore]  # it is one
        elif issubclass(kind, util.FacadeDict):
            made = kind()
            dict.update(made, value)
        elif kind is mapperlib._ColumnMapping:
            made = kind(value.mapper)  # type: ignore[no-untyped-call,unused-ignore]  # SQLAlchemy left it untyped
            dict.update(made, value)
        elif issubclass(kind, _SLOTTED):
            made = kind.__new__(kind)
            self._made[id(value)] = (value, made, ())
            for slot in walk.slot_descriptors(kind):
                part = slot_value(slot, value)
                if part is not MISSING:
                    slot.__set__(made, part if slot.__name__ == "_empty_listeners" else self.of(part))
        else:
            return value
        if isinstance(made, dict):
            for key, item in list(dict.items(made)):
                copy = self.of(item)
                if copy is not item:
                    dict.__setitem__(made, key, copy)
        return made


class Aside:
    """What one candidate changes in living objects. Lives as long as its adapter.

    Arguments:
        registries: those that live; everything that they know is living.
        metadata: that which lives, with its tables.
    """

    def __init__(self, registries: Iterable[Any], metadata: Iterable[Any]) -> None:
        self.copies = Copies()
        self.seen: dict[int, Seen] = {}
        self.installed: dict[tuple[int, str], tuple[type, str, Any]] = {}
        self._living: dict[int, Any] = {}
        for registry in registries:
            self._enter_registry(registry)
        for one in metadata:
            self._enter(one, *one.tables.values())

    def look(self, living: Any) -> Seen | None:
        """Return how the candidate sees an object; None if it is no living one, and seen as it is."""
        found = self.seen.get(id(living))
        if found is None and id(living) in self._living:
            found = self.seen[id(living)] = Seen(living, self.copies)
        return found

    def install(self, cls: type, name: str, value: Any) -> None:
        """Note an attribute that a living class gets."""
        self.installed[id(cls), name] = (cls, name, value)

    def of_class(self, cls: type) -> dict[str, Any]:
        """Return what a living class gets."""
        return {name: value for owner, name, value in self.installed.values() if owner is cls}

    def roots(self) -> list[Any]:
        """Return what the living objects would lead to and do not yet."""
        found = [value for _, _, value in self.installed.values()]
        for seen in self.seen.values():
            values = [*seen.attributes.values(), *seen.slots.values(), *(seen.items or {}).values()]
            before = {*map(id, seen.before.values()), *map(id, seen.slots_before.values())}
            before.update(map(id, seen.items_before.values()))
            found += [v for v in values if id(v) not in before and self._is_news(v)]
        return found

    def _is_news(self, value: Any) -> bool:
        if type(value) is base.ReadOnlyColumnCollection:
            return False  # a view of another one; a module of the candidate may have kept it: `users.c`
        return self.copies.original(value) is MISSING or self.copies.changed(value)

    def _enter(self, *living: Any) -> None:
        self._living.update((id(one), one) for one in living)

    def _enter_registry(self, registry: Any) -> None:
        self._enter(registry)
        markers = [registry._class_registry.get("_sa_module_registry")]
        while markers:
            marker = markers.pop()
            if type(marker) in (clsregistry._ModuleMarker, clsregistry._MultipleClassMarker):
                self._enter(marker)
                if type(marker) is clsregistry._ModuleMarker:
                    markers += marker.contents.values()
        for manager in list(registry._managers):
            self._enter(manager, *manager.values())
            mapper = manager.__dict__.get("mapper")
            if mapper is not None:
                self._enter(mapper, *mapper._props.values())
                self._enter(*(part for prop in mapper._props.values() for part in getattr(prop, "_init_args", ())))
                self._enter_selectable(mapper.persist_selectable)

    def _enter_selectable(self, selected: Any) -> None:
        if isinstance(selected, selectable.Join):
            self._enter(selected)
            self._enter_selectable(selected.left)
            self._enter_selectable(selected.right)
        elif isinstance(selected, sqlalchemy.Table):
            self._enter(selected)


def is_memoized(seen: Seen, name: str) -> bool:
    """Whether an attribute was computed from others, and is computed again if it is not there."""
    if name in ("_memoized_keys", "dispatch") or name in seen.before.get("_memoized_keys", ()):
        return True
    return name in seen.attributes.get("_memoized_keys", ()) or isinstance(_of_class(seen.living, name), _COMPUTED)


def _of_class(living: Any, name: str) -> Any:
    for cls in walk.mro(type(living)):
        if name in walk.class_dict(cls):
            return walk.class_dict(cls)[name]
    return MISSING


def slot_value(slot: MemberDescriptorType, one: Any) -> Any:
    """Return what an object has in a slot, or `MISSING`."""
    try:
        return slot.__get__(one)
    except AttributeError:
        return MISSING


def _raw_parts(value: Any) -> list[Any]:
    parts = [slot_value(slot, value) for slot in walk.slot_descriptors(type(value))]
    return [part for part in parts if part is not MISSING and type(part) is not event.attr._EmptyListener]


def _inside(copy: Any) -> list[Any]:
    if isinstance(copy, dict):
        return list(dict.values(copy))
    return _raw_parts(copy) if isinstance(copy, _SLOTTED) else []


def _shape(copy: Any) -> Any:
    """What a container holds, by identity."""
    if isinstance(copy, dict):
        return [(id(key), id(value)) for key, value in dict.items(copy)]
    if isinstance(copy, _WEAK):
        return [(id(key), id(value)) for key, value in copy.data.items()]
    if type(copy) is util.WeakSequence:
        return list(map(id, copy._storage))
    if isinstance(copy, util.OrderedSet):
        return list(map(id, copy))
    if isinstance(copy, (set, frozenset)):
        return sorted(map(id, copy))
    if isinstance(copy, (list, deque)):
        return list(map(id, copy))
    return list(map(id, _raw_parts(copy)))
