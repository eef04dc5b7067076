"""Entries of lists and tables of the process: `sys.path`, the filters of warnings, the environment.

What was added is taken out and what was taken out is put back, entry by entry, so that what another thread does to the
same list meanwhile stays. Who added it is not known: another thread may have.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

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


class Lists:
    """`sys.path` and the filters of warnings, as they were before loading."""

    def __init__(self) -> None:
        self._before: list[tuple[str, str, list[Any], list[Any], Callable[[], None]]] = [
            ("import-path", "sys.path", sys.path, list(sys.path), _nobody),
            ("warnings", "warnings.filters", warnings.filters, list(warnings.filters), _mutated),  # type: ignore[list-item]
        ]

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        found: list[Deed] = []
        for kind, name, living, before, tell in self._before:
            now = list(living)
            if _alike(now, before):
                continue
            added, removed = _without(now, before), _without(before, now)
            living[:] = [*before] if not (added or removed) else _merged(living, before, added, removed)
            tell()
            # What stands there already is there because the running version put it there when it was imported.
            more = [item for item in added if not _has(before, item)]
            if more or removed:
                front = bool(more) and bool(now) and now[0] is more[0]
                found.append(_Items(kind, name, living, more, removed, front, tell))
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
    """The environment as it was before loading."""

    def __init__(self) -> None:
        self._before = dict(os.environ)

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        now = dict(os.environ)
        found: list[Deed] = []
        for name in dict.fromkeys([*self._before, *now]):
            before, after = self._before.get(name), now.get(name)
            if before != after:
                _set(name, before)
                found.append(_Variable(name, after))
        return found


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class _Variable(Deed):
    def __init__(self, name: str, after: str | None) -> None:
        # Its value may be a secret, and plans are printed.
        verb = "removes" if after is None else "sets"
        super().__init__("environment", f"{verb} the environment variable {name}", Outcome.UNDONE)
        self._name, self._after = name, after
        self._there: Any = _NOTHING

    def make(self, living: Callable[[Any], Any]) -> None:
        self._there = os.environ.get(self._name)
        _set(self._name, self._after)

    def take_back(self) -> None:
        if self._there is not _NOTHING and os.environ.get(self._name) == self._after:
            _set(self._name, self._there)
        self._there = _NOTHING
