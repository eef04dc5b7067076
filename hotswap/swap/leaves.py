"""Leaves: what an entry of a registry is made of, as it is told by words: constants, and the names of definitions."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from hotswap import walk
from hotswap.patch import Word
from hotswap.swap.keys import entries
from hotswap.swap.parts import cell_contents
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["OBJECT", "identities", "is_plain", "is_spelled", "leaves", "spelled"]

_PARTS = 64
"""An entry with more parts is data that somebody computes."""

OBJECT: type = object
"""Stands for the type of what is told by its identity."""

Path = tuple[Any, ...]


def identities(value: Any) -> frozenset[int]:
    """The ids of the functions, classes and objects that an entry is made of."""
    return frozenset(key for kind, key in leaves(value) or () if kind is OBJECT)


def is_plain(leaf: Word) -> bool:
    """Whether a leaf is a plain value."""
    return leaf[0] is not OBJECT


def is_spelled(value: Any) -> bool:
    """Whether sources spell a value, by words that say nothing else: plain values do, and members of enumerations."""
    return type(value) in UNIQUE_NEVER or walk.is_hashed_by_name(value)


def leaves(value: Any) -> list[Word] | None:
    """What an entry is made of: its plain values by type, anything else by identity. None if it is data."""
    found: list[Word] = []
    stack, seen = [value], 0
    while stack:
        part = stack.pop()
        kind = type(part)
        seen += 1
        if seen > _PARTS:
            return None  # as is what contains itself
        if kind in UNIQUE_NEVER:
            found.append((kind, part))
        elif issubclass(kind, tuple) or kind is frozenset:
            stack += tuple.__iter__(part) if issubclass(kind, tuple) else part
        elif kind in (dict, list, set) and len(part) <= _PARTS:
            stack += entries(part)
        else:
            # A list that is longer stands for itself, as an object does.
            found.append((OBJECT, id(part)))
    return found


def spelled(value: Any) -> dict[Path, Word] | None:
    """What an entry is made of, as a statement spells it that makes it: where in the entry -> the word.

    Objects are looked into, too: the class, and what it was made with, which most classes keep in attributes. None if
    it has more parts than a statement spells, or parts that no statement names: objects of extensions, say.
    """
    found: dict[Path, Word] = {}
    stack: list[tuple[Path, Any]] = [((), value)]
    looked = 0
    known: set[int] = set()
    while stack:
        path, part = stack.pop()
        looked += 1
        if looked > _PARTS:
            return None
        kind = type(part)
        if kind in UNIQUE_NEVER:
            found[path] = (kind, part)
        elif walk.is_class(part):
            found[path] = (str, walk.class_name(part).rpartition(".")[2])
        elif walk.is_hashed_by_name(part):
            found[path] = (str, str(part._name_))
        elif id(part) not in known:
            known.add(id(part))
            parts = _parts(part)
            if parts is None:
                return None
            name, inner = parts
            if name:
                found[path] = (str, name.rpartition(".")[2])
            stack += [((*path, step), below) for step, below in inner]
    return found


def _parts(part: Any) -> tuple[str, list[tuple[Any, Any]]] | None:
    """The name that stands for an object in sources, and its parts; None if nobody can look into it."""
    kind = type(part)
    if kind is FunctionType:
        cells = zip(part.__code__.co_freevars, part.__closure__ or (), strict=True)
        held = [(name, cell_contents(cell)) for name, cell in cells if name != "__class__"]
        # One that a function has made is spelled by a call of that.
        return part.__qualname__.partition(".<locals>")[0], held
    if kind is BuiltinFunctionType:
        return part.__name__, []
    if kind is MethodType:
        return "", [("__self__", part.__self__), ("__func__", part.__func__)]
    if kind is functools.partial:
        return "", [("func", part.func), *enumerate(part.args), *part.keywords.items()]
    if kind is tuple or kind is frozenset or kind in (dict, list, set):
        return "", list(_items(part))
    attributes = walk.instance_dict(part)
    if walk.is_written_in_c(kind) or (attributes is None and not walk.slot_descriptors(kind)):
        return None
    inner = list((attributes or {}).items())
    inner += _items(part) if walk.is_container(kind) or issubclass(kind, tuple) else ()
    for slot in walk.slot_descriptors(kind):
        try:
            inner.append((slot.__name__, slot.__get__(part)))
        except (AttributeError, TypeError):
            continue  # empty, or one of a C type that hides behind this descriptor
    return walk.class_name(kind), inner


def _items(part: Any) -> Iterator[tuple[Any, Any]]:
    """What stands in a container: under a plain key that, and of what has no key by its order."""
    if issubclass(type(part), dict):
        for number, (key, value) in enumerate(list(dict.items(part))):
            plain = type(key) in UNIQUE_NEVER
            yield (key if plain else number), value
            yield ("key", key if plain else number), key
    elif issubclass(type(part), tuple):
        yield from enumerate(tuple.__iter__(part))
    elif type(part) is frozenset:
        yield from enumerate(part)
    else:
        yield from enumerate(entries(part))
