"""Assignments: attributes of kept objects that statements of the new version set otherwise than those of the old one.

``app.debug = True`` is a definition beside that of the object, and so is ``app.db.options["a"] = 1``. The candidate's
statement has set the attribute of the twin; so what it has put there is written to the living object, wherever it lies:
among the attributes, in a slot, or where the setter of a property keeps it. Where the statement is gone, the twin has
what the constructor has put there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hotswap import walk
from hotswap.generation import Step
from hotswap.swap.beside import Beside, Setting, told
from hotswap.swap.keys import is_quiet
from hotswap.swap.setters import Storage, storages
from hotswap.swap.writes import Writes
from hotswap.walk import UNIQUE_NEVER

__all__ = ["MISSING", "assign", "in_slot", "is_alike", "kept_in", "reached"]

MISSING: Any = object()
"""Stands for what is not there."""

_DEEP = 8
"""How deep literals are compared."""


def assign(kept: Iterable[Beside], translate: Callable[[Any], Any], writes: Writes) -> Iterator[str]:
    """Set the attributes of kept objects that statements of the new version set otherwise than those of the old one.

    Arguments:
        kept: the objects, and what statements set of them.
        translate: gives the living object for a dropped twin.
        writes: receives the writes. What is there already was written by adapters, who know better.

    Yields a warning for each of which nobody can tell where it is kept, or that the program has set since.
    """
    written = writes.items
    for one in kept:
        for setting in one.settings:
            yield from _assign(one, setting, translate, written, writes)


def _assign(
    one: Beside,
    setting: Setting,
    translate: Callable[[Any], Any],
    written: Mapping[tuple[int, Any], Any],
    writes: Writes,
) -> Iterator[str]:
    *above, last = setting.path
    name = told(setting.path)
    what = f"{one.place} is kept, and a statement sets its {name} otherwise than before"
    if not setting.after:
        what = f"{one.place} is kept, and the statement that has set its {name} is gone"
    living, twin = reached(one.living, above, written), reached(one.twin, above)
    if living is twin is not MISSING:
        return  # both versions share it: what is registered in it is found as an effect of the import
    if MISSING in (living, twin) or type(living) is not translate(type(twin)) or not is_quiet(last.name):
        yield f"{what}: that stays as it is"
        return
    pairs = [(_Kept(living, storage), _Kept(twin, storage)) for storage in _storages((living, twin), last)]
    if any((id(there.item[0]), there.item[1]) in written for there, _ in pairs):
        return
    values = [(there.value(), translate(made.value())) for there, made in pairs]
    if values and all(there is after or is_alike(there, after) for there, after in values):
        return
    if not values or (setting.after and any(after is MISSING for _, after in values)):
        yield f"{what}: that stays as it is"
    elif not _is_ours(setting, [(there.storage, value) for (there, _), (value, _) in zip(pairs, values, strict=True)]):
        yield f"{what}: it keeps what the program has set since"
    elif not setting.after and ... in setting.before:
        yield f"{what}: that stays as it is"
    else:
        for (holder, _), (there, after) in zip(pairs, values, strict=True):
            holder.write(after, there, writes)


def reached(value: Any, path: Iterable[Step], written: Mapping[tuple[int, Any], Any] | None = None) -> Any:
    """Return what a path leads to from an object, or `MISSING`. No code of the objects runs.

    Arguments:
        value: the object.
        path: attributes and keys.
        written: the items of dicts that the swap writes: it leads to what is there then.
    """
    for step in path:
        holder = value if step.is_item else walk.instance_dict(value)
        if holder is not None and is_quiet(step.name) and (id(holder), step.name) in (written or ()):
            value = (written or {})[id(holder), step.name]
        elif step.is_item:
            value = dict.get(value, step.name, MISSING) if issubclass(type(value), dict) else MISSING
        else:
            found = _Kept(value, Storage(str(step.name))).value()
            value = _of_class(type(value), str(step.name)) if found is MISSING else found
        if value is MISSING:
            break
    return value


def kept_in(o: Any, step: Step) -> list[Any]:
    """Return what an object keeps of an attribute, or of an item: nothing if nobody can tell where.

    Arguments:
        o: the object.
        step: the attribute, or the key.
    """
    values = [_Kept(o, storage).value() for storage in _storages((o, o), step)]
    return [value for value in values if value is not MISSING]


def _of_class(cls: type, name: str) -> Any:
    """What a class has under a name, if it is no descriptor."""
    found = walk.inherited(cls, name, MISSING)
    described = any("__get__" in walk.class_dict(base) for base in walk.mro(type(found)))
    return MISSING if described else found


def _storages(pair: tuple[Any, Any], step: Step) -> list[Storage]:
    """Where two objects, one of each version, keep an attribute, or an item."""
    name = str(step.name)
    if step.is_item:
        return [Storage(None, (step.name,))] if issubclass(type(pair[0]), dict) else []
    if any(name in (walk.instance_dict(one) or {}) for one in pair) or _slot(pair[0], name) is not None:
        return [Storage(name)]
    return storages(type(pair[0]), name) or []


def _is_ours(setting: Setting, there: list[tuple[Storage, Any]]) -> bool:
    """Whether something may be what the old version has set, as far as that is known. A new statement wins."""
    if not setting.before or ... in setting.before:
        return True
    return any(all(_is_as_set(*one, before) for one in there) for before in setting.before)


def _is_as_set(storage: Storage, there: Any, before: Any) -> bool:
    if there is MISSING:
        return True
    try:
        made = storage.conversion(before) if storage.conversion is not None else MISSING
    except (TypeError, ValueError, OverflowError):
        return False  # then the setter has refused it, or made something else of it
    return there is made or is_alike(there, made)


def is_alike(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two values are the same as literals. No code of anybody runs.

    Arguments:
        one, other: the values.
        depth: how deep they lie in others.
    """
    kind = type(one)
    if kind is not type(other) or depth > _DEEP:
        return False
    if kind in UNIQUE_NEVER:
        return bool(one == other)
    if kind in (list, tuple):
        return len(one) == len(other) and all(is_alike(a, b, depth + 1) for a, b in zip(one, other, strict=True))
    if kind in (set, frozenset):
        return all(type(item) in UNIQUE_NEVER for item in (*one, *other)) and bool(one == other)
    if kind is dict:
        plain = all(type(key) in UNIQUE_NEVER for key in (*one, *other))
        return plain and one.keys() == other.keys() and all(is_alike(one[k], other[k], depth + 1) for k in one)
    return False


