"""A session that a loop opens whose own text has changed: what it calls is of its version, however it comes to it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


class Turns(Versions):
    source = """
import functools
import hotswap
def total({more}n): return "{v}"
part = functools.partial(total)
@functools.lru_cache
def remembered({more}n): return "{v}"
def middle(*arguments): return total(*arguments)
def by_object(*arguments): return "".join({{part(*arguments), remembered(*arguments)}})
def outer(*arguments): return sorted([middle(*arguments)], key=lambda one: middle(*arguments))[0]
class Tool:
    def step(self, {more}n): return "{v}"
    def same(self, *arguments): return self.step(*arguments)
def loop():
    version = "{v}"
    while True:
        with hotswap.session():
            yield {{middle({pass_}1), by_object({pass_}1), outer({pass_}1), Tool().same({pass_}1), version}}
"""


@pytest.mark.parametrize("handover", [None, 10.0])
def test_does_not_mix(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    """Unchanged functions that it calls got the new of what they call, with what the old loop passes: a `TypeError`."""
    turns = Turns(make_package, handover)
    loop, inside = turns.core.loop(), contextvars.Context()  # it yields in its session, and shares the caller's context
    assert inside.run(next, loop) == {"1"}
    for version, shape in (("2", 1), ("3", 0)):
        turns.apply(version, shape)
        for _ in range(2):
            assert inside.run(next, loop) == {"1"}
            assert contextvars.Context().run(next, turns.core.loop()) == {version}
            hotswap_clock.advance(20)
    inside.run(loop.close)
    del loop
    assert forks_go()


async def consume(turns: int, job: Callable[[], Any], swap: Callable[[], Any]) -> list[Any]:
    """What a library has that takes messages, and awaits what it was given for them."""
    answers = []
    for turn in range(turns):
        if turn == 1:
            swap()
        answers.append(await job())
    return answers


def retry(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a library has that calls others."""
    return function(*arguments)


HELPERS = """
import contextlib
import hotswap
from . import core
@contextlib.contextmanager
def unit(inside):
    with inside():
        yield
def once(inside):
    with inside(): yield
async def once_async(inside):
    with inside(): yield
def by_module(*arguments): return core.low(*arguments)
def in_its_own(*arguments):
    with hotswap.session(): return core.low(*arguments)
class Base:
    def same(self, *arguments): return self.low(*arguments)
def go_on(inside):
    while True:
        with inside():
            answers = core.tell()
        yield answers
"""

