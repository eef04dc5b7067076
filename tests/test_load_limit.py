"""A time limit for module bodies: one that never returns is stopped, or left behind where it can do no harm."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hotswap import BusyError, LoadError, Patch, Patcher, State, stopping
from hotswap.generation import gate, worlds

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

LONG = 20.0
SHORT = 0.6

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module outside of the managed packages, through which a module body and a test meet."""
    hand: Any = ModuleType("load_limit_hand")
    hand.began, hand.go, hand.ended = threading.Event(), threading.Event(), threading.Event()
    hand.seen = []
    monkeypatch.setitem(sys.modules, "load_limit_hand", hand)
    yield hand
    hand.go.set()


class Service:
    def __init__(self, make: Make, **options: Any) -> None:
        package = make({"__init__.py": "", "a.py": "def quote(): return 0\n", "b.py": "LIVE = True\n"})
        self.name = package.__name__
        self.a = importlib.import_module(f"{self.name}.a")
        self.b = importlib.import_module(f"{self.name}.b")
        self.patcher = Patcher([self.name], **options)

    def patch(self, source: str, version: str = "2.0") -> Patch:
        return Patch.from_sources({f"{self.name}.a": source.replace("PACKAGE", self.name)}, version)

    def good(self) -> Patch:
        return self.patch("def quote(): return 1\n", "3.0")


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package, load_timeout=SHORT)


HANGS = "import load_limit_hand as hand\nhand.began.set()\n"


class TestLimit:
    def test_an_endless_loop_is_rejected_and_ended(self, service: Service) -> None:
        before, threads, collects = dict(sys.modules), set(threading.enumerate()), gc.isenabled()
        registered = set(worlds)
        with pytest.raises(
            LoadError, match=r"a\.py:\d+ did not return within 0\.6 s .* its thread has ended"
        ) as caught:
            service.patcher.apply(service.patch("while True:\n    pass\n"))
        assert caught.value.module == f"{service.name}.a"
        (record,) = service.patcher.history()
        assert (record.state, record.reason) == (State.REJECTED, caught.value.reason)
        assert set(threading.enumerate()) == threads
        assert {k: m for k, m in sys.modules.items() if k.startswith(service.name)} == {
            k: m for k, m in before.items() if k.startswith(service.name)
        }
        assert gc.isenabled() is collects
        assert set(worlds) == registered
        assert not gate.installed
        assert service.a.quote() == 0
        assert service.patcher.apply(service.good()).state is State.LIVE

    def test_one_that_waits_in_c_is_left_behind_and_named(
        self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "GRACE", SHORT)
        collects = gc.isenabled()
        with pytest.raises(LoadError, match=r"its thread 'hotswap load .*' is still running, and was left behind"):
            service.patcher.apply(service.patch(f"{HANGS}hand.go.wait()\n"))
        assert gc.isenabled() is collects, "the collector goes on, although the module body has not ended"
        (left,) = [thread for thread in threading.enumerate() if thread.name.startswith("hotswap load")]
        assert left.daemon
        assert service.patcher.current is None
        assert service.patcher.apply(service.good()).state is State.LIVE
        hand.go.set()
        left.join(LONG)
        assert not left.is_alive()
        service.patcher.rollback()
        assert not gate.installed

    def test_of_several_modules_the_one_that_hangs_is_named(self, service: Service) -> None:
        sources = {
            f"{service.name}.a": f"from {service.name} import b\n",
            f"{service.name}.b": "while True: pass\n",
        }
        with pytest.raises(LoadError, match=r"b\.py:1 did not return") as caught:
            service.patcher.apply(Patch.from_sources(sources, "2.0"))
        assert caught.value.module == f"{service.name}.b"

    def test_a_bad_drop_does_not_end_a_watch(self, service: Service, tmp_path: Path) -> None:
        drops = tmp_path / "drops"
        with service.patcher.watch(drops, single_files=True) as watch:
            (drops / f"{service.name}.a.py").write_text("while True: pass\n")
            assert watch.wait_for(f"{service.name}.a.py", LONG).error == "LoadError"
            (drops / f"{service.name}.b.py").write_text("LIVE = 2\n")
            assert watch.wait_for(f"{service.name}.b.py", LONG).applied

    @pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
    def test_what_is_no_limit(self, limit: float, make_package: Make) -> None:
        with pytest.raises(ValueError, match="load_timeout: the time limit must be more than 0"):
            Service(make_package, load_timeout=limit)
        with pytest.raises(TypeError, match="number of seconds"):
            Service(make_package, load_timeout="60")


