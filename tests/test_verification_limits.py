"""Judging a candidate: time limits, event loops, and what a hung check leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import queue
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from types import ModuleType
from typing import Any, NoReturn, TypeVar

import pytest

from hotswap import stopping
from hotswap.stopping import Stopped, can_stop, forget_stop, request_stop
from hotswap.verification import (
    Candidate,
    Check,
    CheckResult,
    Verdict,
    current_token,
    run_checks,
)
from hotswap.verification import running as running_module

pytestmark = pytest.mark.threads

T = TypeVar("T")

LONG = 30.0  # seconds for what is expected to happen at once: only a broken test waits that long
SHORT = 0.05  # seconds for what is expected never to happen

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Tree(dict[str, ModuleType]):
    """A candidate that can be referred to weakly."""


def judge(
    function: Callable[[Candidate], object],
    *,
    timeout: float = LONG,
    loop: asyncio.AbstractEventLoop | None = None,
    token: object | None = None,
) -> CheckResult:
    """The result of one check."""
    (result,) = run_checks([Check("subject", function, timeout)], {}, loop=loop, token=token)
    return result


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, in tests where a check can't be ended."""
    monkeypatch.setattr(stopping, "GRACE", SHORT)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up late, in tests where a check does end, on however busy a machine."""
    monkeypatch.setattr(stopping, "GRACE", LONG)


class Service:
    """An event loop that runs in a thread of its own, as that of a service does."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name="service")
        running = threading.Event()
        self.loop.call_soon(running.set)
        self.thread.start()
        # A loop that does not run yet can't run a check, which would then run here.
        assert running.wait(LONG)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LONG)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        left = asyncio.all_tasks(self.loop)
        self.loop.close()
        assert not left


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


def ended(thread: threading.Thread) -> bool:
    """Whether a thread ends, given the time."""
    thread.join(LONG)
    return not thread.is_alive()


def forever() -> NoReturn:
    while True:
        pass


class TestTimeLimit:
    @pytest.mark.usefixtures("impatient")
    def test_a_thread_that_waits_in_c_is_named(self) -> None:
        release = threading.Event()
        mine: list[threading.Thread] = []

        def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            release.wait()

        result = judge(check, timeout=SHORT)
        try:
            assert result.verdict is Verdict.TIMED_OUT
            assert "no answer within 0.05 s" in result.message
            assert "its thread 'hotswap check subject' is still running" in result.message
            assert "release.wait()" in result.detail
            assert "running.py" not in result.detail
            assert result.duration >= SHORT
            assert mine[0].is_alive()
            assert mine[0].daemon
        finally:
            release.set()
        # The stop was requested already, so the thread ends as soon as its C call returns.
        assert ended(mine[0])

    @pytest.mark.usefixtures("patient")
    def test_an_endless_loop_ends(self) -> None:
        mine: list[threading.Thread] = []

        def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            forever()

        result = judge(check, timeout=SHORT)
        assert result.verdict is Verdict.TIMED_OUT
        assert "its thread has ended" in result.message
        assert "in forever" in result.detail
        assert not mine[0].is_alive()

    @pytest.mark.usefixtures("patient")
    def test_an_endless_loop_that_swallows_exceptions_ends_too_and_cleans_up(self) -> None:
        cleaned: list[str] = []

        def check(_: Candidate) -> None:
            try:
                while True:
                    try:
                        forever()
                    except Exception:
                        cleaned.append("wrong")
            finally:
                cleaned.append("finally")

        assert "its thread has ended" in judge(check, timeout=SHORT).message
        assert cleaned == ["finally"]

    @pytest.mark.usefixtures("patient")
    def test_a_late_answer_is_ignored(self) -> None:
        def check(_: Candidate) -> bool:
            try:
                forever()
            except Stopped:
                return True

        result = judge(check, timeout=SHORT)
        assert result.verdict is Verdict.TIMED_OUT

    @pytest.mark.usefixtures("impatient")
    def test_the_others_run_all_the_same(self) -> None:
        release = threading.Event()
        order: list[str] = []

        def hang(_: Candidate) -> None:
            order.append("hang")
            release.wait()

        checks = [
            Check("hang", hang, SHORT),
            Check("after", lambda _: order.append("after"), LONG),
        ]
        try:
            report = run_checks(checks, {})
        finally:
            release.set()
        assert order == ["hang", "after"]
        assert [result.verdict for result in report] == [Verdict.TIMED_OUT, Verdict.PASSED]

    @pytest.mark.usefixtures("patient")
    def test_a_limit_over_before_the_thread_begins_harms_nobody(self) -> None:
        for _ in range(50):
            assert judge(lambda _: None, timeout=1e-9).verdict in (Verdict.TIMED_OUT, Verdict.PASSED)

    def test_the_longest_possible_limit_works(self) -> None:
        assert judge(lambda _: None, timeout=threading.TIMEOUT_MAX).verdict is Verdict.PASSED

    def test_the_thread_has_gone_when_the_report_is_there(self) -> None:
        mine: list[threading.Thread] = []
        for _ in range(20):
            judge(lambda _: mine.append(threading.current_thread()))
        assert not any(thread.is_alive() for thread in mine)
        assert len(set(mine)) == 20

    @pytest.mark.usefixtures("impatient")
    def test_where_threads_can_not_be_stopped_they_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.stopping._set_exception", None)
        release = threading.Event()
        mine: list[threading.Thread] = []

        def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            while not release.is_set():
                pass

        result = judge(check, timeout=SHORT)
        try:
            assert not can_stop()
            assert "is still running" in result.message
        finally:
            release.set()
        assert ended(mine[0])

    def test_an_interrupt_of_the_caller_stops_the_check_and_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stopping, "GRACE", LONG)
        started = threading.Event()
        mine: list[threading.Thread] = []

        class Interrupted(queue.SimpleQueue[Any]):
            def get(self, block: bool = True, timeout: float | None = None) -> NoReturn:
                assert started.wait(LONG)
                raise KeyboardInterrupt

        def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            started.set()
            forever()

        trial = running_module.Trial("subject", Check("subject", check, LONG), None, object())
        trial._answers = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            trial.run({})
        assert not mine[0].is_alive()


