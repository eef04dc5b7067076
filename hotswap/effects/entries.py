"""Entries of lists and tables of the process: `sys.path`, the filters of warnings, the environment.

What was added is taken out and what was taken out is put back, entry by entry, so that what another thread does to the
same list meanwhile stays. A name that was bound to another list is bound to the living one again. Who added it is not
known: another thread may have.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome

__all__ = ["Environment", "Lists"]

_NOTHING: Any = object()


def _mutated() -> None:
    """Tell `warnings` that its filters have changed."""
    tell = getattr(warnings, "_filters_mutated", None)
    if tell is not None:
        tell()
        return
    with warnings.catch_warnings():  # where that function has gone, entering and leaving tells it too
        return


def _nobody() -> None:
    """Nobody has to be told."""


class _Spot(NamedTuple):
    """A list that a module has by name; if `rebound`, somebody else looks after what is put into the list itself."""

    kind: str
    module: ModuleType
    name: str
    living: list[Any]
    before: list[Any]
    tell: Callable[[], None]
    rebound: bool

    @property
    def title(self) -> str:
        return f"{self.module.__name__}.{self.name}"


class Lists:
    """`sys.path` and the like, and the filters of warnings, as they were before loading."""

    def __init__(self) -> None:
        self._before = [
            _Spot(kind, module, name, vars(module)[name], list(vars(module)[name]), tell, rebound)
            for kind, module, name, tell, rebound in (
                ("import-path", sys, "path", _nobody, False),
                ("import-path", sys, "meta_path", _nobody, True),
                ("import-path", sys, "path_hooks", _nobody, True),
                ("warnings", warnings, "filters", _mutated, False),
            )
        ]

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        found: list[Deed] = []
        for spot in self._before:
            living, before = spot.living, spot.before
            # `warnings.catch_warnings` binds its name anew, and back, in any thread.
            current = vars(sys).get(spot.name) if spot.module is sys else living
            rebound = current is not living
            now = list(current) if isinstance(current, (list, tuple)) else before
            if rebound:
                vars(sys)[spot.name] = living
            if (spot.rebound and not rebound) or _alike(now, before):
                continue
            added, removed = _without(now, before), _without(before, now)
            living[:] = [*before] if not (added or removed) else _merged(living, before, added, removed)
            spot.tell()
            # What stands there already is there because the running version put it there when it was imported.
            more = [item for item in added if not _has(before, item)]
            if more or removed:
                front = bool(more) and bool(now) and now[0] is more[0]
                found.append(_Items(spot.kind, spot.title, living, more, removed, front, spot.tell))
        return found


def _merged(living: list[Any], before: list[Any], added: list[Any], removed: list[Any]) -> list[Any]:
    """The list as it was, and what somebody else has added since the look that found `added` and `removed`."""
    since = _without(list(living), [*before, *added])
    return [*before, *since] if removed or added else list(living)


def _alike(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(a is b or _equal(a, b) for a, b in zip(one, other, strict=True))


def _equal(one: Any, other: Any) -> bool:
    """Whether two entries are equal, without running code of theirs."""
    if type(one) is not type(other):
        return False
    if type(one) is tuple:
        return len(one) == len(other) and all(a is b or _equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) in (str, int, bytes) and bool(one == other)


def _has(items: Iterable[Any], item: Any) -> bool:
    return any(item is other or _equal(item, other) for other in items)


def _without(items: list[Any], others: list[Any]) -> list[Any]:
    """What stands in a list more often than in the other one."""
    left, found = list(others), []
    for item in items:
        for index, other in enumerate(left):
            if item is other or _equal(item, other):
                del left[index]
                break
        else:
            found.append(item)
    return found


class _Items(Deed):
    def __init__(
        self,
        kind: str,
        name: str,
        living: list[Any],
        added: list[Any],
        removed: list[Any],
        front: bool,
        tell: Callable[[], None],
    ) -> None:
        words = [f"{verb} {_told(items)}" for verb, items in (("adds", added), ("removes", removed)) if items]
        super().__init__(kind, f"{' and '.join(words)} in {name}", Outcome.UNDONE)
        self._living, self._added, self._removed, self._front, self._tell = living, added, removed, front, tell
        self._made: tuple[list[Any], list[tuple[int, Any]]] = ([], [])

    def make(self, living: Callable[[Any], Any]) -> None:
        gone = []
        for item in self._removed:
            for index, other in enumerate(self._living):
                if item is other or _equal(item, other):
                    gone.append((index, self._living.pop(index)))
                    break
        come = [item for item in map(living, self._added) if not _has(self._living, item)]
        position = 0 if self._front else len(self._living)
        self._living[position:position] = come
        self._made = (come, gone)
        self._tell()

    def take_back(self) -> None:
        come, gone = self._made
        self._made = ([], [])
        for item in come:
            for index, other in enumerate(self._living):
                if item is other:
                    del self._living[index]
                    break
        for index, item in reversed(gone):
            self._living.insert(index, item)
        self._tell()


def _told(items: list[Any]) -> str:
    return ", ".join(repr(item) if type(item) in (str, tuple) else f"a {walk.class_name(type(item))}" for item in items)


class Environment:
    """The environment as it was before loading, and the time zone that C has from it."""

    def __init__(self) -> None:
        self._living, self._before, self._zone = os.environ, dict(os.environ), time.tzname

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        now = dict(os.environ)
        if os.environ is not self._living:
            os.environ = self._living  # noqa: B003 - it is put back
        found: list[Deed] = []
        zoned = time.tzname != self._zone
        for name in dict.fromkeys([*self._before, *now]):
            before, after = self._before.get(name), now.get(name)
            if before != after:
                zone = zoned and name == "TZ"
                _set(name, before, zone)
                found.append(_Variable(name, after, zone))
        return found


def _set(name: str, value: str | None, zone: bool) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
    if zone:
        time.tzset()


class _Variable(Deed):
    def __init__(self, name: str, after: str | None, zone: bool) -> None:
        # Its value may be a secret, and plans are printed.
        verb = "removes" if after is None else "sets"
        super().__init__("environment", f"{verb} the environment variable {name}", Outcome.UNDONE)
        self._name, self._after, self._zone = name, after, zone
        self._there: Any = _NOTHING

    def make(self, living: Callable[[Any], Any]) -> None:
        self._there = os.environ.get(self._name)
        _set(self._name, self._after, self._zone)

    def take_back(self) -> None:
        if self._there is not _NOTHING and os.environ.get(self._name) == self._after:
            _set(self._name, self._there, self._zone)
        self._there = _NOTHING
