"""Choices: which verdicts a test wants from what judges a fake rollout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias, get_args

from hotswap.bake import BakeVerdict
from hotswap.rehearsal import Rehearsal, Rehearsed
from hotswap.verification import Answer, Candidate, Check, CheckResult, Report, Verdict

__all__ = ["BakeChoice", "Choices", "Refusable"]

Refusable: TypeAlias = Literal["stage", "arm", "commit", "rollback"]
"""The steps that can be made to fail."""

BakeChoice: TypeAlias = Literal["passed", "failed", "error", "baking"]
"""How a bake can be made to end; `error` is that too little could be measured, and `baking` that it goes on."""

_CODES = {
    Verdict.PASSED: "",
    Verdict.FAILED: "refused",
    Verdict.ERROR: "killed",
    Verdict.TIMED_OUT: "timed-out",
    Verdict.INCONCLUSIVE: "inconclusive",
}
"""What the error of a rehearsal says for each verdict."""


@dataclass
class Choices:
    """What was chosen for the rollouts of a fake patcher. Lives as long as the patcher."""

    checks: dict[str, Answer] = field(default_factory=dict)
    bake: BakeChoice = "baking"
    bake_reason: str = ""
    _rehearsed: Rehearsed | tuple[Verdict, str] = (Verdict.PASSED, "")
    _refusals: dict[Refusable, BaseException] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def choose_checks(self, verdicts: Mapping[str, str | Answer]) -> None:
        """Choose what checks find, by their names. Raises ValueError for what is no verdict."""
        self.checks = {
            name: one if isinstance(one, Answer) else Answer(Verdict(one), "chosen by the test")
            for name, one in verdicts.items()
        }

    def choose_bake(self, verdict: BakeChoice, reason: str) -> None:
        """Choose how bakes end. Raises ValueError for what is no verdict."""
        if verdict not in get_args(BakeChoice):
            raise ValueError(f"bake is one of {', '.join(get_args(BakeChoice))}, not {verdict!r}")
        self.bake, self.bake_reason = verdict, reason or "chosen by the test"

    def choose_rehearsal(self, found: str | Rehearsed, reason: str) -> None:
        """Choose what rehearsals come to. Raises ValueError for what is no verdict."""
        if isinstance(found, Rehearsed):
            self._rehearsed = found
            return
        verdict = Verdict(found)
        self._rehearsed = verdict, "" if verdict is Verdict.PASSED else reason or "chosen by the test"

    def refuse(self, step: Refusable, error: BaseException) -> None:
        """Have a step fail, once. Raises ValueError for what is none."""
        if step not in get_args(Refusable):
            raise ValueError(f"step is one of {', '.join(get_args(Refusable))}, not {step!r}")
        with self._lock:
            self._refusals[step] = error

    def taken(self, step: Refusable) -> None:
        """Raise what was chosen for a step that is just being taken, if anything was."""
        with self._lock:
            error = self._refusals.pop(step, None)
        if error is not None:
            raise error

    def judged(self, checks: list[Check], timeout: float) -> list[Check]:
        """Return checks that find what was chosen: those of a patcher, and others that it does not have."""
        known = {check.name for check in checks}
        others = [Check(name, _answering(one), timeout) for name, one in self.checks.items() if name not in known]
        return [*map(self._judging, checks), *others]

    def _judging(self, check: Check) -> Check:
        answer = self.checks.get(check.name)
        if answer is None:
            return check
        function = _answering(answer)
        return Check(check.name, function, check.timeout, check.turn, check.required, check.inconclusive)

    def rehearsed(self, wanted: Rehearsal) -> Rehearsed:
        """Return what a rehearsal comes to."""
        if isinstance(self._rehearsed, Rehearsed):
            return self._rehearsed
        verdict, reason = self._rehearsed
        word = _CODES[verdict]
        step = "live checks" if word else "rollback"
        tolerated = verdict is Verdict.INCONCLUSIVE and wanted.inconclusive == "pass"
        message = f"at the step {step!r}, {reason}" if word else "swapped and taken back in a copy"
        row = CheckResult("rehearsal", verdict, 0.0, message, tolerated=tolerated)
        return Rehearsed(verdict, step, reason, Report((row,)), 0.0, 0.0, code=word)

    def bakes_to(self) -> BakeVerdict | None:
        """The verdict of the judge that was chosen; None: it could measure nothing."""
        return None if self.bake == "error" else BakeVerdict(self.bake)


def _answering(answer: Answer) -> Callable[[Candidate], Answer]:
    return partial(_said, answer)


def _said(answer: Answer, _: Candidate) -> Answer:
    return answer