CORE = """
import asyncio
import contextlib
import contextvars
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
import hotswap
from tests.races.test_sessions_in_old_loops import retry
from . import helpers
def low({more}n): return "{v}"
def middle(*arguments): return low(*arguments)
def within(*arguments): return (lambda: middle(*arguments))()
@hotswap.session()
def job(*arguments): return middle(*arguments)
class Tool(helpers.Base):
    def low(self, {more}n): return "{v}"
    def own(self, *arguments): return self.low(*arguments)
def in_thread(function, *arguments):
    found, context = [], contextvars.copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(function, *arguments)))
    thread.start()
    thread.join()
    return found[0]
async def waiting(*arguments):
    await asyncio.sleep(0)
    return middle(*arguments)
async def as_task(*arguments): return await asyncio.create_task(waiting(*arguments))
@contextlib.contextmanager
def unit(inside):
    with contextlib.ExitStack() as stack:
        stack.enter_context(inside())
        yield
def tell():
    tool = Tool()
    called = middle, within, job, helpers.by_module, helpers.in_its_own, tool.own, tool.same
    return {{"{v}", *(f({pass_}1) for f in called)}}
def opens(inside):
    while True:
        with inside():
            tool = Tool()
            answers = {{"{v}", middle({pass_}1), within({pass_}1), job({pass_}1), helpers.by_module({pass_}1)}}
            answers |= {{tool.own({pass_}1), tool.same({pass_}1), helpers.in_its_own({pass_}1), *tell()}}
            answers |= {{in_thread(middle, {pass_}1), asyncio.run(as_task({pass_}1))}}
        yield answers
@hotswap.session()
async def waiting_job(*arguments): return await asyncio.to_thread(middle, *arguments)
@hotswap.session()
async def gathering_job(*arguments): return "".join(set(await asyncio.gather(waiting(*arguments), as_task(*arguments))))
def opens_by_others():
    while True:
        answers = {{"{v}", asyncio.run(waiting_job({pass_}1)), asyncio.run(gathering_job({pass_}1))}}
        with hotswap.session():
            calls = middle, within, Tool().own, lambda *arguments: middle(*arguments)
            answers |= {{retry(one, {pass_}1) for one in calls}}
        yield answers
def opens_by_manager(inside):
    while True:
        with unit(inside):
            answers = {{"{v}", middle({pass_}1), Tool().same({pass_}1), in_thread(middle, {pass_}1)}}
        with helpers.unit(inside):
            answers |= {{"{v}", middle({pass_}1), Tool().same({pass_}1), in_thread(middle, {pass_}1)}}
        yield answers
def in_unit(inside, *arguments):
    with inside(): return in_thread(middle, *arguments)
part_of_unit = functools.partial(in_unit)
async def over(inside):
    async for _ in helpers.once_async(inside):
        answers = "{v}", middle({pass_}1), await asyncio.to_thread(middle, {pass_}1)
    return answers
def opens_by_generator(inside):
    while True:
        for _ in helpers.once(inside):
            answers = {{"{v}", middle({pass_}1), helpers.by_module({pass_}1), in_thread(middle, {pass_}1)}}
        yield answers
async def in_unit_of_its_own(inside):
    with inside(): return "{v}", middle({pass_}1), await asyncio.to_thread(middle, {pass_}1)
def opens_in_tasks(inside):
    while True: yield {{*asyncio.run(over(inside)), *asyncio.run(in_unit_of_its_own(inside))}}
def opens_for_pool(inside):
    while True:
        with inside(), ThreadPoolExecutor(1) as pool:
            calls = middle, within, Tool().own
            futures = [pool.submit(contextvars.copy_context().run, one, {pass_}1) for one in calls]
            answers = {{"{v}", *(future.result(20) for future in futures)}}
        answers |= {{in_unit(inside, {pass_}1), part_of_unit(inside, {pass_}1)}}
        yield answers
def opens_for_later(inside):
    text = "{v}"
    while True:
        with unit(inside):
            context = contextvars.copy_context()
            with ThreadPoolExecutor(1) as pool:
                yield lambda *arguments: pool.submit(context.run, middle, *arguments).result(20)
def opens_in_stack(inside):
    while True:
        with contextlib.ExitStack() as stack:
            stack.enter_context(inside())
            answers = {{"{v}", middle({pass_}1), Tool().same({pass_}1)}}
        yield answers
def opens_twice(inside):
    while True:
        with inside(), hotswap.session():
            answers = {{"{v}", middle({pass_}1), Tool().same({pass_}1)}}
        yield answers
def go_on(inside):
    while True:
        with inside():
            answers = tell()
        yield answers
def go_on_twice(inside):
    while True:
        with inside():
            with hotswap.session():
                answers = tell()
        yield answers
def go_on_in_stack(inside):
    while True:
        with contextlib.ExitStack() as stack:
            stack.enter_context(inside())
            answers = tell()
        yield answers
@hotswap.session()
async def telling_job():
    await asyncio.sleep(0)
    return tell() | await asyncio.to_thread(tell)
async def consuming(library, job, swap):
    text = "{v}"
    return await library(3, job, swap)
async def go_on_with_jobs():
    while True:
        yield await telling_job()
async def go_on_in_task():
    while True:
        with hotswap.session():
            answers = tell() | await asyncio.to_thread(tell)
        yield answers
async def main_in_task(seen):
    text = "{v}"
    async for answers in go_on_in_task():
        if await seen(answers): return
def told_in_unit(inside):
    with inside(): return tell() | in_thread(tell)
def go_on_by_helper(inside):
    while True: yield told_in_unit(inside)
def go_on_by_generator(inside):
    while True:
        for _ in helpers.once(inside): answers = tell() | in_thread(tell)
        yield answers
def go_on_by_manager(inside):
    while True:
        with unit(inside):
            answers = tell()
        with helpers.unit(inside):
            answers |= tell()
        yield answers
def main(loop, inside):
    text = "{v}"
    yield from loop(inside)
"""