class TestLeftBehind:
    """A module body that goes on after its rollout was rejected reaches nothing live through imports."""

    SWALLOWS = (
        HANGS
        + """
def attempt(way):
    try:
        hand.seen.append(way())
    except ImportError as error:
        hand.seen.append(str(error))

def later():
    from PACKAGE import b
    return b

def later_relative():
    from . import b
    return b

def later_by_name():
    import importlib
    return importlib.import_module("PACKAGE.b")

def main():
    try:
        hand.go.wait()
    except BaseException:
        pass
    try:
        hand.seen.append(__import__("json").__name__)
        for way in (later, later_relative, later_by_name):
            attempt(way)
    finally:
        hand.ended.set()

main()
"""
    )

    def test_its_imports_are_refused(self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stopping, "GRACE", SHORT)
        registered = set(worlds)
        with pytest.raises(LoadError):
            service.patcher.apply(service.patch(self.SWALLOWS))
        (left,) = [thread for thread in threading.enumerate() if thread.name.startswith("hotswap load")]
        hand.go.set()
        assert hand.ended.wait(LONG)
        left.join(LONG)
        refused = f"{service.name}.b can't be imported: the rollout of {service.name} 2.0 was given up"
        parent = refused.replace(".b ", " ")
        assert hand.seen[0] == "json", "other imports are as ever"
        assert set(hand.seen[1:]) <= {refused, parent}
        assert len(hand.seen) == 4
        assert set(worlds) == registered
        assert not gate.installed

    def test_what_it_overwrites_in_sys_modules_before_is_put_back(self, service: Service, hand: Any) -> None:
        with pytest.raises(LoadError):
            service.patcher.apply(
                service.patch("import sys\nsys.modules['PACKAGE.b'] = sys\nwhile True: pass\n"),
            )
        assert sys.modules[f"{service.name}.b"] is service.b

    def test_its_end_puts_nothing_back_that_changed_since(
        self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "GRACE", SHORT)
        with pytest.raises(LoadError):
            service.patcher.apply(service.patch(f"{HANGS}hand.go.wait()\n"))
        (left,) = [thread for thread in threading.enumerate() if thread.name.startswith("hotswap load")]
        other = ModuleType(f"{service.name}.b")
        monkeypatch.setitem(sys.modules, other.__name__, other)
        hand.go.set()
        left.join(LONG)
        assert sys.modules[other.__name__] is other

    def test_it_can_not_call_the_patcher_ever(
        self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "GRACE", SHORT)
        hand.patcher = service.patcher
        with pytest.raises(LoadError):
            service.patcher.apply(
                service.patch(
                    HANGS + "try:\n    hand.go.wait()\nexcept BaseException:\n    pass\n"
                    "try:\n    hand.patcher.rollback()\n"
                    "except Exception as error:\n    hand.seen.append(error)\nhand.ended.set()\n"
                )
            )
        assert service.patcher.apply(service.good()).state is State.LIVE
        (left,) = [thread for thread in threading.enumerate() if thread.name.startswith("hotswap load")]
        hand.go.set()
        assert hand.ended.wait(LONG)
        left.join(LONG)
        assert [type(error) for error in hand.seen] == [BusyError]
        assert service.a.quote() == 1


