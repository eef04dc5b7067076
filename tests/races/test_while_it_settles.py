"""Calls of what is held elsewhere, made all the time while old calls end and what they left behind is led on."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

import hotswap.swap.forks
from hotswap import Patch, Patcher
from tests.races.threads import Crowd, forks_go, switching

pytestmark = pytest.mark.threads

CORE = """
def told({more}n): return "{v}"
class Handler:
    kind = "{v}"
    def handle(self, n): return self.kind, self._told({pass_}n), told({pass_}n), (lambda: self._told({pass_}n))()
    def _told(self, {more}n): return "{v}"
def plain(n): return told({pass_}n), Handler()._told({pass_}n)
def make():
    handler = Handler()
    def inner(n): return handler._told({pass_}n), told({pass_}n)
    return inner
def run(register, pause):
    register(Handler().handle, plain, make())
    pause()
    register(Handler().handle, plain, make())
    pause()
"""


FACTORY = """
import asyncio
def told({more}n): return "{v}"
class Handler:
    def _told(self, {more}n): return "{v}"
    async def deep(self, {more}n):
        first = self._told({pass_}n)
        await asyncio.sleep(0.001)
        return first, self._told({pass_}n), told({pass_}n)
def app():
    h = Handler()
    async def handler(n):
        seen = [h._told({pass_}n), told({pass_}n)]
        await asyncio.sleep(0.002)
        seen += await h.deep({pass_}n)
        seen += [one async for one in rows(n)]
        seen.append((lambda: h._told({pass_}n))())
        return seen
    async def rows(n):
        for _ in range(2):
            yield told({pass_}n)
            await asyncio.sleep(0)
            yield h._told({pass_}n)
    return handler
"""


def text(version: int, template: str = CORE) -> str:
    more, pass_ = ("z, ", "0, ") if version % 2 else ("", "")
    return template.format(v=version, more=more, pass_=pass_)


class Callers:
    """Threads that call what is registered, and note whatever is not of one version."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.name = make({"core.py": text(0)}).__name__
        importlib.import_module(f"{self.name}.core")
        self.patcher = Patcher([self.name], handover=None)
        self.registered: list[Callable[[int], tuple[str, ...]]] = []
        self.wrong: list[str] = []
        self.calls = 0
        self.crowd = Crowd([self.call_all] * 2)

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.name}.core"]

    def call_all(self) -> None:
        while not self.crowd.over.is_set():
            for function in list(self.registered):
                self.calls += 1
                try:
                    seen = {*function(1)}
                except Exception as error:  # shown as what was seen
                    seen = {repr(error), "raised"}
                if len(seen) > 1:
                    self.wrong.append(f"{function} saw {seen}")
            time.sleep(0)

    def apply(self, version: int) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.core": text(version)}, version=str(version)))


@pytest.fixture
def callers(make_package: Callable[..., ModuleType]) -> Iterator[Callers]:
    heap = [[number] for number in range(200_000)]  # to look for closures takes its time
    with switching(1e-5):
        yield Callers(make_package)
    assert heap
    assert forks_go()


def test_what_an_old_call_has_handed_out(callers: Callers) -> None:
    with callers.crowd:
        for version in range(1, 7):
            callers.registered.clear()
            steps = [threading.Event(), threading.Event()]
            reached = threading.Semaphore(0)
            waiting = iter(steps)

            def pause(waiting: Iterator[threading.Event] = waiting, reached: threading.Semaphore = reached) -> None:
                reached.release()
                assert next(waiting).wait(60)

            call = threading.Thread(
                target=callers.core.run, args=(lambda *handed: callers.registered.extend(handed), pause)
            )
            call.start()
            reached.acquire()
            rollout = callers.apply(version)
            steps[0].set()
            reached.acquire()
            time.sleep(0.02)
            steps[1].set()
            call.join()
            assert rollout.drained.wait(60)
            time.sleep(0.02)
    assert callers.calls > 1_000
    assert not callers.wrong, "\n".join([f"{len(callers.wrong)} of {callers.calls}", *callers.wrong[:5]])


def test_a_closure_that_was_made_long_ago(callers: Callers) -> None:
    """Nothing is in flight at the swap: the closure is called from then on, before it was found and led on."""
    callers.registered.append(callers.core.make())
    with callers.crowd:
        for version in range(1, 9):
            rollout = callers.apply(version)
            assert rollout.drained.wait(60)
            time.sleep(0.02)
    assert callers.calls > 1_000
    assert not callers.wrong, "\n".join([f"{len(callers.wrong)} of {callers.calls}", *callers.wrong[:5]])


def test_closures_that_calls_in_flight_call(make_package: Callable[..., ModuleType]) -> None:
    """A handler within an application factory, always at work, calls another function within it; there and back."""
    name = make_package({"core.py": text(0, FACTORY)}).__name__
    handler = importlib.import_module(f"{name}.core").app()
    patcher = Patcher([name], handover=None)
    over = threading.Event()
    wrong: list[str] = []

    async def client() -> int:
        calls = 0
        while not over.is_set():
            calls += 1
            try:
                seen = {*await handler(1)}
            except Exception as error:  # shown as what was seen
                seen = {repr(error), "raised"}
            if len(seen) > 1:
                wrong.append(f"saw {seen}")
        return calls

    async def clients() -> list[int]:
        return await asyncio.gather(*(client() for _ in range(20)))

    def patches() -> None:
        try:
            for version in range(1, 10):
                rollout = patcher.apply(Patch.from_sources({f"{name}.core": text(version, FACTORY)}))
                if version % 3 == 0:
                    assert rollout.drained.wait(60)
                    time.sleep(0.05)
                    rollout.rollback()
                time.sleep(0.05)
        finally:
            over.set()

    with ThreadPoolExecutor(1) as pool:
        patching = pool.submit(patches)
        calls = asyncio.run(clients())
        patching.result()
    assert min(calls) > 10
    assert not wrong, "\n".join([f"{len(wrong)}", *wrong[:5]])
    assert forks_go()


def test_where_nobody_holds_a_closure_there_are_no_forks(
    make_package: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inner functions, lambdas and generator expressions that nobody has made, or that are gone, cost nothing."""
    made: list[object] = []
    ops = hotswap.swap.forks.Forks.ops

    def counted(forks: hotswap.swap.forks.Forks) -> Any:
        made.append(forks)
        return ops(forks)

    monkeypatch.setattr(hotswap.swap.forks.Forks, "ops", counted)
    callers = Callers(make_package)
    for version in range(1, 5):
        callers.core.make()(1)
        callers.core.run(lambda *_: None, lambda: None)
        assert callers.apply(version).drained.wait(60)
    assert not made
    held = callers.core.make()
    assert callers.apply(5).drained.wait(60)
    assert len(made) == 1
    assert held(1) == ("5", "5")
    assert forks_go()
