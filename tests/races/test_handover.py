"""The handover: an endless loop is led to the new code where its own is the same, and is named where it is not."""

from __future__ import annotations

import asyncio
import functools
import gc
import queue
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import Patch, Patcher, clock, walk
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads  # a clock and what is handed over have some of their own

SOURCE = """
import functools
import importlib
from . import sibling as near

LIMIT = "{v}"

def step({more}job=None): return "{v}"

def limit(): return LIMIT

@functools.lru_cache
def cached(job): return "{v}"

class Worker:
    def __init__(self, jobs, done): self.jobs, self.done = jobs, done
    def run(self):
        while (job := self.jobs.get()) is not None:
            self.done(self.handle(job))
    def handle(self, job): return ("{v}", step(), limit(), cached(job))
    def changed(self):
        version = "{v}"
        while (job := self.jobs.get()) is not None:
            self.done((version, self.handle(job), step(), limit(), Other().kind))

class Other:
    kind = "{v}"

def run(jobs, done):
    held, worker = step, Worker(None, None)
    while (job := jobs.get()) is not None:
        from .sibling import name
        from . import sibling
        modules = name(), sibling.name(), near.name()
        done((step(), held(), limit(), cached(job), worker.handle(job), Other.kind, modules))

def imports(jobs, done):
    while jobs.get() is not None:
        done(importlib.import_module(".sibling", __package__))

def changed(jobs, done):
    version = "{v}"
    while (job := jobs.get()) is not None:
        done((version, step(), limit()))

def rows(jobs):
    while True:
        yield step(), limit()

def inner_rows(jobs):
    def rows():
        while True:
            yield step(), limit()
    return rows()

async def serve(jobs, done):
    while (job := await jobs.get()) is not None:
        done((step(), limit()))

async def stream(jobs):
    while (job := await jobs.get()) is not None:
        yield step(), limit()
"""

SIBLING = 'def name(): return "{v}"\n'


def sources(package: str, version: str, more: str = "") -> dict[str, str]:
    return {
        f"{package}.core": SOURCE.format(v=version, more=more),
        f"{package}.sibling": SIBLING.format(v=version),
    }


TELLS = pytest.mark.skipif(sys.version_info < (3, 12), reason="the variables of a thread can't be read there")


class Loop:
    """A loop in a thread, driven turn by turn."""

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=run, args=(self.jobs, self.done.put), name="loop")
        self.thread.start()

    def turn(self) -> Any:
        self.jobs.put(1)
        return self.done.get(timeout=30)

    def end(self) -> None:
        self.jobs.put(None)
        self.thread.join()


def flat(found: Any) -> set[str]:
    return {found} if isinstance(found, str) else {one for part in found for one in flat(part)}


class Program:
    def __init__(self, package: str, handover: float | None) -> None:
        self.package = package
        self.patcher = Patcher([package], handover=handover)

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.package}.core"]

    def apply(self, version: str, **options: Any) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources(sources(self.package, version), version=version), **options)


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Callable[..., Program]]:
    def make(handover: float | None = 0) -> Program:
        first = {name.partition(".")[2] + ".py": text for name, text in sources("x", "1").items()}
        package = make_package(first).__name__
        __import__(f"{package}.core")
        __import__(f"{package}.sibling")
        return Program(package, handover)

    yield make
    assert forks_go()


