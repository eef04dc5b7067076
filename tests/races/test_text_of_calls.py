"""Lambdas and comprehensions of calls in flight are part of their text: handed over with them, and not after."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import structlog

from hotswap.testing import ManualClock
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

SOURCE = """
def helper({more}n): return "{v}"

class Given:
    def __init__(self, answers): self.answers = answers
    def __await__(self): yield self.answers

async def task():
    while True:
        await Given([helper({pass_}1), (lambda: helper({pass_}1))(), *[(lambda: helper({pass_}n))() for n in (1,)]])

def loop():
    for inner in ((helper({pass_}1), *(helper({pass_}n) for n in (1,))) for _ in iter(int, 1)):
        yield [helper({pass_}1), (lambda: helper({pass_}1))(), *inner]
"""

HANDOVER = 1.0


class Program(Versions):
    """The module."""

    source = SOURCE


def test_handed_over_before_a_version_that_changes_it(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    program = Program(make_package, HANDOVER)
    task = program.core.task()
    assert [task.send(None) for _ in "12"] == [["1"] * 3] * 2
    second = program.apply("2", 0)
    assert task.send(None) == ["1"] * 3
    hotswap_clock.advance(HANDOVER)
    # The call is of the second version now. What it waits for is of the first: so that goes on when the third comes,
    # and is handed over to it.
    program.apply("3", 1)
    assert not second.drained.is_set()
    assert task.send(None) == ["2"] * 3
    assert second.drained.wait(20)
    assert [task.send(None) for _ in "12"] == [["2"] * 3] * 2
    task.close()


@pytest.mark.parametrize("back", [False, True])
def test_a_suspended_expression_that_a_version_in_between_has_changed(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, back: bool
) -> None:
    """It was told as one that stays old, and waited for as long as its loop went on."""
    program = Program(make_package, HANDOVER)
    loop = program.core.loop()
    assert next(loop) == ["1"] * 4
    second = program.apply("2", 0)
    assert program.apply("3", 1).drained.wait(20)
    if back:
        program.patcher.rollback()
    else:
        assert program.apply("4", 0).drained.wait(20)
    with structlog.testing.capture_logs() as told:
        hotswap_clock.advance(HANDOVER)
    assert [entry["old"] for entry in told if entry["event"] == "rollout.handed_over"] == [[]]
    assert next(loop) == ["2" if back else "4"] * 4
    assert second.drained.wait(20)
    assert next(loop) == ["2" if back else "4"] * 4
    loop.close()
