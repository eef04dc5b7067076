"""Hooks: when they are called, what they may refuse, and that what they did is taken back."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import structlog.testing

import hotswap
from hotswap import BusyError, CheckFailedError, HotswapError, Patch, Patcher, State, VetoError
from hotswap.errors import CommitError, LoadError
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

_serial = itertools.count(1)

POINTS = ("before_stage", "before_commit", "after_commit", "before_rollback", "after_rollback")


class Service:
    """A package of one module, `a`, a patcher of it, and what its hooks have written down."""

    def __init__(self, make: Make) -> None:
        self.name = f"hooked{next(_serial)}"
        package = make({"__init__.py": f"import {self.name}.a\n", "a.py": "def quote(): return 0\n"}, name=self.name)
        self.quote = package.a.quote
        self.patcher = Patcher([self.name])
        self.told: list[str] = []

    def patch(self, number: int, more: str = "") -> Patch:
        return Patch.from_sources({f"{self.name}.a": f"def quote(): return {number}\n{more}"}, f"{number}.0")

    def hook(self, *points: Any) -> None:
        """Register hooks that say where they are, and undos that do."""
        for point in points or POINTS:

            def tell(rollout: Any, point: str = point) -> Callable[[], None]:
                self.told.append(f"{point} {rollout.state} {self.quote()}")
                return lambda: self.told.append(f"undo {point}")

            self.patcher.hook(point, tell, name=point)


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package)


class TestOrder:
    def test_there_and_back(self, service: Service) -> None:
        service.hook()
        service.patcher.apply(service.patch(1)).rollback()
        assert service.told == [
            "before_stage staged 0",
            "before_commit verified 0",
            "after_commit live 1",
            "before_rollback live 1",
            "undo after_commit",
            "undo before_commit",
            "undo before_stage",
            "after_rollback rolled_back 0",
        ]

    def test_of_several_is_that_of_their_registration(self, service: Service) -> None:
        for name in "abc":

            @service.patcher.hook("before_commit", name=name)
            def tell(rollout: Any, name: str = name) -> Callable[[], None]:
                service.told.append(name)
                return lambda: service.told.append(f"undo {name}")

        service.patcher.apply(service.patch(1)).rollback()
        assert service.told == ["a", "b", "c", "undo c", "undo b", "undo a"]

    def test_settled_comes_after_the_last_old_call(self, service: Service) -> None:
        service.hook("settled")
        rollout = service.patcher.apply(service.patch(1))
        assert until(lambda: service.told == ["settled live 1"])
        rollout.rollback()
        assert until(lambda: service.told == ["settled live 1", "settled rolled_back 0"])

    def test_async_ones_run_on_the_loop(self, service: Service) -> None:
        threads: list[threading.Thread] = []

        @service.patcher.hook("before_commit")
        async def here(rollout: Any) -> Callable[[], None]:
            await asyncio.sleep(0)
            threads.append(threading.current_thread())
            return lambda: None

        async def apply() -> Any:
            return await service.patcher.apply_async(service.patch(1))

        assert asyncio.run(apply()).state is State.LIVE
        assert threads == [threading.current_thread()]
        service.patcher.rollback()
        service.patcher.apply(service.patch(2))  # without a loop they get one of their own
        assert threads[1] is not threading.current_thread()

    def test_a_warm_one_passes_them_again(self, service: Service) -> None:
        service.hook("before_stage", "before_commit")
        rollout = service.patcher.stage(service.patch(1))
        rollout.verify()
        rollout.arm()
        for _ in range(2):
            rollout.commit()
            rollout.rollback()
        assert service.told == [
            "before_stage staged 0",
            "before_commit armed 0",
            "undo before_commit",
            "undo before_stage",
            "before_commit verified 0",
            "undo before_commit",
        ]


class TestVeto:
    @pytest.mark.parametrize("point", ["before_stage", "before_commit"])
    @pytest.mark.parametrize("way", ["raises", "returns False", "hangs", "returns nonsense"])
    def test_rejects(self, service: Service, point: Any, way: str) -> None:
        free = threading.Event()
        answers: dict[str, Callable[[Any], object]] = {
            "raises": lambda _: 1 // 0,
            "returns False": lambda _: False,
            "hangs": lambda _: free.wait(),
            "returns nonsense": lambda _: 3,
        }
        service.hook("before_stage", "before_commit")
        service.patcher.hook(point, answers[way], name="the frozen zone", timeout=0.1 if way == "hangs" else 10)
        with pytest.raises(VetoError) as caught:
            service.patcher.apply(service.patch(1))
        free.set()
        assert caught.value.hook == "the frozen zone"
        assert f"the hook the frozen zone ({point}) refused it: " in str(caught.value)
        assert f"{service.name} 1.0" in str(caught.value)
        assert "running now" in str(caught.value)
        assert caught.value.__cause__ is not None
        assert service.quote() == 0
        assert service.patcher.history()[0].state is State.REJECTED
        undone = [one for one in service.told if one.startswith("undo")]
        done = [one.split()[0] for one in service.told if not one.startswith("undo")]
        assert undone == [f"undo {one}" for one in reversed(done)]
        # The place is free again.
        service.patcher._trials.hooks._hooks.clear()
        assert service.patcher.apply(service.patch(1)).state is State.LIVE

    def test_comes_before_any_of_the_patch_runs(self, service: Service) -> None:
        service.patcher.hook("before_stage", lambda _: False)
        with pytest.raises(VetoError):
            service.patcher.stage(service.patch(1, "1 // 0\n"))

    def test_comes_last(self, service: Service) -> None:
        service.patcher.check(lambda candidate: service.told.append("check"), name="check")
        service.hook("before_commit")
        service.patcher.apply(
            service.patch(1, f"import {service.name}\ndef __hotswap__(old, new):\n    {service.name}.migrated = True\n")
        )
        assert service.told == ["check", "before_commit verified 0"]

    def test_one_that_gives_up_meanwhile_ends_it(self, service: Service) -> None:
        service.hook("before_commit")
        rollout = service.patcher.stage(service.patch(1))
        rollout.verify()
        service.patcher.hook("before_commit", lambda _: aborted(rollout))
        with pytest.raises(hotswap.StateError, match="given up while its hooks ran"):
            rollout.commit()
        assert service.told == ["before_commit verified 0", "undo before_commit"]


def aborted(rollout: Any) -> None:
    """Give it up from a thread that no hook belongs to."""
    thread = threading.Thread(target=rollout.abort)
    thread.start()
    thread.join()


class TestInterruption:
    @pytest.mark.parametrize("point", ["before_stage", "before_commit", "after_commit"])
    def test_a_hook_that_wants_to_end_the_program_ends_nothing(self, service: Service, point: Any) -> None:
        def leave(_: Any) -> None:
            raise SystemExit(3)

        service.patcher.hook(point, leave, name="leaves")
        if point == "after_commit":
            assert service.patcher.apply(service.patch(1)).state is State.LIVE
        else:
            with pytest.raises(VetoError, match="it raised SystemExit"):
                service.patcher.apply(service.patch(1))

    def test_giving_it_up_does_not_wait_for_the_hook(self, service: Service) -> None:
        entered, free = threading.Event(), threading.Event()

        @service.patcher.hook("before_commit", timeout=600)
        def waits(_: Any) -> None:
            entered.set()
            free.wait(600)

        async def apply() -> None:
            work = asyncio.ensure_future(service.patcher.apply_async(service.patch(1)))
            assert await asyncio.to_thread(entered.wait, 20)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

        asyncio.run(apply())
        free.set()
        assert service.patcher.history()[0].state is State.REJECTED
        assert service.quote() == 0


class TestUndo:
    def test_when_a_check_fails(self, service: Service) -> None:
        service.hook()
        service.patcher.check(lambda candidate: False, name="never")
        with pytest.raises(CheckFailedError):
            service.patcher.apply(service.patch(1))
        assert service.told == ["before_stage staged 0", "undo before_stage"]

    def test_when_it_does_not_load(self, service: Service) -> None:
        service.hook()
        with pytest.raises(LoadError):
            service.patcher.apply(service.patch(1, "1 // 0\n"))
        assert service.told == ["before_stage staged 0", "undo before_stage"]

    def test_when_the_swap_fails(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        service.hook()

        def fail(_: Any) -> Any:
            raise OSError("no room")

        monkeypatch.setattr(service.patcher, "go_live", fail)
        with pytest.raises(CommitError):
            service.patcher.apply(service.patch(1))
        assert service.told[-2:] == ["undo before_commit", "undo before_stage"]

    def test_when_the_way_back_fails(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        rollout = service.patcher.apply(service.patch(1))
        service.hook()

        def fail(*_: Any) -> Any:
            raise OSError("no room")

        monkeypatch.setattr(service.patcher, "recall", fail)
        with pytest.raises(CommitError):
            rollout.rollback()
        assert service.told == ["before_rollback live 1", "undo before_rollback"]

    def test_each_runs_whatever_the_others_do(self, service: Service) -> None:
        service.hook("before_stage")
        service.patcher.hook("before_commit", lambda _: lambda: 1 // 0, name="breaks")
        service.hook("after_commit")
        with structlog.testing.capture_logs() as logs:
            service.patcher.apply(service.patch(1)).rollback()
        assert service.told[-2:] == ["undo after_commit", "undo before_stage"]
        (told,) = [one for one in logs if one["event"] == "hook.failed"]
        assert (told["hook"], told["undo"]) == ("breaks", True)
        assert told["message"].startswith("ZeroDivisionError")

    def test_runs_once(self, service: Service) -> None:
        service.hook("before_stage")
        rollout = service.patcher.stage(service.patch(1))
        rollout.abort()
        with pytest.raises(HotswapError):
            rollout.abort()
        assert service.told == ["before_stage staged 0", "undo before_stage"]


class TestErrors:
    @pytest.mark.parametrize("point", ["after_commit", "before_rollback", "after_rollback", "settled"])
    def test_of_those_that_can_not_refuse_are_told(self, service: Service, point: Any) -> None:
        service.patcher.hook(point, lambda _: 1 // 0, name="breaks")
        with structlog.testing.capture_logs() as logs:
            rollout = service.patcher.apply(service.patch(1))
            rollout.rollback()
            assert rollout.state is State.ROLLED_BACK
            assert service.quote() == 0
            assert until(lambda: [one for one in logs if one["event"] == "hook.failed"])
        told = next(one for one in logs if one["event"] == "hook.failed")
        assert (told["hook"], told["point"], told["undo"]) == ("breaks", point, False)

    @pytest.mark.parametrize("point", POINTS)
    def test_a_hook_can_not_call_back(self, service: Service, point: Any) -> None:
        refused: list[str] = []

        @service.patcher.hook(point)
        def again(rollout: Any) -> None:
            calls: list[Callable[[], object]] = [
                lambda: service.patcher.apply(service.patch(5)),
                lambda: service.patcher.rollback(),
            ]
            for call in calls:
                with pytest.raises(BusyError) as caught:
                    call()
                refused.append(str(caught.value))

        service.patcher.apply(service.patch(1)).rollback()
        assert "a hook can't apply a patch through the patcher that runs it" in refused[0]
        assert "a hook can't roll back" in refused[1]

    def test_what_it_leaves_running_may(self, service: Service) -> None:
        began, go = threading.Event(), threading.Event()
        done: list[Any] = []

        @service.patcher.hook("after_commit")
        def leaves(rollout: Any) -> None:
            def later() -> None:
                go.wait(20)
                done.append(service.patcher.rollback())

            threads.append(threading.Thread(target=later))
            threads[0].start()
            began.set()

        threads: list[threading.Thread] = []
        rollout = service.patcher.apply(service.patch(1))
        assert began.is_set()
        go.set()
        threads[0].join(20)
        assert done == [rollout]

    @pytest.mark.parametrize("arguments", [("sometimes", print), ("settled", 3)])
    def test_what_is_none_is_refused(self, service: Service, arguments: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            service.patcher.hook(*arguments)

    def test_a_rollback_while_after_commit_runs_takes_its_undo_along(self, service: Service) -> None:
        @service.patcher.hook("after_commit")
        def meanwhile(rollout: Any) -> Callable[[], None]:
            thread = threading.Thread(target=rollout.rollback)
            thread.start()
            thread.join(20)
            return lambda: service.told.append("undone")

        rollout = service.patcher.apply(service.patch(1))
        assert rollout.state is State.ROLLED_BACK
        assert service.told == ["undone"]

    def test_two_rollbacks_at_once_call_them_once(self, service: Service) -> None:
        refused: list[BaseException] = []

        @service.patcher.hook("before_rollback")
        def second(rollout: Any) -> None:
            def again() -> None:
                try:
                    rollout.rollback()
                except HotswapError as error:
                    refused.append(error)

            service.told.append("called")
            thread = threading.Thread(target=again)
            thread.start()
            thread.join(20)

        service.patcher.apply(service.patch(1)).rollback()
        assert service.told == ["called"]
        assert "another thread is at it" in str(refused[0])
