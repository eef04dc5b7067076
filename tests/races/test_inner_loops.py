"""Endless loops that are inner functions of a call that goes on: they are handed over again and again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Inner(Versions):
    source = """
def low({more}n): return "{v}"
def args(): return ({pass_}1,)
class Tool:
    def step(self, {more}n): return "{v}"
def turn(): return low(*args()), Tool().step(*args())
def delegating():
    def worker():
        while True: yield turn()
    yield from worker()
def reading():
    def items():
        while True: yield turn()
    for item in items():
        yield item
def deeper():
    def outer():
        def inner():
            while True: yield turn()
        yield from inner()
    yield from outer()
def expressed():
    yield from (turn() for _ in iter(int, 1))
async def waiting():
    async def worker():
        while True: yield turn()
    async for item in worker():
        yield item
"""


def _next(flow: Any) -> Any:
    if hasattr(flow, "__next__"):
        return next(flow)
    with pytest.raises(StopIteration) as stopped:
        flow.__anext__().send(None)
    return stopped.value.value


@pytest.mark.parametrize("name", ["delegating", "reading", "deeper", "expressed", "waiting"])
def test_drain_at_each_patch(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, name: str) -> None:
    """From the second patch on they counted as old, although they called the new: nothing drained, and all was kept."""
    inner = Inner(make_package, 1.0)
    flows = [getattr(inner.core, name)()]
    assert _next(flows[0]) == ("1", "1")
    gone = []
    for version, shape in (("2", 1), ("3", 0), ("4", 2), ("5", 2)):
        gone.append(weakref.ref(inner.core))
        rollout = inner.apply(version, shape)
        if version == "4":
            assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())  # noqa: B023
            rollout.rollback()
            assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())  # noqa: B023
            assert _next(flows[0]) == ("3", "3")
            rollout = inner.apply(version, shape)
        assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())  # noqa: B023
        assert not rollout.in_flight()
        assert forks_go()
        assert _next(flows[0]) == (version, version)
        rollout.confirm()
    assert until(lambda: gc.collect() >= 0 and all(one() is None for one in gone[1:-1]))
    flows.clear()
