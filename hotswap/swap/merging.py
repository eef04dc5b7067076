"""Merging: kept registries get what the new version registers, and lose what it has not any more.

Registries are containers that decorators, `__init_subclass__` and metaclasses fill while a module is imported. Keeping
the old one loses the new entries; taking the new one loses what was registered at run time. So they are merged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from hotswap import walk
from hotswap.swap.plan import Writes
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["inside", "merge"]

_REGISTRY = 100_000
"""A kept list or set with more items is a cache, not a registry; it is left as it is."""

_PARTS = 64
"""An entry with more parts is data, not the description of a function."""

_NESTED = 3
"""How deep kept objects are looked into for registries: an application, its router, its table of routes."""


def inside(kept: Iterable[tuple[Any, Any]], translate: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in kept objects, as pairs of that of the dropped twin and the living one.

    Arguments:
        kept: pairs of a dropped object and the living one.
        translate: gives the living class for a twin.
    """
    level = list(kept)
    for _ in range(_NESTED):
        further: list[tuple[Any, Any]] = []
        for twin, living in level:
            if translate(type(twin)) is not type(living) or walk.is_class(twin):
                continue
            before, after = walk.instance_dict(living) or {}, walk.instance_dict(twin) or {}
            for name, value in list(after.items()):
                held = before.get(name)
                if held is None or held is value or type(value) in UNIQUE_NEVER:
                    continue
                if type(value) in (dict, list, set) and type(held) is type(value):
                    yield value, held
                else:
                    further.append((value, held))
        level = further


def merge(
    kept: Iterable[tuple[Any, Any]],
    successors: Mapping[int, tuple[Any, Any]],
    lost: Container[int],
    added: Container[int],
    translate: Callable[[Any], Any],
    writes: Writes,
) -> None:
    """Bring the kept containers up to date: registries that decorators and `__init_subclass__` fill at import.

    Entries that the candidate's import made and the living container lacks are added; entries that lead to an old
    definition lead to its successor; entries whose definition is gone are dropped. What was put in at run time stays,
    and so does what stands under a key whose hash is computed by Python code.

    Arguments:
        kept: pairs of a dropped object and the living one.
        successors: id of an old object -> (it, its successor).
        lost: ids of old functions and classes whose definition is gone.
        added: ids of new functions and classes that had no counterpart.
        translate: gives the living object for a dropped twin.
        writes: receives the writes.
    """

    def current(value: Any) -> Any:
        successor = successors.get(id(value))
        return successor[1] if successor is not None and successor[0] is value else value

    for twin, living in kept:
        if type(living) is not type(twin):
            continue
        if type(living) is dict:
            # The twin leads, so that a cache of millions is not walked: what import did not make is not a definition.
            for key, value in list(twin.items()):
                key = translate(key)
                if not _hashes_quietly(key):
                    continue
                if key not in living:
                    writes.item(living, key, translate(value))
                elif current(living[key]) is not living[key]:
                    writes.item(living, key, current(living[key]))
            for key, value in list(living.items()) if len(living) <= _REGISTRY else ():
                if _leads_to(value, lost) and _hashes_quietly(key):
                    writes.drop(living, key)
        elif type(living) is list and len(living) <= _REGISTRY:
            after = [current(value) for value in living if not _leads_to(value, lost)]
            after += [
                value
                for value in map(translate, twin)
                if not _has(after, value) and (_is_definition(value) or _leads_to(value, added))
            ]
            if len(after) != len(living) or any(a is not b for a, b in zip(after, living, strict=True)):
                whole = slice(None)
                before = list(living)
                writes.both([(list.__setitem__, living, whole, after)], [(list.__setitem__, living, whole, before)])
        elif type(living) is set and len(living) <= _REGISTRY:
            for value in map(translate, list(twin)):
                if _is_definition(value) and not _has(living, value):
                    writes.both([(set.add, living, value)], [(set.discard, living, value)])
            for value in [value for value in living if id(value) in successors or id(value) in lost]:
                add = [(set.add, living, current(value))] if id(value) not in lost else []
                writes.both([(set.discard, living, value), *add], [(set.add, living, value)])
                writes.both([], [(set.discard, living, current(value))] if add else [])


def _leads_to(value: Any, ids: Container[int], depth: int = 0) -> bool:
    """Whether an entry of a registry is one of some functions and classes, or an object that holds one."""
    if id(value) in ids:
        return True
    kind = type(value)
    if kind is MethodType:
        return id(value.__func__) in ids
    if kind is FunctionType:
        wrapped = value.__dict__.get("__wrapped__")
        return wrapped is not None and id(wrapped) in ids
    if depth > 1 or kind in UNIQUE_NEVER or walk.is_class(value):
        return False
    if kind in (tuple, list):
        parts = list(value)
    elif kind is functools.partial:
        parts = [value.func, *value.args]
    else:
        parts = list((walk.instance_dict(value) or {}).values()) if kind is not dict else list(value.values())
    return len(parts) < _PARTS and any(_leads_to(part, ids, depth + 1) for part in parts)


def _is_definition(value: Any) -> bool:
    """Functions and classes are what registries hold; other entries of a list or set are data, and follow the rule."""
    return type(value) is FunctionType or walk.is_class(value)


def _hashes_quietly(key: Any) -> bool:
    """Whether a key can be looked up without running Python code, which must not happen in a commit."""
    kind = type(key)
    if kind is tuple:
        return all(map(_hashes_quietly, key))
    if walk.is_class(key):
        return walk.class_dict(kind).get("__hash__", type.__hash__) is type.__hash__
    return kind in (*UNIQUE_NEVER, FunctionType)


def _has(values: Iterable[Any], value: Any) -> bool:
    return any(item is value for item in values)
