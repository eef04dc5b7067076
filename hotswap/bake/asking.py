"""Asking probes: when each is due, in a thread of its own, and what it has found so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hotswap.bake import unhandled
from hotswap.bake.figures import ProbeFigures
from hotswap.bake.terms import Probe
from hotswap.errand import Errand, Result
from hotswap.stopping import Stopped
from hotswap.verification import Answer, Verdict
from hotswap.verification.answers import code_of, judge_error, judge_value

__all__ = ["Asking"]


class Asking:
    """One probe, and what it has found. Lives as long as the bake; used by the judge's thread alone.

    Arguments:
        probe: what is asked.
        subject: the rollout.
        loop: where an asynchronous probe runs, if it can.
        answered: is called when it has answered, in the thread in which it did.
        due: when it is asked for the first time.
        namespaces: identities of the globals of the modules that the patch has brought.
    """

    def __init__(
        self,
        probe: Probe,
        subject: object,
        loop: asyncio.AbstractEventLoop | None,
        answered: Callable[[Callable[[], None]], None],
        due: float,
        namespaces: frozenset[int],
    ) -> None:
        self.probe = probe
        self._arguments, self._loop, self._answered = probe.arguments(subject), loop, answered
        self._due, self._namespaces = due, namespaces
        self._deadline = 0.0
        self.run: Errand | None = None
        """That which goes on."""
        self._left: Errand | None = None
        """One that took too long and has not ended: no other begins beside it."""
        self._passed = self._failed = self._errors = 0
        self._in_a_row = self._broken_in_a_row = 0
        self._error = self._failure = ""
        self._last: Verdict | None = None
        self._message = ""
        self.news: Verdict | None = None
        """The last verdict, if it was not passed and was another one before; whoever tells it takes it away."""

    @property
    def _count(self) -> int:
        return self._passed + self._failed + self._errors

    @property
    def waits(self) -> bool:
        """Whether it has to answer before the bake can end: it is asked, or has failed and may yet pass."""
        return self.run is not None or self._last is None or (self._in_a_row > 0 and self._has_failed(self._last))

    @property
    def against(self) -> str:
        """What it says against the rollout at any time: it has failed so often in a row. Empty if it does not."""
        if self._in_a_row < self.probe.failures:
            return ""
        often = "" if self._in_a_row == 1 else f" {self._in_a_row} times in a row"
        return f"probe {self.probe.name} failed{often}: {self._message}"

    @property
    def against_at_the_end(self) -> str:
        """What it says against the rollout at the end: of its verdicts, a third were failures. Empty if fewer were.

        Where they come by chance, so many would have come in a row before. Fewer than it takes in a row say nothing.
        """
        if self._failed < self.probe.failures or self._passed > 2 * self._failed:
            return ""
        return f"probe {self.probe.name} failed {self._failed} of {self._count} times: {self._failure}"

    @property
    def missing(self) -> str:
        """What is missing for it to speak for the rollout; empty if nothing is.

        It has passed more often than it broke, does not fail now, and has not broken so often in a row, up to now, as
        it would have to fail: one error is none, as one failure is none.
        """
        if self._in_a_row == 0 and self._passed > self._errors and self._broken_in_a_row < self.probe.failures:
            return ""
        if not self._passed or self._in_a_row:
            return self._message
        return f"{self._passed} of {self._count} passed, {self._errors} were errors, the last: {self._error}"

    def figures(self) -> ProbeFigures:
        """Return what it has found."""
        counts = (self._passed, self._failed, self._errors, self._in_a_row)
        return ProbeFigures(self.probe.name, *counts, self._last, self._message)

    def step(self, now: float) -> float:
        """Do what is due. Returns when something will be."""
        if self.run is not None and now >= self._deadline:
            run, self.run = self.run, None
            run.give_up()
            self._left, self._deadline = run, now + self.probe.timeout  # once for each time that it takes
            self._late()
        if self.run is None and now >= self._due:
            self._due = now + self.probe.every
            if self._left is None:
                self._ask(now)
            elif now >= self._deadline:
                self._deadline = now + self.probe.timeout
                self._late()
        return self._due if self.run is None else self._deadline

    def end(self) -> None:
        """Ask no more. A run that has not ended is asked to, unless it is its thread that ends the bake."""
        self._arguments = ()
        run, self.run = self.run or self._left, None
        if run is not None and not run.is_here:
            run.give_up()

    def _ask(self, now: float) -> None:
        run = self.run = Errand(
            f"hotswap probe {self.probe.name}", self.probe.function, self._arguments, loop=self._loop
        )
        self._deadline = now + self.probe.timeout
        run.start(lambda result: self._answered(lambda: self._take(run, result)))

    def _take(self, run: Errand, result: Result) -> None:
        if run is self._left:  # too late: that was counted when its time was up
            self._left = None
        if run is not self.run:
            return
        self.run = None
        if isinstance(result.error, Stopped):
            return
        answer = judge_value(result.value) if result.error is None else self._judge(result.error)
        self._note(answer.verdict, answer.message)

    def _judge(self, error: BaseException) -> Answer:
        """The verdict on what a run raised: it is no error of the probe if code of the patch raised it."""
        answer = judge_error(error, self.probe.function)
        if answer.verdict is not Verdict.ERROR:
            return answer
        own = code_of(self.probe.function)
        raised = unhandled.of(error)
        through = unhandled.runs_through(raised, self._namespaces, own=own, kinds=(Exception, SystemExit))
        return Answer(Verdict.FAILED, f"code of the patch raised {through}") if through else answer

    def _late(self) -> None:
        self._note(Verdict.TIMED_OUT, f"no answer within {self.probe.timeout:g} s")

    def _has_failed(self, verdict: Verdict) -> bool:
        return verdict is Verdict.FAILED or (verdict is Verdict.TIMED_OUT and self.probe.hung == "failed")

    def _note(self, verdict: Verdict, message: str) -> None:
        if verdict is Verdict.PASSED:
            self._passed += 1
            self._in_a_row = self._broken_in_a_row = 0
        elif self._has_failed(verdict):
            self._failed += 1
            self._in_a_row += 1
            self._broken_in_a_row = 0
            self._failure = message
        else:  # nothing is known of the rollout, so it neither begins a row nor ends one
            self._errors += 1
            self._broken_in_a_row += 1
            self._error = message
        if verdict is not Verdict.PASSED and verdict is not self._last:
            self.news = verdict
        self._last, self._message = verdict, message
