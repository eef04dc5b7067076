"""Fakes: what judges a rollout finds what a test wants it to find."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import pytest
import structlog.testing

import hotswap
from hotswap import (
    Bake,
    BusyError,
    CheckFailedError,
    RehearsalError,
    ShadowError,
    State,
    StateError,
)
from hotswap.checks import Answer, Verdict
from hotswap.process_copy import can_copy
from hotswap.testing import FakePatcher, FakeRollout, FakeShadow, ManualClock
from tests.faking import SOON, events_of, patch

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


class TestChecks:
    def test_those_that_are_registered_run(self) -> None:
        patcher = FakePatcher(["shop"])
        patcher.check(lambda candidate: candidate["shop.tax"].RATE < 10, name="low")
        assert [result.verdict for result in patcher.apply(patch()).report] == ["passed"]
        with pytest.raises(CheckFailedError, match="low failed"):
            patcher.apply(patch("3.0", "RATE = 99\n"))

    def test_what_they_find_can_be_chosen(self) -> None:
        patcher = FakePatcher(["shop"])
        patcher.check(lambda _: True, name="low")
        patcher.choose(checks={"low": Answer(Verdict.FAILED, "7 is much"), "more": "error"})
        with structlog.testing.capture_logs() as logs, pytest.raises(CheckFailedError):
            patcher.apply(patch())
        assert [result.sentence for result in patcher.history()[0].report] == [
            "low failed: 7 is much",
            "more error: chosen by the test",
        ]
        names = [(log["event"], log.get("check", "")) for log in logs]
        assert [name for name in names if name[0] == "check.failed"] == [
            ("check.failed", "low"),
            ("check.failed", "more"),
        ]
        patcher.choose(checks={})
        assert patcher.apply(patch()).state == "live"
        with pytest.raises(ValueError, match="well"):
            patcher.choose(checks={"low": "well"})

    def test_of_one_rollout(self) -> None:
        rollout = FakeRollout(state=State.STAGED)
        rollout.choose(checks={"low": "timed_out"})
        with pytest.raises(CheckFailedError, match="low timed out"):
            rollout.verify()
        assert rollout.state == "rejected"
        assert rollout.calls == []


class TestBake:
    VERDICTS: ClassVar[dict[str, tuple[str, str, list[str]]]] = {
        "passed": ("permanent", "passed", ["rollout.live", "bake.began", "rollout.permanent", "bake.passed"]),
        "failed": ("rolled_back", "failed", ["rollout.live", "bake.began", "rollout.rolled_back", "bake.failed"]),
        "error": ("live", "undecided", ["rollout.live", "bake.began", "bake.undecided"]),
    }

    @pytest.mark.parametrize("verdict", VERDICTS)
    @pytest.mark.parametrize("early", [True, False])
    def test_its_verdict_can_be_chosen_before_it_and_while_it_goes_on(self, verdict: Any, early: bool) -> None:
        patcher, seen = FakePatcher(["shop"]), list[str]()
        patcher.hook("baked", lambda rollout: seen.append(rollout.bake.verdict))

        def roll_out() -> None:
            if early:
                patcher.choose(bake=verdict, reason="5 % of orders fail")
            rollout = patcher.apply(patch(), bake=600)
            if not early:
                assert rollout.bake is not None
                assert rollout.bake.verdict == "baking"
                patcher.choose(bake=verdict, reason="5 % of orders fail")
            assert rollout.wait_baked(0)

        events = events_of(roll_out)
        record = patcher.history()[0]
        state, told, wanted = self.VERDICTS[verdict]
        assert record.bake is not None
        assert (record.state, record.bake.verdict, seen) == (state, told, [told])
        assert "5 % of orders fail" in record.bake.reason
        assert events[events.index("rollout.live") :] == wanted

    @pytest.mark.parametrize(("unmeasured", "state"), [("confirm", "permanent"), ("rollback", "rolled_back")])
    def test_one_that_could_measure_nothing_goes_by_its_terms(self, unmeasured: Any, state: str) -> None:
        rollout = FakeRollout(bake=Bake(600, unmeasured=unmeasured))
        assert rollout.state == "live"
        rollout.choose(bake="error")
        assert rollout.state == state

    def test_it_can_be_ended_by_hand(self) -> None:
        rollout = FakeRollout(bake=600)
        rollout.confirm()
        assert rollout.baked.is_set()
        assert rollout.bake is not None
        assert rollout.bake.verdict == "ended"
        rollout.choose(bake="failed")
        assert rollout.state == "permanent"

    def test_a_hook_of_its_end_may_choose_another(self) -> None:
        patcher = FakePatcher(["shop"])
        patcher.hook("baked", lambda _: patcher.choose(bake="passed"))
        patcher.choose(bake="failed")
        assert patcher.apply(patch(), bake=600).state == "rolled_back"
        assert patcher.apply(patch("3.0"), bake=600).state == "permanent"

    def test_another_commit_is_refused_meanwhile(self) -> None:
        patcher = FakePatcher(["shop"], bake=600)
        patcher.apply(patch())
        with pytest.raises(BusyError, match="bakes for another"):
            patcher.apply(patch("3.0"))
        patcher.rollback()

    def test_a_verdict_must_be_one(self) -> None:
        with pytest.raises(ValueError, match="bake is one of"):
            FakeRollout().choose(bake="undecided")  # type: ignore[arg-type]

    def test_a_manual_clock_drives_it(self) -> None:
        asked: list[float] = []
        with ManualClock() as clock:
            patcher = FakePatcher(["shop"])
            patcher.probe(lambda: asked.append(clock.now()), every=2, name="asked")
            rollout = patcher.apply(patch(), bake=10)
            clock.advance(9)
            assert (asked, rollout.state) == ([0, 2, 4, 6, 8], "live")
            clock.advance(1)
            assert rollout.state == "permanent"
            assert clock.due == ()

    def test_a_probe_that_fails_takes_it_back_at_its_third_time(self) -> None:
        with ManualClock() as clock:
            patcher = FakePatcher(["shop"])

            @patcher.probe(every=1, failures=3)
            def answers() -> bool:
                return clock.now() < 5

            rollout = patcher.apply(patch(), bake=60)
            clock.advance(6)
            assert rollout.state == "live"
            clock.advance(1)
            assert rollout.state == "rolled_back"
            assert rollout.reason.startswith("the bake failed: probe answers failed 3 times in a row")

    def test_a_probe_that_hangs_fails_once_for_each_time_that_it_may_take(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hotswap.testing.clocks._PATIENCE", 0.2)
        end = threading.Event()
        with ManualClock() as clock:
            patcher = FakePatcher(["shop"])
            patcher.probe(lambda: end.wait(SOON), every=1, failures=2, timeout=3, name="hangs")
            rollout = patcher.apply(patch(), bake=60)
            clock.advance(5)
            assert rollout.bake is not None
            assert (rollout.state, rollout.bake.probes[0].in_a_row) == ("live", 1)
            clock.advance(1)
            end.set()
            assert rollout.state == "rolled_back"

    def test_a_probe_that_hangs_is_waited_for_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.testing.clocks._PATIENCE", 0.2)
        end = threading.Event()
        with ManualClock() as clock:
            patcher = FakePatcher(["shop"])
            patcher.probe(lambda: end.wait(SOON), every=1, failures=1, timeout=3, name="hangs")
            rollout = patcher.apply(patch(), bake=60)
            clock.advance(2)
            assert rollout.state == "live"
            clock.advance(1)
            end.set()
            assert rollout.reason == "the bake failed: probe hangs failed: no answer within 3 s"


@pytest.mark.skipif(not can_copy(), reason="a process can't be copied here")
class TestRehearsal:
    def test_it_passes_and_no_process_is_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.fork", lambda: pytest.fail("it was copied"))
        rollout = FakeRollout(state=State.VERIFIED)
        assert events_of(rollout.rehearse) == ["rollout.rehearsed"]
        assert rollout.rehearsal is not None
        assert (rollout.rehearsal.verdict, rollout.state) == ("passed", "verified")
        assert rollout.calls == ["rehearse"]

    @pytest.mark.parametrize("verdict", ["failed", "error", "timed_out", "inconclusive"])
    def test_its_verdict_can_be_chosen(self, verdict: str) -> None:
        patcher = FakePatcher(["shop"], rehearse=True)
        patcher.choose(rehearsal=verdict, reason="it crashed the process: SIGSEGV")
        with pytest.raises(RehearsalError, match="SIGSEGV"):
            patcher.apply(patch())
        record = patcher.history()[0]
        assert record.state == "rejected"
        assert [result.verdict for result in record.report] == [verdict]

    def test_an_inconclusive_one_may_go_on(self) -> None:
        patcher = FakePatcher(["shop"])
        patcher.choose(rehearsal="inconclusive")
        rollout = patcher.apply(patch(), rehearse=hotswap.Rehearsal(inconclusive="pass"))
        assert rollout.state == "live"

    def test_all_of_it_can_be_given(self) -> None:
        rollout = FakeRollout(state=State.STAGED)
        found = rollout.rehearse()
        rollout.choose(rehearsal=found)
        assert rollout.rehearse() is found


class TestShadow:
    def test_it_sees_what_it_is_told_of(self) -> None:
        rollout = FakeRollout({"shop.tax": ""}, state=State.ARMED)
        shadow = rollout.shadow("shop.tax.apply", limit=2)
        assert isinstance(shadow, FakeShadow)
        assert rollout.shadows == (shadow,)
        shadow.see(10, mismatches=1, timed_out=1)
        found = (shadow.calls, shadow.compared, shadow.mismatched, shadow.timed_out, len(shadow.mismatches))
        assert found == (10, 9, 1, 1, 1)
        assert shadow.verdict() == "failed"
        assert events_of(rollout.commit) == ["shadow.ended", "rollout.live"]
        assert [result.name for result in rollout.report] == ["shadow of shop.tax.apply"]

    def test_more_than_its_limit_rejects_the_rollout(self) -> None:
        rollout = FakeRollout({"shop.tax": ""}, state=State.ARMED)
        shadow: Any = rollout.shadow("shop.tax.apply", limit=2)
        shadow.see(3, mismatches=3)
        assert rollout.state == "rejected"
        assert "3 answered otherwise; more than 2" in rollout.reason

    def test_refuses_what_the_real_one_refuses(self) -> None:
        rollout = FakeRollout({"shop.tax": ""}, state=State.ARMED)
        shadow: Any = rollout.shadow("shop.tax.apply")
        with pytest.raises(ShadowError, match="is shadowed already"):
            rollout.shadow("shop.tax.apply")
        with pytest.raises(ShadowError, match="no package that this patcher manages"):
            rollout.shadow("json.dumps")
        with pytest.raises(ValueError, match="share"):
            rollout.shadow("shop.tax.other", share=2.0)
        with pytest.raises(ValueError, match="of 1 calls"):
            shadow.see(1, mismatches=2)
        rollout.disarm()
        assert shadow.is_over
        with pytest.raises(StateError, match="can't be shadowed"):
            rollout.shadow("shop.tax.apply")

    def test_no_thread_is_started(self) -> None:
        before = threading.active_count()
        FakeRollout({"shop.tax": ""}, state=State.ARMED).shadow("shop.tax.apply")
        assert threading.active_count() == before
