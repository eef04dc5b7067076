"""When the whole directory is looked at again, although nothing has told of a change.

    the bell has rung, or may be deaf                  → now
    the directory is another one, or has other entries → now
    the last look found something to do, or to wait for → now
    a drop is a link, and what it leads to makes no sound → now
    else → once as much time has passed as a hundred such looks take, at least every `LONGEST` seconds

A look reads the facts of each drop, so that of 10,000 is not cheap, and what was dropped may lie there for years. In
most directories a hundred looks take less than the interval of the watch: there each tick is a look.

Guarantees: truth is the whole look, and it comes, whatever was heard: who rests only asks the directory itself, and
finds out at the next tick what came, went or was renamed; bytes that change in their place and were not heard, after
`LONGEST` seconds. Concurrency: belongs to whoever has the turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["LONGEST", "Rests"]

LONGEST = 30.0
"""Seconds between two whole looks at most, where the interval is not longer."""

_LOOKS = 100
"""How many looks take as long as the rest after one: it costs a hundredth of a core."""

_COARSE = 2.0
"""Seconds within which a second change of a directory may bear the time of the first."""

_SPENT: Callable[[], float] = getattr(time, "thread_time", time.monotonic)  # WebAssembly has none


class Rests:
    """Says when a whole look is due. Lives as long as a watch.

    Arguments:
        directory: what is looked at.
        clock: seconds that only rise.
        spent: seconds of a processor that the calling thread has had.
    """

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = _SPENT,
    ) -> None:
        self._directory, self._clock, self._spent = directory, clock, spent
        self._until: float | None = None
        self._seen: tuple[int, ...] | None = None
        self._began = 0.0

    def over(self) -> bool:
        """Whether the whole directory is to be looked at now, though no bell has rung."""
        return self._until is None or self._clock() >= self._until or self._facts() != self._seen

    def begin(self) -> None:
        """Note that a look begins."""
        self._began, self._until = self._spent(), None
        # Before the look: what changes meanwhile is seen by the next.
        self._seen = self._facts()

    def end(self, *, quiet: bool) -> None:
        """Note that a look is over.

        Arguments:
            quiet: whether it found nothing to do, nothing to wait for, and no link.
        """
        if quiet and self._seen is not None and time.time() - self._seen[-1] / 1e9 > _COARSE:
            self._until = self._clock() + min(_LOOKS * (self._spent() - self._began), LONGEST)

    def _facts(self) -> tuple[int, ...] | None:
        try:
            facts = self._directory.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino, facts.st_ctime_ns, facts.st_mtime_ns
