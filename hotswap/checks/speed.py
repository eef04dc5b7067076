"""Whether the candidate is as fast as the live version: both are timed in turn, until it is sure, or the time is up.

A lap makes all calls once, or several times if they are short. A round is some laps of the live version and the
candidate in turn, so that what slows the machine down slows both; the fastest lap of each counts, since what else runs
on the machine can only make one slower. Of each round the ratio is kept. The limits of the median of these ratios are
order statistics, at a level of 99.9 % (the sign test: no distribution is assumed), and they are looked at after 11
rounds, and then after half as many more each time. One slow round moves the median by one rank; it decides nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable
from typing import Any

from hotswap.checks.elements import is_async_iterator, is_iterator, run, run_async
from hotswap.checks.generations import Call, Given, Inputs
from hotswap.checks.kinds import Kind, staged
from hotswap.checks.reach import Watched, sides
from hotswap.verification import Answer, Candidate, Inconclusive, Turn, Verdict, time_left

__all__ = ["NotSlower", "limits"]

_LEVEL = 0.001
_FEWEST = 11
"""Rounds that it takes to be that sure: the chance that all lie on one side of the median is 2 in 2 to the 11th."""
_FEW = 3
"""Rounds that tell that the candidate takes more than twice as long as it may."""
_ENOUGH = 0.0005
"""Seconds that the faster of the two needs at least in a lap; short calls are repeated."""
_MOST = 2_000
"""Calls in a lap at most."""
_LAPS = 9
"""Laps in a round, of each of the two, at most."""
_LONG = 0.1
"""Seconds from which on a lap is a round: what disturbs one so long disturbs any."""


class NotSlower(Kind):
    """The check that `hotswap.checks.not_slower` makes. It runs when no other check does."""

    turn = Turn.ALONE

    def __init__(self, call: Call, inputs: Inputs, ratio: float, seconds: float) -> None:
        super().__init__(f"not_slower {call.name}")
        self._call, self._inputs = call, inputs
        self._ratio, self._seconds = ratio, seconds

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Time both, in this thread; asynchronous functions on a loop of its own."""
        whole = staged(candidate)
        both = sides(self._call, whole)
        if isinstance(both, Answer):
            return both
        live, successor, new = both
        laps = _Laps(live, self._inputs.of(whole.live)), _Laps(successor, self._inputs.of(whole))
        return asyncio.run(self._timed(*laps, new))

    async def _timed(self, old_lap: _Laps, new_lap: _Laps, watched: Watched) -> Answer:
        began, left = time.monotonic(), time_left()
        last = math.inf if left is None else began + 0.8 * left
        deadline = min(began + self._seconds, last)
        try:
            first = await old_lap.run()
        except Exception as error:
            raise Inconclusive(f"the live version raised {type(error).__qualname__}: {error}") from error
        try:
            second = await new_lap.run()
        except Exception as error:  # noqa: BLE001 - the live version does not raise it
            return Answer(Verdict.FAILED, f"the candidate raised {type(error).__qualname__}: {error}")
        watched.require_reached()
        repeats = max(1, math.ceil(_ENOUGH / max(min(first, second), 1e-7)))
        old_lap.repeats = new_lap.repeats = max(1, min(repeats, _MOST // old_lap.calls))
        laps = max(1, min(_LAPS, int(_LONG / max(first, second, _ENOUGH))))
        ratios: list[float] = []
        look = _FEWEST
        while True:
            old, fresh = await _round(old_lap, new_lap, laps)
            ratios.append(fresh / old)
            # One that takes far too long gets the rounds that it takes to say so.
            enough = deadline if len(ratios) >= _FEW or min(ratios) <= 2 * self._ratio else last
            late = time.monotonic() >= enough
            if late or len(ratios) >= look:
                look = len(ratios) * 3 // 2
                answer = self._judged(sorted(ratios), late=late)
                if answer is not None:
                    return answer

    def _judged(self, ratios: list[float], *, late: bool) -> Answer | None:
        low, high = limits(ratios)
        told = f"{ratios[len(ratios) // 2]:.2f} times as long in {len(ratios)} rounds (limit {self._ratio:g})"
        if high <= self._ratio:
            return Answer(Verdict.PASSED, told)
        if low > self._ratio:
            return Answer(Verdict.FAILED, told)
        if not late:
            return None
        # Calls that take seconds leave no time for many rounds; a ratio far beyond the limit needs few.
        if len(ratios) >= _FEW and ratios[0] > 2 * self._ratio:
            return Answer(Verdict.FAILED, told)
        spread = f", between {ratios[0]:.2f} and {ratios[-1]:.2f}"
        return Answer(Verdict.INCONCLUSIVE, f"{told}{spread}: not sure within {self._seconds:g} s")


async def _round(old: _Laps, new: _Laps, laps: int) -> tuple[float, float]:
    """The fastest lap of each, of some that they have run in turn."""
    before: list[float] = []
    after: list[float] = []
    for number in range(laps):
        for lap, found in ((old, before), (new, after)) if number % 2 else ((new, after), (old, before)):
            found.append(await lap.run())
    return min(before), min(after)


def limits(ratios: list[float]) -> tuple[float, float]:
    """Return between which values the median lies, at the level of this module; without limits for too few values.

    Arguments:
        ratios: sorted.
    """
    count, rank, tail = len(ratios), 0, 0.0
    while rank < count // 2:
        tail += math.comb(count, rank) * 0.5**count
        if 2 * tail > _LEVEL:
            break
        rank += 1
    return (ratios[rank - 1], ratios[count - rank]) if rank else (-math.inf, math.inf)


class _Laps:
    """Times one of the two functions. Lives as long as the check runs.

    Arguments:
        function: what is timed.
        inputs: one call for each, in one lap.
    """

    def __init__(self, function: Callable[..., Any], inputs: list[Given]) -> None:
        self._function, self._inputs = function, inputs
        self._plain = all(one.plain for one in inputs)
        self._works: dict[type, object] = {}  # to ask of each result would take longer than a short call
        self.repeats = 1

    @property
    def calls(self) -> int:
        """How many different calls there are."""
        return len(self._inputs)

    async def run(self) -> float:
        """Return the seconds that one lap takes. Arguments are copied before, and are not timed."""
        function, works = self._function, self._works
        calls = [one if self._plain else one.copied() for _ in range(self.repeats) for one in self._inputs]
        began = time.perf_counter()
        for call in calls:
            value = function(*call.args, **call.kwargs)
            if inspect.isawaitable(value):
                value = await value
            kind = type(value)
            if kind not in works:
                works[kind] = _work_of(kind)
            if works[kind] is run:
                run(value)
            elif works[kind] is run_async:
                await run_async(value)
        return time.perf_counter() - began


def _work_of(kind: type) -> object:
    """How results of a class are brought to their end; None for those that are there already."""
    return run if is_iterator(kind) else run_async if is_async_iterator(kind) else None
