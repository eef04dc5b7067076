"""Enumerations: which of their members are the same objects in both versions, told by the sources before they run."""

from __future__ import annotations

import enum
from typing import Any

from hotswap import walk
from hotswap.generation.comparison import is_counted, is_enumeration
from hotswap.generation.definitions import Definitions, Kind

__all__ = ["lasting_members"]

_MAKERS = ("__new__", "_generate_next_value_", "__eq__", "__hash__")
"""Methods by which the value of a member is another than what stands there, or by which a dict takes it for another."""


def lasting_members(name: str, old: Definitions, new: Definitions, cls: Any) -> set[str]:
    """Return the members of an enumeration that stay the same objects, whatever their values become.

    A member goes on being the same one as long as it is no alias of another, in either version. That is sure only where
    all values stand there as they are. Combinations of flags, and members that are hashed or compared by code of their
    own, are left out.

    Arguments:
        name: of the enumeration.
        old, new: the definitions of the module.
        cls: the living enumeration.

    The members are given as reads: ``Colour.RED``; and ``Colour*`` if they are all there, in the same order.
    """
    if not is_enumeration(name, new) or not walk.is_class(cls) or not issubclass(type(cls), enum.EnumMeta):
        return set()
    before, after = old.classes.get(name) or Definitions(), new.classes.get(name) or Definitions()
    makers = any(maker in body.bindings for body in (before, after) for maker in _MAKERS)
    heads = [definitions.bindings[name].head for definitions in (old, new)]
    if makers or heads[0] != heads[1] or issubclass(cls, enum.Flag) or not _is_plain(cls):
        return set()
    names = [_members(body) for body in (before, after)]
    if names[0] != walk.class_dict(cls)["_member_names_"]:
        return set()
    found = {f"{name}.{member}" for member in set(names[0]).intersection(names[1])}
    return found | {f"{name}*"} if names[0] == names[1] else found


def _is_plain(cls: type) -> bool:
    """Whether members of an enumeration are made, hashed and compared as `enum` does it."""
    ours = [base for base in walk.mro(cls)[1:] if walk.class_home(base) not in ("enum", "builtins")]
    made = [walk.class_dict(base)[maker] for base in ours for maker in _MAKERS if maker in walk.class_dict(base)]
    own = enum.Enum.__new__, enum.Enum._generate_next_value_  # `enum` writes these into each class
    functions = [value.__func__ if type(value) is staticmethod else value for value in made]
    return all(any(function is one for one in own) for function in functions)


def _members(body: Definitions) -> list[str]:
    """The names of the members, in order; none unless it is sure that each is a member of its own."""
    names: list[str] = []
    values: list[object] = []
    counted = 0
    for name, binding in body.bindings.items():
        if binding.kind is not Kind.DATA or name.startswith("_"):
            continue
        names.append(name)
        if len(binding.text) != 1 or binding.touches:
            return []
        values += binding.literals[:1]
        counted += is_counted(binding.text[0])
    literal = counted == 0 and len(values) == len(names) == len(set(values))
    return names if literal or counted == len(names) else []
