"""Registry: a kept container, and what tells for each of its entries whether it stays, follows or goes."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Container
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.patch import told
from hotswap.swap.contents import LARGE, Kept, Translate
from hotswap.swap.fates import Fates, leads_to
from hotswap.swap.keys import Table, elements, size, values
from hotswap.swap.leaves import is_spelled
from hotswap.swap.revisions import Revisions, Verdict
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.writes import Writes

__all__ = ["Registry", "entries_of", "is_definition"]


class Registry:
    """A kept container and its twin. Lives as long as the swap can be taken back.

    Arguments:
        pair: both.
        fates: what becomes of definitions.
        translate: gives the living object for a dropped twin.
        writes: receives the writes.
        revisions: knows which entries the new version makes otherwise.
        removed: whom the weak references in it tell when they die.
    """

    def __init__(
        self,
        pair: Kept,
        fates: Fates,
        translate: Translate,
        writes: Writes,
        revisions: Revisions,
        removed: Callable[[Any], None] | None = None,
    ) -> None:
        self.twin, self.living, self.touched = pair.twin, pair.living, pair.touched
        self.fates, self.writes, self._translate, self._removed = fates, writes, translate, removed
        self.revisions, self.place, self.partial = revisions, pair.place, pair.partial
        self.layout = pair.layout
        self.table = Table(pair.living, fates.leads)

    def is_quiet(self, key: Any) -> bool:
        """Whether the commit can look a key or element up without running Python code."""
        return self.fates.leads.is_quiet(key)

    def translate(self, value: Any) -> Any:
        """Return the living object for a twin; a weak reference tells the living container when it dies."""
        held = weakref.ref.__call__(value) if type(value) is weakref.ref else None
        if held is None or self._removed is None:
            return self._translate(value)
        return weakref.ref(self._translate(held), self._removed)

    def is_new(self, value: Any) -> bool:
        """Whether an entry of the twin is to be added."""
        return self.touched or any(leads_to(part, self.fates.fresh) for part in entries_of(value))

    def judged(self, living: Any, twin: Any, *key: Any) -> Verdict:
        """Say what becomes of an entry that both have: of one that stands under a key, or of an element."""
        if self.place is None:
            return Verdict.STAYS
        place = self.place.at(*key) if key else self.place
        return self.revisions.judge(place, self.fates.current(living), twin)

    def is_gone(self, value: Any) -> bool:
        """Whether an entry of the living container is to go, unless the new version has it too."""
        return id(value) in self.fates.objects or leads_to(value, self.fates.gone)

    def is_dropped(self, value: Any, twin: Container[Any]) -> bool:
        """Whether the statement that put a plain element in is gone.

        Only under a key that the statement speaks of: a function may have put the same value into the list since.
        """
        if self.place is None or not self.place.keys or not is_spelled(value):
            return False
        return value not in twin and self.revisions.drops(self.place, value)

    def untold(self, living: list[Any]) -> list[Any]:
        """The plain elements that lack, and of which it can't be told why: code has computed them, say."""
        if self.place is None or size(self.twin) > LARGE:
            return []
        ours, theirs = (
            {v: v for v in filter(is_spelled, held)} for held in (living, map(self.translate, elements(self.twin)))
        )
        return [v for v in theirs if v not in ours and self.revisions.computes(self.place, v)]

    def unhashed(self) -> list[Any]:
        """The keys or elements that are left alone, since hashing them runs Python code, if the versions differ."""
        if self.place is None or max(size(self.living), size(self.twin)) > LARGE:
            return []
        living, twin = (
            [pair for pair in _pairs(one) if not self.is_quiet(self.translate(pair[0]))]
            for one in (self.living, self.twin)
        )
        gone = [key for key, value in living if self.is_gone(key) or self.is_gone(value)]
        come = [key for key, value in twin if any(leads_to(part, self.fates.fresh) for part in (key, value))]
        if not (gone or come) and (living or twin):
            before, after = (Counter((type(v), v) for _, v in one if type(v) in UNIQUE_NEVER) for one in (living, twin))
            differ = len(living) < len(twin) or before != after
            come = [key for key, _ in twin or living] if differ and self.revisions.concern(self.place) else []
        return list({told(key): key for key in (*come, *gone)}.values())

    def departs(self, key: Any, living: Any) -> Verdict:
        """Say what becomes of an entry, or element, that the new version does not make."""
        if self.place is None:
            return Verdict.STAYS
        verdict = self.revisions.departs(self.place.at(key), living)
        # What the new version has registered just as it was is not in such a twin.
        return Verdict.STAYS if self.partial and verdict is Verdict.UNKNOWN else verdict

    def unclear(self) -> list[Any]:
        """The entries that the new version does not make, where it can't be told whether the old import did.

        An element may have been put in a second time since by a function, whatever has put it in at first.
        """
        if self.place is None or size(self.living) > LARGE or size(self.twin) > LARGE:
            return []
        living, twin = elements(self.living), elements(self.twin)
        ours, theirs = ({v: v for v in filter(is_spelled, held)} for held in (living, map(self.translate, twin)))
        more = [v for v in ours if v not in theirs] if not self.place.keys else []
        there = {id(self.translate(value)) for value in twin}
        return [v for v in more if self.revisions.drops(self.place, v)] + [
            value
            for value in living
            if is_definition(value) and id(self.fates.current(value)) not in there and not self.is_gone(value)
            if self.departs(value, value) is not Verdict.STAYS
        ]

    def is_added(self, value: Any, there: Container[Any]) -> bool:
        """Whether only the new version has a statement that puts a plain element in."""
        if self.place is None or not is_spelled(value):
            return False
        return value not in there and self.revisions.adds(self.place, value)


def _pairs(container: Any) -> list[tuple[Any, Any]]:
    """The entries of a dict; each element of another container as its own key."""
    if issubclass(type(container), dict):
        return list(dict.items(container))
    return [(value, value) for value in elements(container)]


def entries_of(value: Any) -> list[Any]:
    """The entries of a container in a registry; anything else is one entry."""
    return values(value) if walk.is_container(type(value)) and size(value) <= LARGE else [value]


def is_definition(value: Any) -> bool:
    """Whether an entry is a function or a class."""
    return type(value) is FunctionType or walk.is_class(value)