class Loops:
    """Loops that open sessions, in a package of which one module is never patched. `opens` is what they open."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        package = make({"core.py": self._text("1", 0), "helpers.py": HELPERS}).__name__
        self.name = f"{package}.core"
        __import__(self.name)
        self.patcher = Patcher([package], handover=None)
        self.opens: Callable[[], AbstractContextManager[Any]] = hotswap.session

    def _text(self, version: str, shape: int) -> str:
        return CORE.format(v=version, more="z, " * shape, pass_="0, " * shape)

    @property
    def core(self) -> Any:
        return sys.modules[self.name]

    def stage(self) -> hotswap.Rollout:
        rollout = self.patcher.stage(Patch.from_sources({self.name: self._text("2", 1)}, version="2"))
        rollout.verify()
        return rollout

    def open(self) -> AbstractContextManager[Any]:
        return self.opens()


@pytest.fixture
def loops(make_package: Callable[..., ModuleType]) -> Loops:
    return Loops(make_package)


CHANGED = ["opens", "opens_by_manager", "opens_by_generator", "opens_in_stack", "opens_twice"]
UNCHANGED = [
    f"core.go_on{how}" for how in ("", "_by_manager", "_by_generator", "_by_helper", "_in_stack", "_twice")
] + ["helpers.go_on"]


def _found(loops: Loops, path: str) -> Any:
    room, _, name = path.partition(".")
    return getattr(loops.core if room == "core" else loops.core.helpers, name)


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("how", ["preview", "policy", "commit"])
def test_does_not_mix_by_code_that_stays(loops: Loops, name: str, how: str) -> None:
    """Code of other modules, and all unchanged code while a candidate is armed, led it to new helpers."""
    loop = getattr(loops.core, name)(loops.open)
    assert next(loop) == {"1"}
    rollout = loops.stage()
    if how == "commit":
        rollout.commit()
    else:
        rollout.arm((lambda _: True) if how == "policy" else None)
        loops.opens = rollout.preview if how == "preview" else hotswap.session
    assert next(loop) == {"1"}
    assert next(getattr(loops.core, name)(loops.open)) == {"1" if how != "commit" else "2"}
    if how != "commit":
        with loops.open():
            assert loops.core.tell() == {"2"}
        rollout.commit()
        loops.opens = hotswap.session
    assert next(loop) == {"1"}
    assert next(getattr(loops.core, name)(loops.open)) == {"2"}
    loop.close()
    del loop
    assert forks_go()


def test_a_unit_that_an_unchanged_loop_opens_for_a_changed_one_is_new_at_once(loops: Loops) -> None:
    """A thread asks while the loop, an asynchronous generator, waits for it."""
    answers: list[Any] = []

    async def seen(answer: Any) -> bool:
        answers.append(answer)
        if len(answers) == 1:
            loops.stage().commit()
        return len(answers) > 2

    asyncio.run(loops.core.main_in_task(seen))
    assert answers == [{"1"}, {"2"}, {"2"}]
    assert forks_go()


def test_a_unit_that_a_suspended_loop_has_opened_is_not_mixed(loops: Loops) -> None:
    """It is on no stack when a thread that it has started asks."""
    loop = loops.core.opens_for_later(loops.open)
    assert next(loop)(1) == "1"
    loops.stage().commit()
    assert next(loop)(1) == "1"
    loop.close()
    del loop
    assert forks_go()


def test_a_job_that_an_unchanged_loop_awaits_is_new_at_once(loops: Loops) -> None:
    async def asked() -> None:
        loop = loops.core.go_on_with_jobs()
        assert await anext(loop) == {"1"}
        loops.stage().commit()
        assert await anext(loop) == {"2"}
        await loop.aclose()

    asyncio.run(asked())
    assert forks_go()


def test_a_job_that_a_library_awaits_is_new_at_once(loops: Loops) -> None:
    """Whoever has started its loop, and goes on as he began."""
    job = loops.core.telling_job
    assert asyncio.run(loops.core.consuming(consume, job, lambda: loops.stage().commit())) == [{"1"}, {"2"}, {"2"}]
    assert forks_go()


def test_does_not_mix_where_others_call(loops: Loops) -> None:
    """An event loop runs the job, or a library calls what it was given: their frames are nobody's."""
    loop = loops.core.opens_by_others()
    assert next(loop) == {"1"}
    loops.stage().commit()
    assert next(loop) == {"1"}
    assert next(loops.core.opens_by_others()) == {"2"}
    loops.patcher.rollback()
    assert next(loop) == {"1"}
    loop.close()
    del loop
    assert forks_go()


@pytest.mark.parametrize("name", ["opens_for_pool", "opens_in_tasks"])
def test_does_not_mix_in_pools(loops: Loops, name: str) -> None:
    """Frames of nobody call there what it has taken from the names of its module."""
    loop = getattr(loops.core, name)(loops.open)
    assert next(loop) == {"1"}
    loops.stage().commit()
    assert next(loop) == {"1"}
    assert next(getattr(loops.core, name)(loops.open)) == {"2"}
    loop.close()
    del loop
    assert forks_go()


@pytest.mark.parametrize("path", UNCHANGED)
@pytest.mark.parametrize("how", ["preview", "policy", "commit"])
def test_that_an_unchanged_loop_opens_is_new_at_once(loops: Loops, path: str, how: str) -> None:
    """Also if changed code had called the loop, which goes on for as long as the process."""
    loop = loops.core.main(_found(loops, path), loops.open)
    assert next(loop) == {"1"}
    rollout = loops.stage()
    if how == "commit":
        rollout.commit()
    else:
        rollout.arm((lambda _: True) if how == "policy" else None)
        assert next(loop) == {"2" if how == "policy" else "1"}
        loops.opens = rollout.preview if how == "preview" else hotswap.session
    assert next(loop) == {"2"}
    loop.close()
    del loop
    if how != "commit":
        rollout.commit()
    assert forks_go()
