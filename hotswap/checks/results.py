"""Whether the candidate answers as the live version does: both are called, side by side, with the same inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotswap.checks.elements import gathered, gathered_async, is_async_iterator, is_iterator
from hotswap.checks.generations import Call, Given, Inputs, shown
from hotswap.checks.kinds import Kind, staged
from hotswap.checks.likeness import alike, same_type
from hotswap.checks.reach import Watched, sides
from hotswap.verification import Answer, Candidate, Inconclusive, Verdict
from hotswap.verification.answers import close

__all__ = ["SameResult"]


@dataclass(frozen=True)
class Outcome:
    """What became of one call."""

    value: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        if self.error is None:
            return shown(self.value)
        return f"{type(self.error).__qualname__}: {_text(self.error)}"


class SameResult(Kind):
    """The check that `hotswap.checks.same_result` makes.

    It runs in the process itself, one call after the other: the live function has the live state.
    """

    def __init__(self, call: Call, inputs: Inputs, compare: Callable[[Any, Any], object] | None) -> None:
        super().__init__(f"same_result {call.name}")
        self._call, self._inputs = call, inputs
        self._compare = compare or alike

    def __call__(self, candidate: Candidate, /) -> object:
        """Call both with each input; for asynchronous functions, return a coroutine that does."""
        whole = staged(candidate)
        both = sides(self._call, whole)
        if isinstance(both, Answer):
            return both
        live, successor, new = both
        pairs = list(self._inputs.pairs(whole.live, whole))
        first = _begun(live, pairs[0][0])
        if inspect.isawaitable(first) or is_async_iterator(type(first.value)):
            return self._compared_async(live, successor, pairs, first, new)
        return self._compared(live, successor, pairs, first, new)

    def _compared(
        self, live: Any, new: Any, pairs: list[tuple[Given, Given]], first: Outcome, watched: Watched
    ) -> Answer:
        outcomes: list[tuple[Given, Outcome]] = []
        for number, (mine, yours) in enumerate(pairs, 1):
            told = repr(yours)  # before the call, which may change it
            before = first if number == 1 else _begun(live, mine)
            if not isinstance(before, Outcome):
                close(before)
                raise Inconclusive(
                    f"the live version is asynchronous for input {number}, {told}, and not for the first"
                )
            answer = self._judged(number, told, before, _settled(_begun(new, yours)))
            if answer is not None:
                return answer
            outcomes.append((mine, before))
        return self._passed(live, outcomes, watched)

    async def _compared_async(
        self, live: Any, new: Any, pairs: list[tuple[Given, Given]], first: Any, watched: Watched
    ) -> Answer:
        outcomes: list[tuple[Given, Outcome]] = []
        for number, (mine, yours) in enumerate(pairs, 1):
            told = repr(yours)
            before = await _awaited(first if number == 1 else _begun(live, mine))
            answer = self._judged(number, told, before, await _awaited(_begun(new, yours)))
            if answer is not None:
                return answer
            outcomes.append((mine, before))
        return self._passed(live, outcomes, watched)

    def _judged(self, number: int, told: str, old: Outcome, new: Outcome) -> Answer | None:
        """The answer, if two outcomes differ."""
        if old.error is not None or new.error is not None:
            if old.error is None or new.error is None:
                same = False
            else:
                same = same_type(type(old.error), type(new.error)) and _text(old.error) == _text(new.error)
        else:
            same = bool(self._compare(old.value, new.value))
        return None if same else Answer(Verdict.FAILED, f"input {number}, {told}: live {old}; candidate {new}")

    def _passed(self, live: Any, outcomes: list[tuple[Given, Outcome]], watched: Watched) -> Answer:
        """The answer, if no two outcomes differ. Raises Inconclusive if none of them says anything."""
        watched.require_reached()
        if all(one.error is not None and self._call.was_refused(live, given, one.error) for given, one in outcomes):
            raise Inconclusive(f"no input fits the call, so nothing was compared: {outcomes[0][1]}")
        return Answer(Verdict.PASSED, f"{len(outcomes)} input{'s' if len(outcomes) != 1 else ''} alike")


def _begun(function: Callable[..., Any], given: Given) -> Any:
    """Call; return the outcome, or what has to be awaited for it."""
    try:
        value = function(*given.args, **given.kwargs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what it raises is its answer
        return Outcome(error=error)
    return value if inspect.isawaitable(value) else Outcome(_collected(value))


def _settled(outcome: Any) -> Outcome:
    """The outcome of a plain call, which an awaitable is none of."""
    if isinstance(outcome, Outcome):
        return outcome
    close(outcome)
    return Outcome(error=TypeError("it returned an awaitable, and the live version does not"))


async def _awaited(outcome: Any) -> Outcome:
    """The outcome of an asynchronous call, or of an asynchronous iterator."""
    try:
        if not isinstance(outcome, Outcome):
            outcome = Outcome(_collected(await outcome))
        whole: Outcome = outcome
        if is_async_iterator(type(whole.value)):
            return Outcome(await gathered_async(whole.value))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return Outcome(error=error)
    return whole


def _collected(value: Any) -> Any:
    """What an iterator yields, and how it ends; any other value as it is."""
    return gathered(value) if is_iterator(type(value)) else value


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as trouble:  # noqa: BLE001 - `__str__` of any exception
        return f"(its text raises {type(trouble).__qualname__})"
