"""Calls that are hard to see: traced ones, and those where nobody collects: weak references tell."""

from __future__ import annotations

import asyncio
import gc
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import pytest

from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCE = """
def helper({more}n): return "{v}"

class Tool:
    def __init__(self, {more}n): self.made = "{v}"

def rows():
    while True:
        yield {{helper({pass_}1), Tool({pass_}1).made}}

def serve(jobs, done):
    while jobs.get() is not None:
        done({{helper({pass_}1), Tool({pass_}1).made}})

async def work(turn):
    while True:
        await turn({{helper({pass_}1), Tool({pass_}1).made}})

async def stream():
    while True:
        yield {{helper({pass_}1), Tool({pass_}1).made}}
"""


class Turn:
    """Something to wait for that needs no event loop."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def __await__(self) -> Any:
        yield self.found


class Program(Versions):
    source = SOURCE


class Steps:
    """A call of some kind, driven step by step; it is over when it is closed."""

    def __init__(self, core: Any, kind: str) -> None:
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._made: Any = None
        if kind == "thread":
            self._made = threading.Thread(target=core.serve, args=(self._jobs, self._done.put))
            self._made.start()
        elif kind == "generator":
            self._made = core.rows()
        elif kind == "coroutine":
            self._made = core.work(Turn)
        else:
            self._made = core.stream()
        self._kind = kind

    def step(self) -> Any:
        if self._kind == "thread":
            self._jobs.put(1)
            return self._done.get(timeout=20)
        if self._kind == "generator":
            return next(self._made)
        if self._kind == "coroutine":
            return self._made.send(None)
        try:
            self._made.__anext__().send(None)
        except StopIteration as end:
            return end.value

    def close(self) -> None:
        if self._kind == "thread":
            self._jobs.put(None)
            self._made.join()
        elif self._kind == "asynchronous generator":
            asyncio.run(self._made.aclose())
        else:
            self._made.close()
        self._made = None


@contextmanager
def traced() -> Iterator[None]:
    def trace(*_: Any) -> Any:
        return trace

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before)


@contextmanager
def covered() -> Iterator[None]:
    coverage = pytest.importorskip("coverage")
    if sys.gettrace() is not None or coverage.Coverage.current() is not None:
        pytest.skip("something measures this already")
    measures = coverage.Coverage(data_file=None, config_file=False)
    measures.start()
    try:
        yield
    finally:
        measures.stop()


@contextmanager
def monitored() -> Iterator[None]:
    """The core of coverage that keeps each code object that ever ran, for as long as it measures."""
    if not hasattr(sys, "monitoring"):
        pytest.skip("it is there from Python 3.12 on")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COVERAGE_CORE", "sysmon")
        with covered():
            assert sys.gettrace() is None
            yield


@contextmanager
def uncollected() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


KINDS = ("thread", "generator", "coroutine", "asynchronous generator")


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Callable[..., Program]]:
    yield lambda handover=None: Program(make_package, handover)
    assert forks_go()


@pytest.mark.parametrize("around", [traced, covered, monitored, uncollected])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_waited_for(program: Callable[..., Program], kind: str, around: Callable[..., Any]) -> None:
    made = program()
    with around():
        call = Steps(made.core, kind)
        assert call.step() == {"1"}
        rollout = made.apply("2")
        assert not rollout.drained.wait(1.5)
        assert call.step() == {"1"}
        assert len(rollout.in_flight()) == 1
        call.close()
        assert rollout.drained.wait(30)
        assert rollout.in_flight() == ()


@pytest.mark.parametrize("around", [traced, covered])
def test_nothing_of_old_generations_is_left(program: Callable[..., Program], around: Callable[..., Any]) -> None:
    made = program()
    generations: list[weakref.ref[Any]] = []
    held = made.core.helper
    with around():
        for number in range(1, 7):
            generations.append(weakref.ref(made.core))
            calls = [Steps(made.core, kind) for kind in KINDS]
            assert [call.step() for call in calls] == [{str(number)}] * len(KINDS)
            rollout = made.apply(number + 1, number % 2)
            assert held(*[0] * (number % 2 + 1)) == str(number + 1)
            assert len(rollout.in_flight()) == len(KINDS)
            for call in calls:
                call.close()
            assert rollout.drained.wait(30)
            assert forks_go()
        rollout.confirm()
        del rollout
        made.apply("8").confirm()
        assert until(lambda: _alive(generations) == []), _alive(generations)
        assert until(lambda: _spaces(made.name) <= 3), _spaces(made.name)  # as many as without a tool


def _alive(generations: list[weakref.ref[Any]]) -> list[int]:
    """The numbers of the generations whose modules are alive, after a collection."""
    gc.collect()
    return [number for number, module in enumerate(generations) if module() is not None]


def _spaces(name: str) -> int:
    """How many globals the functions of a module have, those of all generations."""
    gc.collect()
    functions = (o for o in gc.get_objects() if type(o) is FunctionType and o.__module__ == name)
    return len({id(function.__globals__) for function in functions})
