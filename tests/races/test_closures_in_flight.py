"""Callbacks that a loop registers: they are led on by later patches, whatever the loop has gone through."""

from __future__ import annotations

import contextvars
import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.swap.forwarding import holds_weakly
from hotswap.testing import ManualClock
from tests.races.threads import forks_go, over
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads

CORE = 'def helper(x): return "{v}"\n'
LOOP = """
from {package} import core
CALLBACKS = []
def loop():
    while True:
        CALLBACKS.append(lambda: ("{v}", core.helper(1)))
        yield core.helper(1)
"""


class Package:
    """A package with two modules, of which one registers callbacks that call the other."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.name = make({"core.py": CORE.format(v="1"), "jobs.py": ""}).__name__
        (Path(str(sys.modules[self.name].__file__)).parent / "jobs.py").write_text(self.texts("1")["jobs"])
        self.jobs: Any = importlib.import_module(f"{self.name}.jobs")
        self.patcher = Patcher([self.name], handover=1.0)

    def texts(self, version: str) -> dict[str, str]:
        return {"core": CORE.format(v=version), "jobs": LOOP.format(v=version, package=self.name)}

    def apply(self, **texts: str) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{name}": text for name, text in texts.items()}))

    def answers(self) -> set[Any]:
        return {callback() for callback in sys.modules[f"{self.name}.jobs"].CALLBACKS}


def test_of_a_module_that_stayed_while_it_ran(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """Functions that run in modules that stay get a copy of their code: who was registered before has the other one."""
    package = Package(make_package)
    loop = package.jobs.loop()
    next(loop)
    package.apply(core=package.texts("2")["core"])
    hotswap_clock.advance(3)
    assert next(loop) == "2"
    loop.close()
    loop = None
    rollout = package.apply(jobs=package.texts("3")["jobs"])
    hotswap_clock.advance(3)
    assert until(lambda: rollout.settled is not None)
    assert package.answers() == {("3", "2")}
    assert forks_go()


def test_of_a_loop_that_was_handed_over(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    package = Package(make_package)
    loop = package.jobs.loop()
    next(loop)
    package.apply(core=package.texts("2")["core"], jobs=package.texts("1")["jobs"])
    hotswap_clock.advance(3)
    assert next(loop) == "2"
    hotswap_clock.advance(3)
    assert until(lambda: not walk.forked)
    assert next(loop) == "2"  # that callback is made by code of the first version, and belongs to the second
    loop.close()
    loop = None
    rollout = package.apply(**package.texts("3"))
    hotswap_clock.advance(3)
    assert until(lambda: rollout.settled is not None)
    assert package.answers() == {("3", "3")}
    assert forks_go()


DECORATOR = """
def helper(): return "core {v}"

def logged(f):
    def wrapper():
        return helper(), f()
    return wrapper
"""
DECORATED = """
from . import core

@core.logged
def page(): return "web {v}"
"""


def test_what_another_module_has_decorated_is_led_while_a_fork_stands_there(
    make_package: Callable[..., ModuleType],
) -> None:
    """When the session was over that the fork was for, calls died: what the closure leads to was gone with it."""
    sources = {"core": DECORATOR, "web": DECORATED}
    package = make_package({f"{name}.py": source.format(v=1) for name, source in sources.items()}).__name__
    importlib.import_module(f"{package}.web")
    patcher = Patcher([package])

    def apply(name: str, version: int) -> hotswap.Rollout:
        source = sources[name].format(v=version)
        return patcher.apply(Patch.from_sources({f"{package}.{name}": source}, version=str(version)))

    def page() -> Any:
        return sys.modules[f"{package}.web"].page()

    with hotswap.session():
        rollouts = [apply("core", 2), apply("web", 3)]
        assert page() == ("core 1", "web 1")
    assert all(rollout.drained.wait(20) for rollout in rollouts)
    assert forks_go()
    gc.collect()
    assert page() == ("core 2", "web 3")
    assert apply("core", 4).drained.wait(20)
    assert page() == ("core 4", "web 3")
    with hotswap.session():
        rollouts = [apply("core", 5), apply("web", 6)]
        assert page() == ("core 4", "web 3")
    assert all(rollout.drained.wait(20) for rollout in rollouts)
    assert forks_go()
    gc.collect()
    assert page() == ("core 5", "web 6")
    patcher.rollback()
    assert forks_go()
    assert page() == ("core 5", "web 3")


class Inner(Versions):
    """A loop whose own text is another one in each version, and functions within it that are the same for a while."""

    source = """
