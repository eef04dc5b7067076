"""The judge: one bake, from the swap to the verdict.

    what                                       speaks against the rollout
    a probe                                    when it has failed so often in a row; at the end, when it has failed so
                                               often, and has not passed more than twice as often
    sessions that failed                       when more did than can be chance (`evidence`), at each that fails
    sessions that are slow, or never end       the same, at three looks in a row
    unhandled exceptions                       when there were so many that ran through code of the patch

Whatever speaks against it ends the bake at once. At its end the rollout is confirmed if every probe has passed more
often than it broke, and none fails or has broken down; without probes, if enough sessions have ended. Else too little
is known, and the terms say what becomes of it. The end is put off while a probe is asked, or has failed less often than
it may.

Concurrency. Guarantees: one verdict; whoever ends the bake by hand before it gets `ended`. All judging is done by one
thread, which sleeps until something is due or something bad has happened, and which ends with the bake. Probes and the
rollback run under no lock of ours; a probe may roll back, or confirm. In a forked child no bake goes on: the parent
judges, and there it stays on trial. Assumes: threads. Time is that of `hotswap.clock`, which stands still while the
machine is suspended.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

from hotswap import clock, events
from hotswap.bake import unhandled
from hotswap.bake.asking import Asking
from hotswap.bake.evidence import allowed_errors, is_against, slow_from
from hotswap.bake.figures import BakeVerdict, Figures, Sessions
from hotswap.bake.rounds import Rounds
from hotswap.bake.terms import Bake, Probe
from hotswap.errors import HotswapError
from hotswap.tally import Counts, above, edge, total

__all__ = ["Baking"]

_LOOK = 1.0
"""Seconds between two looks at the sessions, or a twentieth of the bake."""

_STRIKES = 3
"""Looks in a row at which sessions have to be slow: one hiccup of the machine makes all sessions of a moment slow."""

_REMEMBERED = 512
"""Looks that are remembered, to know which sessions have not ended since."""

BY = "the bake"


class Baking:
    """One bake. Lives as long as its rollout; what it holds of others, until it is over.

    Arguments:
        subject: the rollout: it is confirmed, or rolled back.
        terms: what it goes by.
        probes: what is asked meanwhile.
        namespaces: identities of the globals of the modules that the patch has brought.
        first: the number of the first period of the new generation.
        old: tallies of the generation before.
        present: gives the tally of the present period.
        told: is called when the verdict of the judge is carried out, in the judge's thread.
        over: is called when the verdict is carried out, or somebody has ended the bake; it gets whether this is a child
            in which it ends because of the fork.
    """

    def __init__(
        self,
        subject: Any,
        terms: Bake,
        probes: Sequence[Probe],
        *,
        namespaces: frozenset[int],
        first: int,
        old: Sequence[Counts],
        present: Callable[[], Counts],
        told: Callable[[], None],
        over: Callable[[bool], None],
    ) -> None:
        self.verdict = BakeVerdict.BAKING
        self.reason = ""
        self._terms, self._namespaces, self._first, self._present = terms, namespaces, first, present
        self._subject, self._told, self._over = subject, told, over
        patch = subject.patch
        self._patcher = subject.patcher
        self._facts = {"rollout": subject.id, "patch": patch.name, "version": patch.version, "digest": patch.digest}
        self._deciding = threading.Lock()
        self._signals: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._began = clock.now()
        self._until = self._began + terms.seconds
        asked = subject, subject.loop, self._signals.put, self._began, namespaces
        self._askings = [Asking(one, *asked) for one in probes]
        self._old, self._new = list(old), {one.number: one for one in present().until(first)}
        self._open_before = sum(max(0, one.begun - one.ended) for one in self._old)
        """Sessions that were open at the swap: as many that go on for long are no news."""
        self._exceptions, self._exception = 0, ""
        self._look = min(_LOOK, terms.seconds / 20)
        self._next_look = self._began + self._look
        self._begun: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._strikes, self._counted = 0, (0, 0)
        self._over_at: Figures | None = None
        self._unhear: Callable[[], None] = lambda: None
        self._rounds, self._alarm = Rounds(), clock.NONE

    # --- from outside ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to judge. Never raises: where no thread can be had, the rollout stays on trial, and that is told."""
        _going.add(self)
        if self.is_over:  # it was taken back in this very moment
            return
        self._hold()
        if self._terms.exceptions is not None:
            self._unhear = unhandled.listen(self._hear)
        self._alarm = clock.after(0.0, self._ring)
        self._tell("bake.began", seconds=self._terms.seconds, probes=[one.probe.name for one in self._askings])
        thread = threading.Thread(target=self._judge, name=f"hotswap bake {self._subject.label}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._decide(BakeVerdict.UNDECIDED, "no thread could be started to judge it")
            self._conclude()

    @property
    def is_over(self) -> bool:
        """Whether the verdict is carried out, or somebody has ended it."""
        return self._over_at is not None

    def end(self, reason: str) -> None:
        """Judge no more: somebody else has decided."""
        if self._decide(BakeVerdict.ENDED, reason):
            self._finish()

    def rule(self, verdict: BakeVerdict | None, reason: str) -> None:
        """Have the judge come to a verdict, whatever was measured; None: to that of a bake which could measure nothing.

        For fakes. It is carried out in the judge's thread; nothing happens if there is a verdict already.
        """
        found = self._unmeasured(reason) if verdict is None else (verdict, reason)
        self._signals.put(lambda: self._be_told(*found))

    def _be_told(self, verdict: BakeVerdict, reason: str) -> None:
        self._decide(verdict, reason)

    def _tallies(self) -> list[Counts]:
        """What was counted of the new generation. Sessions may begin meanwhile."""
        return list(self._new.values())

    def figures(self) -> Figures:
        """Return what is known now."""
        known = self._over_at
        if known is not None:
            return known
        going = self.verdict is BakeVerdict.BAKING
        return Figures(
            verdict=self.verdict,
            reason=self.reason,
            seconds=self._terms.seconds,
            remaining=max(0.0, self._until - clock.now()) if going else 0.0,
            old=Sessions.of(total(self._old)),
            new=Sessions.of(total(self._tallies())),
            exceptions=self._exceptions,
            exception=self._exception,
            probes=tuple(one.figures() for one in self._askings),
        )

    # --- the judge's thread ----------------------------------------------------------------------------------------

    def _judge(self) -> None:
        try:
            while (wait := self._looked()) is not None:
                before, self._alarm = self._alarm, clock.after(wait, self._ring)
                before.cancel()  # not sooner: who holds the clock has to find one of them
                self._rounds.end(frozenset(id(one.run) for one in self._askings if one.run is not None))
                with suppress(queue.Empty):  # the alarm needs a thread, of which there may be too many
                    self._take(self._signals.get(timeout=wait + 1.0))
        except Exception as error:  # noqa: BLE001 - nobody waits here; a defect of ours must not be silent
            self._decide(BakeVerdict.UNDECIDED, f"judging broke: {type(error).__name__}: {error}")
        self._alarm.cancel()
        if self.verdict is not BakeVerdict.ENDED:
            self._conclude()

    def _looked(self) -> float | None:
        self._rounds.begin()
        return self.step(clock.now())

    def step(self, now: float) -> float | None:
        """Do what is due. Returns in how many seconds something will be, if nothing wakes it; None if it is decided."""
        while not self._signals.empty():
            self._take(self._signals.get())
        if self.verdict is not BakeVerdict.BAKING:
            return None
        due = [one.step(now) for one in self._askings]
        for one in self._askings:
            self._tell_of(one)
        if against := self._against(now):
            self._decide(BakeVerdict.FAILED, against)
            return None
        if now >= self._until and not any(one.waits for one in self._askings):
            self._decide(*self._at_the_end())
            return None
        due += [self._next_look, self._until if now < self._until else now + self._look]
        return max(0.0, min(due) - now)

    def _take(self, signal: Callable[[], None] | None) -> None:
        if signal is not None:
            signal()

    def _against(self, now: float) -> str:
        """What speaks against the rollout; empty if nothing does."""
        if against := next(filter(None, (one.against for one in self._askings)), ""):
            return against
        if self._terms.exceptions is not None and self._exceptions >= self._terms.exceptions:
            count = "an unhandled exception" if self._exceptions == 1 else f"{self._exceptions} unhandled exceptions"
            return f"{count} ran through code of the patch: {self._exception}"
        if against := self._too_many_errors():
            return against
        if now < self._next_look:
            return ""
        self._next_look = now + self._look
        self._hold()
        if self._terms.exceptions is not None:
            unhandled.listen_on()
        return self._too_slow(now)

    def _too_many_errors(self) -> str:
        if self._terms.error_rate is None:
            return ""
        new = total(self._tallies())
        if not new.errors:
            return ""
        old = total(self._old)
        allowed = allowed_errors(old, self._terms.error_rate, self._terms.sessions)
        if not is_against(new.errors, new.count, allowed):
            return ""
        return (
            f"{new.errors} of {new.count} sessions failed, and {old.errors} of {old.count} before; "
            f"{allowed:.2%} may fail"
        )

    def _too_slow(self, now: float) -> str:
        if self._terms.latency is None:
            return ""
        tallies = self._tallies()
        begun, ended = sum(one.begun for one in tallies), sum(one.ended for one in tallies)
        self._begun.append((now, begun))
        old, new = total(self._old), total(tallies)
        step = slow_from(old, self._terms.latency, self._terms.quantile)
        if step is None:
            return ""
        limit = edge(step)
        known = [count for at, count in self._begun if at <= now - limit]
        hung = max(0, (known[-1] if known else 0) - ended - self._open_before)
        bad, count = above(new.steps, step) + hung, sum(new.steps) + hung
        allowed = 1 - self._terms.quantile
        more_bad, more = bad - self._counted[0], count - self._counted[1]
        self._counted = bad, count
        shows = more_bad > allowed * more if more > 0 else hung > 0
        self._strikes = self._strikes + 1 if shows and is_against(bad, count, allowed) else 0
        if self._strikes < _STRIKES:
            return ""
        open_ = f", and {hung} of them have not ended yet" if hung else ""
        return (
            f"{bad} of {count} sessions took longer than {limit:.3g} s{open_}; before, {self._terms.quantile:.3g} of "
            f"{sum(old.steps)} took at most {limit / self._terms.latency:.3g} s, and they may take "
            f"{self._terms.latency:g} times as long"
        )

    def _at_the_end(self) -> tuple[BakeVerdict, str]:
        if against := next(filter(None, (one.against_at_the_end for one in self._askings)), ""):
            return BakeVerdict.FAILED, against
        why = [f"probe {one.probe.name}: {missing}" for one in self._askings if (missing := one.missing)]
        count = total(self._tallies()).count
        if not self._askings and count < self._terms.sessions:
            why = [f"there is no probe, and {count} sessions have ended, of {self._terms.sessions} that it takes"]
        if not why:
            return BakeVerdict.PASSED, f"nothing spoke against it in {self._terms.seconds:g} s"
        return self._unmeasured("; ".join(why))

    def _unmeasured(self, why: str) -> tuple[BakeVerdict, str]:
        told = f"too little could be measured: {why}"
        if self._terms.unmeasured == "trial":
            return BakeVerdict.UNDECIDED, told
        return BakeVerdict.PASSED if self._terms.unmeasured == "confirm" else BakeVerdict.FAILED, told

    # --- signals, from any thread ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the judge look; reentrant, and without a lock: a session may end anywhere."""
        if self._signals.empty():
            self._signals.put(None)

    def _ring(self) -> Callable[[float], bool]:
        """Have the judge look, because a time has come. Returns what waits until that is done."""
        wait = self._rounds.ring()
        self._signals.put(None)
        return wait

    def _hear(self, reported: unhandled.Unhandled) -> None:
        if told := unhandled.runs_through(reported, self._namespaces):
            self._signals.put(partial(self._count, told))

    def _count(self, told: str) -> None:
        self._exceptions += 1
        self._exception = told

    def _hold(self) -> None:
        self._new |= {one.number: one for one in self._present().until(self._first)}
        for one in (*self._old, *self._new.values()):
            one.hold(self._wake)

    # --- the verdict -----------------------------------------------------------------------------------------------

    def _decide(self, verdict: BakeVerdict, reason: str) -> bool:
        with self._deciding:
            if self.verdict is not BakeVerdict.BAKING:
                return False
            self.verdict, self.reason = verdict, reason
            return True

    def _conclude(self) -> None:
        """Carry the verdict out, and tell it. Runs user code."""
        subject, trouble = self._subject, ""
        try:
            if self.verdict is BakeVerdict.FAILED:
                subject.rollback(f"the bake failed: {self.reason}", by=BY)
            elif self.verdict is BakeVerdict.PASSED:
                subject.confirm()
        except HotswapError as error:
            trouble = f"{self.reason}; but that could not be carried out: {error.reason}"
        if trouble and subject.state == "live":
            self.verdict, self.reason = BakeVerdict.UNDECIDED, trouble
        name: events.EventName = "bake.undecided"
        if self.verdict is BakeVerdict.PASSED:
            name = "bake.passed"
        elif self.verdict is BakeVerdict.FAILED:
            name = "bake.failed"
        self._tell(name, "info" if name == "bake.passed" else "error" if trouble else "warning")
        self._told()
        self._finish()

    def _finish(self, *, forked: bool = False) -> None:
        """Let go of everything. It is over then."""
        self._unhear()
        self._alarm.cancel()
        for tally in (*self._old, *self._new.values()):
            tally.release(self._wake)
        for one in self._askings:
            one.end()
        self._over_at = replace(self.figures(), remaining=0.0)
        _going.discard(self)
        self._old, self._new, self._askings, self._subject = [], {}, [], None
        self._present = self._no_more
        self._signals.put(None)
        self._over(forked)
        self._rounds.over()

    def _no_more(self) -> Counts:
        return Counts(-1)

    def _tell(self, event: events.EventName, level: events.Level = "info", **facts: object) -> None:
        told = facts or self.figures().facts()
        events.emit(event, level=level, of=self._patcher, **self._facts, reason=self.reason, **told)

    def _tell_of(self, one: Asking) -> None:
        if one.news is None:
            return
        verdict, one.news = one.news, None
        figures = one.figures()
        facts = {"probe": figures.name, "verdict": verdict, "in_a_row": figures.in_a_row, "message": figures.message}
        self._tell("probe.failed", "warning", **facts)

    def _orphaned(self) -> None:
        """Go on in a forked child, where no thread judges."""
        self._deciding, self._signals = threading.Lock(), queue.SimpleQueue()
        self._rounds, self._alarm = Rounds(), clock.NONE
        if self._decide(BakeVerdict.UNDECIDED, "the process was forked, and its parent judges"):
            self._finish(forked=True)


_going: WeakSet[Baking] = WeakSet()


def _begin_anew() -> None:
    for baking in list(_going):
        baking._orphaned()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
