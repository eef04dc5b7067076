"""Losses: functions and classes of one generation that the other one has not. Somebody may hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Kind
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import resolved
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["gone_classes", "gone_functions", "gone_objects", "without_successor"]

_WRAPPED = 8
"""How many wrappers of one function are looked into."""


def gone_classes(pairing: Pairing, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> set[int]:
    """Return the ids of the classes that the old modules define and the new ones do not."""
    paired = {id(pair.old) for pair in pairing.classes}
    return {
        id(value)
        for name, module in old.items()
        for attribute, value in list(module.__dict__.items())
        if walk.is_class(value)
        and walk.class_dict(value).get("__module__") == name
        and id(value) not in paired
        and attribute not in new[name].__dict__
    }


def gone_functions(
    pairing: Pairing,
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    definitions: Mapping[str, Definitions],
) -> set[int]:
    """Return the ids of what decorators made of the functions that the old modules define and the new ones do not.

    An object of a decorator's class has no body in which the function could be found; a registry may hold it.
    """
    found: set[int] = set()
    for module, facts in old.items():
        for path in _functions(definitions.get(module) or Definitions(), ""):
            value = resolved(facts, path) if resolved(new[module], path) is None else None
            for _ in range(_WRAPPED):
                if type(value) in (*UNIQUE_NEVER, type) or id(value) in pairing.places:
                    break
                found.add(id(value))
                value = (walk.instance_dict(value) or {}).get("__wrapped__")
    return found


def gone_objects(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
) -> set[int]:
    """Return the ids of the objects that class attributes of the old modules stood for which are gone.

    Only objects of classes that are written in Python, and that no name or attribute stands for which is still there.
    """
    gone: set[int] = set()
    there: set[int] = set()
    for name in old.keys() & new.keys():
        before, after = (one.get(name) or Definitions() for one in definitions)
        for path, is_gone in _data(before, after, ""):
            value = resolved(old[name], path)
            if not (walk.is_class(value) or walk.is_written_in_c(type(value))):
                (gone if is_gone else there).add(id(value))
    return gone - there


def _data(old: Definitions, new: Definitions, prefix: str) -> Iterator[tuple[str, bool]]:
    """The names that statements bind to data, with those in classes, and whether that is an attribute which is gone."""
    for name, binding in old.bindings.items():
        if name in old.classes:
            yield from _data(old.classes[name], new.classes.get(name) or Definitions(), f"{prefix}{name}.")
        elif binding.kind is Kind.DATA:
            yield prefix + name, bool(prefix) and name not in new.bindings


def _functions(body: Definitions, prefix: str) -> Iterator[str]:
    for name, binding in body.bindings.items():
        if binding.kind is Kind.FUNCTION:
            yield prefix + name
        if name in body.classes:
            yield from _functions(body.classes[name], f"{prefix}{name}.")


def without_successor(
    pairing: Pairing, here: Mapping[str, ModuleType], there: Mapping[str, ModuleType]
) -> Iterator[Any]:
    """Yield the functions and classes that are defined here, and have no successor there."""
    followed = {id(o) for pair in pairing.functions for o in (pair.old, pair.made)}
    followed |= {id(o) for pair in pairing.classes for o in (pair.old, pair.new)}
    followed |= pairing.places.keys()
    for name, module in here.items():
        names = there[name].__dict__ if name in there else {}
        for attribute, value in list(module.__dict__.items()):
            if attribute not in names and id(value) not in followed and _is_defined_in(value, name):
                yield value


def _is_defined_in(value: Any, module: str) -> bool:
    if walk.is_class(value):
        return walk.class_dict(value).get("__module__") == module
    return type(value) is FunctionType and value.__globals__.get("__name__") == module
