"""Shadows under fire: sixteen threads call while functions are shadowed, and are shadowed no more."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from hotswap import State, walk
from tests.races.threads import Crowd, forks_go, switching
from tests.shadowing import Service, known
from tests.waiting import until

pytestmark = pytest.mark.threads

THREADS = 16
NAMES = ("tax.apply", "pricing.quote", "pricing.outer", "tax.Till.add")


class Callers:
    """Threads that call everything all the time, and keep what is not what the live code answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.wrong: list[Any] = []
        self.made = [0] * THREADS
        self.crowd = Crowd([partial(self._work, number) for number in range(THREADS)])

    def _work(self, number: int) -> None:
        tax, pricing = self._service.tax, self._service.pricing
        add = tax.Till().add
        count = 0
        try:
            while not self.crowd.over.is_set():
                count += 1
                found = (tax.apply(100), pricing.quote(200)["tax"], pricing.outer(300), add(1))
                if found != (19, 38, 57, count):
                    self.wrong.append(found)
                self.made[number] += 1
        except BaseException as error:  # it is told by the test
            self.wrong.append(error)

    def wait(self) -> None:
        """Wait until each thread has called everything again."""
        before = list(self.made)
        assert until(lambda: self.wrong or all(now > then for now, then in zip(self.made, before, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 5])
class TestSixteenThreads:
    def test_live_answers_are_live_while_shadows_come_and_go(
        self, make_package: Callable[..., ModuleType], more: int
    ) -> None:
        service = Service(make_package, more=more)
        service.rollout.disarm()
        before = [id(function.__code__) for function in self._functions(service)]
        callers = Callers(service)
        draw = random.Random(1)
        seen, mismatched = 0, 0
        with callers.crowd, switching(1e-5):
            for turn in range(3):
                service.rollout.arm()
                shadows = [service.shadow(name, share=0.5, pending=8, seed=turn) for name in NAMES]
                callers.wait()
                if draw.random() < 0.5:
                    draw.choice(shadows).end()
                assert until(partial(self._answered, shadows, callers))
                service.rollout.disarm()
                seen += sum(shadow.compared for shadow in shadows)
                mismatched += sum(shadow.mismatched for shadow in shadows)
                assert [shadow.last_error for shadow in shadows] == [""] * 4
            callers.wait()
        assert callers.wrong == []
        assert seen
        assert bool(mismatched) == bool(more)
        assert forks_go()
        assert not walk.forked
        assert until(lambda: not [t for t in threading.enumerate() if t.name.startswith("hotswap-shadow")])
        assert [id(function.__code__) for function in self._functions(service)] == before
        service.rollout.abort()

    def _answered(self, shadows: list[Any], callers: Callers) -> bool:
        return all(map(known, shadows)) or bool(callers.wrong)

    def _functions(self, service: Service) -> list[Any]:
        tax, pricing = service.tax, service.pricing
        return [tax.apply, tax.Till.add, tax.ask, pricing.quote, pricing.outer]

    def test_a_commit_turns_all_of_them_at_once(self, make_package: Callable[..., ModuleType], more: int) -> None:
        service = Service(make_package, more=more)
        shadows = [service.shadow(name, pending=8) for name in NAMES]
        found: list[Any] = []
        over = threading.Event()

        def work() -> None:
            last = 19
            while not over.is_set():
                answer = service.pricing.quote(100)["tax"]
                if answer not in (19, 19 + more) or answer < last:
                    found.append(answer)  # once it is new, it is new for ever
                last = answer

        with Crowd([work] * THREADS), switching(1e-5):
            assert until(lambda: all(map(known, shadows[:2])) or found)
            service.rollout.commit()
            assert service.pricing.quote(100)["tax"] == 19 + more
            over.set()
        assert found == []
        assert service.rollout.state is State.LIVE
        assert all(shadow.is_over for shadow in shadows)
        assert service.rollout.drained.wait(20)
        assert service.rollout.wait_settled(20)
        assert forks_go()


class TestEndedFromWithin:
    def test_many_ends_at_once(self, make_package: Callable[..., ModuleType]) -> None:
        """Whoever ends it first takes it out; it is told once."""
        service = Service(make_package)
        shadow = service.shadow("pricing.quote")
        barrier = threading.Barrier(4)

        def end() -> None:
            barrier.wait(20)
            shadow.end()

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.name for result in service.rollout.report] == [f"shadow of {shadow.name}"]
        service.rollout.abort()
