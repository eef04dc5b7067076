"""Parts: the functions inside other objects, and the parts that two objects have in common.

Wrappers of decorators, class bodies, properties, partials, containers and instances may hold code; each part has a
name that is the same in both versions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions
from hotswap.swap.forwarding import holds_weakly, target_of, ways_of
from hotswap.swap.ways import PrivateWays, Ways

__all__ = [
    "DEPTH",
    "LRU_CACHE",
    "cell_contents",
    "defining_names_first",
    "functions_behind",
    "functions_of",
    "is_empty",
    "leads_to",
    "live_behind",
    "matching",
    "may_run",
    "name_of",
    "resolved",
    "slot_values",
    "standing_for",
]

_EMPTY = CellType()

LRU_CACHE = type(functools.lru_cache(lambda: None))
"""The type of functions under `functools.lru_cache`; it has no name of its own."""

DEPTH = 12
"""How deep containers and instances are followed; code inside is rarely deeper than a list of objects in a dict."""


def functions_of(
    modules: Mapping[str, ModuleType], ours: Callable[[FunctionType], bool]
) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions that modules define, each with a key: module, colon, and the way to it.

    Arguments:
        modules: the modules by name.
        ours: whether a function is one of those in question.
    """
    seen: set[int] = set()
    for name, module in modules.items():
        stack = [(f"{name}:{attribute}", value, 0) for attribute, value in list(module.__dict__.items())]
        while stack:
            key, value, depth = stack.pop()
            if id(value) in seen or depth > DEPTH:
                continue
            seen.add(id(value))
            if type(value) is FunctionType:
                if ours(value):
                    yield key, value
                elif depth == 0 and not leads_to(value, ours):
                    continue
                stack += [(f"{key}.{part}", inner, depth + 1) for part, inner in _parts(standing_for(value))]
            elif walk.is_class(value):
                if walk.class_dict(value).get("__module__") in modules:
                    stack += [(f"{key}.{part}", inner, depth + 1) for part, inner in walk.class_items(value)]
            elif type(value) in _WRAPPERS:
                stack += [(f"{key}.{part}", inner, depth + 1) for part, inner in _parts(value)]


def standing_for(function: FunctionType) -> FunctionType:
    """What runs in the place of a function that is kept over swaps; itself, if nothing does.

    What is in its own cells is for calls of an earlier generation. One that a candidate is armed over stands itself.
    """
    ways = ways_of(function.__code__)
    if ways is not None and any(junction.armed for junction, _ in ways.old):
        return function
    target = target_of(function.__code__)
    return target if type(target) is FunctionType else function


def live_behind(function: FunctionType) -> FunctionType:
    """What runs for everybody who has nothing old in flight when a function is called: itself, if it leads nowhere.

    So does a closure that was led on, which holds what it leads to (`closures`).
    """
    while walk.is_forwarder(function.__code__) and not holds_weakly(function.__code__):
        ways, target = ways_of(function.__code__), target_of(function.__code__)
        if (ways is not None and ways.own is not None) or type(target) is not FunctionType:
            break
        function = target
    return function


def functions_behind(value: Any) -> Iterator[FunctionType]:
    """The functions that run when something is called, or asked for as an attribute of a class."""
    kind = type(value)
    if kind is FunctionType:
        yield value
    elif kind in (staticmethod, classmethod):
        yield from functions_behind(value.__func__)
    elif kind is property:
        for part in (value.fget, value.fset, value.fdel):
            yield from functions_behind(part)
    elif kind in (functools.cached_property, functools.partial):
        yield from functions_behind(value.func)
    elif kind is LRU_CACHE:
        yield from functions_behind(value.__wrapped__)


def may_run(value: Any) -> Iterator[FunctionType | type]:
    """The functions that may run when something is called, and the classes of which it may make an object.

    Those too that decorators' wrappers hold, be these functions or objects, and those of all versions to which forks
    lead. What stands in a container is not looked into, nor an object in an object.
    """
    stack, seen = [value], set[int]()
    while stack:
        one = stack.pop()
        kind = type(one)
        if id(one) in seen:
            continue
        seen.add(id(one))
        ways = ways_of(one.__code__) if kind is FunctionType else one.ways if issubclass(kind, walk.Fork) else None
        if ways is not None:
            stack += _led_to(ways)
        elif kind is FunctionType and (aim := target_of(one.__code__)) is not None:
            stack.append(aim)
        if kind is FunctionType or walk.is_class(one):
            yield one
        if not issubclass(kind, walk.Fork):
            every = kind in _CALLED
            parts = (part for _, part in _parts(one))
            stack += (part for part in parts if every or type(part) in _CALLED or walk.is_class(part))


def _led_to(ways: Ways) -> Iterator[Any]:
    yield from (ways.new, ways.own, *(value for _, value in ways.old))
    if type(ways) is PrivateWays:
        yield ways.value


