"""Lineage: the identities of earlier generations that somebody still holds.

When a third version comes, every old identity is pointed at the newest one directly: no chains. They are known by
weak references, so that an identity which nobody holds is forgotten. One that somebody else holds *weakly* (a signal
whose receiver was the module's own function, a `WeakMethod`) is kept alive, as it would have been without the swap:
the module would have kept it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Lineage", "Noted", "Reference"]

Fact = TypeVar("Fact")


class Reference(weakref.ref[Any]):
    """A weak reference of our own, told by its class: plain ones are shared, and could not be told from others'.

    Whatever in hotswap refers weakly to functions does it by these, and by `Noted` instead of a `WeakKeyDictionary`: a
    plain reference would be taken for that of somebody else, and keep the function with its generation.

    `kept` holds the object itself as long as others refer to it weakly, `is_light` says that this keeps no data of its
    generation with it: see `shedding`.
    """

    __slots__ = ("is_light", "kept")
    is_light: bool
    kept: Any

    def keep(self) -> None:
        """Look anew whether somebody else refers to the object weakly."""
        held = self()
        others = any(type(one) is not Reference for one in weakref.getweakrefs(held))
        self.is_light = others and getattr(self, "is_light", False)
        self.kept = held if others else None


class Noted(Generic[Fact]):
    """What is noted of some objects, as long as somebody holds these."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[Reference, Fact]] = {}

    def get(self, o: Any) -> Fact | None:
        """Return what is noted of an object; None if nothing is."""
        known = self._facts.get(id(o))
        return None if known is None else known[1]

    def __getitem__(self, o: Any) -> Fact:
        return self._facts[id(o)][1]

    def __setitem__(self, o: Any, fact: Fact) -> None:
        key, facts = id(o), self._facts
        facts[key] = Reference(o, lambda _: facts.pop(key, None)), fact


class Lineage:
    """What earlier generations left behind. Immutable; `extended` makes the next one.

    Arguments:
        functions: functions that lead to a successor.
        caches: `lru_cache` objects whose function does.
        lost: functions and classes that a version took away, and that a later one may bring back.
    """

    def __init__(
        self,
        functions: Iterable[Reference] = (),
        caches: Iterable[Reference] = (),
        lost: Iterable[Reference] = (),
    ) -> None:
        self._functions = tuple(functions)
        self._caches = tuple(caches)
        self._lost = tuple(lost)

    @property
    def functions(self) -> Iterator[tuple[Reference, Any]]:
        """The earlier functions that are still held, each with the reference to keep instead of another one."""
        return ((reference, held) for reference in self._functions if (held := reference()) is not None)

    @property
    def kept(self) -> Iterator[Reference]:
        """The references that keep what they refer to."""
        return (reference for reference in (*self._functions, *self._caches) if reference.kept is not None)

    @property
    def caches(self) -> Iterator[Any]:
        """The earlier `lru_cache` objects that are still held."""
        return _alive(self._caches)

    @property
    def lost(self) -> Iterator[Any]:
        """What was taken away and is still held."""
        return _alive(self._lost)

    def extended(
        self, functions: Iterable[Any], caches: Iterable[Any], lost: Iterable[Any], returned: Iterable[Any]
    ) -> Lineage:
        """Return a lineage that knows some objects more, and none that nobody holds any longer.

        Arguments:
            functions, caches, lost: what is earlier from now on.
            returned: what is not lost any more.
        """
        functions_known = _with(self._functions, functions)
        caches_known = _with(self._caches, caches)
        for reference in (*functions_known, *caches_known):
            reference.keep()
        here = {id(o) for o in returned}
        missing = {id(o): o for o in (*self.lost, *lost) if id(o) not in here}
        return Lineage(functions_known, caches_known, map(Reference, missing.values()))


def _alive(references: Iterable[Reference]) -> Iterator[Any]:
    for reference in references:
        held = reference()
        if held is not None:
            yield held


def _with(references: tuple[Reference, ...], objects: Iterable[Any]) -> list[Reference]:
    """The references that are alive, and one for each object that has none yet."""
    alive = [(reference, held) for reference in references if (held := reference()) is not None]
    known = {id(held) for _, held in alive}
    more = {id(o): o for o in objects if id(o) not in known}
    return [*(reference for reference, _ in alive), *map(Reference, more.values())]