def helper({more}a): return "{v}"
def outside({more}a): return "{v}"
def loop(given):
    def plain(): return helper({pass_}1)
    def flowing(): yield helper({pass_}1)
    async def waiting(): return helper({pass_}1)
    class Local:
        def method(self): return helper({pass_}1)
    local = Local()
    def waited():
        try:
            waiting().send(None)
        except StopIteration as over:
            return over.value
    while True:
        held = [plain, lambda: [*flowing()][0], waited, local.method, *given]
        yield "{v}", [function() for function in held]
def held():
    def unspelled(): return helper({pass_}1)
    return unspelled
"""


@pytest.mark.parametrize("handover", [0.0, 1.0])
def test_inner_functions_of_a_loop_that_stays_old_stay_old(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float
) -> None:
    """They were handed over for themselves: what the loop gave them came to new helpers."""
    inner = Inner(make_package, handover)
    registered = inner.core.held()
    loop = inner.core.loop([registered])
    assert next(loop) == ("1", ["1"] * 5)

    def turns(loop: Iterator[Any], version: str, shape: int) -> list[Any]:
        inner.apply(version, shape)
        seen = [next(loop), next(loop), contextvars.copy_context().run(in_a_session, loop)]
        hotswap_clock.advance(3)
        return [*seen, next(loop), contextvars.copy_context().run(in_a_session, loop)]

    def in_a_session(loop: Iterator[Any]) -> Any:
        with hotswap.session():
            return next(loop)

    stays = ("1", ["1"] * 5)
    assert turns(loop, "2", 0) == [stays] * 5
    assert registered() == "2"
    assert turns(loop, "3", 1) == [stays] * 5
    assert registered() == "3"
    inner.patcher.rollback()
    assert next(loop) == stays
    assert until(lambda: registered() == "2")
    assert turns(loop, "4", 1) == [stays] * 5
    assert registered() == "4"
    rollout = inner.apply("5", 2)
    assert next(loop) == stays
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert rollout.drained.wait(20)
    assert until(lambda: registered() == "5")
    assert forks_go()


def test_an_inner_function_that_is_not_led_on_goes_back_to_its_own_when_it_changes(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """It was handed over, and called helpers of the newest as the version did with which it was the same."""
    inner = Inner(make_package, 1.0, closures=False)
    registered, loop = inner.core.held(), inner.core.loop(())
    next(loop)
    inner.apply("2", 0)
    hotswap_clock.advance(3)
    assert registered() == "2"
    rollout = inner.apply("3", 1)
    assert registered() == "1"
    hotswap_clock.advance(3)
    assert registered() == "1"
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert rollout.drained.wait(20)
    assert forks_go()


class Beside(Versions):
    """A loop that stays old, and beside it one that an inner function is, whose text is the same for a while."""

    source = """
def helper({more}a): return "{v}"
def stays():
    while True: yield "{v}", helper({pass_}1)
def made():
    def works():
        while True: yield helper({pass_}1)
    return works()
"""


def test_an_inner_loop_that_was_handed_over_stays_with_its_version_beside_one_that_is_old(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """It was of the version in which it began once more: with the patch that changed it, and when the other ended."""
    beside = Beside(make_package, 1.0)
    stays, works = beside.core.stays(), beside.core.made()
    assert (next(stays), next(works)) == (("1", "1"), "1")
    second = beside.apply("2", 0)
    assert next(works) == "1"
    hotswap_clock.advance(3)
    assert (next(stays), next(works)) == (("1", "1"), "2")
    third = beside.apply("3", 1)
    for _ in range(3):
        assert (next(stays), next(works)) == (("1", "1"), "2")
        hotswap_clock.advance(3)
    stays.close()
    stays = None
    assert until(lambda: hotswap_clock.advance(600) >= 0 and second.drained.is_set())
    assert not third.drained.is_set()
    assert next(works) == "2"
    works.close()
    works = None
    assert over(hotswap_clock)
    assert third.drained.wait(20)
    assert forks_go()


class Main(Versions):
    """A call that goes on, and gives its inner functions to others: to a pool, to a thread, and to a list."""

    source = """
