"""Limits: what of a living class no patch can change, known before there is a patch.

What is told here is what `classes`, `slots` and `enums` refuse, asked of the old side alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.swap.classes import built_elsewhere
from hotswap.swap.enums import is_enum
from hotswap.swap.guarded import is_closed
from hotswap.swap.members import data_type
from hotswap.swap.slots import room_for

__all__ = ["ClassLimit", "classes_of", "limits_of"]


class ClassLimit(NamedTuple):
    """What can't be done with a class.

    Attributes:
        code: that of the unsupported change.
        sentence: why.
        blocks: whether every patch that loads its module anew is refused, whatever changes.
    """

    code: str
    sentence: str
    blocks: bool = False


def classes_of(module: ModuleType) -> Iterator[type]:
    """Yield the classes that a module defines, and those in their bodies. None of their code runs."""
    facts = ModuleType.__getattribute__(module, "__dict__")
    home, seen = str(facts.get("__name__")), set[int]()
    waiting: list[Any] = [*facts.values()]
    for found in waiting:  # which grows
        if walk.is_class(found) and id(found) not in seen and walk.class_home(found) == home:
            seen.add(id(found))
            yield found
            waiting += [value for _, value in walk.class_items(found)]


def limits_of(cls: type, families: Container[str]) -> Iterator[ClassLimit]:
    """Yield what can't be done with a class.

    Arguments:
        cls: the class.
        families: the frameworks for whose classes there is an adapter.
    """
    if (sentence := built_elsewhere(cls, families)) is not None:
        yield ClassLimit("framework-class", sentence, blocks=True)
    elif walk.class_home(type(cls)).startswith("pydantic.v1"):
        yield ClassLimit("framework-class", "models of pydantic.v1 build themselves", blocks=True)
    elif is_closed(type(cls)):
        name = walk.class_name(type(cls))
        yield ClassLimit("metaclass-in-c", f"attributes of its metaclass {name} can't be written past it")
    elif is_enum(cls):
        base = data_type(cls)
        if base is not None:
            sentence = f"its members are {walk.class_name(base)} objects: none of them can get another value"
            yield ClassLimit("enum-value-fixed", sentence)
    elif issubclass(cls, tuple) and "_fields" in walk.class_dict(cls):
        yield ClassLimit("named-tuple-fields-changed", "its instances are tuples: its fields can't change")
    elif "__slots__" in walk.class_dict(cls) and room_for(cls) is None:
        yield ClassLimit("slots-changed", "its instances have no room: it can't get a slot or an attribute")
