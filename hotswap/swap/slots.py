"""Slots: places for attributes that instances had no room for when their class was made.

`__slots__` are places in the memory of an instance, and existing instances do not get any. So a slot that the new
version adds becomes a *shadow slot*: a data descriptor that keeps the value beside the object. Where instances have a
`__dict__`, it is kept there. Where they have none, one of the slots that they do have is made the *carrier*: once a
shadow is written, a box lies in it, which holds what the slot held before and all values of the shadows. So the
values live exactly as long as the object, the collector sees them, and nothing is keyed by an id.

A slot that is removed stays: existing instances keep what is in it.

Guarantees: on a build with the GIL, no value is lost when threads write slots of one object at the same time. No code
of anybody's runs under the lock: what is replaced dies after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from hotswap import walk

__all__ = [
    "DROP",
    "Carrier",
    "ShadowSlot",
    "is_slot",
    "namespace_of",
    "padded_slots",
    "room_for",
    "shadow_slots",
    "shape_differs",
    "slot_names",
    "slots_refused",
]

DROP: Any = object()
"""Stands for an attribute that a class shall not have."""

_MISSING: Any = object()
_DELETED: Any = object()
_BASE = type.__dict__["__base__"]
_POINTER = tuple.__itemsize__

_lock = threading.RLock()
"""Held while a box is put into a slot, or a slot is written that may have a box; a finalizer may come in between."""


class _Box:
    """What lies in the carrier of an object: the value of the slot itself, and those of the shadow slots."""

    __slots__ = ("own", "values")

    def __init__(self) -> None:
        self.own: Any = _MISSING
        self.values: dict[Any, Any] = {}


class Carrier:
    """The descriptor of a slot that may hold a box. It stays when the swap is taken back: a box may be left in it.

    Arguments:
        member: CPython's own descriptor of the slot.
    """

    def __init__(self, member: MemberDescriptorType) -> None:
        self.member = member
        self.__name__ = member.__name__
        self.__objclass__ = member.__objclass__
        self.__doc__ = member.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        found = self.member.__get__(instance)
        if type(found) is not _Box:
            return found
        if found.own is _MISSING:
            raise _no_attribute(instance, self.__name__)
        return found.own

    def __set__(self, instance: Any, value: Any) -> None:
        was = None  # what is replaced dies after the lock is free: it may have a finalizer
        with _lock:
            box = self._box(instance)
            if box is None:
                was = self._raw(instance)
                self.member.__set__(instance, value)
            else:
                was, box.own = box.own, value
        del was

    def __delete__(self, instance: Any) -> None:
        was = self.__get__(instance)
        with _lock:
            box = self._box(instance)
            if box is None:
                self.member.__delete__(instance)
            else:
                box.own = _MISSING
        del was

    def _raw(self, instance: Any) -> Any:
        try:
            return self.member.__get__(instance)
        except AttributeError:
            return _MISSING

    def _box(self, instance: Any) -> _Box | None:
        found = self._raw(instance)
        return found if type(found) is _Box else None

    def values(self, instance: Any, *, make: bool = False) -> dict[Any, Any] | None:
        """The values of the shadow slots of an object; None if it has none yet, unless they are to be made."""
        box = self._box(instance)
        if box is None and make:
            fresh = _Box()
            with _lock:
                box = self._box(instance)
                if box is None:
                    fresh.own = self._raw(instance)
                    self.member.__set__(instance, fresh)
                    box = fresh
        return None if box is None else box.values


class _Namespace:
    """Where instances have a `__dict__`: the values lie in it, under the names of the slots."""

    def __init__(self, descriptor: GetSetDescriptorType) -> None:
        self._descriptor = descriptor

    def values(self, instance: Any, *, make: bool = False) -> dict[Any, Any] | None:
        """The attributes of an object."""
        found: dict[Any, Any] = self._descriptor.__get__(instance)
        return found


class ShadowSlot:
    """The descriptor of a slot that was added to a living class.

    Arguments:
        name: the name of the slot.
        owner: the class.
        room: where the values are kept.
        make: makes the value of an object that has none yet; without it, reading raises AttributeError.
    """

    def __init__(
        self, name: str, owner: type, room: Carrier | _Namespace, make: Callable[[Any], Any] | None = None
    ) -> None:
        self.__name__ = name
        self.__objclass__ = owner
        self.make = make
        self._room = room
        # Two classes of one line may have slots of one name, each with a place of its own.
        self._key: Any = name if type(room) is _Namespace else (owner, name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        values = self._room.values(instance)
        found = _MISSING if values is None else values.get(self._key, _MISSING)
        if found is _MISSING and self.make is not None:
            made = self.make(instance)
            values = self._room.values(instance, make=True)
            found = made if values is None else values.setdefault(self._key, made)
        if found is _MISSING or found is _DELETED:
            raise _no_attribute(instance, self.__name__)
        return found

    def __set__(self, instance: Any, value: Any) -> None:
        values = self._room.values(instance, make=True)
        if values is not None:
            values[self._key] = value

    def __delete__(self, instance: Any) -> None:
        self.__get__(instance)
        values = self._room.values(instance, make=True)
        if values is None:
            return
        if self.make is None:
            del values[self._key]
        else:
            values[self._key] = _DELETED  # or it would have its default again


def _no_attribute(instance: Any, name: str) -> AttributeError:
    return AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}", name=name, obj=instance)


# --- looking ---------------------------------------------------------------------------------------------------------


def is_slot(value: Any) -> bool:
    """Whether a value of a namespace is the descriptor of a slot."""
    return type(value) in (MemberDescriptorType, Carrier, ShadowSlot)


def slot_names(cls: type) -> frozenset[str]:
    """The slots of a class itself."""
    return frozenset(name for name, value in walk.class_items(cls) if is_slot(value))


def slots_refused(old: type, new: type, refuse: Callable[[str, str], None]) -> None:
    """Find what stands in the way of giving an old class the slots of its twin.

    Arguments:
        old: the class that stays.
        new: its twin.
        refuse: is told the code and the sentence of each.
    """
    if _c_base(old) is not _c_base(new) or _fact(old, "__itemsize__") != _fact(new, "__itemsize__"):
        was, now = walk.class_name(_c_base(old)), walk.class_name(_c_base(new))
        refuse("layout-changed", f"its instances are laid out like {was} in memory, and would be like {now}")
        return
    for offset, what in (("__dictoffset__", "__dict__"), ("__weakrefoffset__", "__weakref__")):
        if _fact(new, offset) and not _fact(old, offset):
            refuse("layout-changed", f"its instances have no {what}, and those of the new version have")
    added = slot_names(new) - slot_names(old)
    if added and room_for(old) is None:
        names = ", ".join(sorted(added))
        refuse(
            "slots-changed", f"its instances have no place where {names} could be kept: neither a slot nor a __dict__"
        )


def namespace_of(cls: type) -> GetSetDescriptorType | None:
    """The descriptor of the `__dict__` of the instances of a class; None where they have none."""
    if _fact(cls, "__dictoffset__"):
        for base in walk.mro(cls):
            descriptor = walk.class_dict(base).get("__dict__")
            if type(descriptor) is GetSetDescriptorType:
                return descriptor
    return None


def shadow_slots(old: type, new: type, makers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The descriptors that an old class needs for the slots of its twin, by name; `DROP` where an attribute has to go.

    Arguments:
        old: the class that stays. `slots_refused` must have found nothing.
        new: its twin.
        makers: what makes the value of a slot for objects that have none.
    """
    found: dict[str, Any] = {}
    room = None
    for name in slot_names(new):
        was = walk.class_dict(old).get(name, DROP)
        if is_slot(was) and type(was) is not ShadowSlot:
            continue
        if room is None:
            room = room_for(old)
        if type(room) is _Namespace and not any(name in walk.class_dict(base) for base in walk.mro(old)[1:]):
            if was is not DROP:
                found[name] = DROP  # the `__dict__` serves it
        elif room is not None:
            found[name] = ShadowSlot(name, old, room, makers.get(name))
    if type(room) is Carrier and found:
        found[room.__name__] = room
    return found


