"""The journey of one patch.

    state        by                      leads to
    staged       verify() passes         verified
                 verify() fails          rejected
                 abort()                 rejected
    verified     arm()                   armed
                 commit()                live
                 commit() fails          rejected
                 abort()                 rejected
    armed        commit()                live
                 commit() fails          rejected
                 disarm()                verified
                 abort()                 rejected
    live         confirm()               permanent
                 its bake passes         permanent
                 a later commit          permanent        (refused while it bakes)
                 rollback()              rolled_back
                 its bake fails          rolled_back
    permanent    rollback()              rolled_back      (only the newest, while its previous generation is kept)
    rejected     -                       the end
    rolled_back  commit()                live             (only one that is warm: its candidate is kept)
                 arm()                   armed            (only one that was armed before; loaded anew if not warm)
                 abort()                 rolled_back      (only one that is warm: its candidate is let go of)

A rollout that fails while it is staged is rejected before anybody gets it; the history has it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

from hotswap import events
from hotswap.errors import CheckFailedError, CommitError, HotswapError, PlanError, StateError, UnsupportedChangeError
from hotswap.generation import Candidate, Limit
from hotswap.hooks import Undo
from hotswap.journey import Host
from hotswap.records import BEFORE_LIVE, Record, State
from hotswap.rehearsable import Rehearsable
from hotswap.shield import shielded
from hotswap.swap import Plan
from hotswap.verification import CheckResult, Report, Verdict, run_checks

__all__ = ["Host", "Record", "Rollout", "State"]


class Rollout(Rehearsable):
    """One patch on its way. Made by `Patcher.stage` and `Patcher.apply`."""

    _returns = 0.0
    """When the way back began, which is no step that could end in a rejection."""

    def __enter__(self) -> Rollout:
        return self

    def __exit__(self, *_: object) -> None:
        if self.state in BEFORE_LIVE:
            self.abort(reason="left without a commit")

    def staged(self, candidate: Candidate, limit: Limit) -> None:
        """Load the candidate within a time limit and make the plan. The patcher calls this once.

        Raises LoadError, PlanError, MigrationError or UnsupportedChangeError; the rollout is rejected then.
        """
        self._candidate, self._limit = candidate, limit
        began = self._begins("stage")
        self._loading = True  # an abort in the meantime leaves the end to this thread, which runs the patch's code
        try:
            candidate.load(limit)
            self._loading = False
            self.plan = self._planned()
            if not self.plan.supported:
                raise UnsupportedChangeError(self.plan.unsupported, patch=self.label)
            self._host.note(self)
            took, warnings = self._took(began), len(self.plan.warnings)
            self._emit("rollout.staged", took=took, warnings=warnings, modules=len(candidate.modules))
        except BaseException as error:  # noqa: BLE001 - it is raised again, once the rollout is rejected
            raise self.reject(error) from error.__cause__

    def _planned(self) -> Plan:
        try:
            swap = self._host.prepare(self)
        except HotswapError:
            raise
        except Exception as error:
            raise PlanError(
                f"the plan of the swap could not be made: {type(error).__name__}: {error}",
                patch=self.label,
                advice="restart the service with this version, and report the traceback: this is a defect of hotswap",
            ) from error
        swap.close()
        return swap.plan

    def verify(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Run all checks on the candidate.

        Arguments:
            loop: the event loop on which asynchronous checks run, if this is called from another thread than the
                loop's; without one they get a loop of their own.

        Raises CheckFailedError if one does not pass: the rollout is rejected, nothing live was touched. Raises
        StateError if the rollout is not staged.
        """
        self.judge(loop, threading.Event())

    def judge(self, loop: asyncio.AbstractEventLoop | None, cancelled: threading.Event) -> None:
        """Do what `verify` does, unless it is cancelled: then the running check is stopped, and the state stays."""
        if self.state is not State.STAGED:
            raise self._wrong("verified", "it has to be staged")
        began = self._begins("verify")
        self._judging, self.loop = cancelled, loop or self.loop
        rehearsed = () if self.rehearsal is None else self.rehearsal.report.results

        def show(report: Report) -> None:
            self.report = replace(report, results=(*rehearsed, *report.results))

        try:
            report = run_checks(
                self._host.checks(self.patch),
                self.candidate,
                loop=loop,
                token=self._host,
                cancelled=cancelled,
                show=show,
                tell=self.told,
            )
        finally:
            self._judging = None
        if self._is(State.REJECTED):  # aborted meanwhile by another thread, which leaves the end to this one
            self._end()
            raise self._wrong("verified", f"it was given up while its checks ran: {self.reason}")
        if cancelled.is_set():
            return
        if not report.passed:
            sentences = "; ".join(result.sentence for result in report.failures)
            raise self.reject(CheckFailedError(f"a check refused it: {sentences}", report, patch=self.label))
        self._host.move(self, (State.STAGED,), State.VERIFIED)
        self._emit("rollout.verified", took=self._took(began), checks=len(report))

    def told(self, name: str, result: CheckResult | None) -> None:
        """Tell that a check has begun, or what it found; two threads may come here at once."""
        patch = self.patch
        facts: dict[str, Any] = {"rollout": self.id, "patch": self.label, "version": patch.version}
        facts |= {"digest": patch.digest, "check": name}
        tell: Any = partial(events.emit, of=self._host, **facts)
        if result is None:
            tell("check.started")
            return
        passed = result.verdict is Verdict.PASSED
        tell(
            "check.passed" if passed else "check.failed",
            level="info" if passed else "warning",
            reason="" if passed else result.sentence,
            verdict=result.verdict,
            duration=result.duration,
            message=result.message,
            tolerated=result.tolerated,
        )

    def commit(self) -> None:
        """Run the migrations, unless it was armed, and make the candidate live, all at once.

        One that was armed before, and taken back since, goes live again as it was, as long as its candidate is kept:
        nothing is loaded, and no check is run.

        Raises BusyError if another rollout bakes, StateError if the rollout is neither verified nor armed (nothing
        was done), VetoError if a hook refuses it, MigrationError if a migration fails, UnsupportedChangeError or
        CommitError if the swap can't be made: the rollout is rejected then, and the old version is live. One that was
        taken back stays as it is if its candidate is not kept or what is live has changed since (StateError), a
        module of the patch was imported since (OutdatedError), or another rollout is in progress (BusyError).
        """
        self.take_live(threading.Event())

    def take_live(self, cancelled: threading.Event) -> None:
        """Do what `commit` does; a migration is given up if it is cancelled."""
        self._host.refuse_while_baking(self)
        if self.state is State.ROLLED_BACK:
            self._warm_up()
        if self.state not in (State.VERIFIED, State.ARMED):
            raise self._wrong("committed", "call verify() first" if self.state is State.STAGED else "it is too late")
        if not self._committing.acquire(blocking=False):
            raise self._wrong("committed twice", "another thread is at it")
        began = self._begins("commit")
        try:
            self._migrate(cancelled)
            self.consult("before_commit", cancelled)
            self._commit(began)
        finally:
            self._committing.release()

    def _commit(self, began: float) -> None:
        self.end_shadows()
        try:
            superseded, interrupt = self._go_live()
            self._turned_off()
            self._emit("rollout.live", pause=self.pause, took=self._took(began))
            if superseded is not None:
                superseded._emit("rollout.permanent")
            self._host.begin_bake(self)
            self._host.after("after_commit", self, self.undos)
            if self._is(State.ROLLED_BACK):  # meanwhile, by another thread: that did not know of these undos
                self._host.take_back(self, self.undos)
        finally:
            if self.state not in BEFORE_LIVE:
                self._host.leave(self)
        if interrupt is not None:
            raise interrupt

    def _go_live(self) -> tuple[Rollout | None, BaseException | None]:
        """Make the swap; return the rollout whose trial it ends, and an interrupt that came meanwhile."""
        try:
            return shielded(lambda: self._host.go_live(self))
        except StateError as error:
            if self.state in BEFORE_LIVE:
                raise self.reject(error) from error
            raise
        except HotswapError as error:
            raise self.reject(error) from error.__cause__
        except Exception as error:
            failed = CommitError(f"the swap failed: {type(error).__name__}: {error}", patch=self.label)
            raise self.reject(failed) from error

    def confirm(self) -> None:
        """End the trial: the rollout is permanent. A store has it come up after a restart from now on.

        Raises StateError if it is not live, or its bake is just taking it back, StoreError if that can't be made to
        last, and QuarantinedError if other processes have died of it: it stays on trial then.
        """
        self._host.confirm(self)
        self._emit("rollout.permanent")

    def rollback(self, reason: str = "", *, by: str = "") -> None:
        """Take the swap back: the previous generation is live again, all at once.

        Arguments:
            reason: why, for the history and the log.
            by: who takes it back, for the journal; without it, the account, host and process.

        Inverse migrations run first, and modules that were imported since are loaded in their old version. What fails
        there does not stop it: the values are those from before the swap, as `reason` says; a module is dropped.

        Raises StateError if the rollout is not what is live, or its previous generation is not kept any more;
        CommitError if the way back could not be made: the rollout stays live then.
        """
        self._host.refuse_reentry("roll back")
        if not self._returning.acquire(blocking=False):
            raise self._wrong("rolled back twice", "another thread is at it")
        self._returns = time.perf_counter()
        undos: list[Undo] = []
        was_live = self.state in (State.LIVE, State.PERMANENT)
        try:
            if was_live:
                self._host.after("before_rollback", self, undos)
            self._roll_back(reason, by)
        finally:
            try:
                if was_live and self._is(State.ROLLED_BACK):
                    self._host.take_back(self, self.undos)
                    self._host.after("after_rollback", self)
                else:
                    self._host.take_back(self, undos)
            finally:
                self._returning.release()

    def _roll_back(self, reason: str, by: str) -> None:
        told = reason or "rolled back on request"
        self.actor = by
        try:
            undone = self._host.undo(self)
            recalled = self._host.recall(self, undone)
            facts, interrupt = shielded(lambda: self._host.go_back(self, undone.reason(told), undone, recalled))
        except HotswapError:
            raise
        except Exception as error:
            raise CommitError(
                f"the way back failed: {type(error).__name__}: {error}",
                patch=self.label,
                running=self._host.running(),
            ) from error
        self._candidate = None
        self._host.tell(self)
        if undone.failure is not None:
            self._emit("migration.failed", level="error", **undone.facts)
        took = time.perf_counter() - self._returns
        self._emit("rollout.rolled_back", level="warning", pause=self.pause, took=took, **facts)
        if interrupt is not None:
            raise interrupt
