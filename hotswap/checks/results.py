"""Whether the candidate answers as the live version does: both are called, side by side, with the same inputs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hotswap.checks.generations import Call, Given, Inputs, shown
from hotswap.checks.kinds import Kind, staged
from hotswap.checks.likeness import alike, same_type
from hotswap.checks.reach import Watched, sides
from hotswap.verification import Answer, Candidate, Inconclusive, Verdict
from hotswap.verification.answers import close

__all__ = ["SameResult"]

_ELEMENTS = 10_000
"""How many elements of a generator are compared; more are an endless one."""


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
        if inspect.isawaitable(first) or inspect.isasyncgen(first.value):
            return self._compared_async(live, successor, pairs, first, new)
        answer = self._compared(live, successor, pairs, first)
        return answer or _passed(pairs, new)

    def _compared(self, live: Any, new: Any, pairs: list[tuple[Given, Given]], first: Outcome) -> Answer | None:
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
        return None

    async def _compared_async(
        self, live: Any, new: Any, pairs: list[tuple[Given, Given]], first: Any, watched: Watched
    ) -> Answer:
        for number, (mine, yours) in enumerate(pairs, 1):
            told = repr(yours)
            before = await _awaited(first if number == 1 else _begun(live, mine))
            answer = self._judged(number, told, before, await _awaited(_begun(new, yours)))
            if answer is not None:
                return answer
        return _passed(pairs, watched)

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


def _passed(pairs: list[tuple[Given, Given]], watched: Watched) -> Answer:
    watched.require_reached()
    return Answer(Verdict.PASSED, f"{len(pairs)} input{'s' if len(pairs) != 1 else ''} alike")


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
    """The outcome of an asynchronous call, or of an asynchronous generator."""
    try:
        if not isinstance(outcome, Outcome):
            return Outcome(_collected(await outcome))
        if inspect.isasyncgen(outcome.value):
            return Outcome(await _gathered(outcome.value))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return Outcome(error=error)
    return outcome


async def _gathered(elements: AsyncGenerator[Any, Any]) -> list[Any]:
    """What an asynchronous generator yields, and how it ends."""
    found: list[Any] = []
    try:
        async for element in elements:
            found.append(element)
            if len(found) == _ELEMENTS:
                break
    except Exception as error:  # noqa: BLE001 - how it ends belongs to its answer
        found.append(error)
    finally:
        await elements.aclose()
    return found


def _collected(value: Any) -> Any:
    """What a generator yields, and how it ends; any other value as it is."""
    if not inspect.isgenerator(value):
        return value
    found: list[Any] = []
    try:
        found.extend(islice(_one_by_one(value), _ELEMENTS))
    finally:
        value.close()
    return found


def _one_by_one(elements: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from elements
    except Exception as error:  # noqa: BLE001 - how it ends belongs to its answer
        yield error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as trouble:  # noqa: BLE001 - `__str__` of any exception
        return f"(its text raises {type(trouble).__qualname__})"
