"""Threads that a candidate starts: told by who starts them, whatever they run; let go where somebody can."""

from __future__ import annotations

import _thread
import builtins
import concurrent.futures
import gc
import logging.handlers
import multiprocessing.pool
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hotswap import CheckFailedError, LoadError, Patch, UnsupportedChangeError
from tests.test_effects import Service, kinds, unlike

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

LISTENER = "import logging.handlers, queue\nq = queue.Queue()\nl = logging.handlers.QueueListener(q)\nl.start()\n"
POOL = "import concurrent.futures as c\npool = c.ThreadPoolExecutor(2)\npool.submit(print, end='').result()\n"
POOL_OF_ANOTHER = "import multiprocessing.pool as m\npool = m.ThreadPool(2)\n"
TIMER = "import threading, time\ntimer = threading.Timer(600, time.time)\ntimer.start()\n"
BUSY = "import threading, builtins\nthreading.Thread(target=builtins.effective_wait, name='PACKAGE busy').start()\n"
RAW = "import _thread, builtins\n_thread.start_new_thread(builtins.effective_wait, ())\n"
RAW_BY_NAME = "from _thread import start_new_thread as go\nimport builtins\ngo(builtins.effective_wait, ())\n"
GRANDCHILD = (
    "import threading, builtins, functools\ninner = threading.Thread(target=builtins.effective_wait)\n"
    "outer = threading.Thread(target=inner.start)\nouter.start()\nouter.join()\ndel outer, inner\n"
)

ENDED = {"listener": LISTENER, "pool": POOL, "pool of another": POOL_OF_ANOTHER, "timer": TIMER}
LEFT = {"busy": BUSY, "raw": RAW, "raw by name": RAW_BY_NAME, "grandchild": GRANDCHILD}


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package)


@pytest.fixture
def event() -> Iterator[threading.Event]:
    """The event for which threads wait with code of a library only; they have ended when it is over."""
    stop = threading.Event()
    before = set(sys._current_frames())
    builtins.effective_wait = stop.wait  # type: ignore[attr-defined]
    yield stop
    stop.set()
    del builtins.effective_wait  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while set(sys._current_frames()) - before and time.monotonic() < deadline:
        time.sleep(0.001)  # a raw thread can't be joined


def refused(service: Service, body: str) -> str:
    """Apply a patch; return for what it is refused, and hold nothing of it."""
    with pytest.raises(UnsupportedChangeError) as caught:
        service.patcher.apply(service.patch(body))
    assert {getattr(change, "code", None) for change in caught.value.changes} == {"import-effect"}
    text = str(caught.value)
    caught.value.__traceback__ = None
    return text