class TestStopRaces:
    """The stop must hit the check's thread while it can catch it, and never anybody else."""

    def test_a_stop_that_comes_while_the_thread_leaves_is_taken_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stopping, "GRACE", LONG)
        finish = threading.Event()
        finished = threading.Event()

        def late(ident: int) -> bool:
            # The lying step: called under the trial's lock. Now the check ends, and its thread comes to wait for the
            # lock that it needs to leave.
            finish.set()
            assert finished.wait(LONG)
            return request_stop(ident)

        def check(_: Candidate) -> None:
            finish.wait()
            finished.set()

        def forget(ident: int) -> None:
            forget_stop(ident)
            forgotten.add(ident)

        forgotten: set[int] = set()
        monkeypatch.setattr(stopping, "request_stop", late)
        monkeypatch.setattr(stopping, "forget_stop", forget)
        for _ in range(20):
            finish.clear()
            finished.clear()
            forgotten.clear()
            # A stop that escaped would be reported by threading.excepthook, which pytest turns into a failure.
            assert judge(check, timeout=0.001).verdict is Verdict.TIMED_OUT
            assert len(forgotten) == 1

    def test_no_stop_is_requested_before_the_thread_can_catch_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stopping, "GRACE", LONG)
        asked = threading.Event()
        ran: list[object] = []
        main, ask_it = stopping.Worker._main, stopping.Worker.ask

        def late_main(self: Any, *args: Any) -> None:
            assert asked.wait(LONG)
            main(self, *args)

        def ask(self: Any) -> None:
            ask_it(self)
            asked.set()

        monkeypatch.setattr(stopping.Worker, "_main", late_main)
        monkeypatch.setattr(stopping.Worker, "ask", ask)
        result = judge(lambda _: ran.append(1), timeout=SHORT)
        assert result.verdict is Verdict.TIMED_OUT
        assert "its thread has ended" in result.message
        assert ran == []

    @pytest.mark.parametrize("where", ["fresh", "given"])
    @pytest.mark.usefixtures("patient")
    def test_what_was_given_up_is_not_awaited_any_more(self, service: Service, where: str) -> None:
        ran: list[object] = []

        class Late:
            def __await__(self) -> Generator[None, None, None]:
                ran.append(1)
                yield

        def check(_: Candidate) -> Awaitable[None]:
            try:
                forever()
            except Stopped:
                return Late()

        async def turn() -> None:
            await asyncio.sleep(0)

        loop = service.loop if where == "given" else None
        assert judge(check, timeout=SHORT, loop=loop).verdict is Verdict.TIMED_OUT
        service.call(turn())
        assert ran == []

    def test_no_stop_is_requested_of_a_thread_that_has_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        requested: list[int] = []

        class TooLate(queue.SimpleQueue[Any]):
            def get(self, block: bool = True, timeout: float | None = None) -> NoReturn:
                assert trial._worker.thread is not None
                assert ended(trial._worker.thread)
                raise queue.Empty

        def note(ident: int) -> bool:
            requested.append(ident)
            return True

        monkeypatch.setattr(stopping, "request_stop", note)
        trial = running_module.Trial("subject", Check("subject", lambda _: None, SHORT), None, object())
        trial._answers = TooLate()
        result = trial.run({})
        assert result.verdict is Verdict.TIMED_OUT
        assert "its thread has ended" in result.message
        assert requested == []

    def test_a_requested_stop_can_be_taken_back(self) -> None:
        # The thread waits in C while both happen, so the stop can't have been raised in between.
        release = threading.Event()
        ran: list[str] = []

        def wait() -> None:
            release.wait()
            ran.append("to its end")

        thread = threading.Thread(target=wait)
        thread.start()
        assert thread.ident is not None
        assert request_stop(thread.ident)
        forget_stop(thread.ident)
        release.set()
        assert ended(thread)
        assert ran == ["to its end"]

    def test_an_unknown_thread_is_no_thread(self) -> None:
        assert request_stop(2**31 - 1) is False


