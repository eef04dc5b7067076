"""The audit: proof that nothing refers to what a swap has dropped, but the swap's own journal.

The candidate's class objects, and its twins of objects that were kept, are dropped: the living objects stand in their
place. Whoever still refers to one would meet a second object of the same name. `gc.get_referrers` finds all who do.

The journal keeps what was dropped for the way back. It is told from everything else by walking from the swap through
the objects of hotswap and the containers that they hold, and no further.
"""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CellType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from hotswap import walk

__all__ = ["PARTS_OF_CLASSES", "Leftover", "audit", "described"]

_HOUSE = __name__.partition(".")[0]
_ROUNDS = 8
"""How many passes are spent on garbage that keeps garbage."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that still refers to a dropped object: the type of the holder, where it is, and what it keeps."""

    holder: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"a {self.holder}{f' in {self.where}' if self.where else ''} keeps {self.what}"


def audit(dropped: Iterable[Any], journal: object) -> tuple[Leftover, ...]:
    """Return who refers to dropped objects, besides other dropped objects and a journal.

    Arguments:
        dropped: the objects.
        journal: keeps them for the way back; it is an object of hotswap.
    """
    gc.collect()
    gone = {id(o): o for o in dropped}
    del dropped  # a list would be one of those who refer to them
    ours = _journal(journal)
    refused: dict[int, list[Any]] = {}
    frontier = list(gone.values())
    # What is held by dropped objects only is dropped as well: a pass for each step of such a chain.
    holders = _holders(frontier, gone, ours)
    for _ in range(_ROUNDS):
        suspects = [holder for holder in holders if id(holder) not in refused]
        if not suspects:
            break
        above = {id(holder): _holders([holder], gone, ours, suspects) for holder in suspects[:_SUSPECTS]}
        before = len(gone)
        for holder in suspects:
            if not above.get(id(holder), True) and not _is_root(holder):
                gone[id(holder)] = holder
            else:
                refused[id(holder)] = above.get(id(holder), [])
        if len(gone) == before:
            break
        refused.clear()
        holders = [holder for holder in holders if id(holder) not in gone]
    return tuple(
        Leftover(walk.class_name(type(holder)), _where(holder, refused.get(id(holder), [])), described(held))
        for holder in holders
        for held in gc.get_referents(holder)
        if id(held) in gone
    )


PARTS_OF_CLASSES = (GetSetDescriptorType, MemberDescriptorType)
"""What a class makes for itself, and what refers to it."""

_SUSPECTS = 64
"""For so many holders it is looked who holds them; the others are named without that."""


def _holders(objects: list[Any], gone: dict[int, Any], ours: set[int], *passing: list[Any]) -> list[Any]:
    """Who refers to objects: not those that are gone themselves, not the journal, not the lists of this audit."""
    arguments = tuple(objects)  # given with a star, it is passed on as it is
    lists = {id(objects), id(arguments), id(gone), *map(id, passing)}
    return [
        holder
        for holder in gc.get_referrers(*arguments)
        if id(holder) not in gone
        and id(holder) not in ours
        and id(holder) not in lists
        and not _is_part(holder, gone)
        and not _is_register(holder)
        and not (type(holder) is FrameType and holder.f_globals is globals())
    ]


def _is_root(holder: Any) -> bool:
    """Whether something lives without being referred to by what the collector knows."""
    return type(holder) is FrameType or issubclass(type(holder), ModuleType)


def _is_part(holder: Any, gone: dict[int, Any]) -> bool:
    """Whether something belongs to a class that is gone: its descriptors, its resolution order."""
    if type(holder) in PARTS_OF_CLASSES:
        return id(holder.__objclass__) in gone
    if type(holder) is tuple and holder and id(holder[0]) in gone and walk.is_class(holder[0]):
        return holder is walk.mro(holder[0])
    return False


def _is_register(holder: Any) -> bool:
    """Whether something is what a class knows its subclasses by: weakly, with the reference that everybody shares."""
    if type(holder) is not dict or any(type(found) is not weakref.ref for found in holder.values()):
        return False
    below = [found for reference in list(holder.values()) if (found := reference()) is not None]
    if not below or not all(map(walk.is_class, below)):
        return False
    ids = [*map(id, below)]
    return any(ids == [*map(id, type.__subclasses__(base))] for base in _BASES.__get__(below[0]))


_BASES = type.__dict__["__bases__"]


def _journal(root: object) -> set[int]:
    """The ids of the objects that a journal consists of."""
    found = {id(root)}
    stack: list[tuple[Any, bool]] = [(root, True)]
    while stack:
        held, house = stack.pop()
        cells = held.__closure__ or () if type(held) is FunctionType else ()
        for part in (*gc.get_referents(held), *cells):
            own = _is_of_the_house(part) or (type(part) is CellType and any(part is cell for cell in cells))
            # A container is the journal's if an object of the house holds it, and so is a tuple in such a container.
            if id(part) not in found and (own or (house and type(part) in _CONTAINERS) or type(part) is tuple):
                found.add(id(part))
                stack.append((part, own))
    return found


def _is_of_the_house(value: Any) -> bool:
    kind = type(value)
    if kind is functools.partial:
        return _is_of_the_house(value.func)
    if kind in (FunctionType, MethodType):
        return (
            str(value.__module__).partition(".")[0] == _HOUSE
            if kind is FunctionType
            else _is_of_the_house(value.__self__)
        )
    if walk.is_class(value) or issubclass(kind, ModuleType):
        return False
    return str(walk.class_dict(kind).get("__module__")).partition(".")[0] == _HOUSE


_CONTAINERS = (dict, list, set, tuple, deque)


def described(value: Any) -> str:
    """Say what a dropped object is, without running code of it."""
    if walk.is_class(value):
        return f"the dropped class {walk.class_dict(value).get('__module__')}.{walk.class_name(value)}"
    return f"a dropped {walk.class_name(type(value))}"


def _where(holder: Any, above: list[Any]) -> str:
    """Where something is, as far as names tell."""
    for candidate in (holder, *above):
        kind = type(candidate)
        if kind is FunctionType:
            return f"{candidate.__module__}:{candidate.__qualname__}"
        if walk.is_class(candidate):
            return f"{walk.class_dict(candidate).get('__module__')}:{walk.class_name(candidate)}"
        if issubclass(kind, ModuleType):
            return str(ModuleType.__getattribute__(candidate, "__dict__").get("__name__"))
        if kind is dict and candidate.get("__name__") in sys.modules and "__spec__" in candidate:
            inside = [name for name, value in list(candidate.items()) if value is holder and type(name) is str]
            return ":".join((str(candidate["__name__"]), *inside[:1]))
        if kind is FrameType:
            return f"{candidate.f_code.co_qualname}, line {candidate.f_lineno}"
    return next((walk.class_name(type(o)) for o in above if type(o) not in (dict, BuiltinFunctionType)), "")
