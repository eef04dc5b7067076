"""Calls that old calls begin, and that outlive them: threads, tasks and generators of the version of who began them."""

from __future__ import annotations

import asyncio
import gc
import queue
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

SOURCE = """
import asyncio
import threading

def helper({more}n): return "{v}"

class Tool:
    def __init__(self, {more}n): self.made = "{v}"
    def step(self, {more}n): return {{"{v}", self.made, helper({pass_}n)}}
    def rows(self):
        while True:
            yield {{*self.step({pass_}1)}}

def same(*arguments): return helper(*arguments)

def rows():
    while True:
        yield {{*Tool({pass_}1).step({pass_}1), helper({pass_}1)}}

def serve(jobs, done):
    while jobs.get() is not None:
        done({{*Tool({pass_}1).step({pass_}1), helper({pass_}1)}})

async def work(jobs):
    while (job := await jobs.get()) is not None:
        job.set_result({{*Tool({pass_}1).step({pass_}1), helper({pass_}1)}})

async def stream(jobs):
    while True:
        await jobs.get()
        yield {{*Tool({pass_}1).step({pass_}1), helper({pass_}1)}}

def endless(arguments):
    while True:
        yield {{same(*arguments())}}

def deeper():
    while True:
        yield rows()

def generator():
    yield
    yield rows()

def method():
    tool = Tool({pass_}1)
    yield
    yield tool.rows()

def expression():
    yield
    yield ({{helper({pass_}1)}} for _ in range(100))

def chain():
    yield
    yield deeper()

def unchanged(arguments):
    yield
    yield endless(arguments)

def thread(jobs, done):
    yield
    made = threading.Thread(target=serve, args=(jobs, done))
    made.start()
    yield made

def closure(jobs, done):
    yield
    made = threading.Thread(target=lambda: serve(jobs, done) or [None for _ in (1,)])
    made.start()
    yield made

def local(jobs, done):
    def work():
        while jobs.get() is not None:
            done({{*Tool({pass_}1).step({pass_}1), helper({pass_}1)}})
    yield
    made = threading.Thread(target=work)
    made.start()
    yield made

def task(jobs):
    yield
    yield asyncio.ensure_future(work(jobs))

def streams(jobs):
    yield
    yield stream(jobs)
"""


class Program(Versions):
    source = SOURCE

    def begin(self, name: str, *arguments: Any) -> tuple[hotswap.Rollout, Any]:
        """Swap while a call is in flight that begins another one, and ends; return the rollout and that one."""
        old = getattr(self.core, name)(*arguments)
        next(old)
        rollout = self.apply("2", 1)
        begun = next(old)
        old.close()
        return rollout, begun


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Callable[..., Program]]:
    yield lambda handover=None: Program(make_package, handover)
    assert forks_go()


def functions(rollout: hotswap.Rollout) -> set[str]:
    return {call.function.rpartition(":")[2] for call in rollout.in_flight()}


