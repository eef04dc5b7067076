"""Bound methods that somebody takes while forks stand, and keeps: they equal those of before and after, and lead on."""

from __future__ import annotations

import contextvars
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Self

import pytest

import hotswap
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

SOURCE = """
class Base:
    def above(self, {more}n): return "{v}"

class Thing(Base):
    def method(self, {more}n): return "{v}"
    def deep(self, n, depth):
        return (self.deep(n - 1, depth) if n else []) + [depth()] + ["{v}"][:0]
    @classmethod
    def of_class(cls, {more}n): return "{v}"
    @staticmethod
    def static({more}n): return "{v}"
    def above(self, {more}n): return super().above({pass_}n)

def called(o, go, add, take):
    add(o.method), add(o.of_class)
    go()
    bound = o.method, o.of_class, getattr(o, "above")
    taken = [take(o.method), take(o.of_class)]
    return "{v}", [one({pass_}1) for one in bound], taken, bound

def handed(o):
    return o.method, o.of_class, o.static, o.above
"""
KINDS = ("method", "of_class", "static", "above")


class Program(Versions):
    source = SOURCE

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        super().__init__(make, handover=None)
        self.thing = self.core.Thing()

    def kept(self) -> dict[str, Any]:
        return {kind: getattr(self.thing, kind) for kind in KINDS}

    def handed(self) -> dict[str, Any]:
        return dict(zip(KINDS, self.core.handed(self.thing), strict=True))

    def armed(self, version: str, shape: int = 0) -> hotswap.Rollout:
        patch = hotswap.Patch.from_sources({self.name: self.text(version, shape)}, version=version)
        rollout = self.patcher.stage(patch)
        rollout.verify()
        rollout.arm()
        return rollout

    def abort(self) -> None:
        assert self.patcher.current is not None
        self.patcher.current.abort()


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Program]:
    made = Program(make_package)
    yield made
    assert forks_go()


def depth() -> int:
    """How many frames stand above this one."""
    frame, found = sys._getframe(1), 0
    while frame.f_back:
        frame, found = frame.f_back, found + 1
    return found


def asked(kept: dict[str, Any], *more: int) -> list[str]:
    """What kept methods return, called one after the other."""
    return [one(*more, 1) for one in kept.values()]


class Old:
    """An old call in flight, that subscribes methods, waits, and unsubscribes them."""

    def __init__(self, program: Program) -> None:
        self.listeners: list[Any] = []
        self.weak: list[weakref.WeakMethod[Any]] = []
        self._go, self._begun = threading.Event(), threading.Event()
        self._answer: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(program.core.called, program.thing))

    def _run(self, called: Any, thing: Any) -> None:
        def go() -> None:
            self._begun.set()
            assert self._go.wait(10)

        self._answer += called(thing, go, self.listeners.append, self._unsubscribe)

    def _unsubscribe(self, bound: Any) -> list[bool]:
        self.listeners.remove(bound)
        self.weak.append(weakref.WeakMethod(bound))
        return [method() is not None for method in self.weak]  # those before were held by nobody else

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._thread.join(10)

    def ends(self) -> list[Any]:
        self._go.set()
        self._thread.join(10)
        return self._answer


def test_of_an_armed_service_lead_on(program: Program) -> None:
    before = program.kept()
    rollout = program.armed("2")
    meanwhile = program.kept()
    assert meanwhile == before
    assert set(asked(meanwhile)) == {"1"}
    with rollout.preview():
        assert program.kept() == before
        assert set(asked(meanwhile)) == {"2"}
    rollout.commit()
    assert set(asked(meanwhile)) == {"2"}
    since = program.kept()
    assert rollout.drained.wait(10)
    assert forks_go()
    assert program.kept() == since
    program.apply("3", 0)
    assert set(asked(meanwhile)) == set(asked(since)) == {"3"}


def test_of_an_armed_service_that_is_disarmed(program: Program) -> None:
    before = program.kept()
    rollout = program.armed("2")
    meanwhile = program.kept()
    with rollout.preview():
        previewed = program.kept()
    program.abort()
    assert program.kept() == meanwhile == previewed == before
    assert forks_go()
    program.apply("3", 0)
    assert {*asked(before), *asked(meanwhile), *asked(previewed)} == {"3"}


def test_of_new_code_while_old_code_is_in_flight_lead_on(program: Program) -> None:
    with Old(program) as old:
        program.apply("2")
        handed = program.handed()
        meanwhile = program.kept()
        assert handed == meanwhile
        assert old.ends()[:2] == ["1", ["1"] * 3]
    assert forks_go()
    assert program.kept() == meanwhile
    program.apply("3")
    assert {*asked(meanwhile, 0), *asked(handed, 0)} == {"3"}


def test_an_old_call_unsubscribes_what_it_has_subscribed(program: Program) -> None:
    with Old(program) as old:
        rollout = program.apply("2")
        version, called, alive, _ = old.ends()
        assert (version, called, alive) == ("1", ["1"] * 3, [[True], [True, True]])
        assert old.listeners == []
    assert rollout.drained.wait(10)


def test_what_an_old_call_has_kept_equals_what_others_have(program: Program) -> None:
    before = program.kept()
    with Old(program) as old:
        program.apply("2")
        _, called, _, (method, of_class, above) = old.ends()
    assert called == ["1"] * 3
    assert method == before["method"]
    assert method == program.thing.method
    assert hash(method) == hash(program.thing.method)
    assert of_class == program.thing.of_class
    assert above != method != of_class != program.thing.method
    assert method.__name__ == "method"
    assert weakref.WeakMethod(method)() == method


def test_in_a_session_they_are_those_of_everybody(program: Program) -> None:
    context = contextvars.copy_context()
    session = hotswap.session()
    context.run(session.__enter__)
    program.apply("2")
    inside = context.run(program.kept)
    assert inside == program.kept()
    assert set(context.run(asked, inside)) == {"1"}
    assert set(asked(inside, 0)) == {"2"}
    context.run(session.__exit__, None, None, None)


def test_a_method_that_recurses_has_no_frame_more(program: Program) -> None:
    before = program.thing.deep(3, depth)
    program.armed("2")
    meanwhile = program.thing.deep(3, depth)  # pytest's assertions keep what they call
    program.abort()
    assert meanwhile == before