class TestRefused:
    @pytest.mark.parametrize("case", ENDED)
    def test_what_can_be_let_go_ends_with_the_rejection(self, service: Service, case: str) -> None:
        gc.collect()
        before = service.fingerprint()
        text = refused(service, ENDED[case])
        assert "threads: thread" in text
        assert "a rejection" in text
        gc.collect()
        assert unlike(before, service.fingerprint()) == []
        before.release()

    @pytest.mark.parametrize("case", LEFT)
    def test_what_can_not_be_let_go_is_named(self, service: Service, event: threading.Event, case: str) -> None:
        text = refused(service, LEFT[case])
        assert "threads: thread" in text
        assert text.count("it runs until it ends by itself") == 1
        assert sys.modules[f"{service.name}.code"] is service.live

    def test_it_says_what_the_thread_runs(self, service: Service) -> None:
        text = refused(service, LISTENER)
        assert (
            "is still running QueueListener._monitor of logging.handlers; a rejection stops the QueueListener" in text
        )

    def test_task_that_waits_in_a_pool_is_cancelled(self, service: Service, event: threading.Event) -> None:
        ran: list[int] = []
        builtins.effective_ran = ran  # type: ignore[attr-defined]
        body = (
            "import concurrent.futures as c, builtins\npool = c.ThreadPoolExecutor(1)\n"
            "pool.submit(builtins.effective_wait)\npool.submit(builtins.effective_ran.append, 1)\n"
        )
        try:
            text = refused(service, body)
        finally:
            del builtins.effective_ran  # type: ignore[attr-defined]
        assert "a rejection shuts down the ThreadPoolExecutor for which it works" in text
        (worker,) = [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
        event.set()
        worker.join()
        assert ran == []

    def test_listener_with_handlers_of_the_candidate_leaves_nothing_else(self, service: Service) -> None:
        body = "class Own(logging.Handler): pass\nl = logging.handlers.QueueListener(q, Own())\nl.start()\n"
        text = refused(service, LISTENER.replace("l = logging.handlers.QueueListener(q)\nl.start()\n", body))
        assert text.count("[import-effect]") == 1

    def test_pool_of_the_service_is_not_shut_down(self, service: Service) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            builtins.effective_pool = pool  # type: ignore[attr-defined]
            try:
                refused(service, "import builtins\nbuiltins.effective_pool.submit(print, end='').result()\n")
            finally:
                del builtins.effective_pool  # type: ignore[attr-defined]
            assert pool.submit(int, "7").result() == 7

    def test_body_that_fails_lets_them_go_too(self, service: Service) -> None:
        before = set(threading.enumerate())
        with pytest.raises(LoadError):
            service.stage(LISTENER + POOL + "1 / 0\n")
        assert set(threading.enumerate()) == before

    def test_rejection_by_a_check_lets_them_go_though_they_are_allowed(self, service: Service) -> None:
        before = set(threading.enumerate())

        @service.patcher.check
        def no(candidate: object) -> bool:
            return False

        with pytest.raises(CheckFailedError):
            service.patcher.apply(service.patch("".join(ENDED.values())), allow_effects=["threads"])
        assert set(threading.enumerate()) == before

    def test_module_that_is_loaded_when_asked_for_is_looked_at_too(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package)
        Path(service.live.__file__).with_name("late.py").write_text("")  # nobody has imported it yet
        folder = tmp_path / "new" / service.name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text('__version__ = "2.0"\n')
        (folder / "code.py").write_text("x = 1\n")
        (folder / "late.py").write_text(TIMER)
        rollout = service.patcher.stage(Patch.from_path(folder, version="2.0"))
        timer = rollout.candidate[f"{service.name}.late"].timer
        rollout.verify()
        with pytest.raises(UnsupportedChangeError, match=f"threads: thread '{timer.name}' is still running"):
            rollout.commit()
        timer.join()


class TestLive:
    def test_rollback_stops_what_goes_on_by_itself(self, service: Service) -> None:
        before = set(threading.enumerate())
        rollout = service.patcher.apply(service.patch(LISTENER + TIMER), allow_effects=["threads"])
        assert [kind for kind, _ in kinds(rollout)] == ["threads", "threads"], rollout.plan.effects
        started = set(threading.enumerate()) - before
        assert len(started) == 2
        rollout.rollback()
        for thread in started:
            thread.join(20)
        assert set(threading.enumerate()) == before

    def test_pool_that_goes_live_works_and_a_call_in_flight_keeps_it(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(POOL), allow_effects=["threads"])
        pool = sys.modules[f"{service.name}.code"].pool
        assert pool.submit(int, "7").result() == 7
        rollout.rollback()
        assert pool.submit(int, "8").result() == 8
        pool.shutdown()

    @pytest.mark.parametrize("case", ENDED)
    def test_twin_of_one_that_is_kept_is_let_go(self, make_package: Make, case: str) -> None:
        before = set(threading.enumerate())
        service = Service(make_package, ENDED[case])
        running = set(threading.enumerate())
        assert running != before
        rollout = service.patcher.apply(service.patch(ENDED[case] + "x = 1\n"), allow_effects=["threads"])
        for thread in set(threading.enumerate()) - running:
            thread.join(20)
        assert set(threading.enumerate()) == running
        rollout.rollback()
        assert set(threading.enumerate()) == running
        live = service.live
        if case == "listener":
            live.l.stop()
        elif case == "timer":
            live.timer.cancel()
        elif case == "pool":
            live.pool.shutdown()
        else:
            live.pool.terminate()
        for thread in running - before:
            thread.join(20)


class TestNobodyElse:
    """What other threads do is none of the candidate's, and nothing stays in their way."""

    PLACES = ("start_new_thread", "start_new", "start_joinable_thread")

    def functions(self) -> list[object]:
        private = [getattr(threading, f"_{name}", None) for name in self.PLACES]
        return [threading.Thread.start, *private, *(getattr(_thread, name, None) for name in self.PLACES)]

    @pytest.mark.parametrize("body", ["x = 1\n", "1 / 0\n", RAW_BY_NAME])
    def test_functions_are_as_they_were(self, service: Service, event: threading.Event, body: str) -> None:
        before = self.functions()
        try:
            service.stage(body).abort()
        except (LoadError, UnsupportedChangeError):
            assert body != "x = 1\n"
        assert all(a is b for a, b in zip(before, self.functions(), strict=True))

    def test_module_that_imported_one_by_name_has_the_function_itself(self, service: Service) -> None:
        with service.stage("from _thread import start_new_thread\n") as rollout:
            assert rollout.candidate[f"{service.name}.code"].start_new_thread is _thread.start_new_thread

    def test_two_patchers_at_once_leave_nothing(self, make_package: Make) -> None:
        one, other = Service(make_package), Service(make_package)
        before = self.functions()
        builtins.effective_stage = lambda: other.stage("x = 1\n").abort()  # type: ignore[attr-defined]
        try:
            with one.stage("import builtins\nbuiltins.effective_stage()\n") as rollout:
                assert rollout.plan.effects == []
        finally:
            del builtins.effective_stage  # type: ignore[attr-defined]
        assert all(a is b for a, b in zip(before, self.functions(), strict=True))

    def test_while_it_is_loaded_a_thread_of_the_service_starts_threads_as_always(self, service: Service) -> None:
        calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        answers: queue.SimpleQueue[object] = queue.SimpleQueue()

        def serve() -> None:
            while (call := calls.get()) is not None:
                answers.put(call())

        serving = threading.Thread(target=serve)
        serving.start()
        builtins.effective_calls = (calls, answers)  # type: ignore[attr-defined]
        made: list[object] = []
        listener = logging.handlers.QueueListener(queue.Queue())
        builtins.effective_make = lambda: made.append(multiprocessing.pool.ThreadPool(1)) or listener.start()  # type: ignore[attr-defined, func-returns-value]
        body = (
            "import builtins\ncalls, answers = builtins.effective_calls\ncalls.put(builtins.effective_make)\n"
            "answers.get()\ndel calls, answers\n"
        )
        try:
            with service.stage(body) as rollout:
                assert rollout.plan.effects == []
            (pool,) = made
            assert isinstance(pool, multiprocessing.pool.ThreadPool)
            assert pool.apply(int, ("7",)) == 7
            pool.terminate()
            pool.join()
        finally:
            listener.stop()
            calls.put(None)
            serving.join()
            del builtins.effective_calls, builtins.effective_make  # type: ignore[attr-defined]
