"""The collector is off while somebody needs it off, and as the program had it afterwards."""

from __future__ import annotations

import asyncio  # noqa: F401 - so that its tasks are looked for
import gc
import importlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import FrameType, GeneratorType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, collector
from hotswap.swap import calls_in_flight


@pytest.fixture(params=[True, False], ids=["on", "off"])
def wanted(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    after = gc.isenabled()
    (gc.enable if before else gc.disable)()
    assert after is request.param


@pytest.fixture
def left_on() -> Iterator[None]:
    yield
    gc.enable()


class TestSwitch:
    def test_is_off_in_the_block_only(self, wanted: bool) -> None:
        with collector.switched_off():
            assert not gc.isenabled()
            assert collector.is_wanted() is wanted
        assert gc.isenabled() is wanted

    def test_overlapping_blocks(self, wanted: bool) -> None:
        first, second = collector.switched_off(), collector.switched_off()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not gc.isenabled()
        assert collector.is_wanted() is wanted
        second.__exit__(None, None, None)
        assert gc.isenabled() is wanted

    @pytest.mark.usefixtures("left_on")
    def test_may_be_switched_on_by_the_program_meanwhile(self) -> None:
        """As in ``gc.disable(); ...; gc.enable()`` while two swaps settle in threads."""
        first, second = collector.switched_off(), collector.switched_off()
        gc.disable()
        with first:
            gc.enable()
            assert collector.is_wanted()
            with second:
                assert not gc.isenabled()
                assert collector.is_wanted()
        assert gc.isenabled()

    @pytest.mark.usefixtures("left_on")
    def test_may_be_switched_on_by_the_program_at_any_moment(self) -> None:
        """Another thread may run between any two lines of the way in: here it switches the collector on at the n-th."""
        hold, before = type(collector._switch).hold.__code__, sys.gettrace()
        lost: list[int] = []
        for n in itertools.count():
            lines = itertools.count()
            reached: list[int] = []

            def trace(frame: FrameType, event: str, _: object, then: Callable[[], int] = lines.__next__) -> Any:
                if frame.f_code is not hold:
                    return None
                if event == "line" and then() == n:  # noqa: B023 - it is over before the next turn
                    reached.append(n)  # noqa: B023
                    gc.enable()
                return trace

            gc.disable()
            sys.settrace(trace)
            try:
                with collector.switched_off():
                    pass
            finally:
                sys.settrace(before)
            if not reached:
                break
            lost += [n] * (not gc.isenabled())
        assert n > 3
        assert lost == []

    def test_is_put_back_after_an_error(self, wanted: bool) -> None:
        with pytest.raises(KeyError), collector.switched_off():
            raise KeyError
        assert gc.isenabled() is wanted

    @pytest.mark.parametrize("edge", ["hold", "release"])
    def test_is_put_back_after_an_interrupt_at_its_edge(
        self, wanted: bool, edge: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler runs after any C call: here before the first of them in the way out, or after the way in."""
        switch = collector._switch
        original = getattr(switch, edge)

        def interrupted(key: int) -> None:
            monkeypatch.undo()
            if edge == "hold":
                original(key)
            raise KeyboardInterrupt

        monkeypatch.setattr(switch, edge, interrupted)
        with pytest.raises(KeyboardInterrupt) as caught, collector.switched_off():
            pass
        del caught
        gc.collect()  # the frames of the error
        assert gc.isenabled() is wanted
        assert collector.is_wanted() is wanted


class Meta(type):
    def __hash__(cls) -> int:
        raise AssertionError("nothing of the user's is run")


class Odd(metaclass=Meta):
    pass


@pytest.fixture
def builder() -> Iterator[list[BaseException]]:
    """A thread that builds tuples, as any thread of a service may; and what it fails with."""
    failed: list[BaseException] = []
    over = threading.Event()

    def build() -> None:
        while not over.is_set():
            try:
                tuple(number for number in range(50))
            except SystemError as error:
                failed.append(error)

    thread = threading.Thread(target=build)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    yield failed
    over.set()
    thread.join()
    sys.setswitchinterval(before)


@pytest.mark.threads
class TestKinds:
    def test_are_found_and_no_others(self) -> None:
        made, odd = (number for number in range(3)), Odd()
        assert any(made is one for one in collector.objects_of([GeneratorType]))
        assert all(type(one) is GeneratorType for one in collector.objects_of([GeneratorType]))
        assert any(odd is one for one in collector.objects_of([Odd, GeneratorType]))
        assert collector.objects_of([tuple]) == []

    def test_that_refer_to_something(self) -> None:
        value = Odd()
        held, other = [value], {"a": value}
        assert [id(one) for one in collector.referrers_of((value,), (list,))] == [id(held)]
        found = collector.referrers_of((value, held), (dict, list))
        assert any(one is held for one in found)
        assert any(one is other for one in found)
        assert collector.referrers_of([], [list]) == []

    def test_disturb_nobody_who_builds_a_tuple(self, builder: list[BaseException]) -> None:
        for _ in range(50):
            collector.objects_of([GeneratorType])
            collector.referrers_of([GeneratorType], [list])
        assert builder == []

    def test_calls_in_flight_disturb_nobody_who_builds_a_tuple(self, builder: list[BaseException]) -> None:
        assert "asyncio" in sys.modules  # what is imported is looked for
        made: Any = (number for number in range(3))
        next(made)
        for _ in range(50):
            ((_, call),) = calls_in_flight([made.gi_code], datetime.now(UTC))
            assert call.function.endswith("<genexpr>")
        assert builder == []


class TestSwaps:
    @pytest.mark.threads  # what has drained settles in a thread of its own
    def test_no_collection_while_a_swap_is_prepared_and_made(self, make_package: Callable[..., ModuleType]) -> None:
        """With thousands of names there would be dozens, and some of them of the whole heap."""
        count = 1500
        package = make_package({"core.py": "".join(f"def f{n}(): return 0\n" for n in range(count))}).__name__
        importlib.import_module(f"{package}.core")
        patcher = Patcher([package])
        source = "".join(f"def f{n}(): return 1\n" for n in range(count))
        rollout = patcher.stage(Patch.from_sources({f"{package}.core": source}, "1"))
        rollout.verify()
        collections: list[int] = []

        def note(phase: str, facts: Mapping[str, int]) -> None:
            if phase == "start":
                collections.append(facts["generation"])

        gc.callbacks.append(note)
        try:
            for move in (rollout.commit, rollout.rollback):
                move()
                assert rollout.wait_settled(20)
        finally:
            gc.callbacks.remove(note)
        assert len(collections) <= 8, "more than what comes right after each of the two, and after each settling"
        assert gc.isenabled()
