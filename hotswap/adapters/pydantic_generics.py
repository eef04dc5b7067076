"""Generic models of pydantic with arguments: which class ``Page[Item]`` is.

pydantic remembers the classes that it has made, weakly, by the generic model and its arguments. Those of the candidate
it knows by twins. So at the swap living classes take the place of the twins there, and classes that were made of the
other version of a model are forgotten: who asks next gets one with the fields of the version that is live.

Assumes: what pydantic remembers is in a `WeakValueDictionary` (`tests/adapters` notices if it is not any more).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from pydantic._internal import _generics

from hotswap import walk
from hotswap.swap import Facts

__all__ = ["Generics"]


class Generics:
    """Brings what pydantic remembers up to date, in both directions. Lives as long as the swap can be taken back.

    Arguments:
        facts: of the swap; receives the writes.
        is_stale: says of a class whether it was made of a model that changes.
    """

    def __init__(self, facts: Facts, is_stale: Callable[[type], bool]) -> None:
        self._facts, self._is_stale = facts, is_stale
        self._owned = {id(o) for o in facts.owned if walk.is_class(o)}
        self._living = {id(living) for living, _ in facts.classes}
        self._gone: dict[bool, list[tuple[Any, weakref.ref[Any]]]] = {True: [], False: []}
        """What a version had made when it went last, by whether it was the old one. Nobody but who holds it keeps
        it."""
        self._told: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
        facts.writes.late(self._writes, again=True)

    def _writes(self, forward: bool) -> Iterator[tuple[Any, ...]]:
        """The writes for one direction. The hashes of keys may run Python code, so they are asked here."""
        memory: Any = _generics._GENERIC_TYPES_CACHE
        found = [
            (key, cls, reference) for key, reference in list(memory.data.items()) if (cls := reference()) is not None
        ]
        if not self._facts.writes.undoing:
            made = [(key, cls) for key, cls, _ in found if self._is_made(cls)]
            self._gone[forward] = [
                (key, weakref.ref(cls)) for key, cls in made if not forward or id(cls) not in self._owned
            ]
        back = [(key, cls) for key, reference in self._gone[not forward] if (cls := reference()) is not None]
        there = {id(cls) for _, cls in back}
        wanted: dict[Any, Any] = {}
        led: list[tuple[Any, Any]] = []
        for key, cls, reference in found:
            if forward and id(cls) in self._owned:
                led.append((self._facts.translate(key), self._facts.translate(cls)))
            elif not self._is_made(cls) or id(cls) in there:
                wanted[key] = reference
        led += back
        callback = memory._remove
        for key, cls in led:
            wanted.setdefault(key, weakref.KeyedRef(cls, callback, key))
        if not self._facts.writes.undoing and [*map(id, wanted)] == [id(key) for key, _, _ in found]:
            return
        self._facts.writes.hold(found, wanted)
        # Filled from a dict, an empty one takes over its hashes.
        yield (dict.clear, memory.data)
        yield (dict.update, memory.data, wanted)

    def _is_made(self, cls: type) -> bool:
        """Whether a class has to be forgotten when the versions change: no name leads to it in the one to come."""
        if id(cls) in self._living or id(cls) in self._owned:
            return id(cls) not in self._living
        if cls not in self._told:  # its schema may be large, and what is in it does not change
            self._told[cls] = self._is_stale(cls)
        return self._told[cls]
