"""Functions that a loop hands to a pool or a thread: those of its own version, for as long as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Jobs(Versions):
    source = """
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
def ship({more}n): return "{v}"
def by_helper(pool, *arguments): return pool.submit(ship, *arguments).result(20)
def args(): return ({pass_}1,)
def changed():
    text = "{v}"
    with ThreadPoolExecutor(1) as pool:
        while True:
            found = []
            thread = threading.Thread(target=lambda: found.append(ship({pass_}1)))
            thread.start()
            thread.join()
            calls = pool.submit(ship, {pass_}1), pool.submit(functools.partial(ship, {pass_}1))
            yield {{text, ship({pass_}1), by_helper(pool, {pass_}1), *found, *(one.result(20) for one in calls)}}
def both():
    text = "{v}"
    with ThreadPoolExecutor(1) as pool:
        while True: yield {{text, pool.submit(common, {pass_}1).result(20)}}
def common({more}n): return "{v}"
def same():
    with ThreadPoolExecutor(1) as pool:
        while True: yield {{pool.submit(ship, *args()).result(20)}}
"""


def test_changed_loops_hand_on_their_own(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """From the handover on each such job died of a `TypeError`, or was of the new version."""
    jobs = Jobs(make_package, 1.0)
    loops: list[Any] = [jobs.core.changed()]
    assert next(loops[0]) == {"1"}
    for version, shape in (("2", 1), ("3", 0), ("4", 2)):
        rollout = jobs.apply(version, shape)
        for _ in range(4):
            assert next(loops[0]) == {"1"}
            hotswap_clock.advance(20)
        assert next(jobs.core.changed()) == {version}
        rollout.confirm()
    loops.pop().close()
    assert until(lambda: hotswap_clock.advance(600) >= 0 and forks_go(0.1))


def test_unchanged_loops_hand_on_the_new(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """Also beside a changed one, which hands on the old; by its names the two are told apart."""
    jobs = Jobs(make_package, 1.0)
    loops: list[Any] = [jobs.core.same(), jobs.core.both()]
    assert [next(loop) for loop in loops] == [{"1"}, {"1"}]

    def is_new(version: str) -> bool:
        return hotswap_clock.advance(3) >= 0 and next(loops[0]) == {version}

    for version, shape in (("2", 1), ("3", 0)):
        jobs.apply(version, shape).confirm()
        assert until(partial(is_new, version))
        assert next(loops[1]) == {"1"}
    for loop in loops:
        loop.close()
    del loop
    loops.clear()
    assert until(lambda: hotswap_clock.advance(600) >= 0 and forks_go(0.1))
