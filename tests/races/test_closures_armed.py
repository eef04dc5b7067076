"""Inner functions that were handed out, while a candidate is armed, when it goes live, and when it is taken back."""

from __future__ import annotations

import contextvars
import gc
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.testing import ManualClock
from tests.races.threads import forks_go, over
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Application(Versions):
    """An application of the kind that a factory makes: what answers are inner functions, some of them asynchronous."""

    source = """
def args(): return ({pass_}1,)
def helper({more}a): return "{v}"
class App:
    def __init__(self):
        self.routes = {{}}
        def plain(*given, mark="mark {v}"): return "plain {v}", helper(*given)
        def same(*given): return helper(*given)
        async def waiting(*given): return "waiting {v}", helper(*given)
        def flowing(*given):
            yield "flowing {v}", helper(*given)
        self.routes.update(plain=plain, same=same, waiting=waiting, flowing=flowing)
    def ask(self, name): return self.routes[name](*args())
    def loop(self):
        while True: yield "{v}", self.ask("plain"), self.ask("same")
"""

    def __init__(self, make: Callable[..., ModuleType], handover: float | None = 1.0) -> None:
        super().__init__(make, handover)
        self.app = self.core.App()

    def arm(self, version: str, shape: int = 1, policy: Callable[[Any], bool] | None = None) -> hotswap.Rollout:
        rollout = self.patcher.stage(self.patch_of(version, shape))
        rollout.verify()
        rollout.arm(policy)
        return rollout

    def answers(self) -> set[str]:
        """The versions that the routes answer."""
        ask = self.app.ask
        try:
            ask("waiting").send(None)
        except StopIteration as over:
            waited = over.value
        told = [*ask("plain"), ask("same"), *waited, *next(ask("flowing"))]
        return {one.rpartition(" ")[2] for one in told}

    def apart(self) -> set[str]:
        """The same in no session, and no preview."""
        return contextvars.Context().run(self.answers)


def old_loop(application: Application) -> Any:
    loop = application.app.loop()
    assert next(loop) == ("1", ("plain 1", "1"), "1")
    return loop


def test_a_preview_is_on_the_candidate_by_them(make_package: Callable[..., ModuleType]) -> None:
    """It came to the live version by them, or to a TypeError: new code called them with what the new one takes."""
    application = Application(make_package)
    before = {name: route.__code__ for name, route in application.app.routes.items()}
    rollout = application.arm("2", policy=lambda about: about == "canary")
    for _ in range(3):
        assert application.answers() == {"1"}
        with rollout.preview():
            assert application.answers() == {"2"}
            assert application.apart() == {"1"}
        with hotswap.session("canary"):
            assert application.answers() == {"2"}
        with hotswap.session("another"):
            assert application.answers() == {"1"}
        rollout.disarm()
        assert application.answers() == {"1"}
        assert {name: route.__code__ for name, route in application.app.routes.items()} == before
        rollout.arm(lambda about: about == "canary")
    rollout.abort()
    assert {name: route.__code__ for name, route in application.app.routes.items()} == before
    assert forks_go()


def test_who_is_on_a_candidate_that_was_disarmed_stays_on_it(make_package: Callable[..., ModuleType]) -> None:
    application = Application(make_package)
    rollout = application.arm("2")
    context = contextvars.copy_context()
    block = rollout.preview()
    context.run(block.__enter__)
    rollout.disarm()
    assert application.answers() == {"1"}
    assert context.run(application.answers) == {"2"}
    context.run(block.__exit__, None, None, None)
    assert application.answers() == {"1"}
    rollout.abort()
    assert forks_go()


