"""Assignments: attributes of kept objects that statements of the new version set otherwise than those of the old one.

``app.debug = True`` is a definition beside that of the object. The candidate's statement has set the attribute of the
twin; so what it has put there is written to the living object, wherever it lies: among the attributes, in a slot, or
where the setter of a property keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hotswap import walk
from hotswap.swap.plan import Writes
from hotswap.swap.setters import Storage, storages
from hotswap.swap.state import Keeping

__all__ = ["MISSING", "assign", "in_slot"]

MISSING: Any = object()
"""Stands for what is not there."""


def assign(keeping: Keeping, translate: Callable[[Any], Any], writes: Writes) -> Iterator[str]:
    """Set the attributes of kept objects that statements of the new version set otherwise than those of the old one.

    Arguments:
        keeping: what is kept.
        translate: gives the living object for a dropped twin.
        writes: receives the writes.

    Yields a warning for each of which nobody can tell where it is kept, or that the program has set since.
    """
    for key, (place, names) in keeping.assigned.items():
        twin, living = keeping.twins[key]
        for name, before in names.items():
            told = f"{place} is kept, and a statement sets its {name} otherwise than before"
            found = [(_Kept(living, one), _Kept(twin, one), one) for one in _storages(twin, name)]
            values = [(one, there.value(), made.value()) for there, made, one in found]
            if not values or any(after is MISSING for *_, after in values):
                yield f"{told}: that stays as it is"
            elif before is not ... and not all(_is_as_set(one, there, before) for one, there, _ in values):
                yield f"{told}: it keeps what the program has set since"
            else:
                for (holder, *_), (_, there, after) in zip(found, values, strict=True):
                    holder.write(translate(after), there, writes)


def _storages(twin: Any, name: str) -> list[Storage]:
    """Where an object keeps an attribute."""
    if name in (walk.instance_dict(twin) or {}) or _slot(twin, name) is not None:
        return [Storage(name)]
    return storages(type(twin), name) or []


def _is_as_set(storage: Storage, there: Any, before: Any) -> bool:
    """Whether something is what the old version has set, as far as that is known."""
    if there is MISSING:
        return True
    try:
        made = storage.conversion(before) if storage.conversion is not None else MISSING
    except (TypeError, ValueError, OverflowError):
        return False  # then the setter has refused it, or made something else of it
    return type(there) is type(made) and bool(there == made)  # both are plain: no code of anybody runs


class _Kept:
    """What an object keeps in a storage.

    Arguments:
        owner: the object.
        storage: where in it.
    """

    def __init__(self, owner: Any, storage: Storage) -> None:
        self._owner, self._storage = owner, storage

    def value(self) -> Any:
        """What is there now."""
        name, keys = self._storage.attribute, self._storage.keys
        held = (walk.instance_dict(self._owner) or {}).get(name, MISSING)
        slot = _slot(self._owner, name) if held is MISSING else None
        held = in_slot(slot, self._owner) if slot is not None else held
        for key in keys:
            held = dict.get(held, key, MISSING) if issubclass(type(held), dict) else MISSING
        return held

    def write(self, value: Any, there: Any, writes: Writes) -> None:
        """Add the writes."""
        name, keys = self._storage.attribute, self._storage.keys
        slot, attributes = _slot(self._owner, name), walk.instance_dict(self._owner)
        if keys:
            holder = _Kept(self._owner, Storage(name)).value()
            if issubclass(type(holder), dict):
                writes.item(holder, keys[0], value)
        elif slot is None and attributes is not None:
            writes.item(attributes, name, value)
        elif slot is not None and there is not MISSING:
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
