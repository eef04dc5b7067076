"""Ctrl-C at the worst moment: what is live, and what hotswap says is live, never part.

The interrupt is forced at one place of ours, not by luck: there the signal is raised in the main thread.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, State
from hotswap.generation import Shelf
from hotswap.shield import shielded
from hotswap.swap import Swap

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


@pytest.fixture
def service(make_package: Make) -> Any:
    package = make_package({"__init__.py": "__version__ = '1.0'\ndef quote(): return 1\n"})

    class Service:
        name = package.__name__
        held = staticmethod(package.quote)
        patcher = Patcher([package.__name__])

        def patch(self, number: int) -> Patch:
            source = f"__version__ = '{number}.0'\ndef quote(): return {number}\n"
            return Patch.from_sources({self.name: source}, f"{number}.0")

        def is_at(self, number: int) -> bool:
            live = sys.modules[self.name].quote()
            assert (live, self.held()) == (number, number)
            return str(self.patcher.versions[self.name]) == f"{number}.0"

    return Service()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell starts what it puts into the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def interrupt_at(owner: Any, name: str, *, after: bool) -> Iterator[list[str]]:
    """Raise SIGINT in the main thread when a function of ours is entered, or left."""
    original = getattr(owner, name)
    struck: list[str] = []

    def interrupting(*args: Any, **kwargs: Any) -> Any:
        if not after and not struck:
            struck.append(name)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]  # it has begun
        result = original(*args, **kwargs)
        if after and not struck:
            struck.append(name)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, interrupting)
        yield struck


PLACES = [
    (Swap, "commit"),
    (Swap, "lineage_after_commit"),
    (Swap, "close"),
    (Shelf, "put"),
    (Shelf, "retire"),
]


class TestCommit:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("owner", "name"), PLACES, ids=lambda value: getattr(value, "__name__", value))
    def test_is_made_and_told(self, owner: Any, name: str, after: bool, service: Any) -> None:
        """An interrupt while the swap is made comes when it is made, and written down."""
        service.patcher.apply(service.patch(2))
        rollout = service.patcher.stage(service.patch(3))
        rollout.verify()
        with interrupt_at(owner, name, after=after) as struck, pytest.raises(KeyboardInterrupt):
            rollout.commit()
        assert struck
        assert rollout.state is State.LIVE
        assert service.is_at(3)
        service.patcher.rollback()
        assert service.is_at(2)
        service.patcher.apply(service.patch(4))
        assert service.is_at(4)

    def test_of_apply(self, service: Any) -> None:
        with interrupt_at(Swap, "lineage_after_commit", after=False), pytest.raises(KeyboardInterrupt):
            service.patcher.apply(service.patch(2))
        assert service.is_at(2)
        assert service.patcher.history()[0].state is State.LIVE


class TestRollback:
    @pytest.mark.parametrize("name", ["revert", "lineage_after_revert"])
    def test_is_made_and_told(self, name: str, service: Any) -> None:
        service.patcher.apply(service.patch(2))
        with interrupt_at(Swap, name, after=True) as struck, pytest.raises(KeyboardInterrupt):
            service.patcher.rollback()
        assert struck
        assert service.is_at(1)
        assert service.patcher.history()[0].state is State.ROLLED_BACK
        service.patcher.apply(service.patch(3))
        assert service.is_at(3)


class TestEvents:
    @pytest.mark.parametrize("event", ["rollout.staged", "rollout.verified", "rollout.live", "rollout.rejected"])
    def test_interrupted_log_handler_leaves_the_place_free(self, event: str, service: Any) -> None:
        class Interrupting(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if f"event='{event}'" in record.getMessage():
                    raise KeyboardInterrupt

        handler = Interrupting()
        logger = logging.getLogger("hotswap")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with pytest.raises(KeyboardInterrupt):
                service.patcher.apply(service.patch(2 if event != "rollout.rejected" else 1))
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        assert service.is_at(2 if event == "rollout.live" else 1)
        service.patcher.apply(service.patch(3))
        assert service.is_at(3)


class TestShield:
    def test_gives_the_result_and_no_interrupt(self) -> None:
        assert shielded(lambda: 5) == (5, None)

    def test_raises_what_the_work_raises(self) -> None:
        with pytest.raises(KeyError, match="this"):
            shielded(lambda: dict[str, int]()["this"])

    def test_hands_out_the_last_interrupt_when_the_work_is_done(self) -> None:
        steps: list[int] = []
        main = threading.main_thread().ident
        assert main is not None

        def until(condition: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 5
            while not condition() and time.monotonic() < deadline:
                pass

        def work() -> str:
            for number in range(3):
                until(lambda: sys._current_frames()[main].f_code is threading.Condition.wait.__code__)
                signal.pthread_kill(main, signal.SIGINT)
                until(lambda: len(seen) > number)  # noqa: B023 - it is called in this very round
                steps.append(number)
            return "done"

        seen: list[int] = []

        def handler(*_: object) -> None:
            seen.append(len(seen))
            raise KeyboardInterrupt(len(seen))

        before = signal.signal(signal.SIGINT, handler)
        try:
            result, interrupt = shielded(work)
        finally:
            signal.signal(signal.SIGINT, before)
        assert (result, steps) == ("done", [0, 1, 2])
        assert isinstance(interrupt, KeyboardInterrupt)
        assert interrupt.args == (3,)

    def test_of_another_thread_is_the_work_itself(self) -> None:
        threads: list[threading.Thread] = []
        thread = threading.Thread(target=shielded, args=(lambda: threads.append(threading.current_thread()),))
        thread.start()
        thread.join()
        assert threads == [thread]

    def test_where_no_thread_can_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refused)
        assert shielded(lambda: threading.current_thread()) == (threading.main_thread(), None)
