"""How several checks are run: in turn, in parallel, alone; what is known meanwhile; and verdicts that do not reject."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import structlog

import hotswap
from hotswap.checks import Answer, Inconclusive, Verdict, time_left
from hotswap.verification import Candidate, Check, CheckResult, Report, Turn, run_checks
from tests.judged import LONG, Service

pytestmark = pytest.mark.threads


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Service:
    return Service(make_package, {"a.py": "RATE = 19\n"})


class TestTurns:
    def test_parallel_ones_run_at_the_same_time(self) -> None:
        together = threading.Barrier(2)
        checks = [Check(name, lambda _: together.wait(LONG), LONG, Turn.PARALLEL) for name in ("a", "b")]
        assert run_checks(checks, {}).passed

    def test_a_serial_one_runs_beside_them(self) -> None:
        together = threading.Barrier(2)
        checks = [
            Check("serial", lambda _: together.wait(LONG), LONG),
            Check("parallel", lambda _: together.wait(LONG), LONG, Turn.PARALLEL),
        ]
        assert run_checks(checks, {}).passed

    def test_serial_ones_do_not_overlap(self) -> None:
        inside = threading.Lock()

        def check(_: Candidate) -> None:
            assert inside.acquire(blocking=False)
            inside.release()

        assert run_checks([Check(str(number), check, LONG) for number in range(20)], {}).passed

    def test_one_that_measures_is_alone(self) -> None:
        ended: list[str] = []
        checks = [
            Check("alone", lambda _: ended.append("alone"), LONG, Turn.ALONE),
            Check("parallel", lambda _: ended.append("parallel"), LONG, Turn.PARALLEL),
            Check("serial", lambda _: ended.append("serial"), LONG),
        ]
        report = run_checks(checks, {})
        assert ended[-1] == "alone"
        assert [result.name for result in report] == ["alone", "parallel", "serial"]

    def test_each_has_its_own_time(self) -> None:
        hung, other = threading.Event(), threading.Event()
        checks = [
            Check("hangs", lambda _: hung.wait(), 0.1, Turn.PARALLEL),
            Check("waits", lambda _: other.wait(LONG), LONG, Turn.PARALLEL),
        ]

        def tell(name: str, result: CheckResult | None) -> None:
            if name == "hangs" and result is not None:
                other.set()

        try:
            report = run_checks(checks, {}, tell=tell)
        finally:
            hung.set()
        assert [result.verdict for result in report] == ["timed_out", "passed"]

    def test_without_threads_they_run_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        checks = [Check("a", lambda _: None, LONG, Turn.PARALLEL), Check("b", lambda _: False, LONG, Turn.ALONE)]
        assert [result.verdict for result in run_checks(checks, {})] == ["passed", "failed"]

    def test_a_cancellation_stops_them_all(self) -> None:
        cancelled, begun = threading.Event(), threading.Barrier(2)

        def endless(_: Candidate) -> None:
            begun.wait(LONG)
            cancelled.set()
            while True:
                pass

        checks = [Check(name, endless, LONG, Turn.PARALLEL) for name in ("a", "b")]
        report = run_checks([*checks, Check("never", lambda _: None, LONG, Turn.ALONE)], {}, cancelled=cancelled)
        assert [result.verdict for result in report] == ["error", "error"]
        assert report.waiting == ("never",)
        assert not report.passed

    def test_an_interrupt_of_the_caller_stops_those_beside(self) -> None:
        ended = threading.Event()

        def endless(_: Candidate) -> None:
            try:
                while True:
                    pass
            finally:
                ended.set()

        def tell(name: str, result: CheckResult | None) -> None:
            if name == "serial":
                raise KeyboardInterrupt

        checks = [Check("endless", endless, LONG, Turn.PARALLEL), Check("serial", lambda _: None, LONG)]
        with pytest.raises(KeyboardInterrupt):
            run_checks(checks, {}, tell=tell)
        assert ended.wait(LONG)

    def test_what_goes_wrong_beside_is_raised(self) -> None:
        def tell(name: str, result: CheckResult | None) -> None:
            raise MemoryError("no room to tell")

        with pytest.raises(MemoryError, match="no room"):
            run_checks([Check("a", lambda _: None, LONG, Turn.PARALLEL)], {}, tell=tell)

    def test_registered_ones(self, service: Service) -> None:
        together = threading.Barrier(2)
        service.patcher.check(lambda _: together.wait(LONG), name="a", parallel=True, timeout=LONG)
        service.patcher.check(lambda _: together.wait(LONG), name="b", parallel=True, timeout=LONG)
        assert service.patcher.apply(service.patch({"a": "RATE = 16\n"})).report.passed


class TestProgress:
    def test_the_report_grows(self, service: Service) -> None:
        seen: list[Report] = []

        def look(_: Candidate) -> None:
            assert service.patcher.current is not None
            seen.append(service.patcher.current.report)

        for name in ("one", "two"):
            service.patcher.check(look, name=name)
        rollout = service.patcher.apply(service.patch({"a": "RATE = 16\n"}))
        first, second = seen
        assert (first.results, first.running, first.waiting) == ((), ("one",), ("two",))
        assert ([result.name for result in second], second.running, second.waiting) == (["one"], ("two",), ())
        assert not second.passed
        assert "1 passed, 1 running" in str(second)
        assert (rollout.report.running, rollout.report.waiting) == ((), ())

    def test_events(self, service: Service) -> None:
        service.patcher.check(lambda _: None, name="one")
        service.patcher.check(lambda _: False, name="two", required=False)
        with structlog.testing.capture_logs() as logs:
            service.patcher.apply(service.patch({"a": "RATE = 16\n"}))
        told = [(entry["event"], entry["check"]) for entry in logs if entry["event"].startswith("check")]
        assert told == [
            ("check.started", "one"),
            ("check.passed", "one"),
            ("check.started", "two"),
            ("check.failed", "two"),
        ]
        assert [entry["tolerated"] for entry in logs if entry["event"] == "check.failed"] == [True]

    def test_the_history_has_it(self, service: Service, tmp_path: Path) -> None:
        patcher = hotswap.Patcher([service.name], store=tmp_path / "store")
        patcher.check(lambda _: Answer(Verdict.INCONCLUSIVE, "nobody knows"), name="unsure", inconclusive="accept")
        patcher.apply(service.patch({"a": "RATE = 16\n"})).confirm()
        told = [("unsure", "inconclusive", "nobody knows", True)]
        for record in (patcher.history()[0], hotswap.Patcher([service.name], store=tmp_path / "store").history()[0]):
            assert [(one.name, one.verdict, one.message, one.tolerated) for one in record.report] == told
            assert record.report.passed


class TestInconclusive:
    def raising(self, _: Candidate) -> None:
        raise Inconclusive("the scales are broken")

    def test_it_rejects(self, service: Service) -> None:
        service.patcher.check(self.raising, name="weighs")
        with pytest.raises(hotswap.CheckFailedError, match="weighs inconclusive: the scales are broken"):
            service.patcher.apply(service.patch({"a": "RATE = 16\n"}))

    @pytest.mark.parametrize("options", [{"inconclusive": "accept"}, {"required": False}])
    def test_unless_it_is_registered_otherwise(self, service: Service, options: dict[str, object]) -> None:
        service.patcher.check(self.raising, name="weighs", **options)  # type: ignore[call-overload]  # either of them
        rollout = service.patcher.apply(service.patch({"a": "RATE = 16\n"}))
        (result,) = rollout.report.warnings
        assert (result.verdict, result.message) == ("inconclusive", "the scales are broken")
        assert "does not reject the patch" in str(rollout.report)

    def test_a_failure_rejects_where_only_doubt_is_accepted(self, service: Service) -> None:
        service.patcher.check(lambda _: False, name="weighs", inconclusive="accept")
        with pytest.raises(hotswap.CheckFailedError):
            service.patcher.apply(service.patch({"a": "RATE = 16\n"}))

    def test_nothing_rejects_that_is_not_required(self, service: Service) -> None:
        def breaks(_: Candidate) -> None:
            raise OSError("the disk is full")

        for check in (breaks, lambda _: False):
            service.patcher.check(check, required=False)
        rollout = service.patcher.apply(service.patch({"a": "RATE = 16\n"}))
        assert [result.verdict for result in rollout.report.warnings] == ["error", "failed"]

    def test_another_word_is_an_error(self, service: Service) -> None:
        with pytest.raises(ValueError, match="'reject' or 'accept'"):
            service.patcher.check(self.raising, inconclusive="ignore")  # type: ignore[call-overload]  # on purpose


class TestAnswers:
    def test_a_check_may_return_one(self) -> None:
        (result,) = run_checks([Check("a", lambda _: Answer(Verdict.FAILED, "two\n lines", "more"), LONG)], {})
        assert (result.verdict, result.message, result.detail) == ("failed", "two lines", "more")

    def test_a_long_message_is_cut(self) -> None:
        assert len(Answer(Verdict.PASSED, "x" * 100_000, "y" * 100_000).message) == 1000

    def test_a_verdict_that_there_is_not(self) -> None:
        with pytest.raises(ValueError, match="perhaps"):
            Answer("perhaps")  # type: ignore[arg-type]  # on purpose


class TestTimeLeft:
    def test_outside_of_checks(self) -> None:
        assert time_left() is None

    def test_within(self) -> None:
        found: list[float | None] = []
        run_checks([Check("a", lambda _: found.append(time_left()), LONG)], {})
        assert found[0] is not None
        assert LONG / 2 < found[0] <= LONG

    def test_the_shorter_counts(self) -> None:
        found: list[float | None] = []

        def outer(_: Candidate) -> None:
            run_checks([Check("inner", lambda _: found.append(time_left()), 10 * LONG)], {})

        run_checks([Check("outer", outer, LONG)], {})
        assert found[0] is not None
        assert found[0] <= LONG


class TestCandidate:
    def test_what_it_tells(self, service: Service) -> None:
        def look(candidate: hotswap.checks.Candidate) -> None:
            name = f"{service.name}.a"
            assert (candidate[name].RATE, candidate.live[name].RATE) == (16, 19)
            assert (candidate.sources[name], candidate.live.sources[name]) == ("RATE = 16\n", "RATE = 19\n")
            assert (str(candidate.version), candidate.patch.name) == ("1.0", service.name)
            assert candidate.removed == frozenset()
            assert service.name in candidate.live
            assert len(candidate.live) == 2

        result = service.judge(look, {"a": "RATE = 16\n"})
        assert (result.verdict, result.detail) == ("passed", "")

    def test_a_kind_says_what_it_needs(self) -> None:
        (result,) = run_checks([Check("a", hotswap.checks.imports_clean(), LONG)], {})
        assert result.verdict == "inconclusive"
        assert "the candidate of a rollout" in result.message
