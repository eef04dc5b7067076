"""What a bake goes by: how long it is, what it allows, and the probes that are asked meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Literal, TypeAlias, get_args

from hotswap.stopping import check_limit
from hotswap.verification import Answer, Check, Verdict
from hotswap.verification.answers import judge_error, judge_value

__all__ = ["Bake", "Baked", "Hung", "Probe", "checked_bake"]

Unmeasured: TypeAlias = Literal["trial", "confirm", "rollback"]
Hung: TypeAlias = Literal["failed", "error"]


@dataclass(frozen=True, slots=True)
class Bake:
    """How long a rollout is on trial after its swap, and what takes it back.

    Arguments:
        seconds: how long it bakes.
        error_rate: the share of sessions that may fail beyond the share that failed before: 0.01 is one in a hundred
            more. None: errors of sessions are not judged.
        latency: how many times as long as before the slow sessions may take. None: that is not judged.
        quantile: which session is a slow one: of 0.9, the one that takes longer than nine of ten.
        exceptions: how many unhandled exceptions that ran through code of the patch take it back. None: none does.
        sessions: how many have to end for the bake to have measured them at all.
        unmeasured: what becomes of the rollout if too little could be measured: it stays on `trial` until somebody
            decides, or `confirm`, or `rollback`.

    Raises TypeError or ValueError for what makes no sense.
    """

    seconds: float = 60.0
    error_rate: float | None = 0.01
    latency: float | None = 2.0
    quantile: float = 0.9
    exceptions: int | None = 1
    sessions: int = 20
    unmeasured: Unmeasured = "trial"

    def __post_init__(self) -> None:
        check_limit(self.seconds, "bake", "a trial")
        _check_number(self.error_rate, "error_rate", 0.0, 1.0)
        _check_number(self.latency, "latency", 1.0, 1e6)
        _check_number(self.quantile, "quantile", 0.01, 0.999)
        _check_count(self.exceptions, "exceptions")
        _check_count(self.sessions, "sessions")
        if self.sessions is None or self.quantile is None:
            raise TypeError("sessions and quantile must be numbers")
        if self.unmeasured not in get_args(Unmeasured):
            raise ValueError(f"unmeasured is one of {', '.join(get_args(Unmeasured))}, not {self.unmeasured!r}")


def _check_number(value: object, name: str, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__qualname__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low:g} to {high:g}, not {value!r}")


def _check_count(value: object, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__qualname__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")


Baked: TypeAlias = float | Bake | EllipsisType | None
"""How somebody asks for a bake: seconds, a `Bake`, None or 0 for none, or `...` for what the patcher has."""


def checked_bake(bake: object) -> Bake | None:
    """Return the terms of a bake, or None where there is to be none.

    Raises TypeError or ValueError for what is neither a time nor a `Bake`.
    """
    if bake is None or (type(bake) in (int, float) and bake == 0):
        return None
    return bake if isinstance(bake, Bake) else Bake(seconds=bake)  # type: ignore[arg-type]  # it says what is wrong


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the process while a rollout bakes.

    Arguments:
        name: what figures and events call it.
        function: called with the rollout if it takes an argument, else with nothing; may be a coroutine function.
        every: seconds from the beginning of one run to that of the next.
        failures: how many in a row take the rollout back.
        timeout: seconds that a run may take.
        hung: whether a run that took longer has `failed`, or is an `error`: then nothing is known.

    Raises TypeError or ValueError where an argument is unusable.
    """

    name: str
    function: Callable[..., object]
    every: float
    failures: int
    timeout: float
    hung: Hung = "failed"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"probe {self.name!r}: a {type(self.function).__qualname__} can't be called")
        check_limit(self.every, f"every of probe {self.name!r}", "a probe")
        check_limit(self.timeout, f"probe {self.name!r}", "a probe")
        _check_count(self.failures, f"failures of probe {self.name!r}")
        if self.failures is None:
            raise TypeError("failures must be a whole number")
        if self.hung not in get_args(Hung):
            raise ValueError(f"hung is one of {', '.join(get_args(Hung))}, not {self.hung!r}")
        if _needs(self.function) > 1:
            raise TypeError(f"probe {self.name!r}: it takes nothing, or the rollout")

    def arguments(self, rollout: object) -> tuple[object, ...]:
        """What it is called with."""
        return (rollout,) if _takes(self.function) else ()

    def as_check(self, rollout: object) -> Check:
        """The same question to a copy of the process, about a rollout that is live there.

        It is asked as often as it may fail in a row. What is an error (it raises anything but an `AssertionError`) is
        inconclusive, and refuses nothing, also if code of the patch raised: a copy lacks threads and connections.
        """

        async def wait(value: Awaitable[object]) -> object:
            return await value

        def ask(_: object) -> Answer:
            answer = Answer(Verdict.PASSED)
            for _ in range(self.failures):
                try:
                    value = self.function(*self.arguments(rollout))
                    if inspect.isawaitable(value):
                        value = asyncio.run(wait(value))
                    answer = judge_value(value)
                except Exception as error:  # noqa: BLE001 - it is judged
                    answer = judge_error(error, self.function)
                if answer.verdict is not Verdict.FAILED:
                    break
            if answer.verdict in (Verdict.PASSED, Verdict.FAILED):
                return answer
            return replace(answer, verdict=Verdict.INCONCLUSIVE)

        return Check(f"probe {self.name}", ask, self.timeout, inconclusive="accept")


def _positional(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # something written in C that does not say
        return []
    return [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _needs(function: Callable[..., object]) -> int:
    return sum(one.default is one.empty for one in _positional(function))


def _takes(function: Callable[..., object]) -> bool:
    return _needs(function) == 1
