"""Kin: nested code that is a copy of other nested code.

A call makes its lambdas, generator expressions and inner functions of the code that stands inside its own. So whose
they are is told by that code, and it must not be the same for calls of two generations: a function that comes back, and
a private clone, get copies of nested code, too. A closure is paired by the place of its code, which is that of all its
kin.

Guarantees: nothing is kept alive. Assumes: who makes a copy holds the lock under which swaps of these packages are
made.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import CodeType

from hotswap import walk

__all__ = ["copied", "is_nested", "kin", "made_in", "nested_copy", "refer", "relate"]


class _Family:
    """Code objects that are copies of each other. Lives as long as one of them."""

    def __init__(self) -> None:
        self.members: dict[int, weakref.ref[CodeType]] = {}


_families: dict[int, _Family] = {}
"""The id of nested code -> its family, as long as it is there."""


def copied(code: CodeType) -> CodeType:
    """Return a copy of code and of the code that is nested in it: calls of either can be told apart."""
    return code.replace(co_consts=tuple(nested_copy(one) if type(one) is CodeType else one for one in code.co_consts))


def nested_copy(code: CodeType) -> CodeType:
    """Return a copy of nested code, which stands in the same place, and of the code that is nested in it."""
    copy = copied(code)
    relate(code, copy)
    return copy


def relate(code: CodeType, copy: CodeType) -> None:
    """Note that some code is a copy of nested code."""
    family = _families.get(id(code))
    if family is None:
        family = _Family()
        _join(family, code)
    _join(family, copy)


def _join(family: _Family, code: CodeType) -> None:
    key = id(code)

    def leave(_: weakref.ref[CodeType]) -> None:
        _families.pop(key, None)
        family.members.pop(key, None)

    _families[key] = family
    family.members[key] = weakref.ref(code, leave)


def kin(code: CodeType) -> Iterator[CodeType]:
    """Return the other copies of nested code that somebody holds, and what it is a copy of."""
    family = _families.get(id(code))
    for known in () if family is None else list(family.members.values()):
        one = known()
        if one is not None and one is not code:
            yield one


def refer(code: CodeType) -> Callable[[], CodeType | None]:
    """Return a weak reference to nested code: it gives one of its kin if it is gone, and None if all are."""
    family, known = _families.get(id(code)), weakref.ref(code)

    def held() -> CodeType | None:
        members = () if family is None else list(family.members.values())
        return known() or next((one for member in members if (one := member()) is not None), None)

    return held


def is_nested(code: CodeType) -> bool:
    """Whether code stands inside that of a function."""
    return "<locals>" in code.co_qualname


def made_in(codes: Iterable[CodeType]) -> set[int]:
    """Return the ids of the code that is nested in some code, and of its copies."""
    nested = (inner for code in codes for inner in islice(walk.codes_in(code), 1, None))
    return {id(one) for inner in nested for one in (inner, *kin(inner))}
