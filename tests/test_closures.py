"""Settling: closures and clones that old code left in other hands lead to the new code once old calls have ended."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import events, settlement
from hotswap.rollout import Rollout
from tests.fingerprint import collect
from tests.waiting import until

pytestmark = pytest.mark.threads

LIMIT = 20.0
Make = Callable[..., ModuleType]


class Program:
    """A package of one module, in as many versions as a test wants."""

    def __init__(self, make_package: Make, source: str, **options: Any) -> None:
        self.package = make_package({"__init__.py": source})
        self.name = self.package.__name__
        self.patcher = hotswap.Patcher([self.name], **options)

    def apply(self, source: str, *, settle: bool = True) -> Rollout:
        rollout = self.patcher.apply(hotswap.Patch.from_sources({self.name: source}))
        if settle:
            assert rollout.wait_settled(LIMIT)
        return rollout

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[self.name], name)


REGISTER = """
def helper(): return {n}
def make(start):
    count = start
    def callback(step=1):
        nonlocal count
        count += step
        return {n}, helper(), count
    return callback
"""


class TestClosures:
    def test_one_that_somebody_holds_runs_the_new_code_with_its_own_cells(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held, other = program.make(10), program.make(20)
        assert held() == (1, 1, 11)
        program.apply(REGISTER.format(n=2))
        assert held() == (2, 2, 12)
        assert held(step=5) == (2, 2, 17)
        assert other() == (2, 2, 21)

    def test_the_rollout_says_which_were_led(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held = [program.make(0), program.make(0)]
        rollout = program.apply(REGISTER.format(n=2))
        assert rollout.settled is not None
        assert rollout.settled.led == (f"{program.name}:make.<locals>.callback",) * len(held)
        assert rollout.settled.left == ()

    def test_it_follows_the_third_and_the_hundredth_version_without_a_chain(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held = program.make(0)
        depth = []
        for n in range(2, 102):
            program.apply(REGISTER.format(n=n))
            assert held() == (n, n, n - 1)
            target = hotswap.swap.forwarding.target_of(held.__code__)
            depth.append(hotswap.swap.forwarding.target_of(target.__code__))
        assert depth == [None] * 100

    def test_a_rollback_makes_it_old_again(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held = program.make(0)
        code = held.__code__
        rollout = program.apply(REGISTER.format(n=2))
        assert held() == (2, 2, 1)
        rollout.rollback()
        assert held() == (1, 1, 2)
        assert until(lambda: held.__code__ is code)  # as long as something is in flight it is a fork

    def test_a_rollback_from_the_third_version_leads_to_the_second(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held = program.make(0)
        program.apply(REGISTER.format(n=2))
        rollout = program.apply(REGISTER.format(n=3))
        rollout.rollback()
        assert held() == (2, 2, 1)
        program.apply(REGISTER.format(n=4))
        assert held() == (4, 4, 2)

    def test_closures_of_the_version_that_is_taken_back_are_led_back(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        rollout = program.apply(REGISTER.format(n=2))
        held = program.make(0)
        rollout.rollback()
        assert rollout.wait_settled(LIMIT)
        assert held() == (1, 1, 1)

    def test_default_arguments_of_each_closure_are_kept(self, make_package: Make) -> None:
        source = "def make(): return [lambda x=x, *, k=x: ({n}, x, k) for x in range(3)]"
        program = Program(make_package, source.format(n=1))
        held = program.make()
        program.apply(source.format(n=2))
        assert [one() for one in held] == [(2, 0, 0), (2, 1, 1), (2, 2, 2)]

    def test_several_lambdas_of_one_place_are_told_by_their_number(self, make_package: Make) -> None:
        source = "def make(): return (lambda: ('a', {n})), (lambda: ('b', {n}))"
        program = Program(make_package, source.format(n=1))
        first, second = program.make()
        program.apply(source.format(n=2))
        assert (first(), second()) == (("a", 2), ("b", 2))

    def test_if_their_number_differs_all_of_them_stay_old(self, make_package: Make) -> None:
        program = Program(make_package, "def make(): return (lambda: 1), (lambda: 2)")
        held = program.make()
        rollout = program.apply("def make(): return (lambda: 10), (lambda: 15), (lambda: 20)")
        assert [one() for one in held] == [1, 2]
        assert rollout.settled is not None
        assert (
            rollout.settled.left
            == (f"{program.name}:make.<locals>.<lambda> has no counterpart in the new version",) * 2
        )

    def test_what_needs_another_variable_stays_wholly_old(self, make_package: Make) -> None:
        before = "def helper(): return 1\ndef make(a):\n    return lambda: (a, helper())"
        after = "def helper(): return 2\ndef make(a, b=2):\n    return lambda: (a, b, helper())"
        program = Program(make_package, before)
        held = program.make(7)
        rollout = program.apply(after)
        assert held() == (7, 1)
        assert rollout.settled is not None
        assert [sentence.partition(" ")[2] for sentence in rollout.settled.left] == [
            "was made without b, which the new version uses"
        ]

    def test_what_has_another_parameter_stays_old(self, make_package: Make) -> None:
        program = Program(make_package, "def make():\n    return lambda a: (1, a)")
        held = program.make()
        rollout = program.apply("def make():\n    return lambda a, b=3: (2, a, b)")
        assert held(5) == (1, 5)
        assert rollout.settled is not None
        assert "the parameter b" in rollout.settled.left[0]

    def test_a_parameter_that_went_and_came_back_has_its_default_again(self, make_package: Make) -> None:
        program = Program(make_package, "def make(x):\n    return lambda a=x: (1, a)")
        held = program.make(5)
        program.apply("def make(x):\n    return lambda: 2")
        assert held() == 2
        program.apply("def make(x):\n    return lambda a=x: (3, a)")
        assert held() == (3, 5)

    def test_a_variable_that_went_and_came_back_has_its_value_again(self, make_package: Make) -> None:
        program = Program(make_package, "def make(x):\n    return lambda: (1, x)")
        held = program.make(5)
        program.apply("def make(x):\n    return lambda: 2")
        assert held() == 2
        program.apply("def make(x):\n    return lambda: (3, x)")
        assert held() == (3, 5)

    def test_methods_of_a_local_class_stay_old_and_are_named(self, make_package: Make) -> None:
        source = "def make():\n    class Local:\n        def method(self): return {n}\n    return Local"
        program = Program(make_package, source.format(n=1))
        held = program.make()()
        rollout = program.apply(source.format(n=2))
        assert held.method() == 1
        assert rollout.settled is not None
        reason = "belongs to a class that a function made; such classes are not followed"
        assert rollout.settled.left == (f"{program.name}:make.<locals>.Local.method {reason}",)

    def test_wrappers_of_a_decorator_that_no_name_leads_to(self, make_package: Make) -> None:
        source = """
