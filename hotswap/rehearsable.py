"""The dress rehearsal of a rollout: all that is left of its way, in a copy of the process, before it is gone here."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from hotswap.armed import Armed
from hotswap.events import Level
from hotswap.generation import Candidate, Limit
from hotswap.records import BEFORE_LIVE, State
from hotswap.rehearsal import Play, Rehearsal, Rehearsed, Scene, rehearse, wished
from hotswap.verification import CheckResult, Report, Verdict

__all__ = ["Rehearsable"]


class Rehearsable(Armed, ABC):
    """The part of a rollout that tries the rest of its way elsewhere. Lives as long as the rollout.

    `rehearsal` says what became of the last one; None as long as there was none.
    """

    rehearsal: Rehearsed | None = None

    def rehearse(self, rehearsal: Rehearsal | None = None) -> Rehearsed:
        """Go the rest of the way, and back, in a copy of this process, and return what became of it.

        Its modules are loaded here already: `patcher.stage(patch, rehearse=True)` rehearses that, too, before it does
        it here.

        Arguments:
            rehearsal: what it may take, and which checks are run; None: the defaults of `Rehearsal`.

        Raises RehearsalError if the patch did not come through, or there can be no copy of the process: the rollout is
        rejected then. Raises StateError if it is live or over, or being committed.
        """
        self._host.refuse_reentry("rehearse a patch")
        wanted = wished(True if rehearsal is None else rehearsal)
        if self.state not in BEFORE_LIVE or wanted is None or not self._committing.acquire(blocking=False):
            raise self._wrong("rehearsed", "it has to be on its way, and nobody may be committing it")
        try:
            return self._rehearse(wanted, threading.Event(), self._scenes(wanted))
        finally:
            self._committing.release()

    def rehearse_whole(self, wanted: Rehearsal, cancelled: threading.Event, candidate: Candidate, limit: Limit) -> None:
        """Rehearse it before its candidate is loaded. The patcher calls this.

        Raises what `rehearse` raises.
        """
        load: Scene = ("load", lambda _: self.staged(candidate, limit))
        self._rehearse(wanted, cancelled, (scene for part in ((load,), self._scenes(wanted)) for scene in part))

    @abstractmethod
    def staged(self, candidate: Candidate, limit: Limit) -> None:
        """Load the candidate and make the plan."""

    @abstractmethod
    def take_live(self, cancelled: threading.Event) -> None:
        """Make the candidate live."""

    @abstractmethod
    def rollback(self, reason: str = "") -> None:
        """Take it back."""

    @abstractmethod
    def told(self, name: str, result: CheckResult | None) -> None:
        """Tell that a check has begun, or what it found."""

    def _in_rehearsal(self, name: str, result: CheckResult | None) -> None:
        """Tell of a check in the copy, and have the report know it."""
        rows = {row.name: row for row in self.report.results}
        if result is not None:
            rows[name] = result
        self.report = Report(tuple(rows.values()), (name,) if result is None else ())
        self.told(name, result)

    def _scenes(self, wanted: Rehearsal) -> Iterator[Scene]:
        """What is left of its way, each step as it is asked for: in the copy."""
        if self._is(State.STAGED):
            yield "checks", self._checked
        if not self._is(State.ARMED):
            yield "migrations", lambda _: self._migrate(threading.Event())
        yield "swap", lambda _: self.take_live(threading.Event())
        after = self._host.live_checks(self, wanted.checks)
        yield "live checks", lambda play: play.judge(after, self.candidate, self._host)
        yield "rollback", lambda _: self.rollback("the rehearsal is over")

    def _checked(self, play: Play) -> None:
        play.judge(self._host.checks(self.patch), self.candidate, self._host)
        self._host.move(self, (State.STAGED,), State.VERIFIED)

    def _in_copy(self, scenes: Iterator[Scene]) -> Iterator[Scene]:
        self._host.copied()
        self._committing = threading.Lock()  # that of the original is held by who waits for this copy
        self._judging = None
        self.silent, self.limits = True, None  # hooks and bakes reach what is not in the copy
        yield from scenes

    def _performed(self, wanted: Rehearsal, scenes: Iterator[Scene], cancelled: threading.Event) -> Rehearsed:
        return rehearse(
            wanted, self._in_copy(scenes), locks=self._host.locks, cancelled=cancelled, tell=self._in_rehearsal
        )

    def _rehearse(self, wanted: Rehearsal, cancelled: threading.Event, scenes: Iterator[Scene]) -> Rehearsed:
        began = self._begins("rehearse")
        self._judging = cancelled  # who aborts it meanwhile sets this, and leaves the end to this thread
        try:
            found = self._performed(wanted, scenes, cancelled)
        except BaseException as error:  # noqa: BLE001 - it is raised again, once the rollout is rejected
            self._judging = None
            raise self.reject(error) from error.__cause__
        self._judging = None
        self.rehearsal, self.report = found, found.report
        if self._is(State.REJECTED):
            self._end()
            raise self._wrong("rehearsed", f"it was given up meanwhile: {self.reason}")
        goes_on = found.verdict is Verdict.INCONCLUSIVE and wanted.inconclusive == "pass"
        facts = {
            "verdict": found.verdict,
            "checks": len(found.report) - 1,
            "pause": found.pause,
            "peak": found.peak,
            "cpu": found.cpu,
            "remarks": found.remarks,
            "message": found.reason,
        }
        if not found.code or goes_on:
            level: Level = "warning" if found.verdict is Verdict.INCONCLUSIVE or found.remarks else "info"
            self._emit("rollout.rehearsed", level=level, took=self._took(began), **facts)
            return found
        self._emit(
            "rehearsal.failed",
            level="warning",
            code=found.code,
            step=found.step,
            signal=found.signal,
            stack=found.stack,
            took=time.perf_counter() - began,
            **facts,
        )
        raise self.reject(found.as_error())