def room_for(cls: type) -> Carrier | _Namespace | None:
    """Where instances of a class can keep the values of shadow slots; None where they have no room at all."""
    namespace = namespace_of(cls)
    if namespace is not None:
        return _Namespace(namespace)
    for base in walk.mro(cls):
        for value in list(walk.class_dict(base).values()):
            if type(value) is Carrier:
                return value
            if type(value) is MemberDescriptorType and not walk.is_written_in_c(base) and not _is_c_member(base):
                return Carrier(value)
    return None


def _is_c_member(cls: type) -> bool:
    """Whether the members of a class may be fields of a structure in C, rather than slots."""
    return "__slots__" not in walk.class_dict(cls)


def shape_differs(old: type, new: type) -> bool:
    """Whether an instance of the one class can't become one of the other."""
    facts = ("__basicsize__", "__dictoffset__", "__weakrefoffset__")
    return any(_fact(old, fact) != _fact(new, fact) for fact in facts) or slot_names(old) != slot_names(new)


def padded_slots(old: type, new: type, value: Any) -> Any:
    """The value of `__slots__` that a living class gets.

    `copyreg` counts the names, and refuses to copy objects that have more places than names. So where slots were
    removed, a name stands there twice: it is looked up twice and does no harm, while the name of a slot that the new
    version lacks would be written into pickles.
    """
    # Counted by size: another attribute may have taken the name of a place. One too many does no harm.
    places = (_fact(old, "__basicsize__") - _fact(_BASE.__get__(old), "__basicsize__")) // _POINTER
    names = sorted(slot_names(new))
    lacking = places - len(names)
    if lacking <= 0:
        return value
    kept = (name for name, found in walk.class_items(old) if is_slot(found))
    spare = names[0] if names else next(kept, None)
    if spare is None:
        return value
    listed = (value,) if type(value) is str else tuple(value)
    return (*listed, *[spare] * lacking)


def _c_base(cls: type) -> type:
    """The base written in C that decides the layout: `Exception` and `ValueError` are like `BaseException`."""
    base: Any = cls
    while not walk.is_written_in_c(base):
        base = _BASE.__get__(base)
    while base is not object and _size(base) == _size(_BASE.__get__(base)):
        base = _BASE.__get__(base)
    return base  # type: ignore[no-any-return]  # a descriptor of `type` gave it


def _size(cls: type) -> tuple[int, int]:
    return _fact(cls, "__basicsize__"), _fact(cls, "__itemsize__")


def _fact(cls: type, name: str) -> int:
    found: int = walk.fact(cls, name)
    return found
