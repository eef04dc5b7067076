"""Checks and what they found, as facts. Each lives as long as whoever holds it; none holds the candidate."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeAlias, get_args

from hotswap.stopping import check_limit

__all__ = ["Candidate", "Check", "CheckResult", "Inconclusiveness", "Report", "Turn", "Verdict", "name_of"]

Candidate: TypeAlias = Mapping[str, ModuleType]
"""What a check is given: module name -> staged module."""

Inconclusiveness: TypeAlias = Literal["reject", "accept"]
"""What an inconclusive answer does."""


class Verdict(enum.StrEnum):
    """What became of one check.

    | verdict | the check |
    |---|---|
    | passed | returned, with anything but `False` |
    | failed | raised `AssertionError`, also in a task of a group, or returned `False`: the candidate is wrong |
    | error | raised anything else, is no usable check, or was stopped: nothing is known about the candidate |
    | timed_out | did not answer within its time limit |
    | inconclusive | could not find out: a tool is missing, the machine was too noisy, there was nothing to compare |

    A falsy ``numpy.bool_`` counts as `False` too. A verdict that is returned is the verdict. Every other
    falsy value (None, 0, an empty list, a tensor) passes.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    INCONCLUSIVE = "inconclusive"


class Turn(enum.StrEnum):
    """When a check is run, with regard to the others."""

    SERIAL = "serial"
    """After those that were registered before it; parallel ones may run at the same time."""
    PARALLEL = "parallel"
    """At the same time as others: it waits for a process of its own, or says that it may."""
    ALONE = "alone"
    """When all others have ended: it measures, and others would be noise."""


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
        turn: when it is run.
        required: whether it rejects the patch if it does not pass. One that is not required only has its say.
        inconclusive: whether an inconclusive answer rejects, ``"reject"``, or not, ``"accept"``.

    Raises TypeError or ValueError where an argument is unusable.
    """

    name: str
    function: Callable[[Candidate], object]
    timeout: float
    turn: Turn = Turn.SERIAL
    required: bool = True
    inconclusive: Inconclusiveness = "reject"

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
        if self.inconclusive not in get_args(Inconclusiveness):
            raise ValueError(f"check {self.name!r}: inconclusive is 'reject' or 'accept', not {self.inconclusive!r}")

    def tolerates(self, verdict: Verdict) -> bool:
        """Return whether the patch goes on in spite of this verdict, which is not that it passed."""
        unsure = verdict is Verdict.INCONCLUSIVE and self.inconclusive == "accept"
        return verdict is not Verdict.PASSED and (unsure or not self.required)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Arguments:
        name: the name of the check; ``-2``, ``-3``, ... is appended where several have the same.
        verdict: the judgement.
        duration: seconds until the verdict.
        message: why, in one line; empty if there is nothing to say.
        detail: the traceback as text: of the exception, or of where the check hung; what a program said that the check
            has run; empty if there is none.
        tolerated: it did not pass, and does not reject the patch, since the check was registered so.
    """

    name: str
    verdict: Verdict
    duration: float
    message: str
    detail: str = ""
    tolerated: bool = False

    @property
    def sentence(self) -> str:
        """Name, verdict and message in words."""
        return f"{self.name} {self.verdict.replace('_', ' ')}: {self.message}"


@dataclass(frozen=True)
class Report:
    """What all checks found about one candidate, in the order in which they were registered. ``str()`` gives a table.

    Arguments:
        results: of the checks that have ended.
        running: the names of those that run at this moment.
        waiting: the names of those that have not begun.
    """

    results: tuple[CheckResult, ...]
    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check rejects the patch, and all have ended; also true if there was none."""
        return not (self.failures or self.running or self.waiting)

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results that reject the patch."""
        return tuple(r for r in self.results if r.verdict is not Verdict.PASSED and not r.tolerated)

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """The results of checks that did not pass, and that do not reject the patch."""
        return tuple(result for result in self.results if result.tolerated)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        rows = [(_words(r.verdict), f"{r.duration:8.3f} s", r.name, _told(r)) for r in self.results]
        rows += [(state, " " * 10, name, "") for state, names in self._unended.items() for name in names]
        if not rows:
            return "no checks"
        count = Counter(result.verdict for result in self.results)
        found = [f"{count[verdict]} {_words(verdict)}" for verdict in Verdict if count[verdict]]
        found += [f"{len(names)} {state}" for state, names in self._unended.items() if names]
        lines = [f"{len(rows)} check{'s' if len(rows) != 1 else ''}: {', '.join(found)}"]
        width = max(len(name) for _, _, name, _ in rows)
        wide = max(9, *(len(state) for state, *_ in rows))
        lines += [f"  {state:<{wide}}  {time}  {name:<{width}}  {told}".rstrip() for state, time, name, told in rows]
        return "\n".join(lines)

    @property
    def _unended(self) -> dict[str, tuple[str, ...]]:
        return {"running": self.running, "waiting": self.waiting}


def _told(result: CheckResult) -> str:
    note = "does not reject the patch" if result.tolerated else ""
    return f"{result.message} ({note})" if result.message and note else result.message or note


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
