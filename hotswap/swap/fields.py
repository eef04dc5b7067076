"""Fields: what old instances show for a field that a dataclass got later.

A plain default needs nothing: the class itself holds it, or the base that the field comes from. A default factory, a
default of a dataclass with slots, and a default that the new version takes away have no value in the class; there a
descriptor stands in, which gives the object a value of its own when it is first read. It is no data descriptor: where
the object has a value, it is not asked. The same serves objects that new code has made without a field which the new
version took away: old calls that are in flight read them, and so does everybody after a rollback.
"""

from __future__ import annotations

import dataclasses
import dis
from collections.abc import Callable, Iterator
from types import FunctionType, GetSetDescriptorType
from typing import Any

from hotswap import walk
from hotswap.swap.forwarding import code_of
from hotswap.swap.slots import ShadowSlot, is_slot, namespace_of

__all__ = ["FieldValue", "Make", "fields_of", "gone_fields", "late_descriptors", "late_fields"]

Make = Callable[[Any], Any]
"""Makes the value of an object that was made without the field, given the object."""

_MISSING: Any = object()
_KIND: Any = dataclasses._FIELD  # type: ignore[attr-defined]  # neither a ClassVar nor an InitVar


class FieldValue:
    """Gives an object of a living dataclass its value of a field that came later. Lives in the class.

    Arguments:
        name: the field.
        owner: the class.
        namespace: the descriptor of `__dict__` of its instances.
        make: makes the value.
    """

    def __init__(self, name: str, owner: type, namespace: GetSetDescriptorType, make: Make) -> None:
        self.name = name
        self.owner = owner
        self.make = make
        self._namespace = namespace

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            # As after a restart: a field without a plain default is no attribute of the class.
            cls = self.owner if owner is None else owner
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {self.name!r}")
        made = self.make(instance)
        return self._namespace.__get__(instance).setdefault(self.name, made)


def fields_of(cls: type) -> dict[str, Any]:
    """The fields of a dataclass, without class variables and arguments of `__init__` alone; empty for other classes."""
    found = walk.class_dict(cls).get("__dataclass_fields__")
    if type(found) is not dict:
        return {}
    return {name: field for name, field in found.items() if getattr(field, "_field_type", None) is _KIND}


def late_fields(old: type, new: type, translate: Callable[[Any], Any]) -> tuple[dict[str, Make], list[str]]:
    """Return what makes the values of fields that old instances may lack, and the fields for which nothing does.

    Arguments:
        old: the class that stays.
        new: its twin.
        translate: gives the living object for a twin.
    """
    before, after = fields_of(old), fields_of(new)
    inherited = {
        id(field)
        for base in walk.mro(new)[1:]
        if translate(base) is not base  # it is swapped too, and serves its own fields
        for field in fields_of(base).values()
    }
    had = {*before, *_assigned(old)}
    makers: dict[str, Make] = {}
    lacking = []
    for name, field in after.items():
        value = next((facts[name] for facts in map(walk.class_dict, walk.mro(new)) if name in facts), _MISSING)
        was = walk.class_dict(old).get(name, _MISSING)
        if id(field) in inherited or (value is not _MISSING and not is_slot(value)):
            continue
        if (was is _MISSING and name in had) or (is_slot(was) and type(was) is not ShadowSlot):
            continue  # its objects were made with a value of their own
        make = _maker(field) or _earlier(was)
        if make is not None:
            makers[name] = make
        elif type(was) is not ShadowSlot or name not in before:
            lacking.append(name)
    return makers, lacking


def gone_fields(old: type, new: type) -> dict[str, Any]:
    """The descriptors that give old code the values of fields which objects of the new version lack, by name.

    A plain default stands in the old class itself, and what is a slot, or has no default, has no value.

    Arguments:
        old: the class that stays.
        new: its twin.
    """
    after, facts = fields_of(new), walk.class_dict(old)
    inherited = {id(field) for base in walk.mro(old)[1:] for field in fields_of(base).values()}
    makers = {
        name: make
        for name, field in fields_of(old).items()
        if name not in after and name not in facts and id(field) not in inherited and (make := _maker(field))
    }
    return late_descriptors(old, makers)


def late_descriptors(old: type, makers: dict[str, Make]) -> dict[str, Any]:
    """The descriptors that the old class needs for these fields, by name."""
    namespace = namespace_of(old)
    if namespace is None:
        return {}  # they are slots
    return {name: FieldValue(name, old, namespace, make) for name, make in makers.items()}


def _maker(field: Any) -> Make | None:
    if field.default_factory is not dataclasses.MISSING or field.default is not dataclasses.MISSING:
        # The field is asked when the value is made: what it refers to may be led to the living objects until then.
        return lambda _: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return None


def _earlier(was: Any) -> Make | None:
    """What made the value in the version before, if the new one does not say: a default was taken away."""
    if type(was) is FieldValue or type(was) is ShadowSlot:
        return was.make
    return None if was is _MISSING or is_slot(was) else lambda _: was


def _assigned(cls: type) -> Iterator[str]:
    """The attributes that `__init__` of a class assigns: an ordinary class may become a dataclass."""
    init = walk.class_dict(cls).get("__init__")
    if type(init) is FunctionType and "__dataclass_fields__" not in walk.class_dict(cls):
        for instruction in dis.get_instructions(code_of(init)):
            if instruction.opname == "STORE_ATTR":
                yield instruction.argval