@pytest.mark.parametrize("beside", ["nothing", "a loop", "a session"])
def test_they_go_live_with_the_flip_and_come_back_with_it(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, beside: str
) -> None:
    application = Application(make_package, None)
    loop = old_loop(application) if beside == "a loop" else None
    session, context = hotswap.session(), contextvars.copy_context()
    if beside == "a session":
        context.run(session.__enter__)

    def stays() -> None:
        if loop is not None:
            assert next(loop) == ("1", ("plain 1", "1"), "1")
        elif beside == "a session":
            assert context.run(application.answers) == {"1"}

    rollout = application.arm("2")
    for turn in range(4):
        stays()
        rollout.commit()
        assert application.answers() == {"2"}
        stays()
        if turn % 2:
            hotswap_clock.advance(0.1)
            assert application.answers() == {"2"}
            stays()
        rollout.rollback()
        assert application.answers() == {"1"}
        stays()
        rollout.arm()
        assert application.answers() == {"1"}
        with rollout.preview():
            assert application.answers() == {"2"}
        stays()
    rollout.commit()
    if loop is not None:
        loop.close()
        loop = None
    elif beside == "a session":
        context.run(session.__exit__, None, None, None)
    assert over(hotswap_clock)
    assert rollout.drained.wait(20)
    assert application.answers() == {"2"}
    assert until(lambda: application.answers() == {"2"})
    last = application.apply("3", 0)
    hotswap_clock.advance(1)
    assert last.wait_settled(20)
    assert application.answers() == {"3"}
    assert forks_go()


def test_a_candidate_that_is_armed_before_they_were_led_for_the_last_one(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    application = Application(make_package, None)
    session, context = hotswap.session(), contextvars.copy_context()
    context.run(session.__enter__)
    application.apply("2", 1)
    rollout = application.arm("3", 2)
    for _ in range(2):
        assert application.apart() == {"2"}
        assert context.run(application.answers) == {"1"}
        with rollout.preview():
            assert application.answers() == {"3"}
        hotswap_clock.advance(0.1)
    rollout.abort()
    context.run(session.__exit__, None, None, None)
    assert over(hotswap_clock)
    assert application.answers() == {"2"}
    assert forks_go()


class Maker(Versions):
    """A function that makes an inner one, and goes on."""

    source = """
def helper({more}a): return "{v}"
def maker():
    def inner(a): return "{v}", helper({pass_}a)
    while True: yield inner
"""


def test_one_whose_maker_is_called_again_comes_back_with_a_rollback(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """It is not led beside a call that may have made it, but went with the flip."""
    program = Maker(make_package, None)
    inner = next(program.core.maker())
    rollout = program.patcher.stage(program.patch_of("2"))
    rollout.verify()
    rollout.arm()
    call = program.core.maker()
    next(call)
    rollout.commit()
    assert inner(1) == ("2", "2")
    rollout.rollback()
    assert inner(1) == ("1", "1")
    call.close()
    call = None
    assert over(hotswap_clock)
    assert inner(1) == ("1", "1")
    assert forks_go()


def test_one_that_was_led_before_is_led_on_after_a_candidate_was_disarmed_under_somebody(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    application = Application(make_package, None)
    assert application.apply("2", 1).wait_settled(20)
    before = {name: route.__code__ for name, route in application.app.routes.items()}
    rollout = application.arm("3", 2)
    context, block = contextvars.copy_context(), rollout.preview()
    context.run(block.__enter__)
    rollout.disarm()
    assert context.run(application.answers) == {"3"}
    assert application.answers() == {"2"}
    context.run(block.__exit__, None, None, None)
    rollout.abort()
    assert over(hotswap_clock)
    assert forks_go()
    assert {name: route.__code__ for name, route in application.app.routes.items()} == before
    assert application.apply("4", 0).wait_settled(20)
    assert application.answers() == {"4"}


def test_a_call_of_the_candidate_goes_on_with_its_own_when_it_is_taken_back(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    application = Application(make_package, None)
    rollout = application.arm("2")
    rollout.commit()
    loop = application.app.loop()
    stays = ("2", ("plain 2", "2"), "2")
    assert next(loop) == stays
    rollout.rollback()
    assert application.answers() == {"1"}
    assert next(loop) == stays
    hotswap_clock.advance(5)
    assert application.answers() == {"1"}
    assert next(loop) == stays
    loop.close()
    loop = None
    assert over(hotswap_clock)
    assert forks_go()
    assert application.answers() == {"1"}


def test_nothing_keeps_them_once_it_was_disarmed_or_has_settled(make_package: Callable[..., ModuleType]) -> None:
    application = Application(make_package)
    known = []
    for flips in range(3):
        app = application.core.App()
        rollout = application.arm(str(flips + 2))
        if flips:
            rollout.commit()
            assert rollout.wait_settled(20)
        else:
            rollout.disarm()
            rollout.abort()
        known += [weakref.ref(app), weakref.ref(app.routes["plain"])]
        app = None
    assert forks_go()
    assert until(lambda: gc.collect() >= 0 and not any(one() for one in known))
