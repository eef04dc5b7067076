"""Fields that came later: what the instances that were made before them show.

A model class gets a field in a swap. Its older instances have no value for it, and instances are not visited. So the
class gets a `LateField` under the name of the field. It is no data descriptor: CPython asks it only where the instance
itself has no value, so it costs those that have one nothing. The first read puts the default into the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Live, LiveModule, unchanged
from hotswap.swap import Change, Facts, Writes

__all__ = [
    "ABSENT",
    "LateField",
    "changed_classes",
    "items_of",
    "late_fields",
    "refuse",
    "write_attribute",
    "write_late_fields",
]

_SET = type.__setattr__
_DELETE = type.__delattr__
ABSENT: Any = object()
"""The value of an attribute that is not there."""


class LateField:
    """Gives the instances of a class that are older than one of its fields a value for it.

    Arguments:
        name: the field.
        make: makes the value for an instance: the default, or what the default factory returns.
    """

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[[Any], Any]) -> None:
        self.name = name
        self.make = make

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the value for an instance. The class itself has no such attribute, as it would not after a restart."""
        if instance is None:
            raise AttributeError(f"type object {owner and owner.__name__!r} has no attribute {self.name!r}")
        return self.fill(instance)

    def fill(self, instance: Any) -> Any:
        """Put the value into an instance that has none, and return what it has: of two threads, the first one wins."""
        held = walk.instance_dict(instance)
        if held is None:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
        return held[self.name] if self.name in held else held.setdefault(self.name, self.make(instance))


def late_fields(cls: type) -> dict[str, LateField]:
    """Return the fields of a class that came later, in the order in which they came."""
    return {name: value for name, value in walk.class_items(cls) if issubclass(type(value), LateField)}


def write_late_fields(writes: Writes, living: type, twin: type, fields: Mapping[str, LateField]) -> None:
    """Add the writes that give a class these late fields, and take from it those of earlier swaps that are no fields.

    The adapter has to keep the late fields of earlier swaps out of the transplant, unless the twin has something else
    of that name: then it is transplanted, and left alone here.

    Arguments:
        writes: receives the writes.
        living: the class.
        twin: its twin.
        fields: what it is to have.
    """
    for name in {**late_fields(living), **fields}:
        if name not in walk.class_dict(twin):
            write_attribute(writes, living, name, fields.get(name, ABSENT))


def write_attribute(writes: Writes, cls: type, name: str, value: Any) -> None:
    """Add the write of an attribute of a class, past its metaclass.

    Arguments:
        writes: receives the write.
        cls: the class.
        name: the attribute.
        value: what it becomes; the way back restores what is there now, or nothing.
    """
    before = walk.class_dict(cls).get(name, ABSENT)

    def late(forward: bool) -> Iterator[tuple[Any, ...]]:
        wanted = value if forward else before
        # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
        yield (_SET, cls, name, None if wanted is ABSENT else wanted)
        if wanted is ABSENT:
            yield (_DELETE, cls, name)

    writes.late(late)
    writes.hold(before)


def changed_classes(live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> dict[int, type]:
    """Return the living classes of changed modules whose definition differs in the new version, by their id.

    Arguments:
        live: the managed modules.
        changed: the names of the modules whose text differs.
        definitions: what their new sources say.
    """
    found: dict[int, type] = {}
    for name in changed:
        entry = live.get(name)
        if entry is None or name not in definitions:
            continue
        for attribute, value in items_of(entry):
            if walk.is_class_of(value, name) and not unchanged(attribute, entry.definitions, definitions[name]):
                found.update((id(cls), cls) for cls in _with_nested(value, name))
    return found


def _with_nested(cls: type, module: str) -> Iterator[type]:
    yield cls
    for _, value in walk.class_items(cls):
        if walk.is_class_of(value, module) and walk.class_name(value).startswith(walk.class_name(cls) + "."):
            yield from _with_nested(value, module)


def items_of(entry: LiveModule) -> list[tuple[str, Any]]:
    """Return the names of a living module and what they stand for; none if it is no plain module."""
    return list(entry.module.__dict__.items()) if entry.plain else []


def refuse(code: str, facts: Facts, cls: type, sentence: str) -> None:
    """Note an unsupported change of a class in the plan."""
    facts.plan.unsupported.append(
        Change(code, str(walk.class_dict(cls).get("__module__")), walk.class_name(cls), sentence)
    )