from concurrent.futures import ThreadPoolExecutor
import contextvars
import threading
import hotswap
def helper({more}a): return "{v}"
def within(function):
    with hotswap.session():
        return function(1)
def main(registered):
    def inner(a): return helper({pass_}a)
    registered.append(inner)
    with ThreadPoolExecutor(1) as pool:
        while True:
            found = []
            thread = threading.Thread(target=lambda: found.append(inner(1)))
            thread.start()
            thread.join()
            with hotswap.session():
                here = contextvars.copy_context()
            yield "{v}", *found, inner(1), pool.submit(inner, 1).result(), *pool.map(inner, [1]), pool.submit(
                here.run, within, inner
            ).result()
"""


@pytest.mark.parametrize("shape", [0, 1])
@pytest.mark.parametrize("armed", [False, True])
@pytest.mark.parametrize("handover", [None, 0.0, 1.0])
def test_what_a_call_that_stays_old_gives_to_a_pool_is_its_own(
    make_package: Callable[..., ModuleType],
    hotswap_clock: ManualClock,
    handover: float | None,
    armed: bool,
    shape: int,
) -> None:
    """It was led on for everybody else, and a pool calls for nobody."""
    program, registered = Main(make_package, handover), list[Any]()
    loop = program.core.main(registered)
    stays = ("1",) * 6
    assert next(loop) == stays
    rollout = program.patcher.stage(program.patch_of("2", shape))
    rollout.verify()
    if armed:
        rollout.arm()
        assert next(loop) == stays
    rollout.commit()
    for _ in range(3):
        assert next(loop) == stays
        hotswap_clock.advance(1)
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert registered[0](1) == "2"
    assert forks_go()


class Served(Versions):
    """A handler that a factory has made, which is held by an object, and whose text is another one in each version."""

    source = """
def args(): return ({pass_}1,)
def helper({more}a): return "{v}"
class Server:
    def __init__(self): self.handler, self.seen = factory(), []
    def ask(self): return self.handler(*args())
    def loop(self):
        while True: yield "{v}", self.handler(*args()), helper({pass_}1)
def factory():
    def handler(*given): return "handler of {v}", helper(*given)
    return handler
"""


def test_what_was_handed_out_is_new_for_everybody_but_calls_that_go_on(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """As long as a loop went on that had changed, or somebody's session, everybody had the old one, and a TypeError."""
    served = Served(make_package, 1.0)
    server = served.core.Server()
    loop = server.loop()

    def answers(version: str) -> bool:
        return bool(server.ask() == (f"handler of {version}", version))

    def stays() -> bool:
        return bool(next(loop) == ("1", ("handler of 1", "1"), "1"))

    assert stays()
    assert answers("1")
    oldest, outside = hotswap.session(), contextvars.copy_context()
    outside.run(oldest.__enter__)
    second = served.apply("2", 1)
    hotswap_clock.advance(0.1)
    assert answers("2")
    assert stays()
    session = hotswap.session()
    context = contextvars.copy_context()
    context.run(session.__enter__)
    third = served.apply("3", 2)
    hotswap_clock.advance(0.1)
    for _ in range(3):
        assert answers("3")
        assert stays()
        assert context.run(answers, "2")
        hotswap_clock.advance(2)
    served.patcher.rollback()
    for _ in range(2):
        assert answers("2")
        assert stays()
        assert context.run(answers, "2")
        assert outside.run(answers, "1")
        hotswap_clock.advance(0.1)
    outside.run(oldest.__exit__, None, None, None)
    context.run(session.__exit__, None, None, None)
    hotswap_clock.advance(2)
    assert answers("2")
    assert stays()
    fourth = served.apply("4", 2)
    hotswap_clock.advance(0.1)
    assert answers("4")
    assert stays()
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert second.drained.wait(20)
    assert fourth.wait_settled(20)
    assert fourth.settled is not None
    assert answers("4")
    assert third.state == "rolled_back"
    assert forks_go()
    assert walk.is_forwarder(server.handler.__code__)
    assert holds_weakly(server.handler.__code__)  # it asks nobody any more, and keeps nothing for good
    known = weakref.ref(server)
    del server.handler
    server = None
    assert until(lambda: gc.collect() >= 0 and known() is None)


