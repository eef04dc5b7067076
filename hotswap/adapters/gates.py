"""Gates: names of a framework that lead elsewhere for as long as some thread needs them to.

Guarantees: whoever needs them first puts them there, and the last one to leave puts back what stood there, in any order
of threads. What a gate does for which thread is up to the gate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Gates"]

_MISSING: Any = object()


class Gates:
    """Some names, which are put in place and taken back together.

    Arguments:
        opening: puts them in place, by `put`.
    """

    def __init__(self, opening: Callable[[], None]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._holders = 0
        self._undo: list[Callable[[], None]] = []

    def hold(self) -> None:
        """Need them once more."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._opening()

    def release(self, times: int = 1) -> None:
        """Need them so many times less."""
        with self._lock:
            self._holders -= times
            while not self._holders and self._undo:
                self._undo.pop()()

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or a class. To be called by `opening` only."""
        there = owner.__dict__.get(name, _MISSING)
        setattr(owner, name, value)
        self._undo.append(lambda: delattr(owner, name) if there is _MISSING else setattr(owner, name, there))
