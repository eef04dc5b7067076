"""Hashing: how the commit hashes what is not hashed in C.

A registry may be keyed by members of enumerations. `enum` hashes a member by a method in Python,
``hash(self._name_)``, and a commit must not run any. So for the length of its C call `Enum.__hash__` is a property that
computes the very same hash in C. Nobody else runs in between, so nobody sees it.

Assumes (proved in `tests/cpython`): a property as `__hash__` is called without running Python code.
"""

from __future__ import annotations

import enum
import operator
import weakref
from collections.abc import Iterable
from typing import Any

from hotswap import walk

__all__ = ["NAME_HASHED_IN_C", "hashing", "quieted"]

_REFERENCES = (weakref.ref, weakref.KeyedRef)

NAME_HASHED_IN_C: tuple[Any, ...] = (
    type.__setattr__,
    enum.Enum,
    "__hash__",
    property(operator.attrgetter("_name_.__hash__")),
)
"""The write that has members hashed in C. Who hashes members in the commit adds it; it is made first, and once."""

_NAME_HASHED_BY_ENUM = (type.__setattr__, enum.Enum, "__hash__", walk.ENUM_HASH)


def hashing(keys: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the write that has members of enumerations hashed in C, if any of some keys is one, or has one in it."""
    return [NAME_HASHED_IN_C] if any(map(_has_member, keys)) else []


def _has_member(key: Any) -> bool:
    kind = type(key)
    if kind is str:
        return False  # as most keys are
    held: Any = weakref.ref.__call__(key) if kind in _REFERENCES else key
    if issubclass(type(held), tuple):
        return any(map(_has_member, tuple.__iter__(held)))
    return walk.is_hashed_by_name(held)


def quieted(*ways: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Return lists of writes, each with the write above at its beginning, and what takes it back at its end.

    Arguments:
        ways: the writes of a commit, and what takes them back if one of them raises. If the one needs it, so does the
            other: it may have to end what the one has begun.
    """
    if not any(op is NAME_HASHED_IN_C for ops in ways for op in ops):
        return [*ways]
    return [[NAME_HASHED_IN_C, *(op for op in ops if op is not NAME_HASHED_IN_C), _NAME_HASHED_BY_ENUM] for ops in ways]
