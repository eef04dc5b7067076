"""Targets: which function a shadow is about, and where live calls of it can be seen.

Found by looking, without running anybody's code: the module by its name, and attributes as they stand there.

While a candidate is armed, a function that it changes is a fork: live calls come to a function of our own that runs the
old code, and everybody else to the candidate's. That is where such calls are seen. One that the patch leaves alone is
no fork, and is seen itself: what it calls may be the candidate's all the same.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Mapping
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.errors import ShadowError
from hotswap.swap.forwarding import target_of, ways_of
from hotswap.swap.parts import LRU_CACHE

__all__ = ["Target", "find"]

_STEPS = 100
"""How many functions may lead on to each other; there is one for each generation that has something in flight."""


class Target(NamedTuple):
    """A function that can be shadowed.

    Attributes:
        name: module and qualified name.
        function: is called in a shadow run; it leads to the candidate's there.
        seen: has the code that live calls run.
        is_async: whether it is a coroutine function.
    """

    name: str
    function: FunctionType
    seen: FunctionType
    is_async: bool


def find(name: str, packages: Collection[str], candidate: Mapping[str, ModuleType]) -> Target:
    """Find the function of a name, such as ``shop.pricing.quote`` or ``shop.cart.Cart.total``.

    Arguments:
        name: the name.
        packages: the managed packages.
        candidate: the modules that the candidate has loaded.

    Raises ShadowError if there is none, or if it can't be shadowed. Nothing was done then.
    """
    if name.partition(".")[0] not in packages:
        raise ShadowError(
            f"{name} is of no package that this patcher manages", advice="give the name as module.function"
        )
    module, path = _split(name)
    function = _function(name, _value(name, sys.modules[module], path))
    new = candidate.get(module)
    if new is not None:
        _value(name, new, path, "the patch has no such function any more")
    target = Target(name, function, _seen(name, function), bool(function.__code__.co_flags & inspect.CO_COROUTINE))
    if new is not None and ways_of(function.__code__) is None:
        raise ShadowError(
            f"{name} can't be shadowed: calls of it do not reach the candidate before the commit",
            module=module,
            advice="shadow what calls it; a function under a cache is one of these",
        )
    return target


def _split(name: str) -> tuple[str, list[str]]:
    """The module of a name, and the attributes below it."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        if issubclass(type(sys.modules.get(module)), ModuleType):
            return module, parts[count:]
    raise ShadowError(
        f"{name} can't be shadowed: no module of that name is imported", advice="have the service import it first"
    )


def _value(name: str, module: ModuleType, path: list[str], missing: str = "there is no such function") -> Any:
    """What stands at the end of a path."""
    facts: Mapping[str, Any] = ModuleType.__getattribute__(module, "__dict__")
    value: Any = walk.MISSING
    for place, part in enumerate(path):
        if place:
            if not walk.is_class(value):
                raise ShadowError(f"{name} can't be shadowed: {path[place - 1]} is no class", module=module.__name__)
            value = walk.inherited(value, part, walk.MISSING)
        else:
            value = facts.get(part, walk.MISSING)
        if value is walk.MISSING:
            raise ShadowError(f"{name} can't be shadowed: {missing}", module=module.__name__)
    return value


def _function(name: str, value: Any) -> FunctionType:
    """The function behind what stands under a name."""
    kind = type(value)
    if kind in (staticmethod, classmethod):
        value = value.__func__
    elif kind is property:
        value = value.fget
    elif kind is functools.cached_property:
        value = value.func
    if type(value) is not FunctionType:
        told = "a function under a cache" if type(value) is LRU_CACHE else f"a {walk.class_name(type(value))}"
        if walk.is_class(value):
            told = "a class; give the name of its method, such as Class.__init__"
        raise ShadowError(f"{name} can't be shadowed: it is no function written in Python, but {told}")
    flags = value.__code__.co_flags
    if flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE):
        raise ShadowError(
            f"{name} can't be shadowed: it is a generator, whose items nobody but the caller may take",
            advice="shadow the function that consumes it",
        )
    return value


def _seen(name: str, function: FunctionType) -> FunctionType:
    """The function whose code live calls run."""
    for _ in range(_STEPS):
        ways = ways_of(function.__code__)
        if ways is not None and ways.own is not None:
            return ways.own
        leads = target_of(function.__code__)
        if leads is None:
            return function
        if type(leads) is not FunctionType:
            break
        function = leads
    raise ShadowError(f"{name} can't be shadowed: its calls are led to what is no function")
