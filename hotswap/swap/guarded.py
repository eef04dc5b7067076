"""Guarded attributes: names of a class body that can't be written into its namespace.

Assigning an attribute of a class asks the metaclass first: `type` itself keeps `__name__`, `__bases__`, `__dict__` and
others in places of their own, and a metaclass may have a property. CPython puts what the body says into the namespace
when the class is made, and never again. So what stands there stays; if it is made of functions, they lead to the new
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, WrapperDescriptorType
from typing import Any

from hotswap import walk

__all__ = ["follows", "is_closed", "is_guarded"]

_INTO_THE_NAMESPACE = ("__module__", "__doc__", "__annotations__", "__abstractmethods__", "__type_params__")
"""What `type` guards, and puts into the namespace of the class."""

_ACCESSORS = tuple(property.__dict__[name] for name in ("fget", "fset", "fdel"))


def is_guarded(cls: type, name: str) -> bool:
    """Whether an attribute of a class is not written into its namespace, but by a descriptor of its metaclass."""
    for base in walk.mro(type(cls)):
        if name in walk.class_dict(base):
            kinds = walk.mro(type(walk.class_dict(base)[name]))
            guards = any({"__set__", "__delete__"} & walk.class_dict(kind).keys() for kind in kinds)
            return guards and not (base is type and name in _INTO_THE_NAMESPACE)
    return False


def is_closed(metaclass: type) -> bool:
    """Whether a metaclass written in C guards the attributes of its classes, as that of ctypes structures does."""
    for base in walk.mro(metaclass):
        guard = walk.class_dict(base).get("__setattr__")
        if guard is not None:
            return base is not type and type(guard) is WrapperDescriptorType
    return False


def follows(living: Any, value: Any, translate: Callable[[Any], Any]) -> bool:
    """Whether an attribute that stays does what the new one does, once its functions lead to the new ones.

    Arguments:
        living: the attribute of the living class.
        value: that of its twin.
        translate: gives the living object for a twin.
    """
    kind = type(living)
    if living is value or (kind is type(value) is str and living == value):
        return True
    if translate(type(value)) is not kind:
        return False
    if issubclass(kind, property):
        parts = [(part.__get__(living), part.__get__(value)) for part in _ACCESSORS]
    elif kind in (staticmethod, classmethod):
        parts = [(living.__func__, value.__func__)]
    else:
        parts = [(living, value)]
    return all(old is new or type(old) is type(new) is FunctionType for old, new in parts)