class TestAsync:
    def test_a_coroutine_is_awaited(self) -> None:
        steps: list[str] = []

        async def check(_: Candidate) -> None:
            await asyncio.sleep(0)
            steps.append("ran")

        assert judge(check).verdict is Verdict.PASSED
        assert steps == ["ran"]

    def test_its_answer_is_judged(self) -> None:
        async def no(_: Candidate) -> bool:
            return False

        async def wrong(_: Candidate) -> None:
            raise AssertionError("wrong")

        async def broken(_: Candidate) -> None:
            raise LookupError("broken")

        async def leave(_: Candidate) -> None:
            raise SystemExit

        verdicts = [judge(function).verdict for function in (no, wrong, broken, leave)]
        assert verdicts == [Verdict.FAILED, Verdict.FAILED, Verdict.ERROR, Verdict.ERROR]

    def test_a_plain_function_may_return_an_awaitable(self) -> None:
        class Answer:
            def __await__(self) -> Iterator[None]:
                yield
                assert False, "awaited"  # noqa: B011, PT015 - what a check says

        result = judge(lambda _: Answer())
        assert result.verdict is Verdict.FAILED
        assert "awaited" in result.message

    def test_a_forgotten_await_is_an_error(self) -> None:
        async def inner(_: Candidate) -> bool:
            return False

        async def check(candidate: Candidate) -> object:
            return inner(candidate)

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert "'await' is missing" in result.message

    def test_a_loop_left_unfit_is_an_error(self) -> None:
        async def check(_: Candidate) -> None:
            asyncio.get_running_loop().close()

        assert judge(check).verdict is Verdict.ERROR

    @pytest.mark.usefixtures("patient")
    def test_is_cancelled_at_its_limit(self) -> None:
        steps: list[str] = []
        mine: list[threading.Thread] = []

        async def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("cleaned")

        result = judge(check, timeout=SHORT)
        assert result.verdict is Verdict.TIMED_OUT
        assert "it was cancelled" in result.message
        assert steps == ["cleaned"]
        assert not mine[0].is_alive()

    @pytest.mark.usefixtures("impatient")
    def test_one_that_swallows_cancellation_is_named(self) -> None:
        release = threading.Event()
        mine: list[tuple[threading.Thread, asyncio.AbstractEventLoop]] = []

        async def check(_: Candidate) -> None:
            mine.append((threading.current_thread(), asyncio.get_running_loop()))
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await hold.wait()

        hold = asyncio.Event()
        result = judge(check, timeout=SHORT)
        thread, loop = mine[0]
        try:
            assert result.verdict is Verdict.TIMED_OUT
            assert "its thread 'hotswap check subject' is still running" in result.message
        finally:
            release.set()
            loop.call_soon_threadsafe(hold.set)
        assert ended(thread)

    def test_one_that_blocks_its_loop_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mine: list[threading.Thread] = []

        async def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            forever()

        # First the grace for the cancellation passes in vain, then the thread is stopped.
        monkeypatch.setattr(stopping, "GRACE", 1.0)
        result = judge(check, timeout=SHORT)
        assert result.verdict is Verdict.TIMED_OUT
        assert "in forever" in result.detail
        assert ended(mine[0])

    def test_a_loop_that_waits_is_woken_for_its_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mine: list[threading.Thread] = []

        async def check(_: Candidate) -> None:
            mine.append(threading.current_thread())
            swallowed = 0
            while swallowed < 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.Event().wait()

        monkeypatch.setattr(stopping, "GRACE", 1.0)
        assert judge(check, timeout=SHORT).verdict is Verdict.TIMED_OUT
        assert ended(mine[0])


