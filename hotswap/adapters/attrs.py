"""attrs: classes whose fields, validators and converters change.

What attrs generates (`__init__`, `__eq__`, `__repr__`, `fields()`) is in the body of the class, and is transplanted
with it. Left for the adapter is what instances that are older than a field show of it, and the classes of unchanged
modules into whose generated methods the fields of a changed base are copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attr

from hotswap import walk
from hotswap.adapters.fields import (
    LateField,
    changed_classes,
    items_of,
    late_fields,
    refuse,
    write_late_fields,
)
from hotswap.generation import Definitions, Live
from hotswap.swap import Adapter, Facts
from hotswap.swap.fields import FieldValue
from hotswap.swap.slots import ShadowSlot, is_slot

__all__ = ["AttrsAdapter"]

_ATTRIBUTES = "__attrs_attrs__"
_FACTORY: Any = attr.Factory
_CONVERTER: Any = getattr(attr, "Converter", ())  # from 24.1 on
_LATE = (LateField, FieldValue, ShadowSlot)
"""What an earlier swap has put into a class for its older instances."""

_HASH_WARNING = (
    "hashes by its fields, which differ: objects of it that are keys or in sets are not found there any more"
)


class AttrsAdapter(Adapter):
    """Looks after the classes made by `attrs.define`, `attr.s` and their relatives."""

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Return the unchanged modules with attrs classes below a changed class: they have copies of its fields."""
        ours = changed_classes(live, changed, definitions)
        return {
            entry.name
            for entry in live
            for _, value in items_of(entry)
            if walk.is_class_of(value, entry.name)
            and _ATTRIBUTES in walk.class_dict(value)
            and any(id(base) in ours for base in walk.mro(value)[1:])
        }

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Keep the late fields of earlier swaps out of the transplant: `swap` decides about them."""
        return name in late_fields(living) and name not in walk.class_dict(twin)

    def slot_values(self, living: type, twin: type) -> dict[str, Any]:
        """Give the defaults of the fields that are slots: attrs keeps these out of the class."""
        return {
            field.name: _Default(field)
            for field in _lacking(living, twin)
            if field.default is not attr.NOTHING and is_slot(walk.class_dict(twin).get(field.name))
        }

    def swap(self, facts: Facts) -> None:
        """Give older instances the defaults of added fields; refuse fields for which there is no default."""
        for living, twin in facts.classes:
            before, after = walk.class_dict(living).get(_ATTRIBUTES), walk.class_dict(twin).get(_ATTRIBUTES)
            if before is None or after is None:
                continue
            names = [field.name for field in after]
            if names != [field.name for field in before] and _hashes_by_fields(twin):
                facts.plan.warnings.append(f"{living.__module__}:{walk.class_name(living)} {_HASH_WARNING}")
            late: dict[str, LateField] = {}
            for field in _lacking(living, twin):
                if field.default is attr.NOTHING:
                    refuse("field-without-value", facts, living, f"old instances would have no value for {field.name}")
                elif not is_slot(walk.class_dict(twin).get(field.name)):
                    late[field.name] = LateField(field.name, _Default(field))
            write_late_fields(facts.writes, living, twin, late)


class _Default:
    """Makes the value that `__init__` would give a field that nobody named."""

    def __init__(self, field: Any) -> None:
        self._field = field

    def __call__(self, instance: Any) -> Any:
        value: Any = self._field.default
        converter: Any = self._field.converter
        made_by_factory, takes_more = isinstance(value, _FACTORY), isinstance(converter, _CONVERTER)
        if made_by_factory:
            value = value.factory(instance) if value.takes_self else value.factory()
        if converter is None:
            return value
        # The `__call__` of a Converter is an attribute of it, which takes all three; calling it would not find that.
        return converter.__call__(value, instance, self._field) if takes_more else converter(value)


def _lacking(living: type, twin: type) -> Iterator[Any]:
    """The fields for which instances of a class may have no value, and its twin and the bases of that have none."""
    before, after = walk.class_dict(living).get(_ATTRIBUTES), walk.class_dict(twin).get(_ATTRIBUTES)
    if before is None or after is None:
        return
    had = {field.name for field in before}
    for field in after:
        came_later = type(walk.class_dict(living).get(field.name)) in _LATE
        own_slot = is_slot(walk.class_dict(twin).get(field.name))
        if (field.name not in had or came_later) and (own_slot or not _is_in_class(twin, field.name)):
            yield field


def _is_in_class(cls: type, name: str) -> bool:
    """Whether a class or a base of it has an attribute of that name, other than a late field.

    It is a value that all instances show, or a slot of a base, which serves them.
    """
    return any(
        name in walk.class_dict(base) and not issubclass(type(walk.class_dict(base)[name]), LateField)
        for base in walk.mro(cls)
    )


def _hashes_by_fields(cls: type) -> bool:
    """Whether instances that are equal have the same hash, by a function that attrs has made of the fields."""
    return type(walk.class_dict(cls).get("__hash__")) is type(_hashes_by_fields)