import functools
def traced(function):
    @functools.wraps(function)
    def wrapper(*a):
        "of the wrapper"
        return "traced {n}", function(*a)
    return wrapper
"""
        program = Program(make_package, source.format(n=1))

        def outside(a: int) -> int:
            """Of the outside."""
            return a

        held = program.traced(outside)
        program.apply(source.format(n=2))
        assert held(3) == ("traced 2", 3)
        assert (held.__name__, held.__doc__, held.__wrapped__) == ("outside", "Of the outside.", outside)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are new in CPython 3.12")
    def test_its_type_parameters_are_kept(self, make_package: Make) -> None:
        source = "def make():\n    def inner[T](a: T): return {n}, a\n    return inner"
        program = Program(make_package, source.format(n=1))
        held = program.make()
        own = held.__type_params__
        program.apply(source.format(n=2))
        assert held(3) == (2, 3)
        assert held.__type_params__ is own

    def test_nested_in_a_method_and_two_deep(self, make_package: Make) -> None:
        source = """
class Service:
    def begin(self):
        def outer():
            return lambda: ({n}, self.name)
        return outer
    name = "n{n}"
"""
        program = Program(make_package, source.format(n=1))
        outer = program.Service().begin()
        inner = outer()
        program.apply(source.format(n=2))
        assert inner() == outer()() == (2, "n2")

    def test_a_suspended_one_ends_as_it_began(self, make_package: Make) -> None:
        source = "def make():\n    def steps():\n        yield {n}\n        yield {n}\n    return steps"
        program = Program(make_package, source.format(n=1))
        make_steps = program.make()
        suspended = make_steps()
        assert next(suspended) == 1
        rollout = program.apply(source.format(n=2), settle=False)
        assert not rollout.wait_settled(0.1)
        assert list(suspended) == [1]
        del suspended
        assert rollout.wait_settled(LIMIT)
        assert list(make_steps()) == [2, 2]

    def test_what_runs_a_generator_expression_hinders_none(self, make_package: Make) -> None:
        """Its parameter has no name that could be written. CPython 3.14 shows it as long as the generator is there."""
        source = REGISTER + "def lazy(): return (helper() for n in 'ab')\n"
        program = Program(make_package, source.format(n=1))
        held = program.make(0)
        (code,) = (constant for constant in program.lazy.__code__.co_consts if type(constant) is CodeType)
        expression = FunctionType(code, program.package.__dict__)
        del code
        rollout = program.apply(source.format(n=2).replace("'ab'", "'abc'"))
        assert held() == (2, 2, 1)
        assert rollout.settled is not None
        assert rollout.settled.led == (f"{program.name}:make.<locals>.callback",)
        assert rollout.settled.left == ()
        del expression

    def test_no_closure_is_kept_alive(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1))
        held = program.make(0)
        gone = weakref.ref(held)
        program.apply(REGISTER.format(n=2))
        assert held() == (2, 2, 1)
        del held
        gc.collect()
        assert gone() is None

    def test_it_can_be_switched_off(self, make_package: Make) -> None:
        program = Program(make_package, REGISTER.format(n=1), closures=False)
        held = program.make(0)
        rollout = program.apply(REGISTER.format(n=2), settle=False)
        assert held() == (1, 1, 1)
        assert not rollout.wait_settled(0)


class TestOldCalls:
    """While an old call is in flight nothing settles."""

    SOURCE = """
