"""Frameworks: which attributes of classes that a framework has made may be forks.

A fork is a descriptor in the namespace of the class. Who reads the attribute, by whatever way leads to the
`__getattribute__` of `type` or of `object`, gets a value: his. Who reads the namespace itself (`vars(cls)["kind"]`,
as frameworks do) gets the descriptor. A framework does so with what it has made or put there, with what it has a name
for, and with objects that are its own kind of thing. So of plain attributes those are forks that are nothing of that.

- The text of the class body binds it in one version. What a metaclass puts there (`_meta`, `__mapper__`,
  `declared_fields`) is the framework's.
- It has no name of the form ``__x__`` or ``_x_`` (`__tablename__`, `_ignore_`), and none that a class above has which
  comes from elsewhere (`model_config`, `registry`): those are options of the framework.
- Its values are no descriptors, classes or functions, and no objects of the framework's own classes: fields, columns,
  managers, adapters.
- No metaclass comes between with a `__getattribute__` of its own.

Assumes: what is left a framework leaves where it is, and reads as everybody else does, if at all. Where it looks into
the namespace when a class is made below, it looks for something in these values which is not there, and which a fork,
that answers for its value, has no more than that.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Container
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.ways import Changed

__all__ = ["may_fork"]

_METHODS = (FunctionType, classmethod, staticmethod, property, functools.cached_property)
_DESCRIPTOR = ("__get__", "__set__", "__delete__", "__set_name__")


def may_fork(changed: Changed, stated: Container[str]) -> bool:
    """Whether an attribute that changes may be a fork.

    Of a class that a framework has made those may be that are plain data, and methods and properties which one of the
    versions has: nothing else would lead old calls to them. Where both have one, its functions do.

    Arguments:
        changed: the attribute.
        stated: the names that the text of the class body binds in one of the versions.
    """
    cls, name, was, will = changed
    between = [kind for kind in walk.mro(type(cls))[:-1] if not _is_ours(kind, cls)]
    if not between:
        return True
    if name == "__hash__":
        return False  # those of enumerations are keys in a commit, which must not run Python code
    values = [value for value in (was, will) if value is not walk.MISSING]
    methods = [value for value in values if type(value) in _METHODS]
    if len(methods) == len(values):
        return len(values) == 1
    if any("__getattribute__" in walk.class_dict(kind) for kind in between if kind is not type):
        return False
    if not _is_stated(name, cls, stated) or (name.startswith("_") and name.endswith("_")):
        return False
    foreign = [base for base in walk.mro(cls)[1:] if _package(base) not in ("builtins", _package(cls))]
    if any(name in walk.class_dict(base) for base in foreign):
        return False
    families = {_package(kind) for kind in (*between, *foreign)} - {"builtins"}
    return all(type(value) in _METHODS or _is_plain(value, families) for value in values)


def _is_ours(metaclass: type, cls: type) -> bool:
    """Whether a metaclass is that of plain classes, or of the package of a class, and does not come between."""
    if metaclass in (type, abc.ABCMeta):
        return True
    return _package(metaclass) == _package(cls) and "__getattribute__" not in walk.class_dict(metaclass)


def _package(cls: type) -> str:
    return walk.class_home(cls).partition(".")[0]


def _is_stated(name: str, cls: type, stated: Container[str]) -> bool:
    """Whether a class body binds a name, private ones as they are written there."""
    prefix = f"_{walk.fact(cls, '__name__').lstrip('_')}"
    return name in stated or (name.startswith(prefix + "__") and name.removeprefix(prefix) in stated)


def _is_plain(value: Any, families: Container[str]) -> bool:
    """Whether something is data that says nothing to the frameworks of some packages."""
    kind = type(value)
    if walk.is_class(value) or _package(kind) in families:
        return False
    return not any(hook in walk.class_dict(base) for base in walk.mro(kind) for hook in _DESCRIPTOR)