class TestUnchangedLoop:
    @pytest.mark.parametrize("name", ["run", "method"])
    def test_calls_the_new_after_the_handover(self, program: Callable[..., Program], name: str) -> None:
        made = program()
        run = made.core.run if name == "run" else lambda jobs, done: made_worker(made, jobs, done)
        loop = Loop(run)
        try:
            assert flat(loop.turn()) == {"1"}
            rollout = made.apply("2")
            assert rollout.drained.wait(10)
            assert rollout.in_flight() == ()
            assert flat(loop.turn()) == {"2"}
            again = made.apply("3")
            assert until(lambda: again.drained.is_set() and flat(loop.turn()) == {"3"})
            made.patcher.rollback()
            assert until(lambda: flat(loop.turn()) == {"2"})
        finally:
            loop.end()

    def test_calls_the_new_at_once_where_there_is_no_time(self, program: Callable[..., Program]) -> None:
        made = program()
        rows = made.core.rows(None)
        assert flat(next(rows)) == {"1"}
        made.apply("2")
        assert flat(next(rows)) == {"2"}
        made.patcher.rollback()
        assert flat(next(rows)) == {"1"}

    def test_goes_on_with_the_old_before_it(self, program: Callable[..., Program]) -> None:
        made = program(None)
        loop = Loop(made.core.run)
        try:
            rollout = made.apply("2")
            assert flat(loop.turn()) == {"1"}
            assert not rollout.drained.wait(1.5)
            assert flat(loop.turn()) == {"1"}
            (call,) = rollout.in_flight()
            assert call.function == f"{made.package}.core:run"
            assert call.thread == "loop"
        finally:
            loop.end()
        assert rollout.drained.wait(10)

    def test_time_is_that_of_the_rollout(self, program: Callable[..., Program]) -> None:
        made = program(None)
        loop = Loop(made.core.run)
        try:
            assert made.apply("2", handover=0).drained.wait(10)
            assert flat(loop.turn()) == {"2"}
        finally:
            loop.end()

    def test_is_led_back_by_a_rollback(self, program: Callable[..., Program]) -> None:
        made = program()
        made.apply("2")
        loop = Loop(made.core.run)
        try:
            assert flat(loop.turn()) == {"2"}
            rollout = made.patcher.rollback()
            assert rollout.drained.wait(10)
            assert flat(loop.turn()) == {"1"}
        finally:
            loop.end()

    def test_that_is_suspended_goes_on_with_the_new(self, program: Callable[..., Program]) -> None:
        made = program()

        async def work() -> list[set[str]]:
            jobs: asyncio.Queue[Any] = asyncio.Queue()
            more: asyncio.Queue[Any] = asyncio.Queue()
            done: list[Any] = []
            rows, stream = made.core.rows(None), made.core.stream(more)
            task = asyncio.create_task(made.core.serve(jobs, done.append))
            await jobs.put(1)
            await more.put(1)
            first = flat(next(rows)) | flat(await anext(stream))
            for _ in range(10):  # the task has its turn
                await asyncio.sleep(0)
            assert done
            rollout = made.apply("2")
            assert await rollout.drained.wait_async(10)
            await jobs.put(1)
            await more.put(1)
            second = flat(next(rows)) | flat(await anext(stream))
            await jobs.put(None)
            await task
            return [first | flat(done[0]), second | flat(done[1])]

        assert asyncio.run(work()) == [{"1"}, {"2"}]


def made_worker(program: Program, jobs: Any, done: Any) -> None:
    program.core.Worker(jobs, done).run()


WRAPPED = """
import functools
import hotswap

@functools.lru_cache
def cached(n=1): return "{v}"

def helper(n, version="{v}"): return {{version, "{v}"}}
def plain(n): return "{v}"
changing, lasting = functools.partial(helper, 1, "{v}"), functools.partial(helper, 1)
assigned = functools.lru_cache(maxsize=3)(plain)

def asks():
    return {{cached(), *changing(), *lasting(), assigned(object())}}

def turns():
    while True:
        held = changing, cached
        first = asks() | {{*held[0](), held[1](), cached(), *changing(), *lasting(), assigned(object())}}
        with hotswap.session():
            second = asks() | {{*held[0](), held[1](), cached(), *changing(), *lasting(), assigned(object())}}
        yield first, second

def changed():
    version = "{v}"
    while True:
        first = asks() | {{version}}
        with hotswap.session():
            second = asks()
        yield first, second
"""


