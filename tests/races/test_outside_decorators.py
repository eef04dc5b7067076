"""Methods with decorators from outside of what is patched: old calls come to the old ones, all others to the new."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

OUTSIDE = """
import functools

def retry(f):
    @functools.wraps(f)
    def w(*a, **k): return f(*a, **k)
    return w

def later(f):
    @functools.wraps(f)
    async def w(*a): return await f(*a)
    return w

def each(f):
    @functools.wraps(f)
    def w(*a): yield from f(*a)
    return w

def named(name):
    def decorate(f):
        def w(*a): return f(*a)
        return w
    return decorate
"""

SOURCE = """
from outside_decorators import each, later, named, retry
import functools

class Base:
    @retry
    def above(self, {more}n): return "{v}"

class Shop(Base):
    @retry
    def price(self, {more}n): return "{v}"
    @named("x")
    @retry
    def twice(self, {more}n): return "{v}"
    @later
    async def waits(self, {more}n): return "{v}"
    @each
    def rows(self, {more}n): yield "{v}"
    @staticmethod
    @retry
    def static({more}n): return "{v}"
    @classmethod
    @retry
    def of_class(cls, {more}n): return "{v}"
    @property
    @retry
    def shown(self): return "{v}" + self.price({pass_}1)
    @retry
    def above(self, {more}n): return super().above({pass_}n)
    @retry
    def __call__(self, {more}n): return "{v}"
    @functools.lru_cache
    @retry
    def cached({more}n): return "{v}"
    @retry
    def __init__(self, {more}n): self.made = "{v}"
    @retry
    def helped(self, {more}n): return helper({pass_}n)

    def called(self, run):
        yield [self.shown]
        while True:
            found = [self.price({pass_}1), self.twice({pass_}1), run(self.waits({pass_}1)), *self.rows({pass_}1)]
            found += [self.static({pass_}1), self.of_class({pass_}1), self.above({pass_}1), self({pass_}1)]
            yield [*found, self.shown[-1], Shop.cached({pass_}1), Shop({pass_}1).made, self.helped({pass_}1)]

@retry
def helper({more}n): return "{v}"
"""


class Program(Versions):
    source = SOURCE

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        super().__init__(make, handover=None)
        self.shop = self.core.Shop(1)

    def begin(self) -> Any:
        flow = self.shop.called(asyncio.run)
        next(flow)
        return flow


@pytest.fixture
def program(make_package: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    outside = types.ModuleType("outside_decorators")
    exec(OUTSIDE, vars(outside))
    monkeypatch.setitem(sys.modules, outside.__name__, outside)
    yield Program(make_package)
    assert forks_go()


def test_an_old_call_comes_to_the_old_ones(program: Program) -> None:
    flow = program.begin()
    assert {*next(flow)} == {"1"}
    rollout = program.apply("2")
    for _ in range(2):
        assert {*next(flow)} == {"1"}
    other = program.begin()
    assert {*next(other)} == {"2"}
    flow.close()
    del flow
    assert rollout.drained.wait(10)
    assert forks_go()
    assert {*next(other)} == {"2"}


def test_there_and_back_again(program: Program) -> None:
    first = program.begin()
    program.apply("2")
    second = program.begin()
    rollout = program.apply("3", 0)
    third = program.begin()
    assert [{*next(flow)} for flow in (first, second, third)] == [{"1"}, {"2"}, {"3"}]
    rollout.rollback()
    assert [{*next(flow)} for flow in (first, second, third, program.begin())] == [{"1"}, {"2"}, {"3"}, {"2"}]
    program.apply("4", 0)
    assert [{*next(flow)} for flow in (first, second, third, program.begin())] == [{"1"}, {"2"}, {"3"}, {"4"}]


def test_of_an_armed_service(program: Program) -> None:
    flow = program.begin()
    patch = hotswap.Patch.from_sources({program.name: program.text("2", 1)}, version="2")
    rollout = program.patcher.stage(patch)
    rollout.verify()
    rollout.arm()
    assert {*next(flow)} == {*next(program.begin())} == {"1"}
    with rollout.preview():
        previewed = program.begin()
        assert {*next(previewed)} == {"2"}
    assert {*next(flow)} == {*next(program.begin())} == {"1"}
    rollout.commit()
    assert [{*next(one)} for one in (flow, previewed, program.begin())] == [{"1"}, {"2"}, {"2"}]
    rollout.rollback()
    assert [{*next(one)} for one in (flow, previewed, program.begin())] == [{"1"}, {"2"}, {"1"}]


def test_in_a_session(program: Program) -> None:
    with hotswap.session():
        program.apply("2", 0)
        assert {*next(program.begin())} == {"1"}
    assert {*next(program.begin())} == {"2"}
