"""Checks and what they found, as facts. Each lives as long as whoever holds it; none holds the candidate."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

from hotswap.stopping import check_limit

__all__ = ["Candidate", "Check", "CheckResult", "Report", "Verdict", "name_of"]

Candidate: TypeAlias = Mapping[str, ModuleType]
"""What a check is given: module name -> staged module."""


class Verdict(enum.StrEnum):
    """What became of one check.

    | verdict | the check |
    |---|---|
    | passed | returned, with anything but `False` |
    | failed | raised `AssertionError` or returned `False`: the candidate is wrong |
    | error | raised anything else, is no usable check, or was stopped: nothing is known about the candidate |
    | timed_out | did not answer within its time limit |
    | inconclusive | could not tell, for a reason that is not the candidate's |

    A falsy ``numpy.bool_`` counts as `False` too. Every other falsy value (None, 0, an empty list, a tensor) passes.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    INCONCLUSIVE = "inconclusive"


def name_of(function: Callable[..., object]) -> str:
    """Return what a check is called if nobody gives it a name."""
    return getattr(function, "__name__", None) or type(function).__name__


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a candidate.

    Arguments:
        name: what reports and events call it.
        function: called with the candidate as its only argument; may be a coroutine function, or return an awaitable.
        timeout: seconds that it has for its answer.

    Raises TypeError or ValueError where an argument is unusable.
    """

    name: str
    function: Callable[[Candidate], object]
    timeout: float

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"the name of a check must be text, not {type(self.name).__qualname__}")
        if not self.name.strip():
            raise ValueError("a check needs a name: reports and log events refer to it")
        if not callable(self.function):
            raise TypeError(
                f"check {self.name!r}: a {type(self.function).__qualname__} can't be called; "
                "give a function that takes the candidate"
            )
        check_limit(self.timeout, f"check {self.name!r}", "a check")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Arguments:
        name: the name of the check; ``-2``, ``-3``, ... is appended where several have the same.
        verdict: the judgement.
        duration: seconds until the verdict.
        message: why, in one line; empty if there is nothing to say.
        detail: the traceback as text: of the exception, or of where the check hung; empty if there is none.
    """

    name: str
    verdict: Verdict
    duration: float
    message: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """Name, verdict and message in words."""
        return f"{self.name} {self.verdict.replace('_', ' ')}: {self.message}"


@dataclass(frozen=True)
class Report:
    """What all checks found about one candidate, in the order in which they ran. ``str()`` gives a table."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed; also true if there was none."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results of all checks that did not pass."""
        return tuple(result for result in self.results if result.verdict is not Verdict.PASSED)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        if not self.results:
            return "no checks"
        count = Counter(result.verdict for result in self.results)
        total = f"{len(self)} check{'s' if len(self) != 1 else ''}: "
        lines = [total + ", ".join(f"{count[verdict]} {_words(verdict)}" for verdict in Verdict if count[verdict])]
        width = max(len(result.name) for result in self.results)
        for result in self.results:
            row = f"  {_words(result.verdict):<9}  {result.duration:8.3f} s  {result.name:<{width}}  {result.message}"
            lines.append(row.rstrip())
        return "\n".join(lines)


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
