"""Rounds of a judge: whoever has it look, because a time has come, may wait until all that this brings about is done.

Nobody does but a clock that a test holds in its hand (`hotswap.testing.ManualClock`): it goes on only then.

Concurrency. Guarantees: a wait ends when the judge sleeps again, and every probe that it has asked has answered. One
that was waited for in vain is not waited for again: it may hang until time goes on. Assumes: one thread judges.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Rounds"]


class Rounds:
    """Counts how often the judge was to look, and how far it has come. Lives as long as the bake."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rung = self._looked = self._seen = 0
        self._going: frozenset[int] = frozenset()
        """Which runs of probes go on."""
        self._in_vain: frozenset[int] = frozenset()
        """For which of them somebody has waited in vain."""
        self._is_over = False

    def ring(self) -> Callable[[float], bool]:
        """Note that the judge is to look. Returns what waits for it, for so many seconds."""
        with self._changed:
            self._rung += 1
            number = self._rung

        def wait(seconds: float) -> bool:
            with self._changed:
                done = self._changed.wait_for(lambda: self._is_over or self._looked >= number, seconds)
                if not done:
                    self._in_vain |= self._going
                return done

        return wait

    def begin(self) -> None:
        """Note that the judge looks."""
        with self._changed:
            self._seen = self._rung

    def end(self, going: frozenset[int]) -> None:
        """Note that it sleeps again.

        Arguments:
            going: the identities of the runs of probes that go on.
        """
        with self._changed:
            self._going = going
            self._in_vain &= going
            if going == self._in_vain:
                self._looked = self._seen
                self._changed.notify_all()

    def over(self) -> None:
        """Note that it judges no more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