class TestGivenLoop:
    def test_runs_on_that_loop(self, service: Service) -> None:
        seen: list[tuple[object, object]] = []

        async def check(_: Candidate) -> None:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            seen.append((asyncio.get_running_loop(), task.get_name()))

        assert judge(check, loop=service.loop).verdict is Verdict.PASSED
        assert seen == [(service.loop, "hotswap check subject")]

    def test_a_plain_check_does_not(self, service: Service) -> None:
        seen: list[threading.Thread] = []
        judge(lambda _: seen.append(threading.current_thread()), loop=service.loop)
        assert seen[0] is not service.thread

    def test_its_answer_is_judged(self, service: Service) -> None:
        async def wrong(_: Candidate) -> None:
            raise AssertionError("wrong")

        result = judge(wrong, loop=service.loop)
        assert result.verdict is Verdict.FAILED
        assert "AssertionError: wrong (test_verification_limits.py:" in result.message

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
    def test_nothing_that_a_check_raises_reaches_the_loop(self, service: Service, error: type[BaseException]) -> None:
        async def check(_: Candidate) -> NoReturn:
            raise error

        async def alive() -> bool:
            return True

        assert judge(check, loop=service.loop).verdict is Verdict.ERROR
        assert service.call(alive())

    @pytest.mark.usefixtures("patient")
    def test_is_cancelled_at_its_limit(self, service: Service) -> None:
        steps: list[str] = []

        async def check(_: Candidate) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("cleaned")

        result = judge(check, timeout=SHORT, loop=service.loop)
        assert result.verdict is Verdict.TIMED_OUT
        assert "it was cancelled" in result.message
        assert steps == ["cleaned"]

    def test_one_that_swallows_cancellation_is_abandoned_and_named(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "GRACE", 1.0)
        release = asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        async def check(_: Candidate) -> bool:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return True

        async def let_go() -> None:
            release.set()
            await asyncio.wait(tasks)

        result = judge(check, timeout=SHORT, loop=service.loop)
        assert result.verdict is Verdict.TIMED_OUT
        assert "its task 'hotswap check subject' is still running" in result.message
        assert not tasks[0].done()
        service.call(let_go())
        assert tasks[0].done()

    @pytest.mark.usefixtures("impatient")
    def test_one_that_blocks_the_loop_times_out_and_the_loop_is_not_harmed(self, service: Service) -> None:
        release = threading.Event()

        async def check(_: Candidate) -> None:
            release.wait()

        async def alive() -> bool:
            return True

        result = judge(check, timeout=SHORT, loop=service.loop)
        release.set()
        assert result.verdict is Verdict.TIMED_OUT
        assert "the event loop does not answer" in result.message
        assert service.call(alive())

    @pytest.mark.usefixtures("impatient")
    def test_a_loop_that_somebody_else_blocks_never_runs_the_check(self, service: Service) -> None:
        blocked, release = threading.Event(), threading.Event()
        ran: list[object] = []

        def block() -> None:
            blocked.set()
            release.wait()

        async def check(_: Candidate) -> None:
            ran.append(1)

        async def turn() -> None:
            await asyncio.sleep(0)

        service.loop.call_soon_threadsafe(block)
        assert blocked.wait(LONG)
        result = judge(check, timeout=SHORT, loop=service.loop)
        release.set()
        assert result.verdict is Verdict.TIMED_OUT
        assert "the event loop did not start it" in result.message
        service.call(turn())
        assert ran == []

    @pytest.mark.usefixtures("patient")
    def test_a_plain_part_that_hangs_is_ended_before_the_loop_is_reached(self, service: Service) -> None:
        async def inner() -> None: ...

        def check(_: Candidate) -> Awaitable[None]:
            forever()
            return inner()  # type: ignore[unreachable]

        result = judge(check, timeout=SHORT, loop=service.loop)
        assert "its thread has ended" in result.message

    def test_a_caller_on_the_loop_itself_does_not_wait_for_itself(self, service: Service) -> None:
        seen: list[object] = []

        async def check(_: Candidate) -> None:
            seen.append(asyncio.get_running_loop())

        async def handler() -> CheckResult:
            return judge(check, loop=asyncio.get_running_loop())

        assert service.call(handler()).verdict is Verdict.PASSED
        assert seen != [service.loop]
        assert len(seen) == 1

    def test_a_loop_that_does_not_run_is_not_waited_for(self) -> None:
        loop = asyncio.new_event_loop()
        try:

            async def check(_: Candidate) -> None:
                assert asyncio.get_running_loop() is not loop

            assert judge(check, loop=loop).verdict is Verdict.PASSED
        finally:
            loop.close()

    def test_a_loop_that_is_closed_meanwhile_is_an_error(self) -> None:
        running = False

        class Lying(asyncio.SelectorEventLoop):
            """Says that it runs, and has been closed by the time it is used."""

            def is_running(self) -> bool:
                return running

        loop = Lying()
        running = True

        async def inner() -> None: ...

        def check(_: Candidate) -> Awaitable[None]:
            nonlocal running
            running = False
            loop.close()
            return inner()

        result = judge(check, loop=loop)
        assert result.verdict is Verdict.ERROR
        assert "the event loop can't take an async check" in result.message

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    def test_an_eager_task_factory_is_fine(self, service: Service) -> None:
        if sys.version_info >= (3, 12):
            service.loop.call_soon_threadsafe(service.loop.set_task_factory, asyncio.eager_task_factory)

        async def check(_: Candidate) -> bool:
            return False

        assert judge(check, loop=service.loop).verdict is Verdict.FAILED

    def test_sees_the_callers_context(self, service: Service) -> None:
        seen: list[str] = []

        async def check(_: Candidate) -> None:
            seen.append(variable.get())

        def caller() -> None:
            variable.set("caller")
            judge(check, loop=service.loop)

        contextvars.copy_context().run(caller)
        assert seen == ["caller"]

    def test_belongs_to_a_check_only_until_the_check_has_ended(self, service: Service) -> None:
        token = object()
        seen: list[object] = []
        go_on = asyncio.Event()
        left: list[asyncio.Task[None]] = []

        async def background() -> None:
            seen.append(current_token())
            await go_on.wait()
            seen.append(current_token())

        async def check(_: Candidate) -> None:
            left.append(asyncio.create_task(background()))
            await asyncio.sleep(0)

        async def let_go() -> None:
            go_on.set()
            await left[0]

        judge(check, token=token, loop=service.loop)
        service.call(let_go())
        assert seen == [token, None]


