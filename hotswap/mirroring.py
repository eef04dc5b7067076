"""Mirroring: what calls rebind that go on after the handover, and what is rebound in the live modules, is kept in step.

Such a call goes on in the globals in which it began. Four times a second it is looked what was rebound there, or in the
live module: a flag that a signal handler sets ends a loop, and a counter of the loop can be read.

Guarantees: one look at a time, under the lock under which swaps are made; none when the last such call has ended.
Assumes: threads. Two that rebind one name in both modules between two looks lose one of the values.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from hotswap import clock
from hotswap.swap import Mirror

__all__ = ["Mirroring"]

_PAUSE = 0.25
"""Seconds between two looks."""


class Mirroring:
    """Keeps values in step for calls that go on after their handover.

    Arguments:
        change: the lock under which swaps are made.
    """

    def __init__(self, change: AbstractContextManager[object]) -> None:
        self._change = change
        self._mirrors: list[Mirror] = []

    def add(self, mirrors: Iterable[Mirror]) -> None:
        """Begin to keep more of them in step. Nobody may make a swap meanwhile."""
        idle = not self._mirrors
        self._mirrors += mirrors
        if idle and self._mirrors:
            self._exchange()

    def _exchange(self) -> None:
        for mirror in self._mirrors:
            mirror.exchange()
        self._mirrors = [mirror for mirror in self._mirrors if mirror.goes_on]
        if self._mirrors:
            clock.after(_PAUSE, self._look)

    def _look(self) -> None:
        with self._change:
            self._exchange()
