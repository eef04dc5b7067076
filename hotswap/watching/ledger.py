"""What the drops of each watched directory came to in this process, and the markers that say so.

Guarantees: memory and marker are changed together, so of an outcome and the news that its rollout was taken back the
later one stands, whichever thread brings it. Assumes that no user code runs under the lock: files are written, and
nothing else; events are emitted after it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from hotswap.events import emit
from hotswap.watching.outcome import Outcome, write_marker

if TYPE_CHECKING:
    from hotswap.rollout import Record, Rollout
    from hotswap.watching.watch import Watch

__all__ = ["Ledger", "follow", "ledgers"]


@dataclass(slots=True)
class Ledger:
    """The drops of one directory in this process; lives as long as the process. `pid` is where `watch` was started."""

    directory: Path
    outcomes: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    watch: Watch | None = None
    pid: int = 0
    # Not a plain lock: a signal handler may roll back in the thread that is writing a marker.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def remember(self, outcome: Outcome) -> None:
        """Note an outcome in memory."""
        # A new mapping each time: readers, also in a child forked at this moment, need no lock.
        self.outcomes = MappingProxyType({**self.outcomes, outcome.drop: outcome})

    def enter(self, outcome: Outcome, rollout: Rollout | None) -> tuple[Outcome, bool]:
        """Note what a drop came to, in memory and beside it.

        Returns the outcome, which is another if the rollout has been taken back meanwhile, and whether it is news: a
        patcher that is still busy is not.
        """
        with self.lock:
            if rollout is not None and rollout.state == "rolled_back":
                outcome = outcome.taken_back(rollout.reason)
            news = not outcome.same_as(self.outcomes.get(outcome.drop))
            self.remember(outcome)
            trouble = self._mark(outcome) if news else None
        self._complain(outcome, trouble)
        return outcome, news

    def ignore(self, outcome: Outcome) -> None:
        """Say beside a file that it is ignored; it does not count among the outcomes."""
        self._complain(outcome, self._mark(outcome))

    def take_back(self, record: Record) -> None:
        """Note that a rollout was rolled back, if it came from a drop in this directory and this process."""
        with self.lock:
            found = [o for o in self.outcomes.values() if o.rollout == record.id and o.applied]
            told = [outcome.taken_back(record.reason) for outcome in found if outcome.process == os.getpid()]
            troubles = []
            for outcome in told:
                self.remember(outcome)
                troubles.append(self._mark(outcome))
        for outcome, trouble in zip(told, troubles, strict=True):
            self._complain(outcome, trouble)
            emit(
                "drop.rolled_back",
                level="warning",
                drop=outcome.drop,
                rollout=outcome.rollout,
                version=outcome.version,
                digest=outcome.digest,
                reason=outcome.reason,
            )

    def _mark(self, outcome: Outcome) -> OSError | None:
        try:
            write_marker(self.directory, outcome)
        except OSError as error:
            return error
        return None

    def _complain(self, outcome: Outcome, trouble: OSError | None) -> None:
        if trouble is not None:
            emit("drop.unmarked", level="warning", directory=self.directory, drop=outcome.drop, reason=trouble)


ledgers: dict[Path, Ledger] = {}
"""By directory: a registry, since what is known must outlive every watch."""


def follow(record: Record) -> None:
    """Learn from a patcher that a rollout was rolled back. Raises nothing that files can raise."""
    for ledger in list(ledgers.values()):
        ledger.take_back(record)


def _renew_locks() -> None:
    for ledger in ledgers.values():
        ledger.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held one, and does not exist in the child.
    os.register_at_fork(after_in_child=_renew_locks)