class TestWhereItRuns:
    WHERE = "import threading, load_limit_hand as hand\nhand.seen.append(threading.current_thread())\n"

    def test_in_a_thread_of_its_own_with_the_callers_context(self, service: Service, hand: Any) -> None:
        hand.variable = variable

        def caller() -> None:
            variable.set("caller")
            service.patcher.apply(service.patch(f"{self.WHERE}hand.seen.append(hand.variable.get())\n"))

        contextvars.copy_context().run(caller)
        thread, value = hand.seen
        assert thread is not threading.current_thread()
        assert not thread.is_alive()
        assert value == "caller"

    def test_without_a_limit_it_runs_where_the_caller_is(self, make_package: Make, hand: Any) -> None:
        service = Service(make_package, load_timeout=None)
        service.patcher.apply(service.patch(self.WHERE))
        assert hand.seen == [threading.current_thread()]

    def test_without_threads_it_runs_where_the_caller_is(
        self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        patch = service.patch(self.WHERE)
        with monkeypatch.context() as context:
            context.setattr(sys, "platform", "emscripten")
            with service.patcher.stage(patch):
                assert hand.seen == [threading.current_thread()]

    def test_where_no_thread_can_be_started_it_runs_where_the_caller_is(
        self, service: Service, hand: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as context:
            context.setattr(threading.Thread, "start", refuse)
            with service.patcher.stage(service.patch(self.WHERE)):
                assert hand.seen == [threading.current_thread()]

    def test_what_it_raises_arrives_with_its_traceback(self, service: Service) -> None:
        with pytest.raises(LoadError, match=r"a\.py:2 raised ZeroDivisionError") as caught:
            service.patcher.apply(service.patch("x = 1\nx / 0\n"))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_keyboard_interrupt_goes_through_where_it_may_be_the_users(self, make_package: Make) -> None:
        service = Service(make_package, load_timeout=None)
        with pytest.raises(KeyboardInterrupt):
            service.patcher.apply(service.patch("raise KeyboardInterrupt\n"))
        assert service.patcher.history()[0].state is State.REJECTED
        assert service.patcher.apply(service.good()).state is State.LIVE

    @pytest.mark.parametrize("limit", [LONG, None])
    @pytest.mark.parametrize("way", ["direct", "in a copy of its context", "in no context"])
    def test_a_module_that_calls_the_patcher_is_refused(
        self, limit: float | None, way: str, make_package: Make, hand: Any
    ) -> None:
        service = Service(make_package, load_timeout=limit)
        hand.patcher = service.patcher
        calls = {
            "direct": "call()",
            "in a copy of its context": "t = threading.Thread(target=contextvars.copy_context().run, args=(call,));"
            " t.start(); t.join()",
            "in no context": "contextvars.Context().run(call)",
        }
        body = f"""
import contextvars, threading, load_limit_hand as hand
def call():
    try:
        hand.patcher.rollback()
    except Exception as error:
        hand.seen.append(error)
{calls[way]}
"""
        service.patcher.apply(service.patch(body))
        assert [type(error) for error in hand.seen] == [BusyError]
        assert "while it is imported by a rollout" in str(hand.seen[0])
        assert service.patcher.rollback().state is State.ROLLED_BACK, "it is over"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sends a signal to a thread")
class TestInterrupt:
    def test_reaches_the_caller_who_waits(self, make_package: Make, hand: Any) -> None:
        service = Service(make_package, load_timeout=LONG)
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            assert hand.began.wait(LONG)
            signal.pthread_kill(main, signal.SIGINT)

        sender = threading.Thread(target=interrupt)
        sender.start()
        began = time.monotonic()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        try:
            with pytest.raises(KeyboardInterrupt):
                service.patcher.apply(service.patch(f"{HANGS}while True: pass\n"))
        finally:
            signal.signal(signal.SIGINT, before)
        sender.join()
        assert time.monotonic() - began < LONG
        assert service.patcher.history()[0].state is State.REJECTED
        assert not gate.installed
        assert service.patcher.apply(service.good()).state is State.LIVE


class TestCancelled:
    def test_a_module_body_is_stopped_at_once(self, make_package: Make, hand: Any) -> None:
        service = Service(make_package, load_timeout=LONG)

        async def main() -> None:
            work = asyncio.ensure_future(service.patcher.apply_async(service.patch(f"{HANGS}while True: pass\n")))
            assert await asyncio.to_thread(hand.began.wait, LONG)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < LONG
        (record,) = service.patcher.history()
        assert record.state is State.REJECTED
        assert "the caller was cancelled while" in record.reason

    @pytest.mark.parametrize("kind", ["plain", "async"])
    def test_a_check_is_stopped_at_once_and_no_other_begins(self, kind: str, make_package: Make) -> None:
        service = Service(make_package, check_timeout=LONG)
        seen = SimpleNamespace(began=threading.Event(), later=[])

        def hangs(candidate: object) -> None:
            seen.began.set()
            while True:
                pass

        async def waits(candidate: object) -> None:
            seen.began.set()
            await asyncio.Event().wait()

        service.patcher.check(hangs if kind == "plain" else waits)
        service.patcher.check(lambda candidate: seen.later.append(1), name="later")

        async def main() -> None:
            work = asyncio.ensure_future(service.patcher.apply_async(service.good()))
            assert await asyncio.to_thread(seen.began.wait, LONG)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < LONG
        (record,) = service.patcher.history()
        assert (record.state, record.reason) == (State.REJECTED, "the caller was cancelled")
        (result,) = record.report
        assert "stopped, because the caller was cancelled" in result.message
        assert seen.later == []
        assert service.a.quote() == 0
        assert not gate.installed


class TestCallingBack:
    """A check that calls the patcher from another thread."""

    @pytest.mark.parametrize("way", ["a thread with a copied context", "asyncio.to_thread"])
    def test_with_its_context_is_refused_as_a_check(self, way: str, make_package: Make) -> None:
        service = Service(make_package)
        errors: list[BaseException] = []

        def call() -> None:
            try:
                service.patcher.rollback()
            except BusyError as error:
                errors.append(error)

        @service.patcher.check
        async def calls_back(candidate: object) -> None:
            if way == "asyncio.to_thread":
                await asyncio.to_thread(call)
            else:
                thread = threading.Thread(target=contextvars.copy_context().run, args=(call,))
                thread.start()
                thread.join()

        service.patcher.apply(service.good())
        assert "a check can't roll back through the patcher that runs it" in str(errors[0])

    def test_without_its_context_meets_the_ordinary_rule(self, make_package: Make) -> None:
        """`run_in_executor` copies no context: nothing tells whom the thread works for. One rollout at a time holds."""
        service = Service(make_package)
        errors: list[BaseException] = []

        @service.patcher.check
        async def calls_back(candidate: object) -> None:
            try:
                await asyncio.get_running_loop().run_in_executor(None, service.patcher.apply, service.good())
            except BusyError as error:
                errors.append(error)

        service.patcher.apply(service.good())
        assert "one rollout at a time" in str(errors[0])
