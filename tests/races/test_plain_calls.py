"""Plain calls of closures and of decorators' wrappers, in a thread: they are waited for, and named, as all others are.

No name of a module leads to what runs there, and no death tells of its end. The helper takes other arguments in the
second version, so a call that meets the other's fails.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, walk
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads

SOURCE = """
import functools

def helper({more}n): return "{v}"

def turns(gate, found):
    def work():
        for _ in gate: found.append((helper({pass_}1), "{v}"))
    return work

def logged(function):
    @functools.wraps(function)
    def wrapper(gate, found):
        function(gate, found)
        for _ in gate: found.append((helper({pass_}1), "{v}"))
    return wrapper

@logged
def handler(gate, found):
    found.append((helper({pass_}1), "{v}"))

class Job:
    def __init__(self): self.run = lambda gate, found: [found.append((helper({pass_}1), "{v}")) for _ in gate]

def unchanged(gate, found):
    def loop():
        for _ in gate: found.append(plain(1))
    return loop

def plain(n): return "{v}"

def suspended():
    while True: yield helper({pass_}1)
"""


def text(version: str) -> str:
    new = version == "2"
    more, pass_ = ("more, ", "0, ") if new else ("", "")
    return SOURCE.format(v=version, more=more, pass_=pass_)


class Gate:
    """Gives a turn when it is told to, and tells when it was taken."""

    def __init__(self) -> None:
        self._go, self._taken = threading.Semaphore(0), threading.Semaphore(0)
        self._over = False

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            self._taken.release()
            assert self._go.acquire(timeout=20)
            if self._over:
                return
            yield number
            number += 1

    def reached(self) -> None:
        """Wait until the loop asks for a turn."""
        assert self._taken.acquire(timeout=20)

    def turn(self) -> None:
        """Let it take one, and wait until it asks for the next."""
        self._go.release()
        self.reached()

    def end(self) -> None:
        """Let the loop end."""
        self._over = True
        self._go.release()


class Service:
    def __init__(self, package: str, handover: float | None = None) -> None:
        self.name = f"{package}.core"
        self.core: Any = importlib.import_module(self.name)
        self.patcher = Patcher([package], handover=handover)
        self.gate, self.found = Gate(), list[Any]()
        self.errors: list[BaseException] = []

    def begin(self, call: Callable[..., object], *arguments: object) -> threading.Thread:
        def work() -> None:
            try:
                call(*arguments)
            except BaseException as error:  # the test asserts that there is none
                self.errors.append(error)

        thread = threading.Thread(target=work, name="worker")
        thread.start()
        self.gate.reached()
        return thread

    def apply(self, version: str = "2") -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({self.name: text(version)}, version=version))

    def end(self, thread: threading.Thread) -> None:
        self.gate.end()
        thread.join(20)
        assert not thread.is_alive()
        assert self.errors == []


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    yield Service(make_package({"core.py": text("1")}).__name__)
    assert forks_go()


STARTS: dict[str, Callable[[Service], threading.Thread]] = {
    "closure": lambda live: live.begin(live.core.turns(live.gate, live.found)),
    "wrapper": lambda live: live.begin(live.core.handler, live.gate, live.found),
    "lambda": lambda live: live.begin(live.core.Job().run, live.gate, live.found),
}


@pytest.mark.parametrize("kind", STARTS)
class TestPlainCalls:
    def test_finish_on_the_old_and_are_waited_for(self, service: Service, kind: str) -> None:
        thread = STARTS[kind](service)
        service.found.clear()
        service.gate.turn()
        rollout = service.apply()
        for _ in range(3):
            service.gate.turn()
        assert service.found == [("1", "1")] * 4
        assert not rollout.drained.wait(0.3)
        assert walk.forked == {} or service.core.helper(0, 1) == "2"
        service.end(thread)
        assert rollout.drained.wait(10)
        assert service.core.helper(0, 1) == "2"

    def test_are_named(self, service: Service, kind: str) -> None:
        thread = STARTS[kind](service)
        rollout = service.apply()
        calls = rollout.in_flight()  # two on CPython 3.11, where a list comprehension is a call of its own
        assert {call.thread for call in calls} == {"worker"}
        assert calls[0].function.startswith(f"{service.name}:")
        assert "<locals>" in calls[0].function
        service.end(thread)
        assert rollout.drained.wait(10)
        assert rollout.in_flight() == ()

    def test_are_named_beside_others(self, service: Service, kind: str) -> None:
        """They are known from the swap on, and not only when nothing else is in flight any more."""
        other = service.core.suspended()
        next(other)
        thread = STARTS[kind](service)
        rollout = service.apply()
        assert {call.thread for call in rollout.in_flight()} == {"worker", ""}
        service.end(thread)
        assert next(other) == "1"
        other.close()
        assert rollout.drained.wait(10)

    def test_finish_on_what_is_taken_back(self, service: Service, kind: str) -> None:
        rollout = service.apply()
        assert rollout.drained.wait(10)
        thread = STARTS[kind](service)
        service.found.clear()
        service.gate.turn()
        rollout.rollback()
        service.gate.turn()
        assert service.found == [("2", "2")] * 2
        assert service.core.helper(1) == "1"
        service.end(thread)
        assert rollout.drained.wait(10)

    def test_stay_old_over_a_swap_and_its_way_back(self, service: Service, kind: str) -> None:
        thread = STARTS[kind](service)
        service.found.clear()
        rollout = service.apply()
        service.gate.turn()
        rollout.rollback()
        service.gate.turn()
        service.apply()
        service.gate.turn()
        assert service.found == [("1", "1")] * 3
        service.end(thread)


def test_an_unchanged_closure_is_handed_over(make_package: Callable[..., ModuleType]) -> None:
    live = Service(make_package({"core.py": text("1")}).__name__, handover=0.2)
    thread = live.begin(live.core.unchanged(live.gate, live.found))
    live.gate.turn()
    rollout = live.apply()
    live.gate.turn()
    assert rollout.drained.wait(10)
    live.gate.turn()
    assert live.found == ["1", "1", "2"]
    live.end(thread)
    assert forks_go()


def test_one_that_nobody_runs_keeps_nothing(service: Service) -> None:
    """A thousand closures that somebody holds are no calls: forks stand until they were led on, and no longer."""
    held = [service.core.turns((), []) for _ in range(1000)]
    rollout = service.apply()
    assert rollout.in_flight() == ()
    assert rollout.drained.wait(10)
    assert forks_go()
    del held
