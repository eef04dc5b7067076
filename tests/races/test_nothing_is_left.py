"""Modules that are patched in turn, and use functions, decorators and classes of each other: no old one stays."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import types
import weakref
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap import Reference
from hotswap.swap.junctions import Junction
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

CORE = """
import contextlib
import functools

def helper({more}n): return "{v}"

def logged(f):
    @functools.wraps(f)
    def wrapper(*args):
        helper({pass_}1)
        return f(*args)
    return wrapper

def asynchronously(f):
    @functools.wraps(f)
    async def wrapper(*args):
        helper({pass_}1)
        return await f(*args)
    return wrapper

@contextlib.contextmanager
def scope({more}n):
    yield helper({pass_}n)

class Handler:
    def __init__(self): self.made = ["{v}"]
    def handle(self, {more}n): return ["{v}"]
    async def answer(self, n): return ["{v}"]
"""

SERVICE = """
from . import core
from .core import helper, scope

@core.logged
def quote(n): return "{v}"

class Handler(core.Handler):
    def __init__(self):
        super().__init__()
        self.made.append("{v}")
    @core.logged
    def handle(self, *args): return [*super().handle(*args), "{v}"]
    @core.asynchronously
    async def answer(self, n): return [*await super().answer(n), "{v}"]
"""

WEB = """
import asyncio
from . import core, service

@core.logged
def page(n): return "{v}"

class Handler(service.Handler):
    def __init__(self):
        super().__init__()
        self.made.append("{v}")
    @core.logged
    def handle(self, *args): return [*super().handle(*args), "{v}"]
    @core.asynchronously
    async def answer(self, n): return [*await super().answer(n), "{v}"]

def rows():
    while True:
        yield page(1), *Handler().made

async def answers():
    while True:
        yield page(1), *await Handler().answer(1)
