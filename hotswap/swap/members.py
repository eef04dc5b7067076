"""Members: facts about single members of enumerations, found without running their code."""

from __future__ import annotations

import enum
import sys
from typing import Any

from hotswap import walk

__all__ = [
    "HASH",
    "HASHED_BY",
    "FormerMap",
    "can_join",
    "data_type",
    "hash_by_first_name",
    "inherited",
    "map_of",
    "name_of",
    "nameless",
]

HASHED_BY = "_hotswap_first_name_"
"""The attribute in which a member that got another name keeps the one that it is hashed by."""

HASH = walk.ENUM_HASH

_SET_CLASS = object.__dict__["__class__"].__set__


_LOOPS = {code for one in (enum.EnumMeta.__iter__, enum.EnumMeta.__reversed__) for code in walk.codes_in(one.__code__)}
"""The code that goes through the members of a class."""


class FormerMap(dict[str, Any]):
    """The members by name that old code gets while both versions are reachable.

    A loop over the members that is under way goes on with the names of the version that came, one by one: it gets those
    members, too.

    Arguments:
        going: the members of the version that goes.
        coming: those of the one that comes.
    """

    def __init__(self, going: dict[str, Any], coming: dict[str, Any]) -> None:
        super().__init__(going)
        self._coming = coming

    def __missing__(self, name: str) -> Any:
        if sys._getframe(1).f_code in _LOOPS:
            return self._coming[name]
        raise KeyError(name)


def hash_by_first_name(self: Any) -> int:
    """The hash of a member that has got another name: that of the name it was made with."""
    return hash(self.__dict__.get(HASHED_BY, self._name_))


def name_of(member: Any) -> Any:
    """The name of a member, whatever its class makes of the attribute."""
    facts = walk.instance_dict(member)
    return member._name_ if facts is None else facts.get("_name_")


def map_of(cls: Any) -> dict[str, Any]:
    """The members of an enumeration by name, aliases too."""
    found: dict[str, Any] = walk.class_dict(cls)["_member_map_"]
    return found


def nameless(cls: Any) -> dict[Any, Any]:
    """The members by value that no definition names: combinations of flags, and what `_missing_` has put there."""
    named = {id(member) for member in map_of(cls).values()}
    values = walk.class_dict(cls)["_value2member_map_"]
    return {value: member for value, member in list(values.items()) if id(member) not in named}


def inherited(cls: type, name: str) -> Any:
    """What a class or its first base that has it holds under a name; the function of a class method."""
    for base in walk.mro(cls):
        if name in walk.class_dict(base):
            found = walk.class_dict(base)[name]
            return found.__func__ if type(found) is classmethod else found
    return None


def data_type(cls: type) -> type | None:
    """The type written in C whose value is part of the members, if there is one."""
    for base in walk.mro(cls)[1:]:
        if base is not object and walk.is_written_in_c(base):
            return base
    return None


def can_join(base: Any) -> bool:
    """Whether an object of a class over a type written in C can change to another such class. Tried on scratch classes.

    Objects with a `__dict__` behind a variable number of items can't, before CPython 3.12.
    """
    if not walk.fact(base, "__itemsize__") or base not in (tuple, bytes):
        return True
    one, other = (type("Scratch", (base,), {}) for _ in range(2))
    try:
        _SET_CLASS(base.__new__(one), other)
    except TypeError:
        return False
    return True
