"""Markers that could not be written: they are tried again until they stand, since a later process goes by them.

Concurrency: belongs to a ledger, whose lock is held.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from hotswap.watching.outcome import Outcome

__all__ = ["Owed"]

_MOST = 10_000
"""Reports that are owed at most."""
_RETRY, _LONGEST = 0.2, 30.0
"""Seconds until they are tried again, first and at most: a try stirs in the directory, and so has it looked at."""
_FOR_ALL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Troubles that the next one has, too."""


class Owed:
    """What is still to be told, the latest of each drop. Lives as long as its ledger.

    Arguments:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports: dict[tuple[str, bool], Outcome] = {}  # of a drop that is live, and waits in other bytes, two
        self._tries, self._at = 0, 0.0

    def told(self, outcome: Outcome) -> None:
        """Note that a report stands, and which earlier ones it takes the place of."""
        if self._reports.pop((outcome.drop, outcome.waits), None) is outcome:
            return  # it is no news: the other one came after it, or stands beside it
        other = self._reports.get((outcome.drop, not outcome.waits))
        if other is not None and not (outcome.waits and other.applied):
            del self._reports[other.drop, other.waits]

    def owe(self, outcome: Outcome) -> None:
        """Note that a report could not be written."""
        first = not self._reports
        self.told(outcome)
        if first:
            self._tries, self._at = 0, self._clock() + _RETRY
        self._reports[outcome.drop, outcome.waits] = outcome
        if len(self._reports) > _MOST:
            # What was ignored or waits is told again by whoever finds it again; a verdict is not.
            passing = (key for key, one in self._reports.items() if one.waits or not one.digest)
            del self._reports[next(passing, next(iter(self._reports)))]

    def forget(self, name: str) -> None:
        """Note that a drop waits no more."""
        self._reports.pop((name, True), None)

    def left(self) -> float | None:
        """Seconds until they are to be tried again; None where nothing is owed."""
        return max(self._at - self._clock(), 0.0) if self._reports else None

    def pay(self, write: Callable[[Outcome], OSError | None]) -> None:
        """Try all of them once more, until something is wrong that is wrong for all.

        Arguments:
            write: writes a report; says here whether it is `told` or still owed; returns what keeps it from that.
        """
        self._tries += 1
        self._at = self._clock() + min(_RETRY * 2**self._tries, _LONGEST)
        for key, outcome in list(self._reports.items()):
            if self._reports.get(key) is not outcome:
                continue  # A signal handler rolled back in this thread: there is later news.
            trouble = write(outcome)
            if trouble is not None and trouble.errno in _FOR_ALL:
                break
