"""Hosting: what rollouts ask of the patcher that owns what is live.

Concurrency. Guarantees: changes of the state of a rollout, and of what is live, are made under one lock, which is held
for as long as a swap is prepared and committed. User code never runs under it. Assumes: nothing; every entry may be
called from any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial

from packaging.version import Version

from hotswap import collector, periods
from hotswap.admission import roots
from hotswap.bookkeeping import Books
from hotswap.effects import checked_kinds
from hotswap.errors import DowngradeError, HotswapError, ManifestError, StateError
from hotswap.generation import Candidate, Limit
from hotswap.homecoming import Back, Resumed
from hotswap.hooks import HookName, Undo
from hotswap.judging import Judging
from hotswap.patch import Patch
from hotswap.place import Place, Terms
from hotswap.records import Record, State
from hotswap.rehearsal import Rehearsal, Wish, wished
from hotswap.rollout import Rollout
from hotswap.session import Mark
from hotswap.settlement import catch_up
from hotswap.shield import outlast, shielded
from hotswap.succession import Succession
from hotswap.swap import Left, Leftover, Recalled, Swap, Undone
from hotswap.trials import Trials
from hotswap.trust import Memory
from hotswap.verification import Check

__all__ = ["HISTORY", "Hosting"]

HISTORY = 1000
"""How many records the history keeps in memory."""


class Hosting(Judging):
    """The part of a patcher that serves its rollouts. Lives as long as the patcher."""

    _change: threading.RLock
    _succession: Succession
    _place: Place
    _books: Books
    _rehearsal: Rehearsal | None
    _check_timeout: float
    _memory: Memory
    _history: OrderedDict[str, Record]
    _followers: list[Callable[[Record], None]]
    _load_timeout: float | None
    _allow_effects: frozenset[str]
    _handover: float | None
    _resumed: Resumed | None
    _trials: Trials

    def _resume(self) -> Resumed | None:
        entry = self._books.resumed
        patch = None if entry is None else self._books.patch_of(entry)
        if entry is None or patch is None:
            return None
        rollout = Resumed(self, patch, patch.version or Version("0"))
        rollout.id = entry.id
        self._books.resume(rollout)
        return rollout

    @property
    def versions(self) -> dict[str, Version]:
        """Return what is live, as a mapping from package to version."""
        return self._succession.versions

    def live_checks(self, rollout: Rollout, functions: Sequence[Callable[..., object]] | None) -> list[Check]:
        """Return what is run after the swap of a rehearsal: these functions, or the checks of a rollout; and probes."""
        chosen = self.checks(rollout.patch) if functions is None else self.unregistered(functions)
        return [*chosen, *(probe.as_check(rollout) for probe in self._trials.probes)]

    @property
    def locks(self) -> tuple[threading.RLock]:
        """The lock under which swaps are made, and the states of rollouts change."""
        return (self._change,)

    def copied(self) -> None:
        """Have nothing of what is done from now on reach the store or a watched directory: this is a copy."""
        self._books = Books(None, ())
        self._followers.clear()

    def running(self) -> dict[str, Version]:
        """Return what is live."""
        return self.versions

    def refuse_reentry(self, what: str) -> None:
        """Raise BusyError if the caller is code that the rollout in progress runs."""
        self._place.refuse_reentry(what)

    def before(self, point: HookName, rollout: Rollout, cancelled: threading.Event) -> None:
        """Call the hooks that may refuse a rollout. Raises VetoError if one does."""
        if not rollout.silent:
            self._trials.hooks.before(point, rollout, cancelled)

    def after(self, point: HookName, rollout: Rollout, undos: list[Undo] | None = None) -> None:
        """Call the hooks that can't."""
        if not rollout.silent:
            self._trials.hooks.after(point, rollout, undos)

    def take_back(self, rollout: Rollout, undos: list[Undo]) -> None:
        """Call undos of hooks, the last one first."""
        if rollout.silent:  # a copy of the process, or the way back: what is to be undone is not there
            return
        self._trials.hooks.undo(rollout, undos)

    def settled(self, rollout: Rollout) -> Callable[[], None] | None:
        """What calls the hooks that wait for the end of old calls; None if there are none."""
        there = self._trials.hooks.has("settled") and not rollout.silent
        return partial(self.after, "settled", rollout) if there else None

    def refuse_while_baking(self, rollout: Rollout) -> None:
        """Raise BusyError if another rollout bakes."""
        self._place.refuse_while_baking(rollout.label, rollout)

    def begin_bake(self, rollout: Rollout) -> None:
        """Begin the bake of a rollout that has just gone live, if it is to have one."""
        self._trials.begin(rollout)

    def rehearsal_for(self, asked: Wish | None) -> Rehearsal | None:
        """How a patch is rehearsed of which somebody says whether it is to be; None: as the patcher has it."""
        return self._rehearsal if asked is None or (asked is True and self._rehearsal) else wished(asked)

    def leave(self, rollout: Rollout | None) -> None:
        """Free the place of the rollout in progress, if it is this one."""
        self._place.leave(rollout)
        self._books.tell()
        catch_up()

    def audit(self, rollout: Rollout) -> tuple[Leftover, ...]:
        """Look who refers to what the swap of a live rollout has dropped."""
        with self._change:
            return self._succession.audit(rollout)

    def tell(self, rollout: Rollout) -> None:
        """Tell those who follow that a rollout was confirmed, or taken back.

        Not to be called under a lock, since they write files and logs.
        """
        record = rollout.record
        for follower in list(self._followers):
            consequence = f"a watched directory may not say that it was {str(rollout.state).replace('_', ' ')}"
            rollout.plan.warnings += outlast({consequence: partial(follower, record)})
        self._books.tell()
        catch_up()

    def prepare(self, rollout: Rollout) -> Swap:
        """Make a swap of a rollout's candidate against what is live now."""
        # Preparing makes many objects: the collector would walk the whole heap for them, and stop every thread.
        with self._change, collector.switched_off():
            return self._succession.prepare(rollout)

    def move(self, rollout: Rollout, allowed: tuple[State, ...], state: State, reason: str | None = None) -> None:
        """Change state and reason of a rollout, if its state is one of those allowed."""
        with self._change:
            if rollout.state not in allowed:
                raise StateError(
                    f"the rollout is {rollout.state.replace('_', ' ')}, not {' or '.join(allowed)}",
                    patch=rollout.label,
                    running=self.versions,
                )
            rollout.state = state
            if reason is not None:
                rollout.reason = reason
            rollout.changed = datetime.now(UTC)
            if state is State.REJECTED:
                self._succession.over(rollout)
            if not rollout.silent:
                self._history[rollout.id] = rollout.record
                self._books.note(rollout)

    def confirm(self, rollout: Rollout) -> None:
        """Make a live rollout permanent, as soon as that is durable."""
        with self._change:
            if rollout.state is State.LIVE:
                self._trials.refuse_to_confirm(rollout)
                self._books.confirm(rollout)
            self.move(rollout, (State.LIVE,), State.PERMANENT)
            self._trials.confirmed(rollout)
            self._history[rollout.id] = rollout.record  # with the end of its bake
            self._books.tidy()
        self.tell(rollout)

    def note(self, rollout: Rollout) -> None:
        """Write the record of a rollout into the history; free its place if its journey ended before it was live."""
        with self._change:
            if not rollout.silent:
                self._history[rollout.id] = rollout.record
                self._books.note(rollout)
            while len(self._history) > HISTORY:
                self._history.popitem(last=False)

    def go_live(self, rollout: Rollout) -> Rollout | None:
        """Commit a verified rollout, and keep the way back. What is about to become live is durable before it is."""
        self._books.keep(rollout, self.versions)
        with self._change, collector.switched_off():
            if rollout.state not in (State.VERIFIED, State.ARMED):
                raise StateError(f"the rollout is {rollout.state}", patch=rollout.label, running=self.versions)
            self._books.intend(rollout)
            first = periods.now().number + 1
            superseded = self._succession.advance(rollout)
            given = {root: rollout.patch.version_of(root) for root in roots(rollout.patch, self.versions)}
            known = {root: version for root, version in given.items() if version is not None}
            self._memory.note((rollout.given, rollout.patch.digest), known)
            if (signed := rollout.patch.metadata.get("signed")) is not None:  # set by the gate alone, as its key is
                self._memory.date((*rollout.patch.sources, *rollout.patch.extensions), int(signed))
            self._resumed = None
            self._trials.turned(rollout, first)
            self.move(rollout, (State.VERIFIED, State.ARMED), State.LIVE)
            if superseded is None or superseded.state is not State.LIVE:
                return None
            self.move(superseded, (State.LIVE,), State.PERMANENT, f"superseded by {rollout.label}")
            self._books.tidy()
            return superseded

    def load(self, rollout: Rollout, terms: Terms) -> None:
        """Load the candidate of a rollout that has the place, and plan the swap; reject it if that fails."""
        try:
            with self._change:
                self._succession.begin(rollout)
                self._books.begin(rollout)
            allowed = self._allow_effects | rollout.allow_effects | _allowed_by(rollout.patch)
            candidate = self._succession.candidate(rollout, allowed, partial(self._may_be_older, rollout))
        except BaseException as error:  # noqa: BLE001 - it is raised again, once the rollout is rejected
            raise rollout.reject(error) from error.__cause__
        limit = Limit(self._load_timeout, terms.cancelled, self._place.loading)
        if terms.rehearsal is not None:
            rollout.rehearse_whole(terms.rehearsal, terms.cancelled, candidate, limit)
        rollout.staged(candidate, limit)

    def _may_be_older(self, rollout: Rollout, patch: Patch) -> bool:
        if rollout.older == "undo" and not any(map(self._memory.seen, (rollout.given, patch.digest))):
            raise DowngradeError(
                f"{patch.version} was never live here, so nothing can be undone to it",
                advice="give the patch a newer version, or undo to what the history has",
            )
        return rollout.older != "never"

    def is_warm(self, rollout: Rollout) -> bool:
        """Whether a rollout that was taken back can be made live again without being loaded anew."""
        with self._change:
            return self._succession.is_warm(rollout)

    def let_go(self, rollout: Rollout) -> bool:
        """Let go of the candidate of a rollout that was taken back; return whether it was kept."""
        with self._change:
            return rollout.state is State.ROLLED_BACK and self._succession.let_go(rollout)

    def warm(self, rollout: Rollout) -> Candidate:
        """Have a rollout that was taken back be in progress again: it is verified then. Returns its candidate."""
        self._place.take(rollout.label, Terms.of(0.0, (), ...))
        try:
            with self._change:
                candidate = self._succession.warm(rollout)
                self.move(rollout, (State.ROLLED_BACK,), State.VERIFIED, "")
                self._place.rollout = rollout
        except BaseException:
            self.leave(None)
            raise
        return candidate

    def restage(self, rollout: Rollout) -> None:
        """Load the candidate of a rollout that was taken back anew. Its checks have passed before: it is verified."""
        terms = Terms.of(0.0, (), ...)
        self._place.take(rollout.label, terms)
        try:
            self.move(rollout, (State.ROLLED_BACK,), State.STAGED, "")
            self._place.rollout = rollout
        except BaseException:
            self.leave(None)
            raise
        rollout.consult("before_stage", terms.cancelled)
        self.load(rollout, terms)
        self.move(rollout, (State.STAGED,), State.VERIFIED)

    def changing(self) -> AbstractContextManager[object]:
        """The lock under which what is live changes."""
        return self._change

    def arm(self, rollout: Rollout) -> Mark:
        """Make the candidate of a verified rollout reachable; return what stands for it in sessions."""
        with self._change, collector.switched_off():
            self.move(rollout, (State.VERIFIED,), State.ARMED)
            return self._succession.arm(rollout)

    def disarm(self, rollout: Rollout) -> Left | None:
        """Take back what `arm` did. Returns what is left, if somebody is on the candidate."""
        with self._change, collector.switched_off():
            return self._succession.disarm(rollout)

    def undo(self, rollout: Rollout) -> Undone:
        """Run the inverse migrations of what is live; user code, so not under the lock."""
        return self._succession.undo(rollout, self._place.loading)

    def recall(self, rollout: Rollout, undone: Undone) -> Recalled:
        """Load the old versions of what was imported since a rollout went live; user code, so not under the lock."""
        candidate = None
        try:
            with self._change, collector.switched_off():
                recalled = self._succession.recall(rollout, undone)
            candidate = recalled.candidate
            if candidate is not None:
                candidate.load(Limit(self._load_timeout, inside=self._place.loading))
        except BaseException as error:
            if candidate is not None:
                candidate.discard()
            if not isinstance(error, Exception):
                raise
            why = error.reason if isinstance(error, HotswapError) else f"{type(error).__name__}: {error}"
            return Recalled(failed=why)  # the way back has to go through
        return recalled

    def go_back(self, rollout: Rollout, reason: str, undone: Undone, recalled: Recalled) -> dict[str, object]:
        """Take a live rollout back. A rollout in progress is aborted: what it was staged on is gone."""
        self._place.quiet()
        try:
            with self._change, collector.switched_off():
                if self._succession.newest is rollout:
                    self._books.take_back(rollout, reason)
                try:
                    told = self._succession.retreat(rollout, undone, recalled)
                except BaseException:
                    self._books.note(rollout)
                    raise
                self.move(rollout, (State.LIVE, State.PERMANENT), State.ROLLED_BACK, reason)
                self._trials.returned(rollout, periods.now().number)
                self._history[rollout.id] = rollout.record  # with the end of its bake
        finally:
            left = recalled.candidate
            discard = {"what was imported anew for it is left": left.discard} if left is not None else {}
            rollout.plan.warnings += outlast(discard)  # unless it is live
        self._place.abort("what it was staged on was rolled back")
        return told

    def go_home(self, rollout: Resumed, reason: str, patience: float) -> Rollout:
        """Have the version before the one on which this process came up go live. Returns what stands for the swap.

        A rollout in progress is aborted: what it was staged on is gone. Raises what a rollout raises that is rejected,
        and NothingToRollBackError if that version is not kept: the rollout stays permanent then.
        """
        self._place.abort("what it was staged on was rolled back")
        terms = Terms.of(patience, (), ...)
        self._place.take(rollout.label, terms)
        try:
            if self._resumed is not rollout:
                raise StateError(
                    "it is not what is live, and the version before it is not kept",
                    patch=rollout.label,
                    running=self.versions,
                )
            back = Back(self, self._books.earlier())
            back.handover = self._handover
            self._place.rollout = back
        except BaseException:
            self.leave(None)
            raise
        self.load(back, terms)
        self.move(back, (State.STAGED,), State.VERIFIED)
        with self._change:
            self._books.take_back(rollout, reason)
        try:
            back.take_live(terms.cancelled)
        except BaseException:
            if back.state is not State.LIVE:  # an interrupt comes when it is live
                with self._change:
                    self._books.note(rollout)
                raise
        finally:
            _, interrupt = shielded(lambda: self._went_home(rollout, back, reason))
        if interrupt is not None:
            raise interrupt
        return back

    def _went_home(self, rollout: Resumed, back: Rollout, reason: str) -> None:
        with self._change:
            if back.state is State.LIVE:
                self._succession.burn()
                self.move(rollout, (State.PERMANENT,), State.ROLLED_BACK, reason)


def _allowed_by(patch: Patch) -> frozenset[str]:
    """The kinds of effects that a manifest allows. They are judged here: the artifact knows nothing of effects."""
    try:
        return checked_kinds(patch.allow_effects)
    except ValueError as error:
        advice = "mend its hotswap.toml; docs/reference/manifest.md has every key"
        raise ManifestError(str(error), patch=patch.label, advice=advice) from None