def helper(): return {n}
kept = []
def work(begun, go):
    kept.append(helper)
    kept.append(lambda: ({n}, helper()))
    begun.set()
    go.wait(20)
    kept.append(helper)
    return helper(), kept[1]()
"""

    def test_closures_and_clones_stay_old_until_it_ends(self, make_package: Make) -> None:
        program = Program(make_package, self.SOURCE.format(n=1))
        begun, go = threading.Event(), threading.Event()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(program.work(begun, go)))
        thread.start()
        assert begun.wait(LIMIT)
        kept = program.kept
        rollout = program.apply(self.SOURCE.format(n=2), settle=False)
        assert not rollout.wait_settled(0)
        assert kept[1]() == (1, 1)
        go.set()
        thread.join(LIMIT)
        assert answers == [(1, (1, 1))]
        assert rollout.wait_settled(LIMIT)
        assert kept[1]() == (2, 2)
        assert kept[2]() == 2, "a clone that the old call has handed out"
        assert rollout.settled is not None
        assert rollout.settled.clones >= 1

    def test_if_a_newer_version_came_meanwhile_they_lead_to_that_and_back_to_the_one_before(
        self, make_package: Make
    ) -> None:
        program = Program(make_package, self.SOURCE.format(n=1))
        begun, go = threading.Event(), threading.Event()
        thread = threading.Thread(target=program.work, args=(begun, go))
        thread.start()
        assert begun.wait(LIMIT)
        kept = program.kept
        first = program.apply(self.SOURCE.format(n=2), settle=False)
        second = program.apply(self.SOURCE.format(n=3))
        assert until(lambda: kept[1]() == (3, 3))  # for everybody but the call that goes on
        go.set()
        thread.join(LIMIT)
        assert first.wait_settled(LIMIT)
        assert kept[1]() == (3, 3)
        assert kept[2]() == 3
        second.rollback()
        assert kept[1]() == (2, 2)
        assert kept[2]() == 2

    def test_if_the_swap_was_taken_back_meanwhile_nothing_is_done(self, make_package: Make) -> None:
        program = Program(make_package, self.SOURCE.format(n=1))
        begun, go = threading.Event(), threading.Event()
        thread = threading.Thread(target=program.work, args=(begun, go))
        thread.start()
        assert begun.wait(LIMIT)
        kept = program.kept
        rollout = program.apply(self.SOURCE.format(n=2), settle=False)
        rollout.rollback()
        code = kept[1].__code__
        go.set()
        thread.join(LIMIT)
        assert rollout.wait_settled(LIMIT)
        assert kept[1].__code__ is code
        assert kept[1]() == (1, 1)
        assert kept[2]() == 1


class TestEvents:
    def test_it_tells_what_was_led_and_what_was_left(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[str, dict[str, Any]]] = []
        told = threading.Event()

        def emit(event: str, **facts: Any) -> None:
            if facts.get("patch") == program.name:  # another test's may come late
                seen.append((event, facts))
            if event == "rollout.settled" and facts["patch"] == program.name:
                told.set()

        program = Program(make_package, "def make(a):\n    return (lambda: (1, a)), (lambda a: 1)")
        monkeypatch.setattr(events, "emit", emit)
        held = program.make(1)
        rollout = program.apply("def make(a):\n    return (lambda: (2, a)), (lambda a, b: 2)")
        assert told.wait(LIMIT)
        (facts,) = [facts for event, facts in seen if event == "rollout.settled"]
        place = f"{program.name}:make.<locals>.<lambda>"
        assert facts["rollout"] == rollout.id
        assert facts["led"] == [place]
        assert facts["left"] == [f"{place} was made without the parameter b of the new version"]
        assert facts["level"] == "warning"
        assert held[0]() == (2, 1)


SHUTDOWN = """
import logging, sys, threading, hotswap, shut
start = threading.Thread.start