class TestBegunCalls:
    @pytest.mark.parametrize("name", ["generator", "method", "expression"])
    def test_generator(self, program: Callable[..., Program], name: str) -> None:
        made = program()
        rollout, flow = made.begin(name)
        assert next(flow) == {"1"}
        assert not rollout.drained.wait(0.3)
        assert next(flow) == {"1"}
        assert len(rollout.in_flight()) == 1
        assert next(made.core.rows()) == {"2"}
        del flow
        assert rollout.drained.wait(20)

    def test_that_begins_others_in_turn(self, program: Callable[..., Program]) -> None:
        made = program()
        rollout, flow = made.begin("chain")
        assert not rollout.drained.wait(0.3)
        inner = next(flow)
        flow.close()
        del flow
        assert not rollout.drained.wait(0.3)
        assert next(inner) == {"1"}
        made.apply("3", 0)
        assert next(inner) == {"1"}
        del inner
        assert rollout.drained.wait(20)

    @pytest.mark.parametrize(
        ("how", "named"),
        [
            ("thread", {"serve"}),
            ("closure", {"serve", "closure.<locals>.<lambda>"}),
            ("local", {"local.<locals>.work"}),
        ],
    )
    def test_thread(self, program: Callable[..., Program], how: str, named: set[str]) -> None:
        made = program()
        jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        rollout, thread = made.begin(how, jobs, done.put)
        try:
            for _ in range(3):
                jobs.put(1)
                assert done.get(timeout=20) == {"1"}
                assert not rollout.drained.wait(0.1)
            assert functions(rollout) == named
        finally:
            jobs.put(None)
            thread.join()
        assert rollout.drained.wait(20)

    def test_task(self, program: Callable[..., Program]) -> None:
        made = program()

        async def main() -> list[Any]:
            jobs: asyncio.Queue[Any] = asyncio.Queue()
            rollout, task = made.begin("task", jobs)
            found = []
            for _ in range(3):
                job: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                await jobs.put(job)
                found.append(await job)
                assert not await rollout.drained.wait_async(0.1)
            assert functions(rollout) == {"work"}
            await jobs.put(None)
            await task
            del task
            assert await rollout.drained.wait_async(20)
            return found

        assert asyncio.run(main()) == [{"1"}] * 3

    def test_asynchronous_generator(self, program: Callable[..., Program]) -> None:
        made = program()

        async def main() -> list[Any]:
            jobs: asyncio.Queue[Any] = asyncio.Queue()
            rollout, stream = made.begin("streams", jobs)
            found = []
            for _ in range(3):
                await jobs.put(1)
                found.append(await anext(stream))
                assert not await rollout.drained.wait_async(0.1)
            await stream.aclose()
            del stream
            assert await rollout.drained.wait_async(20)
            return found

        assert asyncio.run(main()) == [{"1"}] * 3

    def test_that_is_unchanged_is_handed_over(self, program: Callable[..., Program]) -> None:
        made = program()
        old = made.core.unchanged(lambda: made.core.helper.__code__.co_argcount * (1,))
        next(old)
        rollout = made.apply("2", 0, handover=0.5)
        flow = next(old)
        assert next(flow) == {"1"}
        old.close()
        del old
        assert rollout.drained.wait(20)
        assert next(flow) == {"2"}
        assert rollout.in_flight() == ()

    def test_that_is_changed_is_not(self, program: Callable[..., Program]) -> None:
        made = program(0.2)
        rollout, flow = made.begin("generator")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert next(flow) == {"1"}
            assert not rollout.drained.wait(0.1)
        assert functions(rollout) == {"rows"}
        del flow
        assert rollout.drained.wait(20)

    def test_go_on_through_a_rollback_and_the_next_swap(self, program: Callable[..., Program]) -> None:
        made = program()
        _, flow = made.begin("generator")
        assert next(flow) == {"1"}
        made.patcher.rollback()
        assert next(flow) == {"1"}
        rollout = made.apply("3", 1)
        assert next(flow) == {"1"}
        assert not rollout.drained.wait(0.3)
        assert next(flow) == {"1"}
        del flow
        assert rollout.drained.wait(20)

    def test_of_the_new_version_after_a_rollback(self, program: Callable[..., Program]) -> None:
        made = program()
        made.apply("2", 1)
        old = made.core.generator()
        next(old)
        rollout = made.patcher.rollback()
        flow = next(old)
        old.close()
        del old
        assert not rollout.drained.wait(0.3)
        assert next(flow) == {"2"}
        assert next(made.core.rows()) == {"1"}
        del flow
        assert rollout.drained.wait(20)


def test_end_where_nobody_collects(program: Callable[..., Program]) -> None:
    """Reference counts alone tell, and no pass over the heap is needed for it."""
    made = program()
    gc.disable()
    try:
        rollout, flow = made.begin("generator")
        assert next(flow) == {"1"}
        assert not rollout.drained.wait(0.3)
        del flow
        assert rollout.drained.wait(20)
    finally:
        gc.enable()
