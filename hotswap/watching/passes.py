"""One pass over a directory: what has settled is read, what is new is applied, and what became of it is told.

Concurrency: a pass belongs to whoever has the turn. `apply` runs user code, so no lock is held while it runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from hotswap.errors import CIRCUMSTANCES, BusyError, HotswapError
from hotswap.events import Level, emit
from hotswap.trust import Waiting
from hotswap.watching.attempt import Taken, attempt, take
from hotswap.watching.bounds import Bounds
from hotswap.watching.delays import Delays
from hotswap.watching.ledger import Ledger
from hotswap.watching.looks import look_at
from hotswap.watching.outcome import Failure, Outcome
from hotswap.watching.reports import report
from hotswap.watching.rests import Rests
from hotswap.watching.scanning import Drop, Scanner
from hotswap.watching.writers import is_open_for_writing

if TYPE_CHECKING:
    from hotswap.patch import Patch
    from hotswap.rollout import Record, Rollout
    from hotswap.watching.gate import Gate

__all__ = ["Passes"]

_RETRY = 0.2
"""Seconds until drops that wait for a busy patcher are tried again."""
_KEPT = 64 * 1024 * 1024
"""Bytes of drops that are kept in memory until it is their turn."""
_LONGEST_RETRY = 30.0
"""Seconds until that at most, where they wait for something else: it is doubled at each try."""


class Passes:
    """Makes passes over the directory of a watch; lives as long as that.

    Arguments:
        directory: where drops lie.
        apply: called with each patch; returns the rollout, or raises.
        ledger: what is known of drops.
        settle: seconds for which a drop must look the same before it is taken.
        bounds: how far a look may go, and whether single files are taken.
        running: returns what is live; None where nobody knows.
        gate: the policy that drops have to pass; None: everything passes.
        stopping: set when no other drop is to be begun.
        stood: tells of a patch's digest whether it is live, or below what is live, since before this process began.
        runs: tells of a patch that was applied before whether it is what runs.
        came_to: tells of a patch's digest and origin what they came to in an earlier process; None where nobody knows.
    """

    def __init__(
        self,
        directory: Path,
        apply: Callable[[Patch], Rollout],
        ledger: Ledger,
        *,
        settle: float,
        bounds: Bounds,
        running: Callable[[], Mapping[str, Version]] | None,
        gate: Gate | None,
        stopping: threading.Event,
        stood: Callable[[str], bool] = lambda _: False,
        runs: Callable[[Patch], bool] = lambda _: True,
        came_to: Callable[[str, str], Record | None] = lambda _, __: None,
    ) -> None:
        self._stood, self._runs, self._came_to = stood, runs, came_to
        self._directory, self._apply, self._ledger = directory, apply, ledger
        self._bounds, self._running, self._gate = bounds, running, gate
        self._scanner = Scanner(directory, settle, bounds=bounds)
        self._rests = Rests(directory)
        self.stopping = stopping
        self.delays = Delays(ledger)
        self._held, self._tries, self._retry_at = "", 0, 0.0  # why drops wait, how often they did, and until when
        self.settled: Mapping[str, str] = {}
        """Name -> stamp of the bytes that came to something; replaced, never changed."""

    def make(
        self, settled: Callable[[], None], *, everything: bool, rang: bool = True
    ) -> tuple[tuple[Outcome, ...], float | None]:
        """Make a pass.

        Arguments:
            settled: called whenever a drop has come to something.
            everything: also read drops that look as they did when they came to something.
            rang: whether something may have changed; else a large directory may be left alone for a while.

        Returns the outcomes, and the seconds until something waiting is due, None where nothing waits.
        """
        with self._ledger.seat.taken():  # as long as the watch is running, it has one
            return self._make(settled, everything=everything, rang=rang or everything)

    def _make(
        self, settled: Callable[[], None], *, everything: bool, rang: bool
    ) -> tuple[tuple[Outcome, ...], float | None]:
        seat = self._ledger.seat
        seat.tell()
        if self._ledger.move():
            self.delays.tell_again()
        owing = self._ledger.pay(everything=everything)
        outcomes: list[Outcome] = []
        if self._gate is not None and self._gate.closed():
            return (), owing
        if not rang and not self._rests.over():
            return (), owing
        self._rests.begin()
        seat.clear()
        drops, due = self._scanner.scan(everything=everything, asked=self._ledger.asked_again)
        present = self._scanner.present
        if present is not None:
            self._ledger.gone(present)
            self.delays.only(present)
            # What comes back has come to nothing yet, even if it looks the same.
            # So has what somebody wants to be tried again.
            self.settled = {
                name: stamp
                for name, stamp in self.settled.items()
                if name in present and name not in self._ledger.reopened
            }
        for other in self._scanner.ignored():
            level: Level = "warning" if other.meant else "info"
            emit("drop.ignored", level=level, directory=self._directory, drop=other.name, reason=other.reason)
            if other.meant and not seat.infix:  # it is the same for all
                self._ledger.tell(Outcome.ignored(other.name, other.reason))
        self._rests.end(quiet=self._scanner.plain and not drops and due is None)
        taken = self._taken(drops, settled)
        held = None if everything or time.monotonic() >= self._retry_at else self._held
        while taken and not self.stopping.is_set():
            one = taken.popleft()
            if not self._unchanged(one.drop):
                continue  # These bytes are half of something, or history: the new ones settle.
            if held is None or one.failure is not None:
                try:
                    if (whole := self._whole(one)) is None:
                        continue
                    outcomes.append(self._finish(whole, settled))
                except CIRCUMSTANCES as error:  # No verdict. The later ones wait too, or they would overtake it.
                    held = self._hold(error)
                else:
                    self.delays.over(one.drop.name)
                    if one.failure is None:
                        self._tries = 0
                    continue
                finally:
                    whole = None
            self.delays.wait(one.drop.name, held, one.digest, one.version)
            left = max(self._retry_at - time.monotonic(), 0.0)
            due = left if due is None else min(due, left)
        owing = self._ledger.owed.left()
        return tuple(outcomes), min((seconds for seconds in (due, owing) if seconds is not None), default=None)

    def _hold(self, error: HotswapError) -> str:
        """Note that drops have to wait, and until when; return why.

        What may be loaded and checked at each try is tried less and less often.
        """
        self._tries = 0 if isinstance(error, BusyError) else self._tries + 1
        self._retry_at = time.monotonic() + min(_RETRY * 2**self._tries, _LONGEST_RETRY)
        self._held = Failure.of(error).reason
        return self._held

    def _take(self, drop: Drop, settled: Callable[[], None]) -> Taken | None:
        """Read the drop's bytes, once; None where they are dealt with, or wait for what has to come with them."""
        if drop.look.lacks is not None:
            self.delays.wait(drop.name, drop.look.lacks)
            return None
        if is_open_for_writing(drop.path):
            self.delays.wait(drop.name, f"{drop.name} is still open for writing: waiting until it is closed")
            return None
        taken = self._read(drop)
        if isinstance(taken, Waiting):
            self.delays.wait(drop.name, taken.reason)
            return None
        known = self._ledger.recall(drop.name, taken.digest)
        if drop.name not in self._ledger.outcomes:
            # Whatever it came to elsewhere: this process may have come up on it.
            known = None if self._stood(taken.digest) else known or self._known(drop, taken.digest)
        again = self._ledger.came_again(drop) or drop.name in self._ledger.reopened
        if known is None:
            return replace(taken, again=again)
        waited = self.delays.reason(drop.name) is not None
        self.delays.over(drop.name)
        if again:
            self._ledger.refuse(known, drop, over=self._over(taken, known))
        else:
            self._ledger.stays(known, drop, waited=waited)
        self._publish(drop, settled)
        return None

    def _over(self, taken: Taken, known: Outcome) -> str:
        """What is live by now over a drop that went live; empty where it is still what runs."""
        if not known.applied or taken.patch is None or self._running is None or self._runs(taken.patch):
            return ""
        return ", ".join(f"{package} {version}" for package, version in sorted(self._running().items()))

    def _known(self, drop: Drop, digest: str) -> Outcome | None:
        """What the same bytes came to by the word of the store, where the directory does not tell all."""
        ledger = self._ledger
        if drop.name in ledger.reopened or not ledger.earlier.may_be_over(drop.name, digest):
            return None
        record = self._came_to(digest, str(drop.path))
        known = None if record is None else Outcome.known(drop.name, digest, record)
        return known if known is not None and known.holds_elsewhere else None

    def _taken(self, drops: Sequence[Drop], settled: Callable[[], None]) -> deque[Taken]:
        """Read drops, and return what is to be tried, in order. Of what is too much, the bytes are not kept."""
        taken, kept = [], 0
        for drop in drops:
            one = self._take(drop, settled)
            if one is not None:
                kept += one.size
                if kept > _KEPT:
                    kept -= one.size
                    one = one.without_patch()
                taken.append(one)
        return deque(sorted(taken, key=lambda one: one.order))

    def _whole(self, taken: Taken) -> Taken | None:
        """Return a drop with its bytes, which are read and verified anew where they were not kept.

        None where they are not what they were: then another look settles that.
        """
        if taken.patch is not None or taken.failure is not None:
            return taken
        read = self._read(taken.drop)
        same = isinstance(read, Taken) and read.digest == taken.digest
        return replace(read, again=taken.again) if isinstance(read, Taken) and same else None

    def _read(self, drop: Drop) -> Taken | Waiting:
        def stands(digest: str) -> bool:
            known = self._ledger.outcomes.get(drop.name)
            return known is not None and known.applied and known.digest == digest

        return take(drop, self._running, self._gate, single_files=self._bounds.single_files, stands=stands)

    def _finish(self, taken: Taken, settled: Callable[[], None]) -> Outcome:
        """Apply what was taken, and report: to the memory and beside the drop, then in the log."""
        began = time.monotonic()
        outcome, news = self._ledger.enter(taken, *attempt(self._admitted, taken))
        if news:
            report(outcome, time.monotonic() - began)
        self._publish(taken.drop, settled)
        return outcome

    def _admitted(self, patch: Patch) -> Rollout:
        if self._gate is not None:  # now, and not when it was read: an earlier drop may have gone live meanwhile
            self._gate.admit(patch)
        return self._apply(patch)

    def _unchanged(self, drop: Drop) -> bool:
        try:
            return look_at(drop.path, self._bounds) == drop.look
        except OSError:
            return False

    def _publish(self, drop: Drop, settled: Callable[[], None]) -> None:
        self._scanner.handled(drop)
        self.settled = {**self.settled, drop.name: drop.look.stamp}
        settled()