def by_own_name(functions: Iterator[tuple[str, FunctionType]]) -> dict[tuple[str, str], FunctionType]:
    """The functions by module and qualified name, without those that share theirs with another."""
    found: dict[tuple[str, str], FunctionType | None] = {}
    for _, function in functions:
        key = (function.__module__, function.__code__.co_qualname)
        found[key] = None if key in found and found[key] is not function else function
    return {key: function for key, function in found.items() if function is not None}


def leads_to(function: FunctionType, ours: Callable[[FunctionType], bool]) -> bool:
    """Whether a wrapper made by a decorator has a function of ours in a cell, within a few steps."""
    stack, seen = [function], {id(function)}
    while stack and len(seen) < 32:
        for _, value in _parts(stack.pop()):
            if type(value) is FunctionType and id(value) not in seen:
                if ours(value):
                    return True
                seen.add(id(value))
                stack.append(value)
    return False


def defining_names_first(names: Mapping[str, Any]) -> list[str]:
    """The names of a namespace: first those that functions and classes were defined under, then their aliases."""

    def alias(item: tuple[str, Any]) -> bool:
        value = item[1]
        if type(value) is FunctionType:
            return value.__name__ != item[0]
        return walk.is_class(value) and walk.class_name(value) != item[0]

    return [name for name, _ in sorted(names.items(), key=alias)]


def name_of(value: Any) -> str | None:
    """The qualified name of a function or class, None for anything else."""
    if type(value) is FunctionType:
        return value.__code__.co_qualname if target_of(value.__code__) is None else value.__qualname__
    return walk.class_name(value) if walk.is_class(value) else None


def resolved(module: ModuleType | None, path: str) -> Any:
    """What a qualified name stands for in a module, or None."""
    found: Any = None if module is None else module.__dict__.get(path.partition(".")[0])
    for part in path.split(".")[1:]:
        found = walk.class_dict(found).get(part) if walk.is_class(found) else None
    return found


def body_of(cls: type, definitions: Mapping[str, Definitions]) -> Definitions:
    """What the source says of the body of a class, found by its qualified name."""
    found = definitions.get(str(walk.class_dict(cls).get("__module__")), Definitions())
    for part in walk.class_name(cls).split("."):
        found = found.classes.get(part) or Definitions()
    return found


def slot_values(value: Any) -> list[Any]:
    """What stands in the slots of an object."""
    found = []
    for slot in walk.slot_descriptors(type(value)):
        try:
            found.append(slot.__get__(value))
        except (AttributeError, TypeError):
            continue  # it is empty, or one of a C type that hides behind this descriptor
    return found


def is_empty(cell: CellType) -> bool:
    """Whether a cell holds nothing yet. Comparing with an empty cell compares no contents, so it runs nobody's code."""
    return cell == _EMPTY


def cell_contents(cell: CellType) -> Any:
    """What a cell holds, or None while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def matching(old: Any, new: Any, living: Callable[[Any], Any] = lambda key: key) -> Iterator[tuple[str, Any, Any]]:
    """The parts that two objects of one type have in common.

    The new object leads: it was made by an import a moment ago, while the old one may have grown for months.

    Arguments:
        old, new: the objects.
        living: what stands for a key of the new one in the old one: its class for a twin.
    """
    if type(old) is dict:
        for twin, value in list(new.items()):
            key = living(twin)
            # Their hashes are computed in C: a metaclass may have one of its own.
            plain = type(key) in (str, int) or (type(key) is tuple and all(type(part) in (str, int) for part in key))
            if (plain or type(key) in (type, FunctionType)) and key in old:
                yield f"[{key if plain else name_of(key)}]", old[key], value
    elif type(old) in (list, tuple):
        for number, (before, after) in enumerate(zip(old, new, strict=False)):
            yield str(number), before, after
    else:
        before = dict(_parts(old))
        for part, value in _parts(new):
            if part in before:
                yield part, before[part], value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of an object that may hold code, each with a name that is the same in both versions."""
    kind = type(value)
    if kind is FunctionType:
        for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if variable != "__class__":
                yield f"<{variable}>", cell_contents(cell)
        for name, default in enumerate(value.__defaults__ or ()):
            yield f"default {name}", default
        yield from list(value.__dict__.items())
    elif kind in (staticmethod, classmethod):
        yield "__func__", value.__func__
    elif issubclass(kind, property):
        yield from ((name, property.__dict__[name].__get__(value)) for name in ("fget", "fset", "fdel"))
        yield from list((walk.instance_dict(value) or {}).items())
    elif kind is LRU_CACHE:
        yield "__wrapped__", value.__wrapped__
    elif kind is functools.partial:
        yield from (("func", value.func), *((f"argument {n}", a) for n, a in enumerate(value.args)))
        yield from list(value.keywords.items())
    elif kind is MethodType:
        yield "__func__", value.__func__
    elif not issubclass(kind, ModuleType):
        yield from list((walk.instance_dict(value) or {}).items())


_WRAPPERS = (staticmethod, classmethod, property, LRU_CACHE, functools.partial, functools.cached_property)
_CALLED = (FunctionType, MethodType, *_WRAPPERS)