def lying(thread):
    if thread.name == "hotswap-settled":
        raise RuntimeError("can't create new thread at interpreter shutdown")
    start(thread)

told = threading.Event()

class Handler(logging.Handler):
    def emit(self, record):
        if "rollout.settled" in record.getMessage():
            print("told")
            told.set()

threading.Thread.start = lying
logging.basicConfig(level=logging.INFO, handlers=[Handler()])
held = shut.make(0)
source = open("shut.py").read().replace("1", "2")
rollout = hotswap.Patcher(["shut"]).apply(hotswap.Patch.from_sources({"shut": source}))
assert rollout.wait_settled(20)
told.wait(20)
"""


class TestShutdown:
    def test_without_a_thread_the_settlement_is_told_all_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "shut.py").write_text(REGISTER.format(n=1).replace("step=1", "step=0"), encoding="utf-8")
        (tmp_path / "main.py").write_text(SHUTDOWN, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert (done.stdout, done.stderr) == ("told\n", "")


CONNECTIONS = """
class Connection:
    pass
def decorated(function):
    def wrapper(self, *, more=0):
        return {n}, more, function(self)
    return wrapper
def connect():
    connection = Connection()
    def callback(*, step=1):
        return {n}, step, connection
    connection.callback = callback
    return connection
"""
DECORATED = """
class Decorated:
    @decorated
    def method(self): return __class__.__name__
"""


class TestCircles:
    """The collector does not look into code: a circle that leads through it would never be collected."""

    @pytest.mark.parametrize("swaps", [1, 2, 3])
    def test_what_a_closure_belongs_to_dies_with_it(self, make_package: Make, swaps: int) -> None:
        program = Program(make_package, CONNECTIONS.format(n=0))
        connections = [program.connect() for _ in range(3)]
        for n in range(1, swaps + 1):
            program.apply(CONNECTIONS.format(n=n))
            connections.append(program.connect())
        for connection in connections:
            assert connection.callback()[:2] == (swaps, 1)
            assert connection.callback(step=5) == (swaps, 5, connection)
        held = [*map(weakref.ref, connections)]
        del connection
        connections.clear()
        collect()
        assert [known() for known in held] == [None] * len(held)

    def test_a_rollback_leaves_no_class_whose_methods_are_decorated(self, make_package: Make) -> None:
        program = Program(make_package, CONNECTIONS.format(n=0))
        rollout = program.apply(CONNECTIONS.format(n=1) + DECORATED)
        assert program.Decorated().method(more=2) == (1, 2, "Decorated")
        known = weakref.ref(program.Decorated)
        rollout.rollback()
        assert rollout.wait_settled(LIMIT)
        collect()
        assert known() is None


def test_two_patchers_may_catch_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class TakenMeanwhile(deque[Any]):
        """Another thread takes what there is, as soon as somebody has asked whether there is something."""

        def __bool__(self) -> bool:
            self.clear()
            return True

    waiting = TakenMeanwhile([settlement.Settlement(threading.Lock())])
    monkeypatch.setattr(settlement, "_stranded", waiting)
    settlement.catch_up()
    assert len(waiting) == 0
