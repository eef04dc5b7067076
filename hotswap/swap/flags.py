"""Flags: combinations that somebody has made, `READ | WRITE`, are single objects too, and live on.

`enum` makes a combination when it is first asked for, and gives out the same object from then on. It has no definition
that could be compared; what it is called, and whether it is still one, follows from the members of a version.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterator
from typing import Any

from hotswap import walk
from hotswap.swap.members import HASH, HASHED_BY, hash_by_first_name, inherited, name_of
from hotswap.swap.writes import Op

__all__ = ["Combinations", "Version"]

MISSING: Any = object()


class Version:
    """One version of an enumeration, with the living members.

    Arguments:
        cls: the class while it is of that version.
        members: its members by name.
    """

    def __init__(self, cls: Any, members: dict[str, Any]) -> None:
        facts = walk.class_dict(cls)
        self.names = list(facts["_member_names_"])
        self._members = members
        self._values = {name: member._value_ for name, member in facts["_member_map_"].items()}
        self._own = {id(member): member._value_ for member in facts["_member_map_"].values()}
        named = {id(member) for member in facts["_member_map_"].values()}
        self.ids = {id(member) for member in members.values()}
        self.values = {value: held for value, held in list(facts["_value2member_map_"].items()) if id(held) in named}
        self.called = {id(held): name_of(held) for held in self.values.values()}
        self._mask, self._singles = facts.get("_flag_mask_", 0), facts.get("_singles_mask_", 0)
        self._boundary = facts.get("_boundary_")
        self._by_value = inherited(cls, "_iter_member_") is inherited(enum.Flag, "_iter_member_")

    def value_of(self, member: Any) -> Any:
        """The value that a member of the class itself had, when this was noted."""
        return self._own.get(id(member), MISSING)

    def add(self, value: Any, member: Any) -> None:
        """Note that the version has a combination, or a member by another value."""
        self.values[value] = member
        self.called.setdefault(id(member), name_of(member))

    def combined(self, value: int) -> Any:
        """The name of a combination, as `enum` would make it; `MISSING` where the version has no such combination."""
        if value < 0 or (value & ~self._mask and self._boundary is not enum.KEEP):
            return MISSING
        bits = self._values
        found = [name for name in self.names if bits[name] & value]
        if self._by_value:
            found.sort(key=bits.__getitem__)
        if value & ~self._singles:
            for name in bits:
                same = any(self._members[name] is self._members[other] for other in found)
                if not same and bits[name] and bits[name] & value == bits[name]:
                    found.append(name)
        combined = 0
        for name in found:
            combined |= bits[name]
        if not combined:
            return None
        rest = value ^ combined
        if rest and self._boundary is enum.STRICT:
            return MISSING
        return "|".join(found) + (f"|{rest!r}" if rest else "")


class Combinations:
    """The combinations of flags that somebody has asked for; they are members without a definition of their own.

    Arguments:
        cls: the living class.
    """

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    @property
    def _living(self) -> dict[Any, Any]:
        found: dict[Any, Any] = walk.class_dict(self._cls)["_value2member_map_"]
        return found

    def of(self, version: Version, fresh: Container[int]) -> Iterator[tuple[Any, Any, Any]]:
        """The living ones that a version does not have of itself: value, member, and (name there,) or None.

        They are keyed by plain numbers, so nobody's code compares them.

        Arguments:
            version: the version.
            fresh: ids of members that are none of its combinations, whatever their value.
        """
        for value, member in list(self._living.items()):
            if value not in version.values:
                known = id(member) not in version.ids and id(member) not in fresh and member._value_ == value
                name = version.combined(value) if known else MISSING
                yield value, member, None if name is MISSING else (name,)

    def has_first_name(self, member: Any, name: Any) -> bool:
        """Whether a combination is hashed by another name than the one that it has, or is to get."""
        facts = walk.instance_dict(member)
        return facts is not None and facts.get(HASHED_BY, facts.get("_name_")) != name

    def ops(self, value: Any, member: Any, stays: Any) -> Iterator[Op]:
        """The writes for one of them. In place, because any thread may make a new one at any time."""
        facts = walk.instance_dict(member)
        if stays is None:
            yield (dict.pop, self._living, value, None)
        elif facts is not None:
            yield (dict.pop, facts, "_inverted_", None)
            yield from self._rename(facts, stays[0])

    def named(self, version: Version) -> Iterator[Op]:
        """The writes for those that a version has of itself."""
        for value, member in version.values.items():
            yield (dict.__setitem__, self._living, value, member)
            facts = walk.instance_dict(member)
            if facts is not None:
                yield from self._rename(facts, version.called[id(member)])

    def _rename(self, facts: dict[str, Any], name: Any) -> Iterator[Op]:
        """Give a member another name; it goes on being hashed by the first, since it may be in a dict."""
        was = facts.get("_name_")
        if name == was:
            return
        if HASHED_BY not in facts:
            yield (dict.__setitem__, facts, HASHED_BY, was)
            if inherited(self._cls, "__hash__") is HASH:
                yield (type.__setattr__, self._cls, "__hash__", hash_by_first_name)
        yield (dict.__setitem__, facts, "_name_", name)
