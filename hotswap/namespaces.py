"""The namespaces of all imported modules: tens of thousands of names, looked through without a Python call for each.

A module may be lazy, or have a `__getattribute__` of its own: it is not asked.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Set
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Seen", "Survey", "held_by", "holding", "imported", "of_kinds", "parted", "replace_names"]

_AT_ONCE = 32
"""How many containers are looked into at once. If they hold what is looked for, each is looked into by itself."""

_OURS = "hotswap"
_NAMESPACE: Any = vars(ModuleType)["__dict__"]


def imported() -> list[tuple[str, ModuleType, dict[str, Any]]]:
    """Return name, module and namespace of what is in `sys.modules` and is a module; one may have several names."""
    entries: list[tuple[str, Any]] = list(sys.modules.items())
    return [
        (name, module, _NAMESPACE.__get__(module)) for name, module in entries if issubclass(type(module), ModuleType)
    ]


class Seen(NamedTuple):
    """Some namespaces, and what names in them stand for.

    Attributes:
        spaces: the namespaces.
        held: what all their names stand for, as far as it is looked for.
        ours: whether they are of modules of this library.
    """

    spaces: list[dict[str, Any]]
    held: list[Any]
    ours: bool


class Survey:
    """One look at what names stand for. Lives for as long as a swap is made, since it keeps that alive.

    Arguments:
        aside: the ids of namespaces at which nobody looks.
        wanted: whether objects of a class are looked for. Most names stand for others.
    """

    def __init__(self, aside: Container[int], wanted: Callable[[type], bool]) -> None:
        self.modules = imported()
        kinds = _Kinds(wanted)
        others = [(name.partition(".")[0] == _OURS, facts) for name, _, facts in self.modules if id(facts) not in aside]
        self.parts = [
            Seen(part, [value for value in held_by(part) if kinds[type(value)]], ours)
            for ours in (False, True)
            for part in parted(facts for is_ours, facts in others if is_ours is ours)
        ]

    def holding(self, wanted: Set[int]) -> Iterator[dict[str, Any]]:
        """Yield the namespaces that hold one of some objects, whose ids these are."""
        for spaces, held, _ in self.parts if wanted else ():
            if not wanted.isdisjoint(map(id, held)):
                yield from holding(wanted, spaces)


class _Kinds(dict[type, bool]):
    """Which classes are wanted, found out once for each."""

    def __init__(self, wanted: Callable[[type], bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = self._wanted(kind)
        return found


def held_by(containers: Iterable[object]) -> list[Any]:
    """Return what dicts, lists, sets and deques hold, but for the keys of dicts that have only text for keys."""
    return gc.get_referents(*containers)


def holding(wanted: Set[int], containers: Collection[dict[Any, Any]]) -> Iterator[dict[Any, Any]]:
    """Yield the containers that hold one of some objects.

    Arguments:
        wanted: the ids of the objects.
        containers: where to look.
    """
    for part in parted(containers) if wanted else ():
        if not wanted.isdisjoint(map(id, held_by(part))):
            yield from (container for container in part if not wanted.isdisjoint(map(id, held_by((container,)))))


def replace_names(originals: Mapping[int, Any], namespaces: Collection[dict[str, Any]]) -> None:
    """Give names that stand for some objects what these stand for themselves.

    Arguments:
        originals: id of such an object -> what takes its place.
        namespaces: where to look.
    """
    for facts in holding(originals.keys(), namespaces):
        for name, value in list(facts.items()):
            if id(value) in originals:
                facts[name] = originals[id(value)]


def parted(containers: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield containers in parts that are looked into at once."""
    every = list(containers)
    yield from (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def of_kinds(kinds: frozenset[type], values: list[Any]) -> list[Any]:
    """Return the values of some exact types."""
    return [value for value in values if type(value) in kinds]  # CPython 3.11 and newer take this faster than any `map`
