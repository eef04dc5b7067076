"""Fates: what becomes of definitions, and which entries of registries lead to them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Kind, Selection, unchanged
from hotswap.swap.keys import Leads, values
from hotswap.swap.parts import functions_of, resolved, slot_values
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Fates", "fresh_definitions", "leads_to"]

_PARTS = 64
"""An entry with more parts is data, not the description of a function."""

_WRAPPED = 8
"""How many wrappers of a function are followed."""


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of definitions, by the ids of the functions and classes.

    `successors` maps an old one to (it, its successor). `gone` are old ones whose definition is gone, or is registered
    anew: its decorators, bases or arguments differ. `fresh` are new ones that were not there, or are registered anew.
    What is registered as before and lacks in a registry was taken out at run time, and stays out. `leads` tells where
    functions lead that are parts of tuples and the like. `objects` are what class attributes stood for that are gone,
    ``mail = Field()``: what holds one does not go with it, but entries that are one do.
    """

    successors: Mapping[int, tuple[Any, Any]]
    gone: Container[int]
    fresh: Container[int]
    leads: Leads
    objects: Container[int] = ()

    def current(self, value: Any) -> Any:
        """Return the successor of an old definition, or the value itself."""
        successor = self.successors.get(id(value))
        return successor[1] if successor is not None and successor[0] is value else self.leads.of(value)


def fresh_definitions(
    modules: Mapping[str, ModuleType],
    old: Mapping[str, Definitions],
    new: Mapping[str, Definitions],
    selection: Selection,
    owned: Iterable[object],
) -> set[int]:
    """Return the ids of the functions and classes that the new version registers otherwise than the old one.

    Arguments:
        modules: the new modules.
        old, new: what the sources say.
        selection: knows which imported data is different.
        owned: the objects that the candidate created: a registry may hold functions that no name leads to.
    """
    named: set[tuple[str, str]] = set()
    for name in modules:
        before, after = old.get(name) or Definitions(), new.get(name) or Definitions()
        named |= {(name, path) for path in _fresh(before, after, "", selection.stale(after, modules[name]))}
    fresh: set[int] = set()
    ours = {id(module.__dict__) for module in modules.values()}
    reached = (function for _, function in functions_of(modules, lambda function: id(function.__globals__) in ours))
    for function in (*reached, *(one for one in owned if type(one) is FunctionType)):
        if (
            id(function.__globals__) in ours
            and (function.__globals__["__name__"], function.__code__.co_qualname) in named
        ):
            fresh.add(id(function))
    for name, path in named:
        value = resolved(modules[name], path)
        if value is not None:
            fresh.add(id(value))
    return fresh


def _fresh(old: Definitions, new: Definitions, prefix: str, stale: set[str]) -> Iterator[str]:
    for name, binding in new.bindings.items():
        if binding.kind not in (Kind.FUNCTION, Kind.CLASS):
            continue
        before = old.bindings.get(name)
        other = binding.kind is Kind.FUNCTION and binding.reads & stale
        if before is None or before.head != binding.head or other or _reads_other_data(binding.reads, old, new):
            yield prefix + name
        if name in new.classes:
            yield from _fresh(old.classes.get(name) or Definitions(), new.classes[name], f"{prefix}{name}.", stale)


def _reads_other_data(reads: Iterable[str], old: Definitions, new: Definitions) -> bool:
    return any(
        Kind.DATA in (old.kind(read), new.kind(read)) and not unchanged(read, old, new)
        for read in reads
        if old.kind(read) or new.kind(read)
    )


def leads_to(value: Any, ids: Container[int], depth: int = 0) -> bool:
    """Whether an entry of a registry is one of some functions and classes, or an object that holds one."""
    if id(value) in ids:
        return True
    kind = type(value)
    if kind is MethodType:
        return id(value.__func__) in ids
    if kind is FunctionType:
        inner = value
        for _ in range(_WRAPPED):
            inner = inner.__dict__.get("__wrapped__")
            if type(inner) is not kind:
                break
            if id(inner) in ids:
                return True
        # An object of a decorator's class, say.
        return type(inner) is not kind and leads_to(inner, ids, depth + 1)
    if depth > 1 or kind in UNIQUE_NEVER or walk.is_class(value):
        return False
    parts = _parts(value)
    return len(parts) < _PARTS and any(leads_to(part, ids, depth + 1) for part in parts)


def _parts(value: Any) -> list[Any]:
    """What an entry of a registry consists of."""
    kind = type(value)
    if kind is weakref.ref:
        return [weakref.ref.__call__(value)]
    if kind is functools.partial:
        return [value.func, *value.args]
    parts = list((walk.instance_dict(value) or {}).values())
    if issubclass(kind, (tuple, frozenset)):
        parts += tuple.__iter__(value) if issubclass(kind, tuple) else frozenset.__iter__(value)
    elif walk.is_container(kind):
        parts += values(value)
    elif not walk.is_written_in_c(kind):
        parts += slot_values(value)
    return parts
