"""Copies: new ones of what can't be changed in place, with the living objects where twins stood.

Tuples, frozensets, bound methods, weak references, generic aliases, unions, proxies, and iterators of built-in types.
All of it is done by C functions of the exact types, so that nobody's code runs; where a hash or an operator of somebody
else is asked, it is one that was asked when the candidate's module was imported.
"""

from __future__ import annotations

import functools
import gc
import operator
import sys
import typing
import weakref
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GenericAlias,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any

from hotswap import walk

__all__ = ["rebuilt"]

Translate = Callable[[Any], Any]

_VIEWS: dict[type, Callable[[Any], Any]] = {type({}.keys()): dict.keys, type({}.values()): dict.values}
_VIEWS[type({}.items())] = dict.items
_ITERATORS = (type(iter(())), map, filter, zip, enumerate)
_BOUND = (BuiltinFunctionType, MethodWrapperType)
_DESCRIPTORS = (MethodDescriptorType, WrapperDescriptorType)


def rebuilt(value: Any, translate: Translate) -> Any:
    """Return a copy of an object with living objects in place of twins, or the object itself if it holds none.

    Objects that can be changed in place, and those of which no copy can be made, are returned as they are.

    Arguments:
        value: the object.
        translate: gives the living object for a twin, and is asked for each part.
    """
    kind = type(value)
    if issubclass(kind, tuple):
        return _tuple(value, kind, translate)
    make = _MAKERS.get(kind)
    if make is not None:
        return make(value, translate)
    if issubclass(kind, GenericAlias):
        return _alias(value, translate)
    return value


def _tuple(value: Any, kind: type, translate: Translate) -> Any:
    before = list(tuple.__iter__(value))
    after = [translate(item) for item in before]
    if all(a is b for a, b in zip(after, before, strict=True)):
        return value
    copy = tuple.__new__(translate(kind), after)
    attributes = walk.instance_dict(value)
    if attributes:
        (walk.instance_dict(copy) or {}).update(attributes)
    return copy


def _frozenset(value: Any, translate: Translate) -> Any:
    after = [translate(item) for item in value]
    return frozenset(after) if any(a is not b for a, b in zip(after, value, strict=True)) else value


def _method(value: Any, translate: Translate) -> Any:
    function, owner = translate(value.__func__), translate(value.__self__)
    return value if function is value.__func__ and owner is value.__self__ else MethodType(function, owner)


def _bound(value: Any, translate: Translate) -> Any:
    """``append = REGISTRY.append``: the method of a C type, bound to a twin."""
    owner = value.__self__
    living = translate(owner)
    if living is owner:
        return value
    for where, target in ((type(living), (living,)), (living, (None, living))):
        for cls in walk.mro(where) if walk.is_class(where) else ():
            found: Any = walk.class_dict(cls).get(value.__name__)
            if type(found) in (_DESCRIPTORS if len(target) == 1 else (ClassMethodDescriptorType,)):
                return found.__get__(*target)
            if found is not None:
                break
    return value


def _alias(value: Any, translate: Translate) -> Any:
    origin, arguments = translate(value.__origin__), translate(value.__args__)
    if origin is value.__origin__ and arguments is value.__args__:
        return value
    alias = GenericAlias.__new__(type(value), origin, arguments)
    return next(iter(alias)) if value.__unpacked__ else alias


def _union(value: Any, translate: Translate) -> Any:
    arguments = translate(value.__args__)
    if arguments is value.__args__:
        return value
    return typing.Union[arguments] if sys.version_info >= (3, 14) else functools.reduce(operator.or_, arguments)  # noqa: UP007 - not known before it runs


def _proxy(value: Any, translate: Translate) -> Any:
    (mapping,) = gc.get_referents(value)
    living = translate(mapping)
    if type(living) is MappingProxyType:  # the namespace of a class
        return living
    return value if living is mapping else MappingProxyType(living)


def _view(value: Any, translate: Translate) -> Any:
    (mapping,) = gc.get_referents(value)
    living = translate(mapping)
    return value if living is mapping or not issubclass(type(living), dict) else _VIEWS[type(value)](living)


def _reference(value: Any, translate: Translate) -> Any:
    held = weakref.ref.__call__(value)
    living = translate(held)
    if living is held:
        return value
    if type(value) is weakref.KeyedRef:
        return weakref.KeyedRef(living, value.__callback__, value.key)
    return weakref.ref(living, value.__callback__)


def _iterator(value: Any, translate: Translate) -> Any:
    kind, arguments, *state = value.__reduce__()
    after = tuple(translate(argument) for argument in arguments)
    if all(a is b for a, b in zip(after, arguments, strict=True)):
        return value
    copy = kind(*after)
    if state:
        copy.__setstate__(*state)
    return copy


_MAKERS: dict[type, Callable[[Any, Translate], Any]] = {
    frozenset: _frozenset,
    MethodType: _method,
    GenericAlias: _alias,
    UnionType: _union,
    MappingProxyType: _proxy,
    weakref.ref: _reference,
    weakref.KeyedRef: _reference,
    **dict.fromkeys(_BOUND, _bound),
    **dict.fromkeys(_VIEWS, _view),
    **dict.fromkeys(_ITERATORS, _iterator),
}
