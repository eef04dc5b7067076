"""Registrations of a candidate's in live objects: the entries wait for the commit, which registers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome
from hotswap.effects.snapshot import is_copied
from hotswap.patch import Place

__all__ = ["Holding"]


class Holding(Deed):
    """A registration of the candidate's in a live object.

    Arguments:
        kind, what, outcome: as for a deed.
        living: the container that is live, or the namespace, or the class.
        twin: a container of the same type that holds the candidate's entries and nothing else; None if they are left.
        names: whether `living` is a namespace or a class: its entries are names, which are set, not merged.
        cache: what has to be forgotten when `living` changes.
        replaced: what stood where entries of the candidate were.
        place: where the container is, if plain data of the candidate's stood there.
        layout: what a list was, and what the candidate's import has made of it.
    """

    def __init__(
        self,
        kind: str,
        what: str,
        outcome: Outcome,
        living: Any,
        twin: Any,
        *,
        names: bool = False,
        cache: dict[Any, Any] | None = None,
        replaced: Iterable[Any] = (),
        place: Place | None = None,
        layout: tuple[list[Any], list[Any]] = ([], []),
    ) -> None:
        super().__init__(kind, what, outcome)
        self.living, self.twin, self.names, self.cache = living, twin, names, cache
        self.replaced = list(replaced)
        self.place = place
        self.before, self.after = layout

    def parts(self) -> Iterator[Any]:
        """Yield the deed, and the containers of its own in which it keeps what it found."""
        yield from super().parts()
        inside = walk.instance_dict(self.twin) or {}  # of a weak register
        yield inside
        yield from (part for part in inside.values() if is_copied(type(part)))

    def drop(self) -> None:
        """Forget the entries, which keep the candidate alive."""
        self.living = self.twin = self.cache = None
        self.replaced = []
        self.before, self.after = [], []
