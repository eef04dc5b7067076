"""The bake: what takes a rollout back while it is on trial, what confirms it, and what is left when it is over."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import structlog.testing

import hotswap
from hotswap import Bake, BusyError, Patch, Patcher, State, StateError, clock, tally
from hotswap.bake import unhandled
from hotswap.checks import Inconclusive
from hotswap.periods import now, turning
from hotswap.testing import ManualClock
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

_serial = itertools.count(1)
LONG = 600
"""Seconds of a bake that something else has to end."""


class Service:
    """A package of one module, `a`, and a patcher of it."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.name = f"baking{next(_serial)}"
        package = make({"__init__.py": f"import {self.name}.a\n", "a.py": "def quote(n): return n\n"}, name=self.name)
        self.package = package
        self.quote = package.a.quote
        self.patcher = Patcher([self.name], **{"bake": LONG, **options})

    def patch(self, version: str, body: str = "return 2 * n") -> Patch:
        return Patch.from_sources({f"{self.name}.a": f"def quote(n):\n    {body}\n"}, version)

    def apply(self, *arguments: Any, **named: Any) -> Any:
        return self.patcher.apply(*arguments, **named)

    def stage(self, patch: Patch, **named: Any) -> Any:
        return self.patcher.stage(patch, **named)

    def serve(self, count: int, first: int = 0) -> None:
        for n in range(first, first + count):
            try:
                with hotswap.session():
                    self.quote(n)
            except ZeroDivisionError:
                continue  # the service answers 500, and goes on


@pytest.fixture
def make(make_package: Make) -> Iterator[Callable[..., Service]]:
    """Make services; no bake goes on after the test."""
    made: list[Service] = []
    with turning() as turn:  # sessions of other tests count for nobody here
        for write, *arguments in turn.ops:
            write(*arguments)

    def service(**options: Any) -> Service:
        made.append(Service(make_package, **options))
        return made[-1]

    yield service
    for one in made:
        rollout = one.patcher.current
        if rollout is not None and not rollout.baked.is_set():
            rollout.rollback("the test is over")


FAILS = "return n // 0"