class Wrapped(Versions):
    source = WRAPPED

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        super().__init__(make, handover=None)

    def begin(self, name: str = "turns") -> Callable[[], tuple[set[str], set[str]]]:
        """Begin a loop, and return what has it make a turn without a session, and one in a new one."""
        return getattr(self.core, name)().__next__  # type: ignore[no-any-return]  # of a module that is made here


@pytest.fixture
def wrapped(make_package: Callable[..., ModuleType]) -> Iterator[Wrapped]:
    yield Wrapped(make_package)
    assert forks_go()


class TestCachesAndPartialObjects:
    """By the names of its module a loop gets those of one version, its own or that of its session."""

    def test_are_of_the_version_of_a_session_that_is_opened_in_an_old_loop(self, wrapped: Wrapped) -> None:
        turn = wrapped.begin()
        assert turn() == ({"1"}, {"1"})
        wrapped.apply("2")
        assert turn() == ({"1"}, {"2"})
        wrapped.apply("3")
        assert turn() == ({"1"}, {"3"})
        assert wrapped.core.asks() == {"3"}

    def test_follow_through_several_handovers(self, wrapped: Wrapped) -> None:
        turn = wrapped.begin()
        for version in "234":
            wrapped.apply(version, handover=0)
            assert turn() == ({version}, {version})
        wrapped.apply("5")
        assert turn() == ({"4"}, {"5"})
        wrapped.apply("6")
        assert turn() == ({"4"}, {"6"})
        assert wrapped.core.asks() == {"6"}

    def test_follow_beside_a_loop_that_stays_old(self, wrapped: Wrapped) -> None:
        turn, stays = wrapped.begin(), wrapped.begin("changed")
        assert (turn(), stays()) == (({"1"}, {"1"}), ({"1"}, {"1"}))
        for version in "23":
            wrapped.apply(version, handover=0)
            assert turn() == ({version}, {version})
            assert stays() == ({"1"}, {"1"})  # in a session, too: what it passes on is what its own version takes

    def test_go_back_with_a_rollback(self, wrapped: Wrapped) -> None:
        turn = wrapped.begin()
        wrapped.apply("2", handover=0)
        assert turn() == ({"2"}, {"2"})
        wrapped.apply("3")
        own = wrapped.begin()
        assert (turn(), own()) == (({"2"}, {"3"}), ({"3"}, {"3"}))
        wrapped.patcher.rollback()
        assert (turn(), own()) == (({"2"}, {"2"}), ({"3"}, {"2"}))
        wrapped.apply("4", handover=0)
        assert turn() == ({"4"}, {"4"})
        rollout = wrapped.patcher.current
        assert rollout is not None
        rollout.handover = None
        wrapped.patcher.rollback()
        assert turn() == ({"4"}, {"2"})
        assert wrapped.core.asks() == {"2"}

    def test_of_an_older_session_stay(self, wrapped: Wrapped) -> None:
        turn = wrapped.begin()
        with hotswap.session():
            core = wrapped.core
            for version in "23":
                wrapped.apply(version, handover=0)
            assert core.asks() == {"1"}
        assert turn() == ({"3"}, {"3"})

    def test_are_not_kept_by_a_loop_once_their_version_has_gone(self, wrapped: Wrapped) -> None:
        turn = wrapped.begin()
        gone = []
        for version in "2345":
            rollout = wrapped.apply(version, handover=0)
            assert turn() == ({version}, {version})
            assert rollout.drained.wait(20)
            gone.append(weakref.ref(wrapped.core.changing))
        rollout.confirm()
        wrapped.apply("6", handover=0)
        assert until(lambda: gc.collect() >= 0 and all(one() is None for one in gone[:-1]))
        assert turn() == ({"6"}, {"6"})

    def test_do_not_carry_what_stands_for_them_to_the_next_version(self, wrapped: Wrapped) -> None:
        wrapped.begin()()
        rollout = wrapped.apply("2")
        assert rollout.drained.wait(20)
        assert type(wrapped.core.lasting) is functools.partial
        assert type(wrapped.core.assigned) is type(wrapped.core.cached)