def test_a_session_of_a_version_in_between_gets_that_of_its_own(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """Two patches came before it was led: the session would have got that of the second."""
    served = Served(make_package, None)
    server = served.core.Server()
    loop = server.loop()
    next(loop)
    served.apply("2", 1)
    session, context = hotswap.session(), contextvars.copy_context()
    context.run(session.__enter__)
    rollout = served.apply("3", 2)
    for _ in range(3):
        hotswap_clock.advance(0.1)
        assert context.run(server.ask) == ("handler of 2", "2")
        assert server.ask() == ("handler of 3", "3")
        assert next(loop) == ("1", ("handler of 1", "1"), "1")
    context.run(session.__exit__, None, None, None)
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert rollout.drained.wait(20)
    assert server.ask() == ("handler of 3", "3")
    assert forks_go()


def test_sessions_of_every_version_keep_their_own_over_a_rollback(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """Older ones got what was taken back."""
    served = Served(make_package, None)
    server = served.core.Server()
    sessions = []
    for shape in range(3):
        if shape:
            served.apply(str(shape + 1), shape)
            hotswap_clock.advance(0.1)
        session, context = hotswap.session(), contextvars.copy_context()
        context.run(session.__enter__)
        sessions.append((str(shape + 1), session, context))
    served.patcher.rollback()
    for _ in range(2):
        assert server.ask() == ("handler of 2", "2")
        for version, _, context in sessions:
            assert context.run(server.ask) == (f"handler of {version}", version)
            given = [*(0,) * (int(version) - 1), 1]
            assert context.run(lambda given: server.handler(*given), given) == (f"handler of {version}", version)
        hotswap_clock.advance(1)
    for _, session, context in sessions:
        context.run(session.__exit__, None, None, None)
    assert over(hotswap_clock)
    assert server.ask() == ("handler of 2", "2")
    assert forks_go()


def test_a_rollback_before_they_were_led(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """A session of the version that went met them half old and half new, as long as it lasted."""
    served = Served(make_package, None)
    server = served.core.Server()
    oldest, outside = hotswap.session(), contextvars.copy_context()
    outside.run(oldest.__enter__)
    served.apply("2", 1)
    session, context = hotswap.session(), contextvars.copy_context()
    context.run(session.__enter__)
    served.patcher.rollback()
    for _ in range(3):
        assert server.ask() == ("handler of 1", "1")
        assert context.run(server.ask) == ("handler of 2", "2")
        assert outside.run(server.ask) == ("handler of 1", "1")
        hotswap_clock.advance(0.1)
    context.run(session.__exit__, None, None, None)
    outside.run(oldest.__exit__, None, None, None)
    assert over(hotswap_clock)
    assert server.ask() == ("handler of 1", "1")
    assert forks_go()


def test_what_was_led_beside_a_call_that_goes_on_is_told_in_the_end(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    served = Served(make_package, None)
    server = served.core.Server()
    loop = server.loop()
    next(loop)
    rollout = served.apply("2", 1)
    hotswap_clock.advance(0.1)
    assert server.ask() == ("handler of 2", "2")
    assert not rollout.wait_settled(0)
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert rollout.wait_settled(20)
    assert rollout.settled is not None
    assert rollout.settled.led == (f"{served.name}:factory.<locals>.handler",)
    assert forks_go()