class _Kept:
    """What an object keeps in a storage.

    Arguments:
        owner: the object.
        storage: where in it.
    """

    def __init__(self, owner: Any, storage: Storage) -> None:
        self._owner, self.storage = owner, storage

    def value(self) -> Any:
        """What is there now."""
        held = self._held()
        for key in self.storage.keys:
            held = dict.get(held, key, MISSING) if issubclass(type(held), dict) else MISSING
        return held

    def _held(self) -> Any:
        name = self.storage.attribute
        if name is None:
            return self._owner
        held = (walk.instance_dict(self._owner) or {}).get(name, MISSING)
        slot = _slot(self._owner, name) if held is MISSING else None
        return in_slot(slot, self._owner) if slot is not None else held

    @property
    def item(self) -> tuple[Any, Any]:
        """The dict that it is an item of, and the key; None if it is in a slot."""
        if self.storage.keys:
            return self._held(), self.storage.keys[0]
        return walk.instance_dict(self._owner), self.storage.attribute

    def write(self, value: Any, there: Any, writes: Writes) -> None:
        """Add the writes."""
        holder, key = self.item
        slot = None if self.storage.keys or self.storage.attribute is None else _slot(self._owner, str(key))
        if slot is None and issubclass(type(holder), dict):
            if value is MISSING:
                writes.drop(holder, key)
            else:
                writes.item(holder, key, value)
        elif slot is not None and MISSING not in (there, value):
            writes.both([(slot.__set__, self._owner, value)], [(slot.__set__, self._owner, there)])


def _slot(o: Any, name: str) -> Any:
    """What gives a slot of an object; None if it has none of that name."""
    return next((slot for slot in walk.slot_descriptors(type(o)) if slot.__name__ == name), None)


def in_slot(slot: Any, holder: Any) -> Any:
    """What a slot of an object holds, or `MISSING`."""
    try:
        return slot.__get__(holder)
    except (AttributeError, TypeError):
        return MISSING  # empty, or one of a C type that hides behind this descriptor
