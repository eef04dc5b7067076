"""Functions that a loop hands to a pool or a thread: those of its own version, for as long as it goes on."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.testing import ManualClock
from tests.races.threads import settles
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Jobs(Versions):
    source = """
import functools
import threading
from tests.races.test_handed_to_pools import in_unit
from concurrent.futures import ThreadPoolExecutor
from . import others
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
            calls += (pool.submit(others.run, ship, {pass_}1),)
            yield {{text, ship({pass_}1), by_helper(pool, {pass_}1), *found, *(one.result(20) for one in calls)}}
def both():
    text = "{v}"
    with ThreadPoolExecutor(1) as pool:
        while True: yield {{text, pool.submit(common, {pass_}1).result(20)}}
def common({more}n): return "{v}"
def by_name():
    with ThreadPoolExecutor(1) as pool:
        while True: yield {{pool.submit(globals()["".join(("sh", "ip"))], *args()).result(20)}}
def in_units():
    text = "{v}"
    with ThreadPoolExecutor(1) as pool:
        while True: yield text, pool.submit(in_unit, common).result(20)
def same():
    with ThreadPoolExecutor(1) as pool:
        while True: yield {{pool.submit(ship, *args()).result(20)}}
"""


def in_unit(function: Callable[[int], Any]) -> Any:
    with hotswap.session():
        return function(1)


@pytest.fixture
def jobs(make_package: Callable[..., ModuleType]) -> Jobs:
    others = {"others.py": "def run(function, *arguments): return function(*arguments)\n"}
    return Jobs(lambda files: make_package({**files, **others}), 1.0)


def _ends(clock: ManualClock, loops: list[Any]) -> bool:
    while loops:
        loops.pop().close()
    return settles(clock)


def test_changed_loops_hand_on_their_own(jobs: Jobs, hotswap_clock: ManualClock) -> None:
    """From the handover on each such job died of a `TypeError`, or was of the new version."""
    loops: list[Any] = [jobs.core.changed()]
    assert next(loops[0]) == {"1"}
    for version, shape in (("2", 1), ("3", 0), ("4", 2)):
        rollout = jobs.apply(version, shape)
        for _ in range(4):
            assert next(loops[0]) == {"1"}
            hotswap_clock.advance(20)
        assert next(jobs.core.changed()) == {version}
        rollout.confirm()
    assert _ends(hotswap_clock, loops)


@pytest.mark.parametrize(("name", "beside"), [("same", "both"), ("same", "changed"), ("by_name", "both")])
def test_unchanged_loops_hand_on_the_new(jobs: Jobs, hotswap_clock: ManualClock, name: str, beside: str) -> None:
    """Also beside a changed one, whatever names that spells."""
    loops: list[Any] = [getattr(jobs.core, name)(), getattr(jobs.core, beside)()]
    assert [next(loop) for loop in loops] == [{"1"}, {"1"}]

    def is_new(version: str) -> bool:
        return hotswap_clock.advance(3) >= 0 and next(loops[0]) == {version}

    for version, shape in (("2", 1), ("3", 0)):
        jobs.apply(version, shape).confirm()
        assert until(partial(is_new, version))
        assert beside == "changed" or next(loops[1]) == {"1"}
    assert _ends(hotswap_clock, loops)


def test_a_unit_of_others_is_new(jobs: Jobs, hotswap_clock: ManualClock) -> None:
    """What a changed loop has handed on is called there in a session that began after the swap."""
    loops: list[Any] = [jobs.core.in_units()]
    assert next(loops[0]) == ("1", "1")
    jobs.apply("2", 0)
    hotswap_clock.advance(20)
    assert until(lambda: next(loops[0]) == ("1", "2"))
    assert _ends(hotswap_clock, loops)


class Requests(Versions):
    source = """
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
import hotswap
def leaf({more}n): return "{v}"
def put(found, {more}n): found.append("{v}")
class Repo:
    def query(self, {more}n): return "{v}"
    @classmethod
    def kind(cls, {more}n): return "{v}"
    @staticmethod
    def plain({more}n): return "{v}"
    def put(self, found, {more}n): found.append("{v}")
    def all(self):
        with ThreadPoolExecutor(1) as pool:
            calls = leaf, self.query, self.kind, self.plain, Repo.kind, Repo.plain, lambda *some: self.query(*some)
            calls += tuple(functools.partial(one) for one in calls)
            found = [pool.submit(one, {pass_}1).result(20) for one in calls]
        for one in (put, self.put):
            thread = threading.Thread(target=one, args=(found, {pass_}1))
            thread.start()
            thread.join()
        return {{*found}}
def changed():
    text = "{v}"
    with hotswap.session():
        while True: yield {{text, *Repo().all()}}
def same():
    with hotswap.session():
        while True: yield Repo().all()
def changed_outside():
    text = "{v}"
    while True: yield {{text, *Repo().all()}}
"""


@pytest.mark.parametrize("name", ["changed", "same", "changed_outside"])
@pytest.mark.parametrize("handover", [None, 1.0])
def test_requests_hand_on_their_own(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, name: str, handover: float | None
) -> None:
    """In a session a bound method that was taken after the swap was the new one in the pool: a `TypeError`."""
    requests = Requests(make_package, handover)

    def begun() -> Callable[[], Any]:
        loop = getattr(requests.core, name)()
        return partial(contextvars.Context().run, next, loop)

    turn = [begun()]
    assert turn[0]() == {"1"}
    for version, shape in (("2", 1), ("3", 0), ("4", 2)):
        requests.apply(version, shape)
        for _ in range(3):
            assert turn[0]() == {"1"}
            hotswap_clock.advance(20)
        assert begun()() == {version}
    turn.clear()
    assert settles(hotswap_clock)
