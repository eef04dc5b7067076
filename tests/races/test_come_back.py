"""What a version has taken away, and a later one brings again: who has it since the first time is led to the last."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import hotswap
from hotswap.testing import ManualClock
from tests.races.threads import minute, settles
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

BROUGHT = """
def refund(n): return "{v}", helper({pass_}n), Base().go({pass_}n)
class Job:
    def run(self, n): return "{v}", helper({pass_}n), Base().go({pass_}n)
    @property
    def shown(self): return refund(1)
"""
PLACES: dict[str, Callable[[Any], Any]] = {
    "function": lambda core: core.refund,
    "method": lambda core: core.Job().run,
    "property": lambda core: lambda n, job=core.Job: job().shown,
}


class Brought(Versions):
    source = """
def helper({more}n): return "{v}"
class Base:
    def go(self, {more}n): return "{v}"
def loop(registry):
    while True: yield helper({pass_}1), Base().go({pass_}1), *registry.refund(1)
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        own = super().text(version, shape)
        if "with" not in str(version):
            return own
        return own + BROUGHT.format(v=version, more="z, " * shape, pass_="0, " * shape)


@pytest.fixture(params=[None, 1.0])
def brought(make_package: Callable[..., ModuleType], request: Any) -> Brought:
    return Brought(make_package, request.param)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("by", ["rollback", "patch"])
def test_of_what_never_had_it(brought: Brought, hotswap_clock: ManualClock, by: str, waits: bool, place: str) -> None:
    """It ran what the first version had brought, with helpers of its own: a `TypeError`."""
    registry = SimpleNamespace(refund=lambda n: ())
    loop = [brought.core.loop(registry)]
    assert next(loop[0]) == ("1", "1")
    brought.apply("2+with", 1)
    registry.refund = PLACES[place](brought.core)
    if waits:
        hotswap_clock.advance(20)
    if by == "rollback":
        brought.patcher.rollback()
    else:
        brought.apply("3", 0)
    if waits:
        hotswap_clock.advance(20)
    unit, context = hotswap.session(), contextvars.Context()
    context.run(unit.__enter__)
    brought.apply("4+with", 2)
    registry.refund = PLACES[place](brought.core)
    for _ in range(3):
        for found in (next(loop[0])[2:], context.run(registry.refund, 1), registry.refund(1)):
            assert {*found} == {"4+with"}
        assert len({*next(loop[0])[:2]}) == 1
        hotswap_clock.advance(20)
    context.run(unit.__exit__, None, None, None)
    loop.clear()
    assert settles(hotswap_clock)


def test_of_a_session_that_had_it(brought: Brought, hotswap_clock: ManualClock) -> None:
    """Also when nobody is on the versions in between any more: then it went round in a circle."""
    brought.apply("2+with", 1)
    refund = brought.core.refund
    unit, context = hotswap.session(), contextvars.Context()
    context.run(unit.__enter__)
    for version, shape in (("3", 0), ("4+with", 2), ("5+with", 1), ("6", 0), ("7+with", 2)):
        brought.apply(version, shape)
        for _ in range(5):
            assert {*context.run(refund, 1)} == {"2+with"}
            minute(hotswap_clock)
    assert {*refund(1)} == {"7+with"}
    context.run(unit.__exit__, None, None, None)
    assert settles(hotswap_clock)