"""

SOURCES = {"core": CORE, "service": SERVICE, "web": WEB}


class Service:
    """A package of three modules, and what is left of the versions that were live.

    Arguments:
        make: makes packages.
        handover: that of the patcher.
    """

    def __init__(self, make: Callable[..., ModuleType], handover: float | None) -> None:
        self.name = make({f"{name}.py": self.text(name, 0) for name in SOURCES}).__name__
        importlib.import_module(f"{self.name}.web")
        self.patcher = Patcher([self.name], handover=handover)
        self.number = 0
        self.modules: list[weakref.ref[ModuleType]] = []
        self.functions: list[Reference] = []  # a plain reference of ours to a function would have it kept for us
        self.codes: list[weakref.ref[CodeType]] = []
        for name in SOURCES:
            self.note(name)

    @staticmethod
    def text(name: str, version: int) -> str:
        more, pass_ = ("z, ", "0, ") if version % 4 > 1 else ("", "")
        return SOURCES[name].format(v=version, more=more, pass_=pass_)

    def module(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}"]

    def note(self, name: str) -> None:
        module = self.module(name)
        self.modules.append(weakref.ref(module))
        for held in (*vars(module).values(), *vars(module.Handler).values()):
            if type(held) is types.FunctionType and held.__module__ == module.__name__:
                self.functions.append(Reference(held))
                self.codes.append(weakref.ref(held.__code__))

    def patch(self, times: int, after: Callable[[int], object] = lambda _: None) -> None:
        """Apply new versions, of one module in turn."""
        for _ in range(times):
            self.patch_one(list(SOURCES)[self.number % len(SOURCES)])
            after(self.number)

    def patch_one(self, name: str) -> None:
        """Apply a new version of one module."""
        self.number += 1
        sources = {f"{self.name}.{name}": self.text(name, self.number)}
        self.patcher.apply(Patch.from_sources(sources, version=str(self.number)))
        self.note(name)

    def settled(self) -> bool:
        """Wait until all has drained, and confirm what is live."""
        rollout = self.patcher.current
        assert rollout is not None
        assert rollout.drained.wait(20)
        assert forks_go()
        # What goes while an earlier version has calls in flight keeps what these get, for the way back.
        assert until(lambda: not Junction.in_flight, 20)
        rollout.confirm()
        return True

    def left(self) -> tuple[int, int, int]:
        """How many modules, functions and code objects are left of those that were live."""
        gc.collect()
        modules, functions, codes = (
            len({id(o) for known in every if (o := known()) is not None})
            for every in (self.modules, self.functions, self.codes)
        )
        return modules, functions, codes

    def is_bounded(self) -> bool:
        """Whether what is left is what is live, and the one module that a rollback would bring back."""
        live = [self.module(name) for name in SOURCES]
        functions = sum(
            type(held) is types.FunctionType and held.__module__ == module.__name__
            for module in live
            for held in (*vars(module).values(), *vars(module.Handler).values())
        )
        modules, held, codes = self.left()
        return modules <= len(SOURCES) + 1 and held <= 2 * functions and codes <= 2 * functions


def test_where_nothing_is_in_flight(make_package: Callable[..., ModuleType]) -> None:
    """A decorator of another module leaves closures, which are settled: it was these that kept their modules."""
    service = Service(make_package, None)
    service.patch(12)
    assert service.settled()
    assert until(service.is_bounded), service.left()


@pytest.mark.parametrize("handover", [None, 0])
def test_of_loops_that_have_ended(make_package: Callable[..., ModuleType], handover: float | None) -> None:
    """One that was handed over goes on in the globals that it began in: these went with nothing once it had ended."""
    service = Service(make_package, handover)
    flows: list[Any] = []

    def go_on(number: int) -> None:
        if number % 5 == 1:
            flows[:] = [*flows[-1:], service.module("web").rows()]
        for flow in flows:
            assert len(next(flow)) == 4

    service.patch(20, go_on)
    flows.clear()
    assert service.settled()
    service.patch(3)  # what the fronts of old modules lead to is led on with the next version
    assert service.settled()
    assert until(service.is_bounded), service.left()


@pytest.mark.parametrize("handover", [None, 0])
def test_of_asynchronous_loops_that_have_ended(make_package: Callable[..., ModuleType], handover: float | None) -> None:
    service = Service(make_package, handover)

    async def main() -> None:
        flows: list[Any] = []
        for _ in range(20):
            service.patch(1)
            if service.number % 5 == 1:
                flows[:] = [*flows[-1:], service.module("web").answers()]
            for flow in flows:
                assert len(await anext(flow)) == 4
        for flow in flows:
            await flow.aclose()

    asyncio.run(main())
    assert service.settled()
    service.patch(3)
    assert service.settled()
    assert until(service.is_bounded), service.left()


def test_of_sessions_that_have_ended(make_package: Callable[..., ModuleType]) -> None:
    service = Service(make_package, None)
    for _ in range(4):
        with hotswap.session():
            handler = service.module("web").Handler()
            service.patch(1)
            assert handler.made
        service.patch(2)
    del handler
    assert service.settled()
    assert until(service.is_bounded), service.left()


@pytest.mark.parametrize("handover", [None, 10.0])
@pytest.mark.parametrize("name", ["service", "web"])
def test_while_a_loop_goes_on_through_versions_that_are_taken_back(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, name: str, handover: float | None
) -> None:
    """Its calls are of what came back: whoever waited for them on behalf of what was taken back waited for good."""
    service = Service(make_package, handover)
    loop = service.module("web").rows()
    for _ in range(5):
        assert len(next(loop)) == 4
        service.patch_one(name)
        assert len(next(loop)) == 4
        service.patcher.rollback()
        assert len(next(loop)) == 4
        service.patch_one(name)
        assert len(next(loop)) == 4
        hotswap_clock.advance(1200)
    # What the loop began on, what is live, and what that would be rolled back to.
    assert until(lambda: service.left()[0] <= len(SOURCES) + 2), service.left()
    loop.close()
    del loop
    assert forks_go()
