"""The figures of a bake: facts of one moment, which keep no code alive."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hotswap.tally import Sum
from hotswap.verification import Verdict

__all__ = ["BakeVerdict", "Figures", "ProbeFigures", "Sessions"]


class BakeVerdict(enum.StrEnum):
    """What became of a bake.

    | verdict | the bake |
    |---|---|
    | baking | goes on |
    | passed | is over, and nothing spoke against the rollout: it is permanent |
    | failed | something spoke against the rollout: it is taken back |
    | undecided | is over, and too little could be measured, or it could not be carried on |
    | ended | was ended by somebody who confirmed the rollout, or took it back |
    """

    BAKING = "baking"
    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Sessions:
    """What was counted of the sessions of one side: how many ended, how many of them failed, and how long they took.

    Durations are in seconds, of those that went well, exact to an eighth; None where there were none.
    """

    count: int
    errors: int
    median: float | None
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, found: Sum) -> Sessions:
        """Sum up a tally."""
        return cls(found.count, found.errors, *map(found.quantile, (0.5, 0.9, 0.99)))

    @property
    def error_rate(self) -> float:
        """The share of sessions that failed; 0 where there were none."""
        return self.errors / self.count if self.count else 0.0

    def __str__(self) -> str:
        if self.p90 is None or self.median is None:
            return f"{self.errors} of {self.count} failed"
        return f"{self.errors} of {self.count} failed, median {self.median:.3g} s, p90 {self.p90:.3g} s"


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """What one probe has found: how often each verdict came, the last one, and how often in a row it has failed."""

    name: str
    passed: int
    failed: int
    errors: int
    in_a_row: int
    last: Verdict | None
    message: str

    def __str__(self) -> str:
        last = "has not answered" if self.last is None else f"last {self.last.replace('_', ' ')}"
        counts = f"{self.passed} passed, {self.failed} failed, {self.errors} errors"
        return f"{self.name}: {counts}, {last}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of a bake. ``str()`` gives it line by line.

    Attributes:
        verdict: what became of it.
        reason: why; empty while it goes on.
        seconds: how long it was to be.
        remaining: how long it goes on; 0 when it is over.
        old, new: the sessions of the generation before, and of the one on trial.
        exceptions: unhandled ones that ran through code of the patch.
        exception: the last of them, and where it came from.
        probes: what each probe has found.
    """

    verdict: BakeVerdict
    reason: str
    seconds: float
    remaining: float
    old: Sessions
    new: Sessions
    exceptions: int
    exception: str
    probes: tuple[ProbeFigures, ...]

    def __str__(self) -> str:
        going = f", {self.remaining:.0f} of {self.seconds:g} s left" if self.verdict is BakeVerdict.BAKING else ""
        lines = [f"bake {self.verdict}{going}" + (f": {self.reason}" if self.reason else "")]
        lines += [f"  sessions, old: {self.old}", f"  sessions, new: {self.new}"]
        last = f", the last: {self.exception}" if self.exception else ""
        lines += [f"  unhandled exceptions: {self.exceptions}{last}"]
        return "\n".join(lines + [f"  probe {probe}" for probe in self.probes])

    def facts(self) -> dict[str, object]:
        """The same as plain values, for events."""
        sides = {
            side: {"sessions": one.count, "errors": one.errors, "median": one.median, "p90": one.p90, "p99": one.p99}
            for side, one in (("old", self.old), ("new", self.new))
        }
        probes = {one.name: str(one.last) if one.last else None for one in self.probes}
        return {**sides, "exceptions": self.exceptions, "probes": probes}