class TestGeneratorAlone:
    """Nothing else is in flight: all has drained when it is handed over."""

    @pytest.mark.parametrize("name", ["rows", "inner_rows"])
    def test_is_told(self, program: Callable[..., Program], name: str) -> None:
        made = program(0)
        rows = getattr(made.core, name)(None)
        next(rows)
        with ManualClock() as time_, structlog.testing.capture_logs() as logs:
            rollout = made.apply("2")
            assert rollout.drained.wait(20)
            time_.advance()
        told = [log["handed_over"] for log in logs if log["event"] == "rollout.handed_over"]
        assert told == [[f"{made.package}.core:{rows.__qualname__}"]]
        assert flat(next(rows)) == {"2"}

    def test_that_is_frozen_is_told(self, program: Callable[..., Program]) -> None:
        """As a service does when it has started: what suspended generators run is not found any more."""
        made = program(10)
        rows = made.core.inner_rows(None)
        next(rows)
        with ManualClock() as time_, structlog.testing.capture_logs() as logs:
            rollout = made.apply("2")
            gc.freeze()
            try:
                time_.advance(5)
                assert flat(next(rows)) == {"1"}
                time_.advance(10)
            finally:
                gc.unfreeze()
            assert rollout.drained.wait(20)
        (told,) = [log["handed_over"] for log in logs if log["event"] == "rollout.handed_over"]
        assert told == [f"{made.package}.core:{rows.__qualname__}"]
        assert flat(next(rows)) == {"2"}


