"""Lineage: the identities of earlier generations that somebody still holds.

When a third version comes, every old identity is pointed at the newest one directly: no chains. They are known by
weak references, so that an identity which nobody holds is forgotten. One that somebody else holds *weakly* (a signal
whose receiver was the module's own function, a `WeakMethod`) is kept alive, as it would have been without the swap:
the module would have kept it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any

__all__ = ["Lineage"]


class _Reference(weakref.ref[Any]):
    """A weak reference of our own: plain ones without a callback are shared, and could not be told from others'.

    `kept` holds the object itself as long as others refer to it weakly.
    """

    __slots__ = ("kept",)
    kept: Any

    def keep(self) -> None:
        """Look anew whether somebody else refers to the object weakly."""
        held = self()
        self.kept = held if held is not None and weakref.getweakrefcount(held) > 1 else None


class Lineage:
    """The earlier functions, and `lru_cache` objects, of each definition. Immutable; `extended` makes the next one."""

    def __init__(self, known: dict[str, tuple[_Reference, ...]] | None = None) -> None:
        self._known = MappingProxyType(known or {})

    def of(self, key: str) -> Iterator[Any]:
        """Yield the earlier objects of a definition that are still held."""
        for reference in self._known.get(key, ()):
            held = reference()
            if held is not None:
                yield held

    def extended(self, more: Iterable[tuple[str, Any]]) -> Lineage:
        """Return a lineage that knows some objects more, and none that nobody holds any longer.

        Arguments:
            more: pairs of a definition's key and an object that is an earlier one from now on.
        """
        known = dict(self._known)
        for key, held in more:
            if all(earlier is not held for earlier in self.of(key)):
                known[key] = (*known.get(key, ()), _Reference(held))
        for references in known.values():
            for reference in references:
                reference.keep()
        return Lineage(
            {
                key: alive
                for key, references in known.items()
                if (alive := tuple(reference for reference in references if reference() is not None))
            }
        )
