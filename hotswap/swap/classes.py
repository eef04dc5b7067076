"""Classes: the old class stays *the* class; the candidate's class body is transplanted into it.

Existing instances, subclasses and `except` clauses follow at once; instances are not visited. Attributes are written
by `type.__setattr__`, so that no metaclass runs code in the commit; nothing looks an attribute up in between, so a
commit costs a class one version of CPython's type cache, not one for each attribute.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Container, Iterable, Iterator
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType
from typing import Any

from hotswap import walk
from hotswap.generation import detach, unchanged
from hotswap.swap.pairing import ClassPair
from hotswap.swap.plan import Change, Fate, NameChange, Op, Writes
from hotswap.swap.registrations import ATTRIBUTE, Registrations
from hotswap.swap.state import PLAIN, class_keeps

__all__ = ["transplant", "unsupported_class_changes"]

_SKIPPED = frozenset({"__dict__", "__weakref__", "_abc_impl", "__annotations_cache__", "__annotate_func__"})
_ENUM_OWN = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_unhashable_values_",
        "_hashable_values_",
        "_unhashable_values_map_",
        "_member_type_",
        "_value_repr_",
        "_use_args_",
        "_flag_mask_",
        "_all_bits_",
        "_singles_mask_",
        "_inverted_",
        "_boundary_",
        "_new_member_",
        "_sort_order_",
        "__new__",
        "__new_member__",
    }
)
_FRAMEWORKS = ("pydantic", "sqlalchemy", "django", "sqlmodel", "odmantic", "peewee", "pony", "tortoise")
_NAMES = ("__name__", "__qualname__")
"""What CPython keeps beside the namespace of a class."""

_SET = type.__setattr__
_DELETE = type.__delattr__
_MISSING: Any = object()


def unsupported_class_changes(
    pair: ClassPair, translate: Callable[[Any], Any], families: Container[str] = ()
) -> list[Change]:
    """Return what stands in the way of transplanting a class. Tries on scratch classes only; touches neither class.

    Arguments:
        pair: the old class and its twin.
        translate: gives the living object for a twin.
        families: the frameworks for whose classes there is an adapter.
    """
    old, new = pair.old, pair.new
    module, _, name = pair.key.partition(":")
    changes = []

    def refuse(code: str, sentence: str) -> None:
        changes.append(Change(code, module, name, sentence))

    if translate(type(new)) is not type(old):
        refuse("metaclass-changed", f"its metaclass was {_show(type(old))} and would be {_show(type(new))}")
        return changes
    family = type(old).__module__.partition(".")[0]
    if family in _FRAMEWORKS and family not in families:
        refuse(
            "framework-class", f"classes of {family} build themselves when they are created; there is no adapter yet"
        )
        return changes
    if _closed(type(old)):
        if not _same_body(pair):
            refuse("metaclass-in-c", f"attributes of its metaclass {_show(type(old))} can't be written past it")
        return changes
    if issubclass(type(old), enum.EnumMeta):
        differs = _different_members(pair)
        if differs:
            refuse("enum-members-changed", f"members differ: {', '.join(differs)}")
    fields = walk.class_dict(old).get("_fields"), walk.class_dict(new).get("_fields")
    if issubclass(old, tuple) and fields[0] != fields[1]:
        refuse("named-tuple-fields-changed", f"its fields were {fields[0]} and would be {fields[1]}")
    slots = _slots(old), _slots(new)
    if slots[0] != slots[1]:
        refuse("slots-changed", f"its slots were {sorted(slots[0])} and would be {sorted(slots[1])}")
    elif _layout(old) != _layout(new):
        refuse("layout-changed", "its instances are laid out differently in memory")
    added = _factory_fields(new) - _factory_fields(old)
    if added:
        refuse("dataclass-field-without-value", f"old instances would have no value for {', '.join(sorted(added))}")
    bases = tuple(translate(base) for base in new.__bases__)
    if bases != old.__bases__ and not _can_rebase(old, bases):
        refuse("bases-changed", f"CPython can't change its bases from {_list(old.__bases__)} to {_list(bases)}")
    return changes


def transplant(
    pair: ClassPair,
    translate: Callable[[Any], Any],
    writes: Writes,
    same: Callable[[Any, Any], bool],
    outside: Container[str],
    made: Callable[[Any], bool],
    why: Callable[[str, str], str],
    adapted: Callable[[type, type, str], bool],
) -> tuple[list[NameChange], dict[int, tuple[Any, Any]]]:
    """Add the writes that give an old class the body of its twin.

    Arguments:
        pair: the old class and its twin.
        translate: gives the living object for a twin; it is asked when the writes are made.
        writes: receives them.
        same: whether two functions have the same code.
        outside: the names of the module that stand for changed data.
        made: whether an object was made by the candidate.
        why: tells why a name is kept or replaced, given the reason by its definition.
        adapted: whether an adapter says that an attribute (of a class and its twin) stays as it is.

    Returns the changes in words, and the dropped twins of class attributes that are kept.
    """
    old, new = pair.old, pair.new
    if _closed(type(old)):
        return [], {}
    module, _, name = pair.key.partition(":")
    before, after = dict(walk.class_items(old)), dict(walk.class_items(new))
    is_enum = issubclass(type(old), enum.EnumMeta)
    changes: list[NameChange] = []
    kept: dict[int, tuple[Any, Any]] = {}
    targets: dict[str, Any] = {}
    for attribute, value in after.items():
        living = before.get(attribute, _MISSING)
        if adapted(old, new, attribute):
            continue
        if _skipped(attribute, value, is_enum):
            if is_enum and living is not _MISSING and issubclass(type(value), new):
                kept[id(value)] = (value, living)
            continue
        if living is not _MISSING and class_keeps(attribute, living, value, pair.bodies, outside):
            if living is not value and made(value):
                kept[id(value)] = (value, living)
            if not attribute.startswith("__"):
                fate = Fate.CARRIED if type(living) in PLAIN else Fate.KEPT
                reason = why(f"{pair.key}.{attribute}", "its definition did not change")
                changes.append(NameChange(module, f"{name}.{attribute}", fate, reason))
            continue
        if walk.is_class(value) and walk.is_class(living) and translate(value) is living:
            continue
        targets[attribute] = value
        if attribute.startswith("__") and attribute not in pair.bodies[1].bindings:
            continue
        if living is _MISSING:
            changes.append(NameChange(module, f"{name}.{attribute}", Fate.ADDED))
        elif not same(living, value):
            changes.append(NameChange(module, f"{name}.{attribute}", Fate.CHANGED, why(f"{pair.key}.{attribute}", "")))
    for attribute, value in before.items():
        if attribute not in after and _defined(attribute, value, pair) and not adapted(old, new, attribute):
            targets[attribute] = _MISSING
            changes.append(NameChange(module, f"{name}.{attribute}", Fate.REMOVED))
    if is_enum:
        kept.update(_twin_members(old, new))

    def late(forward: bool) -> Iterator[Op]:
        for attribute, value in targets.items():
            was, will = before.get(attribute, _MISSING), translate(value)
            if was is will or (type(was) is type(will) is str and was == will):
                continue  # writing an equal `__module__` would cost the class its `__firstlineno__` on CPython 3.13
            wanted = will if forward else was
            # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
            yield (_SET, old, attribute, None if wanted is _MISSING else wanted)
            if wanted is _MISSING:
                yield (_DELETE, old, attribute)
        if annotate != (None, None):
            yield (_SET, old, "__annotate__", annotate[forward])
        for name in _NAMES:
            if titles[0][name] != titles[1][name]:
                yield (_SET, old, name, titles[forward][name])
        if bases != old_bases:
            yield (_SET, old, "__bases__", bases if forward else old_bases)
        if registrations is not None:
            yield from registrations.ops(forward)

    # From 3.14 on; asking for `__annotate__` itself would leave an entry in the namespace of the class.
    annotate = tuple(walk.class_dict(cls).get("__annotate_func__") for cls in (old, new))
    titles = [{name: type.__getattribute__(cls, name) for name in _NAMES} for cls in (old, new)]
    old_bases = old.__bases__
    abstract = ATTRIBUTE in before and ATTRIBUTE in after
    registrations = Registrations(old, new, translate) if abstract else None
    bases = tuple(translate(base) for base in new.__bases__)
    writes.late(late)
    writes.hold(before)
    return changes, kept


def _skipped(attribute: str, value: Any, is_enum: bool) -> bool:
    if attribute in _SKIPPED or type(value) in (MemberDescriptorType, GetSetDescriptorType):
        return True
    if is_enum:
        return attribute in _ENUM_OWN or type(value) not in (FunctionType, staticmethod, classmethod, property, str)
    return False


def _defined(attribute: str, value: Any, pair: ClassPair) -> bool:
    """Whether an attribute came from the class body, rather than from somebody who set it at run time."""
    if attribute in _SKIPPED or type(value) in (MemberDescriptorType, GetSetDescriptorType):
        return False
    body = pair.bodies[0]
    if attribute in body.bindings:
        return True
    return attribute.startswith("__") and attribute.endswith("__")


def _different_members(pair: ClassPair) -> list[str]:
    """The members of an enum that are not the same in both versions. Values are compared without running their code."""
    old, new = pair.old._member_map_, pair.new._member_map_  # type: ignore[attr-defined]  # both are enums
    differs = set(old.keys() ^ new.keys())
    for name in old.keys() & new.keys():
        before, after = old[name]._value_, new[name]._value_
        plain = type(before) is type(after) and type(before) in (int, str, bytes, float, bool, type(None))
        if not (before == after if plain else unchanged(name, *pair.bodies)):
            differs.add(name)
    return sorted(differs)


def _closed(metaclass: type) -> bool:
    """Whether a metaclass written in C guards the attributes of its classes, as that of ctypes structures does."""
    for base in walk.mro(metaclass):
        guard = walk.class_dict(base).get("__setattr__")
        if guard is not None:
            return base is not type and type(guard) is WrapperDescriptorType
    return False


def _same_body(pair: ClassPair) -> bool:
    """Whether a class without code of its own stands in both versions with the same text."""
    before, after = pair.bodies
    functions = any(type(value) is FunctionType for _, value in walk.class_items(pair.new))
    return (
        not functions
        and before.bindings.keys() == after.bindings.keys()
        and all(unchanged(name, before, after) for name in after.bindings)
    )


def _twin_members(old: Any, new: Any) -> dict[int, tuple[Any, Any]]:
    living = old._member_map_
    return {id(twin): (twin, living[name]) for name, twin in new._member_map_.items() if name in living}


def _slots(cls: type) -> frozenset[str]:
    return frozenset(n for n, v in walk.class_items(cls) if type(v) is MemberDescriptorType)


def _layout(cls: type) -> tuple[object, ...]:
    return cls.__basicsize__, cls.__itemsize__, cls.__dictoffset__, cls.__weakrefoffset__


def _factory_fields(cls: type) -> set[str]:
    """Fields of a dataclass for which the class itself holds no value that old instances could show."""
    fields = walk.class_dict(cls).get("__dataclass_fields__")
    if type(fields) is not dict:
        return set()
    return {
        name for name, field in fields.items() if name not in walk.class_dict(cls) and field._field_type is not None
    }


def _can_rebase(old: type, bases: tuple[type, ...]) -> bool:
    """Whether the bases of a class can be assigned, found out on a scratch class of the same shape."""
    scratch = None
    try:
        scratch = type("Scratch", old.__bases__, {"__slots__": ()} if not old.__dictoffset__ else {})
        _SET(scratch, "__bases__", bases)
    except Exception:  # noqa: BLE001 - a metaclass or an `__init_subclass__` of a framework may refuse the scratch class
        return False
    finally:
        if scratch is not None:
            detach(scratch)
    return True


def _show(cls: type) -> str:
    return f"{cls.__module__}.{walk.class_name(cls)}"


def _list(classes: Iterable[type]) -> str:
    return f"({', '.join(_show(cls) for cls in classes)})"
