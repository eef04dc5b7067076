"""Overloads: `typing.overload` remembers what it decorates, by module, name and line, for `typing.get_overloads`.

That is no effect that anybody would want to know of, but it would keep a rejected candidate alive, and show its
overloads as those of the live module. So they are set aside while the candidate is staged.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hotswap.effects.facts import Deed, Outcome

__all__ = ["Overloads"]

_REGISTRY: dict[str, Any] = getattr(typing, "_overload_registry", {})


class Overloads:
    """The overloads of some modules as they were before loading.

    Arguments:
        packages: the managed top-level packages.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._packages = frozenset(packages)
        self._before = self._now()

    def _now(self) -> dict[str, dict[str, dict[int, Any]]]:
        names = [name for name in list(_REGISTRY) if name.partition(".")[0] in self._packages]
        return {name: {key: dict(lines) for key, lines in list(_REGISTRY[name].items())} for name in names}

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        now = self._now()
        changed = {name: entries for name, entries in now.items() if not _same(entries, self._before.get(name))}
        before = {name: self._before.get(name) for name in changed}
        for name, entries in before.items():
            _set(name, entries)
        return [_Overloaded(changed)] if changed else []


def _same(one: dict[str, dict[int, Any]], other: dict[str, dict[int, Any]] | None) -> bool:
    return (
        other is not None
        and one.keys() == other.keys()
        and all(one[key].keys() == other[key].keys() for key in one)
        and all(one[key][line] is other[key][line] for key in one for line in one[key])
    )


def _set(module: str, entries: dict[str, dict[int, Any]] | None) -> None:
    if entries is None:
        _REGISTRY.pop(module, None)
        return
    there = _REGISTRY[module]
    there.clear()
    there.update({key: dict(lines) for key, lines in entries.items()})


class _Overloaded(Deed):
    silent = True

    def __init__(self, after: dict[str, dict[str, dict[int, Any]]]) -> None:
        super().__init__("registrations", f"overloads functions of {', '.join(after)}", Outcome.UNDONE)
        self._after = after
        self._there: dict[str, dict[str, dict[int, Any]] | None] = {}

    def parts(self) -> Iterator[Any]:
        """Yield the tables too."""
        yield from super().parts()
        for entries in self._after.values():
            yield from (entries, *entries.values())

    def make(self, living: Callable[[Any], Any]) -> None:
        """Show them: the overloads that a restart would have, by line, and no others."""
        for module, entries in self._after.items():
            there = _REGISTRY.get(module)
            self._there[module] = None if there is None else {key: dict(lines) for key, lines in there.items()}
            _set(module, entries)

    def take_back(self) -> None:
        """Show what was there."""
        for module, entries in self._there.items():
            _set(module, entries)
        self._there = {}

    def drop(self) -> None:
        """Forget them, since they keep the candidate alive."""
        self._after = {}
