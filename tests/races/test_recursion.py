"""Recursion goes as deep as it did, also while forks stand, where each call takes two frames."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, clock, depth
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
VERSION = {version!r}

def down(count, bottom=None):
    if count:
        return down(count - 1, bottom)
    if bottom is not None:
        bottom()
    return {version!r}
"""


class Service:
    def __init__(self, package: ModuleType) -> None:
        self.name = package.__name__
        self.patcher = Patcher([self.name])
        self.down: Callable[..., str] = package.down

    def patch(self, version: str) -> Patch:
        return Patch.from_sources({self.name: SOURCE.format(version=version)}, version=version)

    def armed(self) -> hotswap.Rollout:
        rollout = self.patcher.stage(self.patch("2"))
        rollout.verify()
        rollout.arm()
        return rollout


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    limit = sys.getrecursionlimit()
    made = Service(make_package({"__init__.py": SOURCE.format(version="1")}))
    yield made
    assert forks_go()
    assert until(lambda: sys.getrecursionlimit() == limit)


def nearly() -> int:
    """As deep as a call from here can go, but for what the tests take themselves."""
    frame: Any = sys._getframe()
    used = 0
    while frame is not None:
        used, frame = used + 1, frame.f_back
    return depth.limit() - used - 20


class TestDepth:
    def test_is_what_it_was_while_armed(self, service: Service) -> None:
        deep = nearly()
        assert service.down(deep) == "1"
        rollout = service.armed()
        assert service.down(deep) == "1"
        with rollout.preview():
            assert service.down(deep) == "2"
        rollout.abort()
        assert service.down(deep) == "1"

    def test_is_what_it_was_while_old_calls_are_in_flight(self, service: Service) -> None:
        deep, go = nearly(), threading.Event()
        begun, got = threading.Event(), []

        def wait() -> None:
            begun.set()
            go.wait(60)

        held = threading.Thread(target=lambda: got.append(service.down(10, wait)))
        held.start()
        assert begun.wait(60)
        service.patcher.apply(service.patch("2"))
        assert sys.getrecursionlimit() > depth.limit()
        assert service.down(deep) == "2"
        go.set()
        held.join()
        assert got == ["1"]

    def test_an_endless_recursion_still_ends(self, service: Service) -> None:
        rollout = service.armed()
        with pytest.raises(RecursionError):
            service.down(10 * depth.limit())
        rollout.abort()


class TestLimit:
    def test_is_twice_what_it_was_only_while_forks_stand(self, service: Service) -> None:
        limit = sys.getrecursionlimit()
        rollout = service.armed()
        assert (sys.getrecursionlimit(), depth.limit()) == (2 * limit, limit)
        rollout.disarm()
        assert (sys.getrecursionlimit(), depth.limit()) == (limit, limit)
        rollout.arm()
        assert (sys.getrecursionlimit(), depth.limit()) == (2 * limit, limit)
        rollout.abort()
        assert (sys.getrecursionlimit(), depth.limit()) == (limit, limit)

    def test_who_sets_it_meanwhile_has_his_own(self, service: Service) -> None:
        limit = sys.getrecursionlimit()
        rollout = service.armed()
        try:
            sys.setrecursionlimit(limit + 300)
            assert depth.limit() == limit + 300
            rollout.abort()
            assert sys.getrecursionlimit() == limit + 300
        finally:
            sys.setrecursionlimit(limit)

    def test_what_a_patch_sets_is_meant_without_forks(self, service: Service) -> None:
        limit = sys.getrecursionlimit()
        rollout = service.armed()
        try:
            depth.set_limit(limit + 300)
            assert (sys.getrecursionlimit(), depth.limit()) == (2 * limit + 600, limit + 300)
            rollout.abort()
            assert sys.getrecursionlimit() == limit + 300
        finally:
            sys.setrecursionlimit(limit)

    def test_is_no_effect_of_a_candidate_that_is_loaded_as_forks_go(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a drain of one patch does to it while the next one is loaded is not what that one does."""
        limit, beside = sys.getrecursionlimit(), ModuleType("beside_recursion")
        beside.end = depth.Standing().end  # type: ignore[attr-defined]  # for the module body
        monkeypatch.setitem(sys.modules, beside.__name__, beside)
        source = SOURCE.format(version="2") + "\nimport beside_recursion\nbeside_recursion.end()\n"
        rollout = service.patcher.stage(Patch.from_sources({service.name: source}, version="2"))
        assert sys.getrecursionlimit() == limit
        assert [warning for warning in rollout.plan.warnings if "recursion" in warning] == []
        rollout.abort()

    def test_is_not_lowered_under_a_thread_that_is_deep(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit, deep = sys.getrecursionlimit(), nearly()
        looks: list[Callable[[], None]] = []
        monkeypatch.setattr(clock, "after", lambda seconds, call: looks.append(call))
        begun, go, got = threading.Event(), threading.Event(), []
        standing = depth.Standing()

        def further() -> None:
            begun.set()
            go.wait(60)
            got.append(plain(60))

        thread = threading.Thread(target=lambda: plain(deep, further))
        thread.start()
        assert begun.wait(60)
        standing.end()
        assert sys.getrecursionlimit() == 2 * limit
        (look,) = looks
        go.set()
        thread.join()
        assert got == [0]
        look()
        assert sys.getrecursionlimit() == limit

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_can_be_asked_for_in_a_child_while_the_parent_changes_it(self) -> None:
        with depth._depth._lock:  # a fork by another thread: this one is not in the child
            found: list[int] = []

            def fork() -> None:
                child = os.fork()
                if not child:
                    os._exit(depth.limit() == sys.getrecursionlimit())
                found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        assert found == [1]


def plain(count: int, bottom: Callable[[], Any] | None = None) -> int:
    if count:
        return plain(count - 1, bottom)
    if bottom is not None:
        bottom()
    return count
