"""Weak registries: weak sets and dicts of live code in which the candidate's import has registered something.

A weak reference tells, by its callback, the register that it stands in. What it stands for was made with the candidate,
so no element of a weak set and no key of a weak dict took anybody's place. What a weak dict of values had under a key
is known by a copy.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome

__all__ = ["WeakValues", "referent", "registers"]

_MISSING: Any = object()
_REFERENT: Any = weakref.ReferenceType.__call__


def registers(held: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Yield weak registers, each with those of some weak references that stand in it."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for reference in held:
        owner = _owner(reference)
        if owner is not None:
            found.setdefault(id(owner), (owner, []))[1].append(reference)
    yield from found.values()


def _owner(reference: Any) -> Any:
    """The weak set or dict that keeps something by a weak reference, or None."""
    callback = walk.callback_of(reference)
    if type(callback) is not FunctionType or callback.__globals__.get("__name__") not in ("weakref", "_weakrefset"):
        return None
    for default in callback.__defaults__ or ():
        owner = _REFERENT(default) if type(default) is weakref.ref else None
        if type(owner) in (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary):
            return owner
    return None


def referent(reference: Any) -> Any:
    """What a weak reference stands for; any other object stands for itself."""
    return _REFERENT(reference) if issubclass(type(reference), weakref.ReferenceType) else reference


class WeakValues(Deed):
    """Entries of a weak dict of values, which were taken out.

    Arguments:
        data: the dict in which it keeps them.
        entries: key -> the weak reference to an object of the candidate.
    """

    def __init__(self, what: str, data: dict[Any, Any], entries: dict[Any, Any]) -> None:
        super().__init__("registrations", what, Outcome.UNDONE)
        self._data, self._entries = data, entries
        self._before: dict[Any, Any] | None = None
        self._after: dict[Any, Any] = {}

    def ops(self, living: Callable[[Any], Any], forward: bool) -> list[tuple[Any, ...]]:
        """Return the writes of a commit, or of the way back; each is idempotent."""
        if self._before is None:
            self._before = {key: dict.get(self._data, key, _MISSING) for key in self._entries}
            for key, reference in self._entries.items():
                o, now = living(referent(reference)), self._before[key]
                same = now is not _MISSING and referent(now) is o
                self._after[key] = now if same else weakref.KeyedRef(o, walk.callback_of(reference), key)
        wanted = self._after if forward else self._before
        return [
            (dict.pop, self._data, key, None) if value is _MISSING else (dict.__setitem__, self._data, key, value)
            for key, value in wanted.items()
        ]

    def drop(self) -> None:
        """Forget the entries."""
        self._entries, self._data = {}, {}
