"""What is shipped for the tests of users: clocks, candidates, rollouts, and patches that are taken back."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, State, clock, testing
from hotswap.process_copy import can_copy
from hotswap.testing import ManualClock, NotRestoredError, apply_and_restore

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

SOURCE = """
LIMIT = 3
hits = 0
def rate(n):
    global hits
    hits += 1
    return n + {0}
def pair(n):
    return rate(n), rate(n)
def endless():
    while True:
        yield {0}
class Till:
    def total(self):
        return {0}
"""


@pytest.fixture
def core(make_package: Make) -> Any:
    package = make_package({"core.py": SOURCE.format(0)}).__name__
    return importlib.import_module(f"{package}.core")


def patch_of(core: Any, version: int = 1) -> dict[str, str | bytes]:
    return {core.__name__: SOURCE.format(version)}


def live(core: Any) -> Any:
    return sys.modules[core.__name__]


class TestManualClock:
    def test_calls_are_made_when_time_goes_by_in_their_order_and_with_what_they_ask_for(self) -> None:
        made: list[tuple[str, float]] = []
        with ManualClock(100.0) as manual:

            def again() -> None:
                made.append(("again", clock.now()))
                clock.after(2.0, again)

            clock.after(3.0, lambda: made.append(("late", clock.now())))
            clock.after(1.0, again)
            clock.after(1.5, lambda: made.append(("never", clock.now()))).cancel()
            assert list(manual.due) == [1.0, 3.0]
            assert manual.advance(0.5) == 0
            assert manual.advance(3.0) == 3
            assert made == [("again", 101.0), ("late", 103.0), ("again", 103.0)]
            assert clock.now() == 103.5
            assert list(manual.due) == [1.5]
        assert clock.now() != 103.5

    def test_time_does_not_go_back(self) -> None:
        with pytest.raises(ValueError, match="time does not go back"):
            ManualClock().advance(-1)

    def test_what_a_call_raises_goes_to_who_advances(self) -> None:
        manual = ManualClock()

        def fails() -> None:
            raise KeyError("gone")

        manual.after(1.0, fails)
        manual.after(2.0, lambda: None)
        with pytest.raises(KeyError, match="gone"):
            manual.advance(5.0)
        assert manual.now() == 1.0
        assert manual.advance(4.0) == 1

    def test_it_is_put_back_also_if_the_block_fails(self) -> None:
        before = clock._clock
        with pytest.raises(KeyError), ManualClock(), ManualClock():
            raise KeyError
        assert clock._clock is before

    def test_a_handover_waits_for_it(self, core: Any) -> None:
        with ManualClock() as manual, apply_and_restore(handover=60.0) as apply:
            loop = core.endless()
            next(loop)
            rollout = apply(patch_of(core))
            assert manual.due
            manual.advance(59.0)
            assert not rollout.drained.is_set()
            assert rollout.in_flight()
            manual.advance(2.0)
            del loop
            assert rollout.drained.wait(20)


class TestApplyAndRestore:
    def test_takes_everything_back(self, core: Any) -> None:
        held, till = core.rate, core.Till()
        with apply_and_restore() as apply:
            with pytest.raises(LookupError, match="there is no patcher yet"):
                apply.patcher
            rollout = apply(patch_of(core))
            assert [held(1), till.total(), live(core).rate(1)] == [2, 1, 2]
            assert apply.patcher.current is rollout
        assert rollout.state is State.ROLLED_BACK
        assert live(core) is core
        assert [held(1), till.total(), core.rate(1)] == [1, 0, 1]

    def test_each_patch_is_applied_to_the_code_that_was_there(self, core: Any) -> None:
        with apply_and_restore(core.__name__.partition(".")[0]) as apply:
            first = apply(Patch.from_sources(patch_of(core, 1), version="7"))
            second = apply(Patch.from_sources(patch_of(core, 2), version="7"))
            assert (first.state, second.state) == (State.ROLLED_BACK, State.LIVE)
            assert live(core).rate(0) == 2
            second.confirm()
        assert core.rate(0) == 0

    def test_staged_and_armed_ones_are_given_up(self, core: Any) -> None:
        with apply_and_restore() as apply:
            rollout = apply.stage(patch_of(core))
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{core.__name__}.rate")
        assert rollout.state is State.REJECTED
        assert shadow.is_over

    def test_an_error_of_the_block_goes_first(self, core: Any) -> None:
        with pytest.raises(KeyError), apply_and_restore() as apply:
            apply(patch_of(core))
            raise KeyError
        assert core.rate(0) == 0

    def test_what_goes_on_is_told(self, core: Any) -> None:
        with pytest.raises(NotRestoredError, match="endless") as told, apply_and_restore(within=0.01) as apply:
            rollout = apply(patch_of(core))
            loop = live(core).endless()
            next(loop)
        assert "goes on with code of the patch" in told.value.differences[0]
        loop.close()
        assert rollout.drained.wait(20)

    @pytest.mark.parametrize("how", ["rollback", "another patch", "of the patcher"])
    def test_a_call_that_goes_on_with_a_patch_of_before_fails_it(self, core: Any, how: str) -> None:
        with pytest.raises(NotRestoredError) as told, apply_and_restore(within=0.2) as apply:
            through = apply.manage(core.__name__.partition(".")[0]).apply if how == "of the patcher" else apply
            rollout = through(Patch.from_sources(patch_of(core)))
            loop = live(core).endless()
            next(loop)
            if how == "rollback":
                rollout.rollback()
            elif how == "another patch":
                apply(patch_of(core, 2))
        assert "core.endless" in told.value.differences[0].replace(":", ".")
        assert "goes on with code of the patch" in told.value.differences[0]
        loop.close()
        assert rollout.wait_settled(20)

    def test_one_that_began_beside_what_another_has_left_is_not_blamed(self, core: Any) -> None:
        with pytest.raises(NotRestoredError), apply_and_restore(within=0.2) as apply:
            apply(patch_of(core))
            loop = live(core).endless()
            next(loop)
        with apply_and_restore(within=0.2) as apply:
            apply(patch_of(core, 2))
            assert [live(core).rate(0), live(core).Till().total()] == [2, 2]
        with apply_and_restore() as apply:
            rollout = apply(patch_of(core, 3))
            loop.close()
            del loop
            assert rollout.wait_settled(20)
            assert live(core).rate(0) == 3
        assert [core.rate(0), core.Till().total()] == [0, 0]

    def test_what_is_not_as_it_was_is_told_and_an_error_of_the_block_has_it_as_a_note(self, core: Any) -> None:
        def left() -> None:
            """Stands for what a patch has left behind."""

        left.__module__ = core.__name__
        with pytest.raises(NotRestoredError) as told, apply_and_restore() as apply:
            apply(patch_of(core))
            core.left = left
        assert told.value.differences == (f"{core.__name__}.left is left", f"code of {core.__name__}.left is left")
        with pytest.raises(KeyError) as noted, apply_and_restore() as apply:
            apply.stage(patch_of(core))
            del core.left
            raise KeyError
        assert "core.left is gone" in noted.value.__notes__[0]

    def test_data_that_the_service_changes_is_its_own(self, core: Any) -> None:
        with apply_and_restore() as apply:
            apply(patch_of(core))
            live(core).rate(1)
            live(core).other = object()
        assert core.hits == 1

    def test_a_patcher_can_be_had_before_the_first_patch(self, core: Any) -> None:
        name, asked = core.__name__.partition(".")[0], list[int]()
        with apply_and_restore() as apply:
            patcher = apply.manage(name, handover=0.0)
            patcher.check(lambda candidate: asked.append(candidate[core.__name__].rate(0)), name="asks")
            rollout = apply(patch_of(core))
            assert apply.patcher is patcher is apply.manage(name)
            assert (asked, rollout.handover) == ([1], 0.0)
            with pytest.raises(ValueError, match="is managed already"):
                apply.manage(name, handover=1.0)

    def test_a_patch_may_be_rehearsed_and_bake(self, core: Any) -> None:
        with apply_and_restore() as apply:
            rollout = apply(patch_of(core), bake=600, rehearse=can_copy())
            assert (rollout.state, rollout.baked.is_set()) == (State.LIVE, False)
            assert (rollout.rehearsal is not None) is can_copy()
        assert rollout.bake is not None
        assert (rollout.state, rollout.bake.verdict) == (State.ROLLED_BACK, "ended")

    def test_a_bake_that_takes_it_back_just_then_is_waited_for(self, core: Any) -> None:
        begun, never = threading.Event(), threading.Event()
        with apply_and_restore() as apply:
            patcher = apply.manage(core.__name__.partition(".")[0])
            patcher.probe(lambda: False, failures=1, name="fails")

            @patcher.hook("before_rollback")
            def takes_its_time(_: Any) -> None:
                begun.set()
                never.wait(0.5)

            rollout = apply(patch_of(core), bake=600)
            assert begun.wait(20)
        assert rollout.reason.startswith("the bake failed: probe fails")

    def test_a_manual_clock_drives_its_bake(self, core: Any) -> None:
        asked: list[tuple[float, int]] = []
        with ManualClock() as manual, apply_and_restore() as apply:
            patcher = apply.manage(core.__name__.partition(".")[0])
            patcher.probe(lambda: asked.append((manual.now(), live(core).rate(0))), every=5, name="asks")
            rollout = apply(patch_of(core), bake=20)
            manual.advance(19)
            assert (asked, rollout.state) == ([(0, 1), (5, 1), (10, 1), (15, 1)], State.LIVE)
            manual.advance(2)
            assert rollout.state is State.PERMANENT


class TestUnderSwap:
    def test_a_unit_of_work_meets_one_version(self, core: Any) -> None:
        found = testing.under_swap(lambda: live(core).pair(1), _patch(core, 5), rounds=5, threads=3)
        assert found.clean, str(found)
        assert found.calls >= 2 * 5 * 3
        assert found.old
        assert found.new
        assert found.old + found.new == found.calls
        found.check()
        assert core.rate(1) == 1

    def test_a_mixture_is_found(self, core: Any) -> None:
        """Two calls that belong together, without a session; the swap comes between them."""
        once, calls = threading.Lock(), []

        def call() -> tuple[int, int]:
            one = two = live(core).rate(0)
            calls.append(one)
            holds = len(calls) > 4 and once.acquire(blocking=False)
            while holds and two == one:
                two = live(core).rate(0)
            return one, two

        found = testing.under_swap(call, _patch(core, 5), rounds=3, threads=2, sessions=False)
        assert not found.clean
        assert len(found.mixtures) == 1
        assert set(found.mixtures) <= {"(0, 5)", "(5, 0)"}
        assert "neither old nor new: (" in str(found)
        with pytest.raises(AssertionError, match="neither old nor new"):
            found.check()

    def test_coroutine_functions_and_judges(self, core: Any) -> None:
        async def call() -> int:
            await asyncio.sleep(0)
            answer: int = live(core).rate(1)
            return answer

        found = testing.under_swap(
            call, _patch(core, 5), rounds=2, threads=2, old=lambda answer: answer == 1, new=lambda answer: answer == 6
        )
        assert found.clean, str(found)
        assert found.new

    def test_what_is_raised(self, core: Any) -> None:
        calls: list[int] = []

        def call() -> int:
            calls.append(1)
            if len(calls) == 3:
                raise LookupError("once")
            raise ValueError("always")

        found = testing.under_swap(call, _patch(core, 5), rounds=1, threads=1)
        assert found.errors == ("raised LookupError: once",)
        assert found.calls - 1 == found.old == found.new


def _patch(core: Any, version: int) -> Patch:
    return Patch.from_sources(patch_of(core, version), version="9")


INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="pytest_hotswap"))
LOADED = () if INSTALLED else ("-p", "pytest_hotswap")
"""A checkout that is on `sys.path` has no entry points."""


class TestPlugin:
    @pytest.fixture
    def tests(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
        monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        pytester.makepyfile(toy="def rate():\n    return 1\n")
        return pytester

    def run(self, tests: pytest.Pytester, *arguments: str) -> pytest.RunResult:
        return tests.runpytest_subprocess(*LOADED, "-p", "no:randomly", "-p", "no:cacheprovider", *arguments)

    def test_fixtures(self, tests: pytest.Pytester) -> None:
        tests.makepyfile(
            """
            import pytest
            import toy

            def test_patched(hotswap_apply):
                hotswap_apply({"toy": "def rate():\\n    return 2\\n"})
                assert toy.rate() == 2
                raise KeyError("it fails, and is taken back")

            def test_as_before():
                assert toy.rate() == 1

            def test_clock(hotswap_clock):
                from hotswap import clock
                made = []
                clock.after(3600, lambda: made.append(1))
                hotswap_clock.advance(3600)
                assert made == [1]

            def test_leaves_something(hotswap_apply):
                hotswap_apply({"toy": "def rate():\\n    return 2\\n"})
                toy.more = lambda: 3
                toy.more.__module__ = "toy"
            """
        )
        result = self.run(tests)
        result.assert_outcomes(passed=3, failed=1, errors=1)
        result.stdout.fnmatch_lines(["*NotRestoredError*", "*toy.more is left*"])

    def test_what_monkeypatch_has_set_is_undone_in_the_reverse_order(self, tests: pytest.Pytester) -> None:
        tests.makepyfile(
            toy="RATE = 1\ndef rate():\n    return RATE\n",
            test_it="""
            import pytest
            import toy

            NEW = {"toy": "RATE = 2\\ndef rate():\\n    return RATE * 10\\n"}

            def mock(monkeypatch, number):
                monkeypatch.setattr("toy.RATE", number)
                monkeypatch.setattr("toy.rate", lambda: number)

            @pytest.fixture(autouse=True, scope="module", params=["before", "after", "both", "by hand"])
            def order(request):
                return request.param

            def swapped(order, monkeypatch, apply):
                if order != "after":
                    mock(monkeypatch, 7)
                apply(NEW)
                if order == "by hand":
                    monkeypatch.undo()
                elif order != "before":
                    mock(monkeypatch, 8)
                    assert toy.rate() == 8

            def test_one(hotswap_apply, monkeypatch, order):
                swapped(order, monkeypatch, hotswap_apply)

            def test_after_one():
                assert (toy.RATE, toy.rate()) == (1, 1)

            def test_other(monkeypatch, hotswap_apply, order):
                swapped(order, monkeypatch, hotswap_apply)

            def test_after_other():
                assert (toy.RATE, toy.rate()) == (1, 1)
            """,
        )
        self.run(tests).assert_outcomes(passed=16)

    def test_it_costs_nobody_anything_who_does_not_ask(self, tests: pytest.Pytester) -> None:
        tests.makepyfile(
            """
            import sys

            def test_is_not_loaded():
                assert "pytest_hotswap" in sys.modules
                assert not [name for name in sys.modules if name.partition(".")[0] in ("hotswap", "structlog")]
            """
        )
        self.run(tests).assert_outcomes(passed=1)

    @pytest.mark.skipif(not INSTALLED, reason="a checkout that is on sys.path has no entry points")
    def test_it_can_be_left_out(self, tests: pytest.Pytester) -> None:
        tests.makepyfile("def test_asks(hotswap_apply): pass")
        result = self.run(tests, "-p", "no:pytest_hotswap")
        result.assert_outcomes(errors=1)

    def test_it_works_in_processes_of_xdist(self, tests: pytest.Pytester) -> None:
        pytest.importorskip("xdist")
        tests.makepyfile(
            """
            import pytest
            import toy

            @pytest.mark.parametrize("number", range(6))
            def test_patched(hotswap_apply, number):
                hotswap_apply({"toy": f"def rate():\\n    return {number + 2}\\n"})
                assert toy.rate() == number + 2
            """
        )
        self.run(tests, "-n", "2").assert_outcomes(passed=6)

    def test_it_can_be_imported_without_hotswap(self) -> None:
        """An environment may be half installed: the plugin must not break a run."""
        code = "import sys; sys.modules['hotswap'] = None; import pytest_hotswap; print('imported')"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ran.stdout == "imported\n", ran.stderr
