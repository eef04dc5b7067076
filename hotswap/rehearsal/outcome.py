"""What became of a rehearsal: what the copy told before its end, how it ended, and what follows from both."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hotswap.errors import RehearsalError
from hotswap.rehearsal.channel import Listener
from hotswap.verification import CheckResult, Report, Verdict

__all__ = ["End", "Rehearsed", "outcome", "pass_on"]

_ROW = "rehearsal"
"""What the rows of a report are called; those of checks have the name of the check behind it."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What became of a rehearsal. `Rollout.rehearsal` is one.

    Attributes:
        verdict: `passed`; `failed`, when the patch is wrong; `error`, when the copy was ended by somebody else;
            `timed_out`; `inconclusive`.
        step: the last one that was begun: `load`, `checks`, `migrations`, `swap`, `live checks` or `rollback`.
        reason: what happened, in words; empty if all went well.
        report: the result of each check in the copy, as it ran last, and a row of the rehearsal as a whole.
        duration: seconds in all.
        pause: seconds that the call took in which the process was copied; other threads stand still for most of them.
        peak: bytes that the copy had in memory at the most, beyond those that it began with; None if nobody knows.
        cpu: seconds of processor time that it used; None if nobody knows.
        signal: the name of the signal that ended the copy, such as `SIGSEGV`, or None.
        status: the exit status of the copy, or None if there is none.
        stack: where it was then: the stack of each thread, or a traceback; empty if there is none.
        remarks: what could not be cut off from the process, each in words.
        code, error, advice: those of the `RehearsalError` that is raised for it; empty if all went well.
    """

    verdict: Verdict
    step: str
    reason: str
    report: Report
    duration: float
    pause: float
    peak: int | None = None
    cpu: float | None = None
    signal: str | None = None
    status: int | None = None
    stack: str = ""
    remarks: tuple[str, ...] = ()
    code: str = ""
    error: str = ""
    advice: str = ""

    def as_error(self) -> RehearsalError:
        """Return what is raised for it."""
        place = f"in its rehearsal, at the step {self.step!r}, " if self.step else "its rehearsal: "
        error = RehearsalError(f"{place}{self.reason}", advice=self.advice or None, code=self.code)
        error.step, error.signal, error.stack, error.error = self.step, self.signal, self.stack, self.error
        return error


class _Judgement(NamedTuple):
    verdict: Verdict
    reason: str = ""
    advice: str = ""
    code: str = ""
    error: str = ""


class End(NamedTuple):
    """How the copy ended.

    Attributes:
        status: as `os.wait4` tells it; None if somebody else in the process has asked for it first.
        by_us: why the original ended it: `time`, `cancelled`; empty if it did not.
        stacks: what was written as it ended.
        duration: seconds.
        pause: seconds of the call that made it.
        cpu: seconds, as the system tells them, or None.
    """

    status: int | None
    by_us: str
    stacks: str
    duration: float
    pause: float
    cpu: float | None


def outcome(told: Listener, end: End, *, limits: Any) -> Rehearsed:
    """Judge a rehearsal.

    Arguments:
        told: what the copy told.
        end: how it ended.
        limits: the `Rehearsal` as it was asked for.
    """
    step = (told.last("step") or {}).get("name", "")
    last = told.last("end") or {}
    code = None if end.status is None else os.waitstatus_to_exitcode(end.status)
    name = _name(-code) if code is not None and code < 0 else _named_by(end.stacks)
    verdict, reason, advice, word, error = _judged(told, end, limits, code, name)
    hung = told.last("hung")
    stack = "" if not word else (hung or {}).get("stack") or last.get("stack") or end.stacks
    peak = last.get("peak")
    more = "" if peak is None else f"; {peak / 1e6:.0f} MB more in memory at the most"
    place = f"at the step {step!r}, " if word and step else ""
    message = f"{place}{reason or 'swapped and taken back in a copy'}{more}"
    tolerated = verdict is Verdict.INCONCLUSIVE and limits.inconclusive == "pass"
    rows = {row["name"]: _row(row) for row in told.messages if row["what"] == "result"}
    return Rehearsed(
        verdict=verdict,
        step=step,
        reason=reason,
        report=Report((*rows.values(), CheckResult(_ROW, verdict, end.duration, message, stack, tolerated))),
        duration=end.duration,
        pause=end.pause,
        peak=peak,
        cpu=end.cpu if end.cpu is not None else last.get("cpu"),
        signal=None if end.by_us or hung is not None else name,  # else it is of our own making
        status=code if code is not None and code >= 0 else None,
        stack=stack,
        remarks=tuple((told.last("copied") or {}).get("left", ())),
        code=word,
        error=error,
        advice=advice,
    )


def pass_on(tell: Callable[[str, CheckResult | None], None], message: dict[str, Any]) -> None:
    """Tell of a check that has begun or ended in the copy, if that is what a message says."""
    if message["what"] == "check":
        tell(f"{_ROW}: {message['name']}", None)
    elif message["what"] == "result":
        row = _row(message)
        tell(row.name, row)


def _row(told: dict[str, Any]) -> CheckResult:
    verdict = Verdict(told["verdict"])
    return CheckResult(
        f"{_ROW}: {told['name']}", verdict, told["duration"], told["message"], told["detail"], told["tolerated"]
    )


def _judged(told: Listener, end: End, limits: Any, code: int | None, name: str | None) -> _Judgement:
    last, hung, uncut = told.last("end"), told.last("hung"), told.last("uncut")
    if end.by_us == "cancelled":
        return _Judgement(Verdict.ERROR, "it was given up", code="cancelled")
    if uncut is not None:
        return _Judgement(Verdict.ERROR, f"the copy could not be cut off: {uncut['reason']}", code="no-copy")
    late = f"it did not come to its end within {limits.time:g} s"
    if hung is not None and hung["why"]:
        return _unsure(f"{late}: {hung['why']}")
    if hung is not None or end.by_us == "time":
        advice = "the error has the stack; if it needs more time: rehearse=Rehearsal(time=...)"
        return _Judgement(Verdict.TIMED_OUT, late, advice, code="timed-out")
    if last is not None and code in (0, None):
        return _told(last, limits)
    if name == "SIGXCPU":
        reason = f"it used more than {limits.whole_cpu} s of processor time"
        advice = "the error has the stack; if it needs more: rehearse=Rehearsal(cpu=...)"
        return _Judgement(Verdict.FAILED, reason, advice, code="out-of-cpu")
    if name in _CRASHES:
        advice = "the error has the stack of each thread"
        return _Judgement(Verdict.FAILED, f"it crashed the process: {name}", advice, code="crashed")
    if name is not None:
        advice = "if it was the system because memory was short: rehearse=Rehearsal(memory=...) sets a limit"
        return _Judgement(Verdict.ERROR, f"something ended the copy of the process: {name}", advice, code="killed")
    how = "nobody knows how" if code is None else f"with status {code}"
    return _Judgement(Verdict.FAILED, f"it ended the process ({how}), before all was done", code="exited")


def _told(last: dict[str, Any], limits: Any) -> _Judgement:
    if last["verdict"] == "passed":
        verdict = Verdict.INCONCLUSIVE if last["unsure"] else Verdict.PASSED
        return _Judgement(verdict, "; ".join(last["unsure"]))
    if last["verdict"] == "inconclusive":
        return _unsure(last["reason"])
    if last.get("memory"):
        more = "" if limits.memory is None else f"more than {limits.memory / 1e6:.0f} MB, which it may take"
        advice = "if it needs more: rehearse=Rehearsal(memory=...)"
        reason = f"it ran out of memory: {more or last['reason']}"
        return _Judgement(Verdict.FAILED, reason, advice, code="out-of-memory", error=last["error"])
    advice = last.get("advice") or "read the report: the check names what it found"
    return _Judgement(Verdict.FAILED, last["reason"], advice, code="refused", error=last["error"])


def _unsure(reason: str) -> _Judgement:
    advice = (
        "try it again, or have the check do without what a copy of the process does not have; "
        "rehearse=Rehearsal(inconclusive='pass') lets such patches go on"
    )
    return _Judgement(Verdict.INCONCLUSIVE, reason, advice, code="inconclusive")


_CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"})


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_WORDS = {
    "Segmentation fault": "SIGSEGV",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
    "Aborted": "SIGABRT",
}
"""What `faulthandler` writes: it is known where the exit status is not."""


def _named_by(stacks: str) -> str | None:
    first = stacks.removeprefix("Fatal Python error: ").partition("\n")[0]
    return _WORDS.get(first) if stacks.startswith("Fatal Python error: ") else None