class TestChangedLoop:
    @pytest.mark.parametrize("name", ["changed", "method"])
    def test_stays_old_and_is_named(self, program: Callable[..., Program], name: str) -> None:
        made = program()
        if name == "changed":
            loop = Loop(made.core.changed)
        else:
            loop = Loop(lambda jobs, done: made.core.Worker(jobs, done).changed())
        beside = Loop(made.core.run)
        try:
            with structlog.testing.capture_logs() as logs:
                rollout = made.apply("2")
                assert until(lambda: [log for log in logs if log["event"] == "rollout.handed_over"])
            (log,) = [log for log in logs if log["event"] == "rollout.handed_over"]
            assert log["handed_over"] == [f"{made.package}.core:run"]
            assert log["log_level"] == "warning"
            assert len(log["old"]) == 1
            assert flat(loop.turn()) == {"1"}
            assert flat(beside.turn()) == {"2"}
            (call,) = rollout.in_flight()
            assert call.function.endswith("changed")
            assert not rollout.drained.is_set()
            assert flat(made.core.Worker(None, None).handle(1)) == {"2"}
        finally:
            loop.end()
            beside.end()
        assert rollout.drained.wait(10)

    def test_beside_one_that_is_handed_over_leaves_that_one_to_the_new_modules(
        self, program: Callable[..., Program]
    ) -> None:
        made = program()
        loop, beside = Loop(made.core.changed), Loop(made.core.imports)
        try:
            made.apply("2")
            assert beside.turn() is sys.modules[f"{made.package}.sibling"]
            assert flat(loop.turn()) == {"1"}
        finally:
            loop.end()
            beside.end()

    @TELLS
    def test_keeps_only_the_forks_that_it_may_come_to(self, program: Callable[..., Program]) -> None:
        made = program()
        loop = Loop(made.core.changed)
        try:
            rollout = made.apply("2")
            assert until(lambda: not walk.is_forwarder(made.core.rows.__code__))
            # It says `step()` and `limit()`, and nothing of classes.
            assert walk.is_forwarder(made.core.step.__code__)
            assert walk.is_forwarder(made.core.limit.__code__)
            for plain in (made.core.run, made.core.rows, made.core.serve):
                assert not walk.is_forwarder(plain.__code__)
            kinds = {type(value) for cls in (made.core.Worker, made.core.Other) for value in vars(cls).values()}
            assert not any(issubclass(kind, walk.Fork) for kind in kinds)
            assert flat(loop.turn()) == {"1"}
            assert not rollout.drained.is_set()
        finally:
            loop.end()
        assert rollout.drained.wait(10)
        assert not walk.is_forwarder(made.core.step.__code__)

    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="there its variables can be read")
    def test_keeps_all_where_nobody_can_read_its_variables(self, program: Callable[..., Program]) -> None:
        made = program()
        loop = Loop(made.core.changed)
        try:
            rollout = made.apply("2")
            assert flat(loop.turn()) == {"1"}
            for function in (made.core.step, made.core.run, made.core.rows):
                assert walk.is_forwarder(function.__code__)
        finally:
            loop.end()
        assert rollout.drained.wait(10)
        assert not walk.is_forwarder(made.core.rows.__code__)

    @TELLS
    def test_keeps_what_it_comes_to_by_what_it_calls(self, program: Callable[..., Program]) -> None:
        made = program()
        loop = Loop(lambda jobs, done: made.core.Worker(jobs, done).changed())
        try:
            made.apply("2")
            assert until(lambda: not walk.is_forwarder(made.core.rows.__code__))
            # `changed` says `handle` and `Other`, and `handle` says `step`, `limit` and `cached`.
            assert walk.is_forwarder(made.core.step.__code__)
            assert issubclass(type(vars(made.core.Worker)["handle"]), walk.Fork)
            assert issubclass(type(vars(made.core.Other)["kind"]), walk.Fork)
            assert not issubclass(type(vars(made.core.Worker)["run"]), walk.Fork)
            assert flat(loop.turn()) == {"1"}
        finally:
            loop.end()

    def test_keeps_the_constructors_of_the_classes_that_it_names(self, make_package: Callable[..., ModuleType]) -> None:
        source = """
            class Named:
                def __init__(self, {more}n): self.made = "{v}"
            class Below(Named):
                pass
            class Other:
                def __init__(self, {more}n): self.made = "{v}"
            def rows():
                while True:
                    yield "{v}", Named({pass_}1).made, Below({pass_}1).made
            """
        one, two = (
            textwrap.dedent(source.format(v=v, more="z, " * n, pass_="0, " * n)) for v, n in (("1", 0), ("2", 1))
        )
        name = f"{make_package({'core.py': one}).__name__}.core"
        __import__(name)
        rows, other = sys.modules[name].rows(), sys.modules[name].Other
        assert flat(next(rows)) == {"1"}
        rollout = Patcher([name.partition(".")[0]], handover=0).apply(Patch.from_sources({name: two}, version="2"))
        assert until(
            lambda: not issubclass(type(vars(other)["__init__"]), walk.Fork)
        )  # it is narrow: nothing names that one
        assert flat(next(rows)) == {"1"}
        assert flat(next(sys.modules[name].rows())) == {"2"}
        rows.close()
        assert rollout.drained.wait(20)

    @TELLS
    def test_with_a_session_of_its_time_keeps_all(self, program: Callable[..., Program]) -> None:
        made = program()
        loop = Loop(made.core.changed)
        try:
            with hotswap.session():
                made.apply("2")
                time.sleep(0.3)
                assert walk.is_forwarder(made.core.rows.__code__)
                assert made.core.Other.kind == "1"
            assert until(lambda: not walk.is_forwarder(made.core.rows.__code__))
            assert flat(loop.turn()) == {"1"}
        finally:
            loop.end()

    def test_stays_old_through_helpers_that_are_the_same(self, make_package: Callable[..., ModuleType]) -> None:
        source = """
            def run(jobs, done):
                while (job := jobs.get()) is not None:
                    done(("{v}", process((job{more}))))
            def process(job): return handle(job)
            def handle(job):
                (job{names}) = job
                return "{v}"
            """
        texts = [
            textwrap.dedent(source.format(v="1", more=",", names=",")),
            textwrap.dedent(source.format(v="2", more=", 0", names=", z")),
        ]
        package = make_package({"core.py": texts[0]}).__name__
        __import__(f"{package}.core")
        core: Any = sys.modules[f"{package}.core"]
        loop = Loop(core.run)
        try:
            assert loop.turn() == ("1", "1")
            patch = Patch.from_sources({f"{package}.core": texts[1]}, version="2")
            rollout = Patcher([package], handover=0).apply(patch)
            time.sleep(0.3)
            assert loop.turn() == ("1", "1")
            assert sys.modules[f"{package}.core"].process((1, 0)) == "2"
        finally:
            loop.end()
        assert rollout.drained.wait(10)

    def test_in_a_new_session_stays_old(self, program: Callable[..., Program]) -> None:
        made = program()
        loop = Loop(lambda jobs, done: hotswap.session()(made.core.changed)(jobs, done))
        try:
            assert flat(loop.turn()) == {"1"}
            rollout = made.apply("2")
            assert not rollout.drained.wait(0.2)
            assert flat(loop.turn()) == {"1"}
        finally:
            loop.end()
        assert rollout.drained.wait(10)