class TestGivenLoopWithoutThreads:
    @pytest.mark.usefixtures("patient")
    def test_keeps_the_time_limit(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: object) -> NoReturn:
            raise RuntimeError("can't start new thread")

        async def check(_: Candidate) -> None:
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            result = judge(check, timeout=SHORT, loop=service.loop)
        assert result.verdict is Verdict.TIMED_OUT
        assert "no thread could be started" not in result.message


class TestCandidateIsReleased:
    """A rejected candidate must be gone: nothing of a run may keep it, not even until a garbage collection."""

    @pytest.mark.parametrize("kind", ["passes", "fails", "hangs", "passes async", "fails async", "hangs async"])
    @pytest.mark.parametrize("where", ["fresh", "given"])
    @pytest.mark.usefixtures("patient")
    def test_after(self, kind: str, where: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        def check(candidate: Candidate) -> None:
            assert "fails" not in kind, "wrong"
            if "hangs" in kind:
                forever()

        async def check_async(candidate: Candidate) -> None:
            assert "fails" not in kind, "wrong"
            if "hangs" in kind:
                await asyncio.Event().wait()

        async def turn() -> None:
            await asyncio.sleep(0)

        leave = stopping.Worker._leave

        def leave_late(self: Any) -> None:
            threading.Event().wait(SHORT)  # the thread lingers after its answer
            leave(self)

        monkeypatch.setattr(stopping.Worker, "_leave", leave_late)
        candidate = Tree(shop=ModuleType("shop"))
        gone = weakref.ref(candidate)
        gc.disable()
        try:
            function = check_async if "async" in kind else check
            timeout = SHORT if "hangs" in kind else LONG
            loop = service.loop if where == "given" else None
            report = run_checks([Check("subject", function, timeout)], candidate, loop=loop)
            del candidate
            # The loop itself holds the callback that it runs, and a task that is cancelled ends in a turn of its own.
            deadline = time.monotonic() + LONG
            while gone() is not None and time.monotonic() < deadline:
                service.call(turn())
            assert gone() is None
        finally:
            gc.enable()
        assert report.passed is ("passes" in kind)
