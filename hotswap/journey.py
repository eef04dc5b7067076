"""What is known of one patch on its way, and how its journey ends if it is rejected."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from packaging.version import Version

from hotswap import events
from hotswap.aftermath import Aftermath, Auditor
from hotswap.bake import Bake
from hotswap.errors import HotswapError, StateError
from hotswap.generation import Candidate, Limit
from hotswap.hooks import HookName, Undo
from hotswap.patch import Patch
from hotswap.records import BEFORE_LIVE, Record, State
from hotswap.session import Mark, end_route
from hotswap.shield import shielded
from hotswap.swap import Adapter, Left, Plan, Recalled, Swap, Undone, migrate
from hotswap.verification import Check, Report

__all__ = ["Host", "Journey"]


class Host(Auditor, Protocol):
    """What a rollout needs of the patcher that owns what is live."""

    def checks(self, patch: Patch, /) -> list[Check]:
        """The checks to run on the candidate of a patch."""

    def live_checks(self, rollout: Any, functions: Any, /) -> list[Check]:
        """The checks to run after the swap of a rehearsal: these functions, or those of a rollout; and probes."""

    @property
    def locks(self) -> tuple[Any, ...]:
        """What must not be held by another thread when the process is copied."""

    def copied(self) -> None:
        """Have nothing of what is done from now on reach a store or a watched directory: this is a copy."""

    def running(self) -> dict[str, Version]:
        """What is live."""

    def prepare(self, rollout: Any, /) -> Swap:
        """Make a swap against what is live now. Raises StateError if that is not what the rollout was staged on."""

    def go_live(self, rollout: Any, /) -> Any:
        """Commit, and take over the new generation. Returns the rollout whose trial this has ended, if any."""

    def undo(self, rollout: Any, /) -> Undone:
        """Run the inverse migrations, if the rollout is what is live."""

    def recall(self, rollout: Any, undone: Undone, /) -> Recalled:
        """Load the old versions of what was imported since. Raises nothing of what goes wrong with them."""

    def go_back(self, rollout: Any, reason: str, undone: Undone, recalled: Recalled, /) -> dict[str, object]:
        """Revert, and take over the previous generation. Raises StateError if it is not what is live."""

    def refuse_reentry(self, what: str) -> None:
        """Raise BusyError if the caller is code that the rollout in progress runs."""

    def changing(self) -> AbstractContextManager[Any]:
        """A block in which nobody makes a swap, nor changes the state of a rollout."""

    def before(self, point: HookName, rollout: Any, cancelled: threading.Event, /) -> None:
        """Call the hooks that may refuse. Raises VetoError if one does."""

    def after(self, point: HookName, rollout: Any, undos: list[Undo] | None = None, /) -> None:
        """Call the hooks that can't."""

    def take_back(self, rollout: Any, undos: list[Undo], /) -> None:
        """Call undos of hooks, the last one first."""

    def refuse_while_baking(self, rollout: Any, /) -> None:
        """Raise BusyError if another rollout bakes."""

    def begin_bake(self, rollout: Any, /) -> None:
        """Begin the bake of a rollout that has just gone live, if it is to have one."""

    def arm(self, rollout: Any, /) -> Mark:
        """Make the candidate reachable; return what stands for it in the sessions that are on it."""

    def disarm(self, rollout: Any, /) -> Left | None:
        """Take that back. Returns what is left, if somebody is on the candidate."""

    def restage(self, rollout: Any, /) -> None:
        """Load the candidate of a rollout that was taken back anew: it is verified then, or rejected."""

    def is_warm(self, rollout: Any, /) -> bool:
        """Whether a rollout that was taken back can be made live again without being loaded anew."""

    def warm(self, rollout: Any, /) -> Candidate:
        """Have such a rollout be in progress again: it is verified then. Raises BusyError, StateError, OutdatedError.

        Returns its candidate. Nothing was done if it raises.
        """

    def let_go(self, rollout: Any, /) -> bool:
        """Let go of the candidate of a rollout that was taken back; return whether it was kept."""

    def move(self, rollout: Any, allowed: tuple[State, ...], state: State, reason: str | None = None, /) -> None:
        """Change state and reason, if the state is one of those allowed, in one step; raises StateError if not."""

    def confirm(self, rollout: Any, /) -> None:
        """Make a live rollout permanent, as soon as that is durable."""

    def leave(self, rollout: Any, /) -> None:
        """Free the place of the rollout in progress: its journey is over, or it is live and has said so."""

    def note(self, rollout: Any, /) -> None:
        """Write the record of a rollout into the history."""

    def tell(self, rollout: Any, /) -> None:
        """Tell whoever applied it for somebody else that a rollout was taken back."""


