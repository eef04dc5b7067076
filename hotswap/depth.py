"""The depth of recursion: while forks stand, a call of a function that has one takes two frames.

The limit counts frames, so a recursion that has always had room would be refused at half its depth, by people who did
nothing but arm a patch. So the limit is twice what it was as long as forks stand in functions, and what it was after
that. What a patch sets it to is meant without that.

Guarantees: who sets the limit meanwhile has his own, and nobody changes that. It is not lowered while a thread is so
deep that its next call would be refused. Since CPython 3.12 the limit is about frames of Python alone, which lie on the
heap; before, it guards the C stack, too, and is raised to 3,000 at most.

Assumes: nothing; every entry may be called from any thread. A thread that recurses into such a depth in the very moment
in which the limit is lowered is not seen.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref

from hotswap import clock, frames

__all__ = ["Standing", "limit", "set_limit"]

_ONLY_PYTHON = sys.version_info >= (3, 12)
_WITH_C = 3_000
"""Frames that the C stack holds anywhere, where each may be a call through C."""

_AGAIN = 1.0
"""Seconds until the next look whether a thread has come back from its depth."""


class Standing:
    """Forks stand in functions from when it is made until it is ended, or thrown away."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        _depth.raise_for(self)

    def end(self) -> None:
        """Note that they are gone; may be repeated."""
        _depth.lower_after(self)


class _Depth:
    def __init__(self) -> None:
        # Reentrant: the collector may throw a `Standing` away in here.
        self._lock = threading.RLock()
        self._standing: weakref.WeakSet[Standing] = weakref.WeakSet()
        self._own = 0
        """The limit without forks, while it is raised; else 0."""

    @property
    def limit(self) -> int:
        with self._lock:
            return self._own if self._is_raised() else sys.getrecursionlimit()

    def set(self, limit: int) -> None:
        with self._lock:
            sys.setrecursionlimit(_raised(limit) if self._is_raised() else limit)
            self._own = limit if self._own else 0

    def raise_for(self, standing: Standing) -> None:
        with self._lock:
            if not self._is_raised():
                self._own = sys.getrecursionlimit()
                sys.setrecursionlimit(_raised(self._own))
            self._standing.add(standing)

    def lower_after(self, standing: Standing) -> None:
        with self._lock:
            self._standing.discard(standing)
            self._lower()

    def _is_raised(self) -> bool:
        """Whether the limit is what it was raised to, and nobody has set it since."""
        return bool(self._own) and sys.getrecursionlimit() == _raised(self._own)

    def _lower(self) -> None:
        if self._standing or not self._own:
            return
        if self._is_raised():
            # It takes effect in all threads: one that is deeper would be refused its next call.
            if any(len(stack) > self._own - self._own // 10 for stack in frames.stacks().values()):
                clock.after(_AGAIN, self._look)
                return
            sys.setrecursionlimit(self._own)
        self._own = 0

    def _look(self) -> None:
        with self._lock:
            self._lower()

    def begin_anew(self) -> None:
        self._lock = threading.RLock()  # a thread that the child of a fork does not have may have held it


def _raised(limit: int) -> int:
    return 2 * limit if _ONLY_PYTHON else max(limit, min(2 * limit, _WITH_C))


_depth = _Depth()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_depth.begin_anew)


def limit() -> int:
    """Return the limit of recursion as it is without forks."""
    return _depth.limit


def set_limit(limit: int) -> None:
    """Set the limit of recursion, as it is without forks. Raises what `sys.setrecursionlimit` raises."""
    _depth.set(limit)
