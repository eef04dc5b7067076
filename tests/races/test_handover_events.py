"""The event `rollout.handed_over`: once for each swap whose calls are handed over, and it says whose calls they are."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import State, events
from hotswap.testing import ManualClock
from tests.races.threads import Crowd, forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCE = """
def helper({more}n): return "{v}"
def arguments(): return ({pass_}1,)
def changed():
    while True:
        yield helper({pass_}1), "{v}"
def same():
    while True:
        yield helper(*arguments())
def made():
    def inner(): return "{v}"
    return inner
"""

SWAPS = 200


class Program(Versions):
    source = SOURCE


@contextmanager
def told() -> Iterator[list[events.Event]]:
    """What is told in this block."""
    heard: list[events.Event] = []
    end = events.subscribe(heard.append)
    try:
        yield heard
    finally:
        end()


def handed(heard: list[events.Event]) -> list[tuple[Any, Any]]:
    """The rollouts whose calls were handed over, each with the state that was told."""
    return [(e.facts["rollout"], e.facts["state"]) for e in list(heard) if e.name == "rollout.handed_over"]


class TestState:
    def test_is_that_of_the_swap_whose_calls_they_are(self, make_package: Callable[..., ModuleType]) -> None:
        """They are handed over in the midst of the swap, before the rollout has the state that it leads to."""
        made = Program(make_package, 0)
        rows = [made.core.same()]
        next(rows[0])
        with told() as heard:
            rollout = made.apply("2")
            assert until(lambda: len(handed(heard)) == 1)
            rows.append(made.core.same())
            next(rows[1])
            made.patcher.rollback()
            assert until(lambda: len(handed(heard)) == 2)
            assert handed(heard) == [(rollout.id, State.LIVE), (rollout.id, State.ROLLED_BACK)]
            assert [next(one) for one in rows] == ["1", "1"]

    def test_is_live_though_it_was_taken_back_before_it_is_told(self, make_package: Callable[..., ModuleType]) -> None:
        made = Program(make_package, 0)
        rows = made.core.same()
        next(rows)
        with told() as heard, ManualClock() as clock:
            rollout = made.apply("2")
            del rows
            made.patcher.rollback()
            clock.advance()
            assert handed(heard) == [(rollout.id, State.LIVE)]


class TestSwapThatIsTakenBack:
    def test_while_the_time_ends_is_not_told(self, make_package: Callable[..., ModuleType]) -> None:
        """The rollback has the lock that the handover waits for: then its calls are those of what is live again."""
        made = Program(make_package, 10)
        rows = made.core.same()
        next(rows)
        change, handover = made.patcher._change, _handover(made)

        class RollbackFirst:
            def __enter__(self) -> None:
                handover()._change = change
                made.patcher.rollback()
                change.__enter__()

            def __exit__(self, *raised: Any) -> None:
                change.__exit__(*raised)

        with told() as heard, ManualClock() as clock:
            made.apply("2")
            clock.advance(9)  # the looks of before
            handover()._change = RollbackFirst()
            clock.advance(1)
            assert made.core.helper(1) == "1"
            assert handed(heard) == []
            made.apply("3")
            assert next(rows) == "1"
            clock.advance(9)
            assert next(rows) == "1"
            clock.advance(1)
            assert next(rows) == "3"
            assert [state for _, state in handed(heard)] == [State.LIVE]
            rows.close()
        assert forks_go()


def _handover(made: Program) -> Callable[[], Any]:
    def found() -> Any:
        previous: Any = made.patcher._succession._previous
        return previous.swap.settling.handover

    return found


@pytest.mark.slow
@pytest.mark.parametrize("handover", [0, 0.05, None])
def test_each_swap_is_told_once_at_most(make_package: Callable[..., ModuleType], handover: float | None) -> None:
    """Two hundred quick commits and rollbacks, while loops in threads begin, go on and end."""
    made = Program(make_package, handover)
    chance = random.Random(1)

    def loops() -> None:
        flows: list[Any] = []
        while not crowd.over.is_set():
            for begin in (made.core.changed, made.core.same):
                flows.append(begin())
                next(flows[-1])
            held.append(made.core.made())
            while len(flows) > 6:
                flows.pop(0).close()
            time.sleep(0.01)

    held: list[Any] = []
    crowd = Crowd([loops] * 3)
    swaps: list[tuple[hotswap.Rollout, State]] = []
    stays = made.core.changed()
    next(stays)
    with told() as heard, crowd:
        while len(swaps) < SWAPS:
            rollout = made.apply(len(swaps) + 2, 0)
            swaps.append((rollout, State.LIVE))
            held.clear()
            if chance.random() < 0.5:
                time.sleep(0.1 * chance.random())
            if chance.random() < 0.5:
                made.patcher.rollback()
                swaps.append((rollout, State.ROLLED_BACK))
    with told() as later:
        stays.close()
        del stays  # one that has ended, and is held, keeps its code until somebody looks
        assert all(rollout.drained.wait(20) for rollout, _ in swaps)
        assert forks_go()
        assert until(lambda: handover is None or handed([*heard, *later]))
    heard += later
    known = {(rollout.id, str(state)) for rollout, state in swaps}
    counted = Counter(handed(heard))
    assert {*counted} <= known
    assert not [one for one, times in counted.items() if times > 1]
    assert (handover is None) == (not counted)
    settled = Counter((e.facts["rollout"], e.facts["state"]) for e in heard if e.name == "rollout.settled")
    assert not [one for one, times in settled.items() if times > 1]
    order = [(e.name, e.facts["rollout"]) for e in heard if e.name in ("rollout.live", "rollout.rolled_back")]
    assert len(order) == len({*order}) == len(swaps)