class Journey(Aftermath):
    """What is known of one patch on its way, and how its journey ends. Lives as long as the rollout.

    Attributes:
        id: names the rollout in the history and in events.
        patch: what is rolled out.
        older: whether it may be older than what is live: `never`, `undo` (if it was live here before), `always`.
        adapters: those for the frameworks in use, until the rollout is live or over.
        version: the version that its packages get.
        state: where it stands.
        plan: what would change, what can't, and what to know about it; `str(rollout.plan)` is for reading.
        candidate: the staged modules by name.
        report: the result of each check with its time; empty before `verify`.
        pause: seconds that the other threads waited for the last swap of this rollout, or None.
        reason: why it was rejected or rolled back, or "".
        by, why: who made it, and what for.
        limits: what its bake goes by; None: it has none.
        loop: the event loop on which asynchronous hooks and probes run, if it is known.
        undos: what takes back what hooks have done for it.
        actor: who did the last thing with it, if it was somebody else.
        given: the digest of the patch as it was given; its own is another if it got a name or a version here.
    """

    silent = False
    """Whether it is nobody's rollout, but the way back to what was before one."""

    def __init__(self, host: Host, patch: Patch, version: Version) -> None:
        super().__init__(host)
        self._host: Host = host
        self.id = uuid.uuid4().hex[:12]
        self.patch = patch
        self.given = patch.digest
        self.by = self.why = self.actor = ""
        self.version = version
        self.state: State = State.STAGED
        self.plan = Plan(patch.label)
        self.report = Report(())
        self.pause: float | None = None
        self.reason = ""
        self.started = self.changed = datetime.now(UTC)
        self.adapters: list[Adapter] = []
        self._candidate: Candidate | None = None
        self._limit = Limit()
        self._has_migrated = False
        self.allow_effects: frozenset[str] = frozenset()
        self.older = "never"
        self.limits: Bake | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.undos: list[Undo] = []
        self._on_candidate: Mark | None = None
        """What stands for the candidate in the sessions that are on it, while it is armed."""
        self._left: Left | None = None
        """What has gone on with the candidate since it was disarmed last."""
        self._loading = False
        self._judging: threading.Event | None = None
        """Set while checks or migrations run: it stops them."""
        self._committing = threading.Lock()
        self._returning = threading.Lock()
        self._not_ended = [None]
        self._began = time.perf_counter()
        self._under_way: tuple[str, float] | None = ("stage", self._began)
        """The step that was begun last, and has not succeeded yet, with when it began."""
        self._error: str | None = None
        """The type of what it was rejected by; None: somebody gave it up."""

    def __repr__(self) -> str:
        return f"<Rollout {self.id} {self.label} {self.state}>"

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return self.patch.label

    @property
    def candidate(self) -> Candidate:
        """The staged modules by name. Raises StateError once the rollout is over."""
        if self._candidate is None:
            raise StateError(f"{self!r} has no candidate any more", running=self._host.running())
        return self._candidate

    @property
    def record(self) -> Record:
        """The facts of this moment."""
        patch = self.patch
        facts = (self.id, patch.name, patch.version, patch.digest, self.state, self.reason, self.started, self.changed)
        return Record(*facts, self.report, self.pause, patch.note, self.by, self.why, bake=self.bake)

    def _migrate(self, cancelled: threading.Event) -> None:
        if self._has_migrated:  # when it was armed
            return
        run = partial(migrate, self.candidate, replace(self._limit, cancelled=cancelled))
        self._let_run(run, cancelled, "committed", "its migrations")
        self._has_migrated = True

    def consult(self, point: HookName, cancelled: threading.Event) -> None:
        """Call the hooks that may refuse it. Raises VetoError if one does: the rollout is rejected then."""
        run = partial(self._host.before, point, self, cancelled)
        self._let_run(run, cancelled, "taken any further", "its hooks")

    def _let_run(self, run: Callable[[], object], cancelled: threading.Event, wanted: str, what: str) -> None:
        """Run code of users, which an abort stops. Raises what it raises, and the rollout is rejected then."""
        self._judging = cancelled
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - it is raised again, once the rollout is rejected
            raise self.reject(error) from error.__cause__
        finally:
            self._judging = None
        if self._is(State.REJECTED):  # aborted meanwhile by another thread, which leaves the end to this one
            self._end()
            raise self._wrong(wanted, f"it was given up while {what} ran: {self.reason}")

    def abort(self, reason: str = "") -> None:
        """Give up a rollout that is not live yet: it is rejected, and nothing of it is left.

        While its modules are loaded, or its checks or migrations run, in another thread, the place stays taken until
        they have ended; checks and migrations are stopped as if their time were up.

        The candidate of one that was taken back is let go of, if it was kept: it can't be committed again.

        Raises StateError if it is live, or over.
        """
        if self._host.let_go(self):
            return
        self._host.move(self, BEFORE_LIVE, State.REJECTED, reason or "aborted")
        judging = self._judging
        if judging is not None:
            judging.set()
        elif not self._loading:
            self._end()

    def reject(self, error: BaseException) -> BaseException:
        """Note that the rollout failed, unless it was aborted before; return the error with what is running now."""
        self._loading = False
        if not self._is(State.REJECTED):
            self._error = type(error).__name__
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, HotswapError):
            error.patch = error.patch or self.label
            error.now_running(self._host.running())
            reason = error.reason
        if self.state is not State.REJECTED:
            self._host.move(self, BEFORE_LIVE, State.REJECTED, reason)
        if isinstance(error, HotswapError):
            error.rollout = self.record
        self._end()
        return error

    def _end(self) -> None:
        try:
            self._not_ended.pop()  # two threads may come here; one of them gets it
        except IndexError:
            return
        candidate, self._candidate, self.adapters = self._candidate, None, []
        try:
            left = self._unarmed()
            afterwards = None if left is None else left.afterwards
            _, interrupt = shielded(lambda: None if candidate is None else candidate.discard(afterwards))
            self._host.note(self)
            step, began = self._under_way or ("", None)
            took = None if began is None else time.perf_counter() - began
            level: events.Level = "info" if self._error is None else "warning"  # somebody gave it up: a dry run, say
            self._emit("rollout.rejected", level=level, error=self._error, step=step, took=took)
            self._host.take_back(self, self.undos)
        finally:
            self._host.leave(self)
        if interrupt is not None:
            raise interrupt

    def _unarmed(self) -> Left | None:
        """Have nobody reach the candidate any more, but for who is on it. Returns what is left, if somebody was."""
        self._turned_off()
        self._left = self._host.disarm(self) or self._left
        return self._left

    def _turned_off(self) -> None:
        """Have no session begin on the candidate any more, and no run beside live calls."""
        self.end_shadows()
        candidate, self._on_candidate = self._on_candidate, None
        if candidate is not None:
            end_route(candidate)

    def end_shadows(self) -> None:
        """End what runs the candidate beside live calls, if anything does."""

    def _is(self, state: State) -> bool:
        return self.state is state

    def _wrong(self, what: str, advice: str) -> StateError:
        return StateError(
            f"a rollout that is {self.state.replace('_', ' ')} can't be {what}",
            patch=self.label,
            running=self._host.running(),
            advice=advice,
        )

    def _begins(self, step: str) -> float:
        """Note that a step begins, or goes on; return when it began."""
        if self._under_way is None or self._under_way[0] != step:
            self._under_way = step, time.perf_counter()
        return self._under_way[1]

    def _took(self, began: float) -> float:
        """Note that a step has succeeded; return the seconds that it took."""
        self._under_way = None
        return time.perf_counter() - began

    def _emit(self, event: events.EventName, *, level: events.Level = "info", **facts: object) -> None:
        events.emit(
            event,
            level=level,
            of=self._host,
            rollout=self.id,
            patch=self.patch.name,
            version=self.patch.version,
            digest=self.patch.digest,
            duration=time.perf_counter() - self._began,
            reason=self.reason,
            **facts,
        )