class TestVerdict:
    def test_passes_where_probes_pass(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.05)
        service.patcher.probe(lambda: service.quote(2) == 4, every=0.01, name="quote")
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT
        assert rollout.bake.verdict == "passed"
        assert rollout.bake.remaining == 0
        assert rollout.bake.probes[0].passed >= 1

    def test_passes_where_enough_sessions_end(self, make: Callable[..., Service]) -> None:
        service = make(bake=Bake(seconds=0.2, sessions=5))
        rollout = service.apply(service.patch("1.0"))
        service.serve(5)
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT
        assert rollout.bake.new.count == 5

    @pytest.mark.parametrize(
        ("unmeasured", "state", "verdict"),
        [
            ("trial", State.LIVE, "undecided"),
            ("confirm", State.PERMANENT, "passed"),
            ("rollback", State.ROLLED_BACK, "failed"),
        ],
    )
    def test_of_what_could_not_be_measured(
        self, make: Callable[..., Service], unmeasured: Any, state: State, verdict: str
    ) -> None:
        service = make(bake=Bake(seconds=0.05, unmeasured=unmeasured))
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert (rollout.state, rollout.bake.verdict) == (state, verdict)
        assert "there is no probe, and 0 sessions have ended" in rollout.bake.reason
        assert service.patcher.history()[0].bake == rollout.bake

    def test_is_told_with_figures(self, make: Callable[..., Service]) -> None:
        service = make()
        seen: list[tuple[Any, ...]] = []
        service.patcher.hook("baked", lambda rollout: seen.append((rollout.state, rollout.bake.verdict)))
        service.serve(50)
        with structlog.testing.capture_logs() as logs:
            rollout = service.apply(service.patch("1.0", FAILS))
            service.serve(30)
            assert rollout.wait_baked(20)
        assert seen == [("rolled_back", "failed")]
        (told,) = [one for one in logs if one["event"] == "bake.failed"]
        assert told["old"] | {"median": 0, "p90": 0, "p99": 0} == {
            "sessions": 50,
            "errors": 0,
            "median": 0,
            "p90": 0,
            "p99": 0,
        }
        assert told["new"]["errors"] >= 5
        record = service.patcher.history()[0]
        assert record.reason.startswith("the bake failed: ")
        assert "sessions failed, and 0 of 50 before" in record.reason
        assert record.bake == rollout.bake
        assert "bake failed" in str(record.bake)

    def test_is_none_without_a_bake(self, make: Callable[..., Service]) -> None:
        service = make(bake=None)
        rollout = service.apply(service.patch("1.0"))
        assert rollout.bake is None
        assert rollout.wait_baked(0)
        assert rollout.state is State.LIVE

    def test_of_one_rollout(self, make: Callable[..., Service]) -> None:
        service = make(bake=None)
        rollout = service.apply(service.patch("1.0"), bake=LONG)
        assert rollout.bake.seconds == LONG
        rollout.confirm()
        assert service.apply(service.patch("1.1"), bake=0).bake is None

    def test_of_staged_and_of_async(self, make: Callable[..., Service]) -> None:
        service = make(bake=None)
        with service.stage(service.patch("1.0"), bake=LONG) as rollout:
            rollout.verify()
            assert rollout.bake is None
            rollout.commit()
        assert not rollout.baked.is_set()
        rollout.rollback()

        async def apply() -> Any:
            rollout = await service.patcher.apply_async(service.patch("1.1"), bake=0.01)
            assert await rollout.baked.wait_async(20)
            return rollout

        assert asyncio.run(apply()).bake.verdict == "undecided"

    @pytest.mark.parametrize("bake", [-1, "60", float("nan"), True])
    def test_refuses_what_is_none(self, make: Callable[..., Service], bake: Any) -> None:
        service = make(bake=None)
        with pytest.raises((TypeError, ValueError)):
            service.apply(service.patch("1.0"), bake=bake)
        assert service.patcher.history() == ()

    @pytest.mark.parametrize(
        "terms",
        [
            {"error_rate": 2},
            {"latency": 0.5},
            {"exceptions": 0},
            {"sessions": None},
            {"unmeasured": "maybe"},
            {"quantile": 1.0},
        ],
    )
    def test_refuses_terms_without_sense(self, terms: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            Bake(**terms)


class TestSessions:
    def test_errors_roll_back(self, make: Callable[..., Service]) -> None:
        service = make()
        service.serve(1_000)
        rollout = service.apply(service.patch("1.0", FAILS))
        service.serve(3)  # each fails: three of three, where at most one in a hundred did
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert service.quote(7) == 7

    def test_two_errors_are_noise(self, make: Callable[..., Service]) -> None:
        service = make()
        service.serve(1_000)
        rollout = service.apply(service.patch("1.0", "return n // n if n < 2 else n"))
        service.serve(1)
        assert rollout._host is service.patcher
        assert rollout.baking.step(clock.now()) is not None
        assert rollout.bake.new.errors == 1
        assert rollout.state is State.LIVE

    def test_errors_of_before_are_no_news(self, make: Callable[..., Service]) -> None:
        service = make()
        body = "return n // (n % 3)"
        service.apply(service.patch("1.0", body), bake=0).confirm()
        service.serve(600)
        rollout = service.apply(service.patch("1.1", body + "  # the same"))
        service.serve(300)
        assert rollout.baking.step(clock.now()) is not None
        assert rollout.bake.old.errors == 200
        assert rollout.bake.new.errors == 100
        assert rollout.state is State.LIVE

    def test_old_ones_that_end_now_count_for_the_old(self, make: Callable[..., Service]) -> None:
        service = make()
        with pytest.raises(ZeroDivisionError), hotswap.session():
            rollout = service.apply(service.patch("1.0"))
            raise ZeroDivisionError
        assert (rollout.bake.old.errors, rollout.bake.new.errors) == (1, 0)

    def test_after_a_rollback_those_of_before_the_swap_count_again(self, make: Callable[..., Service]) -> None:
        service = make(bake=None)
        service.apply(service.patch("0.9"), bake=LONG).rollback()  # they are counted from here on
        service.serve(10)
        service.apply(service.patch("1.0"), bake=LONG)
        service.serve(5)
        service.patcher.rollback()
        service.serve(3)
        rollout = service.apply(service.patch("1.1"), bake=LONG)
        assert rollout.bake.old.count == 13

    def test_on_an_armed_candidate_count_for_nobody(self, make: Callable[..., Service]) -> None:
        service = make()
        rollout = service.stage(service.patch("1.0", FAILS))
        rollout.verify()
        rollout.arm()
        with pytest.raises(ZeroDivisionError), rollout.preview():
            service.quote(1)
        rollout.commit()
        assert (rollout.bake.old.count, rollout.bake.new.count) == (0, 0)

    def test_of_async_cancellation_are_no_errors(self, make: Callable[..., Service]) -> None:
        make()
        counts = now().keeper.counts
        before = tally.total([counts])
        with pytest.raises(asyncio.CancelledError), hotswap.session():
            raise asyncio.CancelledError
        after = tally.total([counts])
        assert (after.count - before.count, after.errors - before.errors) == (1, 0)

    def test_fail_without_an_exception(self, make: Callable[..., Service]) -> None:
        make()
        counts = now().keeper.counts
        before = tally.total([counts]).errors
        with hotswap.session() as unit, hotswap.session():
            unit.fail()
        assert tally.total([counts]).errors - before == 1

    def test_are_not_counted_for_nobody(self, make_package: Make) -> None:
        gc.collect()  # patchers of other tests
        if tally.wanted:
            pytest.skip("a patcher of another test is still held by somebody")
        counts = now().keeper.counts
        before = counts.begun
        with hotswap.session():
            pass
        assert counts.begun == before


class TestTheJudge:
    @pytest.mark.parametrize("latency", [None, 2.0])
    def test_sleeps_between_looks(self, make: Callable[..., Service], latency: float | None) -> None:
        service = make(bake=Bake(LONG, latency=latency))
        rollout = service.apply(service.patch("1.0"))
        for seconds in (0, 2, 4, 50):
            assert rollout.baking.step(clock.now() + seconds) > 0

    def test_comes_late_and_decides_all_the_same(self, make: Callable[..., Service]) -> None:
        """The process was stopped for longer than the bake."""
        service = make(bake=Bake(LONG, sessions=1))
        rollout = service.apply(service.patch("1.0"))
        service.serve(1)
        assert rollout.baking.step(clock.now() + 10 * LONG) is None
        rollout.baking._wake()
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT


class TestSlowness:
    def baking(self, service: Service) -> Any:
        """A bake whose looks a test takes; the judge itself sleeps until its end."""
        return service.apply(service.patch("1.0"))

    def test_of_sessions_rolls_back(self, make: Callable[..., Service]) -> None:
        service = make()
        add(now().keeper.counts, 0.010, 500)
        rollout = self.baking(service)
        began, told = clock.now(), ""
        for look in range(1, 5):
            add(now().keeper.counts, 0.050, 30)
            told = rollout.baking._too_slow(began + 2 * look)
            assert bool(told) == (look >= 3), look
            if told:
                break
        assert told.startswith("90 of 90 sessions took longer than 0.02")
        assert "of 500 took at most" in told

    def test_that_passes_is_noise(self, make: Callable[..., Service]) -> None:
        service = make()
        add(now().keeper.counts, 0.010, 500)
        rollout = self.baking(service)
        began = clock.now()
        add(now().keeper.counts, 0.500, 100)  # one hiccup, which hits all that is open
        for look in range(1, 9):
            assert rollout.baking._too_slow(began + 2 * look) == ""
            add(now().keeper.counts, 0.010, 50)

    def test_of_a_tenth_of_a_millisecond_is_noise(self, make: Callable[..., Service]) -> None:
        service = make()
        add(now().keeper.counts, 0.0001, 500)
        rollout = self.baking(service)
        began = clock.now()
        for look in range(1, 6):
            add(now().keeper.counts, 0.0008, 50)
            assert rollout.baking._too_slow(began + 2 * look) == ""

    def test_of_sessions_that_never_end_rolls_back(self, make: Callable[..., Service]) -> None:
        service = make()
        add(now().keeper.counts, 0.010, 500)
        rollout = self.baking(service)
        now().keeper.counts.begun += 40  # each waits for a lock that nobody frees
        began = clock.now()
        told = [rollout.baking._too_slow(began + 2 * look) for look in range(1, 6)]
        assert "40 of them have not ended yet" in told[-1]

    def test_is_not_judged_without_enough_of_before(self, make: Callable[..., Service]) -> None:
        service = make()
        add(now().keeper.counts, 0.010, 10)
        rollout = self.baking(service)
        began = clock.now()
        for look in range(1, 6):
            add(now().keeper.counts, 5.0, 50)
            assert rollout.baking._too_slow(began + 2 * look) == ""


def add(counts: tally.Counts, seconds: float, times: int) -> None:
    """Count sessions as if they had taken so long."""
    for _ in range(times):
        counts.begun += 1
        counts.add(seconds, failed=False, at=clock.now())


class TestProbes:
    def test_roll_back_when_they_have_failed_so_often_in_a_row(self, make: Callable[..., Service]) -> None:
        service = make()
        answers = iter([True, False, True, False, False, False])
        service.patcher.probe(lambda: next(answers), every=0.001, failures=3, name="quote")
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert rollout.reason == "the bake failed: probe quote failed 3 times in a row: it returned False"
        assert (rollout.bake.probes[0].passed, rollout.bake.probes[0].failed) == (2, 4)

    def test_that_break_are_told_and_decide_nothing(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.05)

        @service.patcher.probe(every=0.01, failures=1)
        def broken() -> None:
            raise OSError("the network is gone")

        with structlog.testing.capture_logs() as logs:
            rollout = service.apply(service.patch("1.0"))
            assert rollout.wait_baked(20)
        assert rollout.state is State.LIVE
        assert rollout.bake.verdict == "undecided"
        assert "probe broken: OSError: the network is gone" in rollout.bake.reason
        assert [one["verdict"] for one in logs if one["event"] == "probe.failed"] == ["error"]

    @pytest.mark.parametrize(
        ("passed", "broke", "passed_again", "verdict"),
        [
            (1, 19, 0, "undecided"),  # it broke nearly always
            (20, 3, 0, "undecided"),  # it has broken: so often in a row, nothing is known of the end
            (2, 2, 0, "undecided"),
            (20, 2, 0, "passed"),
            (20, 19, 1, "passed"),
            (1, 19, 3, "undecided"),
            (0, 3, 4, "passed"),  # it could not connect at first
        ],
    )
    def test_that_have_measured_too_little_confirm_nothing(
        self, make: Callable[..., Service], passed: int, broke: int, passed_again: int, verdict: str
    ) -> None:
        count = passed + broke + passed_again
        service = make(bake=Bake(3.0 * count - 1))
        answers = iter([*[True] * passed, *[False] * broke, *[True] * passed_again])

        @service.patcher.probe(every=3.0, failures=3)
        def answer() -> None:
            if not next(answers):
                raise OSError("the network is gone")

        with ManualClock() as manual:
            rollout = service.apply(service.patch("1.0"))
            manual.advance()
            for _ in range(count):
                assert rollout.bake.verdict == "baking"
                manual.advance(3.0)
            assert rollout.wait_baked(20)
        assert (rollout.bake.probes[0].passed, rollout.bake.probes[0].errors) == (passed + passed_again, broke)
        assert rollout.bake.verdict == verdict
        assert rollout.state is (State.PERMANENT if verdict == "passed" else State.LIVE)
        if verdict == "undecided":
            counts = f"{passed + passed_again} of {count} passed, {broke} were errors"
            assert f"probe answer: {counts}, the last: OSError: the network is gone" in rollout.bake.reason

    @pytest.mark.parametrize(
        ("answers", "state"),
        [
            ("FFPFFPFFP", State.ROLLED_BACK),
            ("FPFPFPFP", State.ROLLED_BACK),
            ("PPFPPFPFP", State.ROLLED_BACK),
            ("PPFPPFPPFP", State.PERMANENT),
            ("FFP", State.PERMANENT),  # it has failed less often than it may
        ],
    )
    def test_that_fail_mostly_but_not_in_a_row(self, make: Callable[..., Service], answers: str, state: State) -> None:
        service = make(bake=Bake(3.0 * len(answers) - 1))
        left = [*(answer == "P" for answer in answers), True]
        service.patcher.probe(lambda: left.pop(0), every=3.0, failures=3, name="answer")
        with ManualClock() as manual:
            rollout = service.apply(service.patch("1.0"))
            while rollout.bake is not None and rollout.bake.verdict == "baking":
                manual.advance(3.0)
            assert rollout.wait_baked(20)
        assert rollout.state is state
        if state is State.ROLLED_BACK:
            assert "the bake failed: probe answer failed " in rollout.reason
            assert f" of {len(answers)} times: " in rollout.reason

    @pytest.mark.parametrize("body", ["raise KeyError(n)", "raise TimeoutError", "raise SystemExit(3)"])
    def test_in_which_code_of_the_patch_raises_fail(self, make: Callable[..., Service], body: str) -> None:
        service = make()
        service.patcher.probe(lambda: service.quote(2) == 2, every=0.001, failures=2, name="quote")
        rollout = service.apply(service.patch("1.0", body))
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert "probe quote failed 2 times in a row: code of the patch raised " in rollout.reason
        assert rollout.reason.endswith("a.py:2 in quote)")
        assert rollout.bake.probes[0].last == "failed"

    def test_in_whose_tasks_code_of_the_patch_raises_fail(self, make: Callable[..., Service]) -> None:
        service = make()

        async def call() -> None:
            service.quote(1)

        @service.patcher.probe(every=0.001, failures=1)
        async def several() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(call())

        rollout = service.apply(service.patch("1.0", FAILS))
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert "code of the patch raised ZeroDivisionError: " in rollout.reason

    def test_that_say_so_could_not_find_out_whatever_was_raised(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.05)

        @service.patcher.probe(every=0.01, failures=1)
        def asks() -> None:
            try:
                service.quote(1)
            except ZeroDivisionError as error:
                raise Inconclusive("the market is closed") from error

        rollout = service.apply(service.patch("1.0", FAILS))
        assert rollout.wait_baked(20)
        assert rollout.bake.verdict == "undecided"

    def test_that_are_cancelled_in_code_of_the_patch_have_not_failed(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.05)

        @service.patcher.probe(every=0.01, failures=1)
        async def asks() -> None:
            service.quote(1)

        rollout = service.apply(service.patch("1.0", "import asyncio; raise asyncio.CancelledError"))
        assert rollout.wait_baked(20)
        assert rollout.bake.verdict == "undecided"

    @pytest.mark.parametrize("inner", [False, True])
    def test_that_the_patch_has_brought_itself_break_as_others_do(
        self, make: Callable[..., Service], inner: bool
    ) -> None:
        """What a probe does is not what it asks."""
        service = make(bake=0.05)
        call = "def ask(): raise OSError(n)\n    ask()" if inner else "raise OSError(n)"
        service.patcher.probe(service.package.a.quote, every=0.01, failures=1)
        rollout = service.apply(service.patch("1.0", call))
        assert rollout.wait_baked(20)
        assert rollout.bake.verdict == "undecided"
        assert "OSError" in rollout.bake.reason

    @pytest.mark.parametrize(("hung", "verdict"), [("failed", "failed"), ("error", "undecided")])
    def test_that_hang_count_as_it_was_said(self, make: Callable[..., Service], hung: Any, verdict: str) -> None:
        service = make(bake=0.1)
        free = threading.Event()

        @service.patcher.probe(every=0.01, failures=2, timeout=0.02, hung=hung)
        def waits() -> None:
            free.wait()

        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        free.set()
        assert rollout.bake.verdict == verdict
        assert rollout.bake.probes[0].last == "timed_out"

    def test_get_the_rollout_if_they_take_something(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.02)
        got: list[object] = []
        service.patcher.probe(got.append, every=LONG)
        service.patcher.probe(lambda: got.append(None), every=LONG)
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert [one for one in got if one] == [rollout]
        assert None in got

    def test_run_on_the_loop_if_they_are_async(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.02)
        threads: list[threading.Thread] = []

        @service.patcher.probe
        async def here() -> None:
            threads.append(threading.current_thread())

        async def apply() -> Any:
            rollout = await service.patcher.apply_async(service.patch("1.0"))
            await rollout.baked.wait_async(20)
            return rollout.state

        assert asyncio.run(apply()) is State.PERMANENT
        assert set(threads) == {threading.current_thread()}
        rollout = service.apply(service.patch("1.1"))  # without a loop they get one of their own
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT
        assert threading.current_thread() is not threads[-1]

    @pytest.mark.parametrize("act", ["rollback", "confirm"])
    def test_may_decide_themselves(self, make: Callable[..., Service], act: str) -> None:
        service = make()
        service.patcher.probe(lambda rollout: getattr(rollout, act)(), name="decides")
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert rollout.state is (State.ROLLED_BACK if act == "rollback" else State.PERMANENT)
        assert rollout.bake.verdict == "ended"

    def test_are_not_part_of_staging(self, make: Callable[..., Service]) -> None:
        service = make(bake=0.02)
        service.patcher.probe(lambda: not hotswap.staging())
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT

    @pytest.mark.parametrize("options", [{"every": 0}, {"failures": 0}, {"hung": "maybe"}, {"timeout": -1}])
    def test_without_sense_are_refused(self, make: Callable[..., Service], options: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            make().patcher.probe(lambda: None, **options)

    def test_that_take_two_things_are_refused(self, make: Callable[..., Service]) -> None:
        with pytest.raises(TypeError, match="takes nothing, or the rollout"):
            make().patcher.probe(lambda one, two: None)


class TestUnhandled:
    def in_thread(self, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    def test_of_a_thread_rolls_back(self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", told.append)
        service = make()
        rollout = service.apply(service.patch("1.0", FAILS))
        thread = threading.Thread(target=lambda: service.quote(1))
        thread.start()
        thread.join()
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert "an unhandled exception ran through code of the patch: ZeroDivisionError" in rollout.reason
        assert "in quote" in rollout.bake.exception
        assert len(told) == 1  # the hook that stood there before was called
        assert threading.excepthook == told.append

    def test_of_a_task_rolls_back(self, make: Callable[..., Service]) -> None:
        service = make()
        told: list[Any] = []

        async def serve() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
            rollout = await service.patcher.apply_async(service.patch("1.0", FAILS))
            asyncio.get_running_loop().call_soon(service.quote, 1)
            assert await rollout.baked.wait_async(20)
            return rollout.state

        assert asyncio.run(serve()) is State.ROLLED_BACK
        assert [type(one) for one in told] == [ZeroDivisionError]

    def test_of_a_finalizer_rolls_back(self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        service = make()
        rollout = service.apply(service.patch("1.0", FAILS))
        thing = type("Thing", (), {"__del__": lambda self: service.quote(1)})()
        del thing
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK

    def test_of_other_code_is_none_of_ours(self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        service = make()
        rollout = service.apply(service.patch("1.0"))
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        assert rollout.baking.step(clock.now()) is not None
        assert rollout.bake.exceptions == 0

    def test_that_another_was_raised_from_counts(
        self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        service = make()
        rollout = service.apply(service.patch("1.0", FAILS))

        def wrapped() -> None:
            try:
                service.quote(1)
            except ZeroDivisionError as error:
                raise RuntimeError("the handler failed") from error

        thread = threading.Thread(target=wrapped)
        thread.start()
        thread.join()
        assert rollout.wait_baked(20)
        assert "ZeroDivisionError" in rollout.reason or "RuntimeError" in rollout.reason

    def test_of_a_group_of_tasks_rolls_back(self, make: Callable[..., Service]) -> None:
        service = make()

        async def call() -> None:
            service.quote(1)

        async def serve() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda *_: None)
            rollout = await service.patcher.apply_async(service.patch("1.0", FAILS))

            async def several() -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(call())

            several_tasks = asyncio.create_task(several())
            await asyncio.wait([several_tasks])
            del several_tasks  # nobody awaits it
            gc.collect()
            assert await rollout.baked.wait_async(20)
            return rollout

        rollout = asyncio.run(serve())
        assert rollout.state is State.ROLLED_BACK
        assert "ZeroDivisionError: " in rollout.bake.exception
        assert "reported as ExceptionGroup: unhandled errors in a TaskGroup" in rollout.bake.exception

    def test_is_heard_though_somebody_replaces_the_hook(
        self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = make(bake=Bake(LONG, latency=None, error_rate=None))
        with monkeypatch.context() as patched:
            patched.setattr(threading, "excepthook", lambda _: None)
            rollout = service.apply(service.patch("1.0", FAILS))
            theirs = threading.excepthook = lambda _: None  # it calls nobody
            assert until(lambda: threading.excepthook is not theirs)
            thread = threading.Thread(target=lambda: service.quote(1))
            thread.start()
            thread.join()
            assert rollout.wait_baked(20)
            assert rollout.state is State.ROLLED_BACK
            assert threading.excepthook is theirs

    def test_hooks_come_off_in_any_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reported: list[str] = []
        monkeypatch.setattr(threading, "excepthook", lambda _: reported.append("first"))
        first = threading.excepthook
        heard: list[Any] = []
        end = unhandled.listen(heard.append)
        ours = threading.excepthook

        def theirs(arguments: Any) -> None:
            reported.append("theirs")
            ours(arguments)

        threading.excepthook = theirs  # somebody wraps ours, and does not take it off
        end()
        assert threading.excepthook is theirs
        raised(threading.excepthook)
        assert (reported, heard) == (["theirs", "first"], [])
        end = unhandled.listen(heard.append)  # on top of theirs: heard once, though ours lies below as well
        raised(threading.excepthook)
        assert len(heard) == 1
        end()
        end()
        assert threading.excepthook is theirs
        threading.excepthook = first
        raised(threading.excepthook)
        assert len(heard) == 1


def raised(hook: Any) -> None:
    """Report an exception as `threading` does."""
    try:
        raise ValueError("reported")
    except ValueError as error:
        hook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


class TestOtherRollouts:
    def test_are_refused_while_one_bakes(self, make: Callable[..., Service]) -> None:
        service = make()
        rollout = service.apply(service.patch("1.0"))
        with pytest.raises(BusyError, match=r"1\.0 bakes for another \d+ s"):
            service.apply(service.patch("1.1"))
        assert rollout.state is State.LIVE
        other = service.stage(service.patch("1.1"))  # a dry run
        other.verify()
        with pytest.raises(BusyError, match="bakes for another"):
            other.commit()
        assert other.state == "verified"
        with pytest.raises(StateError, match="it is too late"):
            rollout.commit()  # it is no other
        rollout.confirm()
        other.commit()
        assert other.state == "live"

    def test_wait_for_its_end(self, make: Callable[..., Service]) -> None:
        service = make()
        rollout = service.apply(service.patch("1.0"))
        waiting = threading.Event()
        place = service.patcher._place
        inner = place._baking

        def asked() -> Any:
            waiting.set()
            return inner()

        place._baking = asked
        went: list[Any] = []
        thread = threading.Thread(target=lambda: went.append(service.apply(service.patch("1.1"), wait=None, bake=0)))
        thread.start()
        assert waiting.wait(20)
        rollout.confirm()
        thread.join(20)
        assert [one.state for one in went] == [State.LIVE]

    def test_that_were_staged_are_aborted_by_the_rollback(self, make: Callable[..., Service]) -> None:
        service = make()
        rollout = service.apply(service.patch("1.0", FAILS))
        other = service.stage(service.patch("1.1"))
        service.serve(40)
        assert rollout.wait_baked(20)
        assert until(lambda: other.state is State.REJECTED)


class TestTheEnd:
    def test_by_hand(self, make: Callable[..., Service]) -> None:
        service = make()
        for act, state in (("rollback", State.ROLLED_BACK), ("confirm", State.PERMANENT)):
            rollout = service.apply(service.patch("1.0"))
            getattr(rollout, act)()
            assert rollout.baked.is_set()
            assert (rollout.state, rollout.bake.verdict) == (state, "ended")
            assert service.patcher.history()[0].bake == rollout.bake
            assert until(lambda: not judges())

    def test_leaves_nothing_behind(self, make: Callable[..., Service]) -> None:
        service = make()
        hooks = sys.excepthook, threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
        gone: list[weakref.ref[Any]] = []
        for number in range(10):
            rollout = service.apply(service.patch(f"1.{number}"))
            gone.append(weakref.ref(rollout.baking))
            rollout.confirm()
        del rollout
        assert until(lambda: not judges())
        gc.collect()
        assert sum(one() is not None for one in gone) <= 2  # that of what is live, and of what its swap has replaced
        after = sys.excepthook, threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
        assert after == hooks
        counts = now().keeper.counts
        assert counts.alarms == ()
        assert len(counts.until(0)) <= 9

    def test_confirming_what_is_just_taken_back_is_refused(self, make: Callable[..., Service]) -> None:
        service = make()
        refused: list[BaseException] = []

        @service.patcher.hook("before_rollback")
        def confirms_from_elsewhere(rollout: Any) -> None:
            def confirm() -> None:
                try:
                    rollout.confirm()
                except StateError as error:
                    refused.append(error)

            thread = threading.Thread(target=confirm)
            thread.start()
            thread.join()

        service.patcher.probe(lambda: False, failures=1, name="never")
        rollout = service.apply(service.patch("1.0"))
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        assert "its bake has failed" in str(refused[0])

    def test_of_a_rollback_that_fails_is_told(
        self, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = make()
        service.patcher.probe(lambda: False, failures=1, name="never")

        def fail(*_: Any) -> Any:
            raise OSError("no way back")

        with structlog.testing.capture_logs() as logs:
            with service.stage(service.patch("1.0")) as rollout:
                rollout.verify()
                monkeypatch.setattr(service.patcher, "recall", fail)
                rollout.commit()
            assert rollout.wait_baked(20)
        monkeypatch.undo()
        assert rollout.state is State.LIVE
        assert rollout.bake.verdict == "undecided"
        (told,) = [one for one in logs if one["event"] == "bake.undecided"]
        assert told["log_level"] == "error"
        assert "could not be carried out: the way back failed: OSError: no way back" in told["reason"]
        rollout.rollback()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_in_a_child_is_left_to_the_parent(self, make: Callable[..., Service]) -> None:
        service = make()
        hook = threading.excepthook
        rollout = service.apply(service.patch("1.0"))
        child = os.fork()
        if child == 0:
            good = (
                rollout.bake.verdict == "undecided"
                and rollout.wait_baked(1)
                and rollout.state is State.LIVE
                and threading.excepthook is hook
            )
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert rollout.bake.verdict == "baking"


def judges() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("hotswap bake")]


class TestDrops:
    def test_say_that_they_are_permanent(self, make: Callable[..., Service], drops: Any) -> None:
        service = make(bake=LONG)
        with service.patcher.watch(drops, interval=0.05, single_files=True):
            (drops / "build").mkdir()
            (drops / "build" / "hotswap.toml").write_text('version = "1.0"\n')
            (drops / "build" / service.name).mkdir()
            (drops / "build" / service.name / "__init__.py").write_text(f"import {service.name}.a\n")
            (drops / "build" / service.name / "a.py").write_text("def quote(n): return 3 * n\n")
            (drops / "build.go").touch()
            marker = drops / "build.live"
            assert until(marker.exists)
            assert '"state": "live"' in marker.read_text()
            assert "on trial for 600 s" in marker.read_text()
            current = service.patcher.current
            assert current is not None
            current.confirm()
            assert '"state": "permanent"' in marker.read_text()

    def test_say_that_the_bake_took_them_back(self, make: Callable[..., Service], drops: Any) -> None:
        service = make(bake=LONG)
        free = threading.Event()
        service.patcher.probe(lambda: not free.is_set(), every=0.02, failures=1, name="quote")
        (drops / service.name).mkdir()
        with service.patcher.watch(drops, interval=0.05):
            (drops / service.name / "hotswap.toml").write_text('version = "1.0"\n')
            (drops / service.name / "__init__.py").write_text(f"import {service.name}.a\n")
            (drops / service.name / "a.py").write_text("def quote(n): return 3 * n\n")
            (drops / f"{service.name}.go").touch()
            assert until((drops / f"{service.name}.live").exists)
            free.set()
            failed = drops / f"{service.name}.failed"
            assert until(failed.exists)
        assert '"state": "rolled_back"' in failed.read_text()
        assert "the bake failed: probe quote failed: it returned False" in failed.read_text()
