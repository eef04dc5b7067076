"""The audit: proof that nothing refers to what a swap has dropped, but the swap's own journal.

The candidate's class objects, and its twins of objects that were kept, are dropped: the living objects stand in their
place. Whoever still refers to one would meet a second object of the same name. `gc.get_referrers` finds all who do.

The journal keeps what was dropped for the way back. It is told from everything else by walking from the swap through
the objects of hotswap and the containers that they hold, and no further.
"""

from __future__ import annotations

import functools
import gc
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import (
    CellType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from hotswap import walk
from hotswap.swap.climbing import Climb
from hotswap.swap.whereabouts import place_of

__all__ = ["PARTS_OF_CLASSES", "Leftover", "audit", "described"]

_HOUSE = __name__.partition(".")[0]


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
    climb = Climb(gone, *_journal(journal), lambda holder: _is_part(holder, gone) or _is_register(holder))
    return tuple(
        Leftover(walk.class_name(type(holder)), place_of(climb.way(holder)), described(held))
        for holder in climb.holders
        for held in gc.get_referents(holder)
        if id(held) in gone
    )


PARTS_OF_CLASSES = (GetSetDescriptorType, MemberDescriptorType)
"""What a class makes for itself, and what refers to it."""


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


def _journal(root: object) -> tuple[set[int], set[int]]:
    """The ids of the objects that a journal consists of, and those of its containers, which others may see too."""
    found = {id(root)}
    containers: set[int] = set()
    houses: dict[type, bool] = {}
    stack: list[tuple[Any, bool]] = [(root, True)]
    while stack:
        held, house = stack.pop()
        cells = held.__closure__ or () if type(held) is FunctionType else ()
        for part in (*gc.get_referents(held), *cells):
            own = _is_of_the_house(part, houses) or (type(part) is CellType and any(part is cell for cell in cells))
            # A container is the journal's if an object of the house holds it, and so is a tuple in such a container.
            if id(part) in found or id(part) in containers:
                continue
            if own or (house and type(part) in _CONTAINERS) or type(part) is tuple:
                (found if own else containers).add(id(part))
                stack.append((part, own))
    return found, containers


def _is_of_the_house(value: Any, houses: dict[type, bool]) -> bool:
    """Whether an object is one of hotswap. `houses` remembers it of classes: a journal has thousands of few."""
    kind = type(value)
    if kind is functools.partial:
        return _is_of_the_house(value.func, houses)
    if kind is FunctionType:
        return str(value.__module__).partition(".")[0] == _HOUSE
    if kind is MethodType:
        return _is_of_the_house(value.__self__, houses)
    known = houses.get(kind)
    if known is None:
        apart = issubclass(kind, (type, ModuleType))
        known = houses[kind] = not apart and walk.class_home(kind).partition(".")[0] == _HOUSE
    return known


_CONTAINERS = (dict, list, set, tuple, deque)


def described(value: Any) -> str:
    """Say what a dropped object is, without running code of it."""
    if walk.is_class(value):
        return f"the dropped class {walk.class_dict(value).get('__module__')}.{walk.class_name(value)}"
    return f"a dropped {walk.class_name(type(value))}"