class TestHeldCode:
    def test_is_waited_for_until_somebody_looks(self, program: Callable[..., Program]) -> None:
        """A debugger, or a traceback that is kept, holds code that nobody runs."""
        made = program(None)
        code = made.core.step.__code__
        rollout = made.apply("2")
        assert not rollout.drained.is_set()
        assert rollout.in_flight() == ()
        assert rollout.drained.wait(20)
        assert code.co_name == "step"

    def test_does_not_end_the_wait_for_calls(self, program: Callable[..., Program]) -> None:
        made = program(None)
        loop, code, rows = Loop(made.core.changed), made.core.step.__code__, made.core.rows(None)
        next(rows)
        try:
            rollout = made.apply("2")
            assert not rollout.drained.wait(2.5)
            assert {call.function.rpartition(":")[2] for call in rollout.in_flight()} == {"changed", "rows"}
            assert flat(next(rows)) == flat(loop.turn()) == {"1"}
        finally:
            loop.end()
        rows.close()
        assert rollout.drained.wait(20)
        assert code.co_name == "step"

    def test_is_looked_for_ever_more_seldom_but_not_for_ever(
        self, program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A generator that has ended, and that somebody holds, is seen by a look only."""
        looks: list[tuple[float, Callable[[], None]]] = []
        after = clock.after

        def noted(seconds: float, call: Callable[[], None]) -> Any:
            if getattr(call, "__qualname__", "") != "Handover._look":
                return after(seconds, call)
            looks.append((seconds, call))
            return after(0.0, lambda: None)

        made = program(None)
        rows = made.core.rows(None)
        next(rows)
        monkeypatch.setattr(clock, "after", noted)
        rollout = made.apply("2")
        for _ in range(12):
            looks[-1][1]()
        assert [seconds for seconds, _ in looks[:4]] == [1, 2, 4, 8]
        assert [seconds for seconds, _ in looks[-3:]] == [60] * 3
        rows.close()
        looks[-1][1]()
        assert rollout.drained.wait(20)


class TestTime:
    @pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
    def test_is_a_number_of_seconds(self, program: Callable[..., Program], wrong: float) -> None:
        with pytest.raises(ValueError, match="handover must be"):
            Patcher([program().package], handover=wrong)

    def test_is_checked_for_a_rollout_too(self, program: Callable[..., Program]) -> None:
        made = program()
        with pytest.raises(TypeError, match="handover must be"):
            made.apply("2", handover="soon")
        assert made.core.step() == "1"
