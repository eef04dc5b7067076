"""Bases: whether CPython lets a class have other ones, found out without touching any class.

Assigning `__bases__` raises where the layouts in memory differ, and where the order of the bases can't be resolved, in
the class itself or in a subclass. So all classes that take part are built again, as mirrors: the same slots and the
same bases, and nothing else. A mirror runs no `__init_subclass__`, no metaclass, and is in nobody's registry.
"""

from __future__ import annotations

from types import MemberDescriptorType
from typing import Any

from hotswap import walk
from hotswap.swap.slots import Carrier

__all__ = ["can_rebase"]

_BASES = type.__dict__["__bases__"]
_SET = type.__setattr__


def can_rebase(cls: type, bases: tuple[type, ...]) -> bool:
    """Return whether a class can get other bases.

    Arguments:
        cls: the class.
        bases: the bases that it would have.
    """
    mirrors: dict[int, tuple[type, type]] = {}
    try:
        for child in walk.descendants(cls):
            _mirror(child, mirrors)
        _SET(_mirror(cls, mirrors), "__bases__", tuple(_mirror(base, mirrors) for base in bases))
    except TypeError:
        return False
    return True


def _mirror(cls: type, mirrors: dict[int, tuple[type, type]]) -> type:
    if walk.is_written_in_c(cls):
        return cls
    if id(cls) not in mirrors:
        bases = tuple(_mirror(base, mirrors) for base in _BASES.__get__(cls))
        facts = walk.class_dict(cls)
        body: dict[str, Any] = {}
        if "__slots__" in facts:
            slots = [name for name, value in walk.class_items(cls) if type(value) in (MemberDescriptorType, Carrier)]
            body["__slots__"] = [*slots, *(name for name in ("__dict__", "__weakref__") if name in facts)]
        mirrors[id(cls)] = (cls, type(walk.class_name(cls).rpartition(".")[2], bases, body))
    return mirrors[id(cls)][1]
