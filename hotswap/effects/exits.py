"""Functions that are called when the process ends, as `atexit` keeps them.

`atexit` does not show them. But `unregister` compares each of them with what it is given, in order: an object that is
equal to none of them sees them all, and one that is equal to some of them takes exactly those out. What a function was
registered with is not shown, so it could not be registered again: what a candidate registers stays registered while
it is staged, and is taken out when it is rejected or rolled back.
"""

from __future__ import annotations

import atexit
from collections import Counter
from collections.abc import Callable
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome

__all__ = ["Exits"]


class _Spy:
    """Compared with every function that is registered; equal to those that `wants` says."""

    __hash__ = None  # type: ignore[assignment]  # it is compared, and nothing else

    def __init__(self, wants: Callable[[Any], bool]) -> None:
        self._wants = wants

    def __eq__(self, other: object) -> bool:
        return self._wants(other)


def registered() -> list[Any]:
    """The functions that will be called, in the order in which they were registered."""
    found: list[Any] = []

    def see(function: Any) -> bool:
        found.append(function)
        return False

    atexit.unregister(_Spy(see))  # type: ignore[arg-type]  # it is compared, never called
    return found


class Exits:
    """What was registered before loading."""

    def __init__(self) -> None:
        # Held by the list: an id must not be used again.
        self._functions = registered()

    def changed(self, is_foreign: Callable[[Any], bool]) -> list[Deed]:
        """Return what was registered since.

        Arguments:
            is_foreign: whether a function belongs to a module from outside of the managed packages that was imported
                meanwhile. That module stays, and so does what it has registered.
        """
        before = Counter(map(id, self._functions))
        found: list[Deed] = []
        for function in registered():
            before[id(function)] -= 1
            if before[id(function)] < 0 and not is_foreign(function):
                found.append(_Registered(function, self._functions))
        return found


class _Registered(Deed):
    once = True  # nobody knows what it was registered with

    def __init__(self, function: Any, before: list[Any]) -> None:
        name = getattr(function, "__qualname__", None) if hasattr(type(function), "__code__") else None
        what = name or walk.class_name(type(function))
        super().__init__("atexit", f"registers {what} to be called when the process ends", Outcome.HELD)
        self._function = function
        self._before = sum(other is function for other in before)
        self._there = True

    def make(self, living: Callable[[Any], Any]) -> None:
        # The running version has registered its own, which leads to this one: it would be called twice.
        if any(other is not self._function and living(other) is self._function for other in registered()):
            self._take_out()

    def take_back(self) -> None:
        self._take_out()

    def drop(self) -> None:
        self._take_out()

    def _take_out(self) -> None:
        if not self._there:
            return
        self._there = False
        keep = self._before

        def last_ones(function: Any) -> bool:
            nonlocal keep
            if function is self._function:
                keep -= 1
            return function is self._function and keep < 0

        atexit.unregister(_Spy(last_ones))  # type: ignore[arg-type]  # as above
