"""The journey of one patch: which step leads where, and what it tells on the way."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import structlog.testing
from packaging.version import Version

from hotswap import Patch, Patcher, State
from hotswap.errors import CheckFailedError, HotswapError, LoadError, PlanError, StateError

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide

Make = Callable[..., ModuleType]

_serial = itertools.count(1)


class Service:
    """A package of one module, `a`, and the patcher of it."""

    def __init__(self, make: Make) -> None:
        self.name = f"rolling{next(_serial)}"
        package = make({"__init__.py": f"import {self.name}.a\n", "a.py": "def quote(): return 0\n"}, name=self.name)
        self.quote = package.a.quote
        self.patcher = Patcher([self.name], check_timeout=10)

    def patch(self, number: int, version: str | None = None, more: str = "") -> Patch:
        return Patch.from_sources({f"{self.name}.a": f"def quote(): return {number}\n{more}"}, version or f"{number}.0")

    def in_state(self, state: State) -> Any:
        """A rollout that has come to this state."""
        if state is State.STAGED:
            return self.patcher.stage(self.patch(1))
        if state in (State.VERIFIED, State.ARMED):
            rollout = self.patcher.stage(self.patch(1))
            rollout.verify()
            if state is State.ARMED:
                rollout.arm()
            return rollout
        if state is State.REJECTED:
            rollout = self.patcher.stage(self.patch(1))
            rollout.abort()
            return rollout
        rollout = self.patcher.apply(self.patch(1))
        if state is State.PERMANENT:
            rollout.confirm()
        if state is State.ROLLED_BACK:
            rollout.rollback()
        assert rollout.state is state
        return rollout


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package)


# What the table at the top of `hotswap/rollout.py` says: step -> the states in which it may be asked for, and the next.
STEPS: dict[str, tuple[frozenset[State], State]] = {
    "verify": (frozenset({State.STAGED}), State.VERIFIED),
    "arm": (frozenset({State.VERIFIED}), State.ARMED),
    "disarm": (frozenset({State.ARMED}), State.VERIFIED),
    "commit": (frozenset({State.VERIFIED, State.ARMED}), State.LIVE),
    "confirm": (frozenset({State.LIVE}), State.PERMANENT),
    "rollback": (frozenset({State.LIVE, State.PERMANENT}), State.ROLLED_BACK),
    "abort": (frozenset({State.STAGED, State.VERIFIED, State.ARMED}), State.REJECTED),
}


class TestStates:
    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("state", [state for state in State if state is not State.DIED])
    def test_table(self, service: Service, state: State, step: str) -> None:
        rollout = service.in_state(state)
        before, answer = len(service.patcher.history()), service.quote()
        allowed, leads_to = STEPS[step]
        if state in allowed:
            getattr(rollout, step)()
            assert rollout.state is leads_to
            assert service.quote() == (1 if leads_to in (State.LIVE, State.PERMANENT) else 0)
        else:
            with pytest.raises(StateError) as caught:
                getattr(rollout, step)()
            assert rollout.state is state
            assert service.quote() == answer
            text = str(caught.value)
            assert f"{service.name} 1.0" in text
            assert state.value.replace("_", " ") in text
            assert "running now" in text
        assert len(service.patcher.history()) == before
        assert service.patcher.history()[0].state is rollout.state
        if rollout.state in (State.STAGED, State.VERIFIED, State.ARMED):
            rollout.abort()

    def test_whole_journey(self, service: Service) -> None:
        rollout = service.patcher.stage(service.patch(1))
        states = [rollout.state]
        for step in ("verify", "commit", "confirm", "rollback"):
            getattr(rollout, step)()
            states.append(rollout.state)
        assert states == [State.STAGED, State.VERIFIED, State.LIVE, State.PERMANENT, State.ROLLED_BACK]

    def test_failed_check_leads_to_rejected(self, service: Service) -> None:
        service.patcher.check(lambda candidate: False, name="never")
        rollout = service.patcher.stage(service.patch(1))
        with pytest.raises(CheckFailedError):
            rollout.verify()
        assert rollout.state is State.REJECTED
        assert "never" in rollout.reason
        with pytest.raises(StateError):
            rollout.commit()

    def test_plan_that_fails_unforeseen_is_rejected_and_named(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise AttributeError("no such thing")

        with (
            monkeypatch.context() as patched,
            pytest.raises(PlanError, match="AttributeError: no such thing") as caught,
        ):
            patched.setattr("hotswap.succession.Swap", broken)
            service.patcher.apply(service.patch(1))
        assert isinstance(caught.value.__cause__, AttributeError)
        assert caught.value.running == {service.name: "0"}
        assert service.patcher.history()[0].state is State.REJECTED
        assert service.quote() == 0
        service.patcher.apply(service.patch(1))
        assert service.quote() == 1

    def test_later_commit_makes_permanent_and_takes_the_way_back(self, service: Service) -> None:
        first = service.patcher.apply(service.patch(1))
        second = service.patcher.apply(service.patch(2))
        assert (first.state, second.state) == (State.PERMANENT, State.LIVE)
        with pytest.raises(StateError, match="not what is live") as caught:
            first.rollback()
        assert f"running now: {service.name} 2.0" in str(caught.value)
        second.rollback()
        assert service.quote() == 1
        with pytest.raises(StateError):
            first.rollback()
        assert service.quote() == 1

    def test_with_block_gives_up_what_was_not_committed(self, service: Service) -> None:
        with service.patcher.stage(service.patch(1)) as rollout:
            pass
        assert (rollout.state, rollout.reason) == (State.REJECTED, "left without a commit")
        with service.patcher.stage(service.patch(1)) as rollout:
            rollout.verify()
            rollout.commit()
        assert rollout.state is State.LIVE
        assert service.quote() == 1

    def test_with_block_that_raises(self, service: Service) -> None:
        rollout = service.patcher.stage(service.patch(1))
        with pytest.raises(ZeroDivisionError), rollout:
            raise ZeroDivisionError
        assert rollout.state is State.REJECTED

    def test_with_block_in_which_it_was_aborted(self, service: Service) -> None:
        with service.patcher.stage(service.patch(1)) as rollout:
            rollout.abort("mine")
        assert rollout.reason == "mine"


class TestFacts:
    def test_of_a_staged_rollout(self, service: Service) -> None:
        patch = service.patch(1)
        with service.patcher.stage(patch) as rollout:
            assert rollout.patch == patch
            assert rollout.version == Version("1.0")
            assert rollout.label == f"{service.name} 1.0"
            assert rollout.candidate[f"{service.name}.a"].quote() == 1
            assert rollout.plan.modules[f"{service.name}.a"] == "changed"
            assert rollout.plan.supported
            assert f"changed modules: {service.name}.a" in str(rollout.plan)
            assert (len(rollout.report), rollout.pause, rollout.reason) == (0, None, "")
            assert service.patcher.current is rollout
            assert service.quote() == 0
            assert "staged" in repr(rollout)

    def test_report_of_every_check(self, service: Service) -> None:
        service.patcher.check(lambda candidate: None, name="first")
        service.patcher.check(lambda candidate: True, name="second")
        rollout = service.patcher.apply(service.patch(1))
        assert [(r.name, str(r.verdict)) for r in rollout.report] == [("first", "passed"), ("second", "passed")]
        assert all(result.duration >= 0 for result in rollout.report)
        assert rollout.report.passed
        assert service.patcher.history()[0].report is rollout.report

    def test_pause_is_measured(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(1))
        assert rollout.pause is not None and 0 < rollout.pause < 1
        rollout.rollback()
        assert rollout.pause is not None and 0 < rollout.pause < 1

    @pytest.mark.parametrize("end", ["abort", "rollback"])
    def test_candidate_is_gone_when_it_is_over(self, service: Service, end: str) -> None:
        rollout = service.patcher.stage(service.patch(1))
        if end == "rollback":
            rollout.verify()
            rollout.commit()
        getattr(rollout, end)()
        with pytest.raises(StateError, match="no candidate any more"):
            _ = rollout.candidate

    def test_ids_differ(self, service: Service) -> None:
        ids = set()
        for _ in range(3):
            with service.patcher.stage(service.patch(1)) as rollout:
                ids.add(rollout.id)
        assert len(ids) == 3

    def test_candidate_as_a_mapping(self, service: Service) -> None:
        with service.patcher.stage(service.patch(1)) as rollout:
            candidate = rollout.candidate
            assert set(candidate) == {service.name, f"{service.name}.a"}
            assert len(candidate) == 2
            assert f"{service.name}.a" in candidate
            assert f"{service.name}.b" not in candidate
            assert candidate.get("json") is None
            with pytest.raises(KeyError):
                candidate[f"{service.name}.b"]


def told(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


class TestEvents:
    def test_good_journey(self, service: Service) -> None:
        service.patcher.check(lambda candidate: None, name="fine")
        patch = service.patch(1)
        with structlog.testing.capture_logs() as logs:
            rollout = service.patcher.apply(patch)
            rollout.confirm()
            service.patcher.rollback(reason="because")
        names = ["staged", "verified", "live", "permanent", "rolled_back"]
        checks = ["check.started", "check.passed"]
        assert told(logs) == ["rollout.staged", *checks, *(f"rollout.{name}" for name in names[1:])]
        steps = [entry for entry in logs if entry["event"].startswith("rollout")]
        for entry in steps:
            assert entry["rollout"] == rollout.id
            assert entry["patch"] == service.name
            assert entry["version"] == "1.0"
            assert entry["digest"] == patch.digest
            assert entry["duration"] >= 0
        assert [entry["duration"] for entry in steps] == sorted(entry["duration"] for entry in steps)
        assert [entry["reason"] for entry in steps] == ["", "", "", "", "because"]
        assert [entry["log_level"] for entry in steps] == ["info"] * 4 + ["warning"]
        assert steps[2]["pause"] > 0 and steps[4]["pause"] > 0
        assert logs[1]["check"] == logs[2]["check"] == "fine"
        assert logs[2]["verdict"] == "passed"
        assert {(entry["rollout"], entry["version"], entry["digest"]) for entry in logs} == {
            (steps[0]["rollout"], steps[0]["version"], steps[0]["digest"])
        }
        assert logs[2]["reason"] == ""

    def test_failed_check(self, service: Service) -> None:
        service.patcher.check(lambda candidate: None, name="fine")
        service.patcher.check(lambda candidate: False, name="refuses")
        with structlog.testing.capture_logs() as logs, pytest.raises(CheckFailedError) as caught:
            service.patcher.apply(service.patch(1))
        checks = ["check.started", "check.passed", "check.started", "check.failed"]
        assert told(logs) == ["rollout.staged", *checks, "rollout.rejected"]
        assert logs[4]["message"] == "it returned False"
        assert logs[4]["reason"] == "refuses failed: it returned False"
        assert caught.value.rollout == service.patcher.history()[0]
        assert logs[5]["reason"] == caught.value.reason
        assert logs[5]["log_level"] == "warning"

    def test_failed_load(self, service: Service) -> None:
        with structlog.testing.capture_logs() as logs, pytest.raises(LoadError):
            service.patcher.apply(service.patch(1, more="1 / 0\n"))
        assert told(logs) == ["rollout.rejected"]
        assert "ZeroDivisionError" in logs[0]["reason"]
        assert (logs[0]["version"], logs[0]["patch"]) == ("1.0", service.name)

    def test_refused_before_anything_ran(self, service: Service) -> None:
        with structlog.testing.capture_logs() as logs, pytest.raises(HotswapError):
            service.patcher.apply(service.patch(0, "0"))
        assert told(logs) == ["rollout.rejected"]
        assert "is live already" in logs[0]["reason"]

    def test_superseded_rollout_is_permanent_once_the_next_is_live(self, service: Service) -> None:
        first = service.patcher.apply(service.patch(1))
        with structlog.testing.capture_logs() as logs:
            second = service.patcher.apply(service.patch(2))
        assert told(logs) == ["rollout.staged", "rollout.verified", "rollout.live", "rollout.permanent"]
        assert logs[3]["rollout"] == first.id
        assert logs[3]["reason"] == f"superseded by {service.name} 2.0"
        assert logs[2]["rollout"] == second.id

    def test_aborted(self, service: Service) -> None:
        with structlog.testing.capture_logs() as logs:
            service.patcher.stage(service.patch(1)).abort("changed my mind")
        assert told(logs) == ["rollout.staged", "rollout.rejected"]
        assert logs[1]["reason"] == "changed my mind"
        assert logs[1]["log_level"] == "info"

    def test_wrong_step_says_nothing(self, service: Service) -> None:
        rollout = service.in_state(State.STAGED)
        with structlog.testing.capture_logs() as logs, pytest.raises(StateError):
            rollout.commit()
        assert logs == []
        rollout.abort()

    def test_broken_logging_breaks_no_rollout(self, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
        def broken(*_: object) -> Any:
            raise OSError("the log is full")

        before = structlog.get_config()
        structlog.configure(processors=[broken])
        try:
            rollout = service.patcher.apply(service.patch(1))
            rollout.rollback()
        finally:
            structlog.configure(**before)
        assert rollout.state is State.ROLLED_BACK
        assert sys.modules[f"{service.name}.a"].quote() == 0


class TestWhatFollowsTheSwap:
    """The writes are made: what comes after them can't fail the rollout, and is told in its plan."""

    @pytest.mark.parametrize("step", ["put", "retire", "stragglers"])
    def test_forward(self, service: Service, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(f"hotswap.generation.Shelf.{step}", _failing)
            rollout = service.patcher.apply(service.patch(1))
        assert (rollout.state, service.quote(), str(service.patcher.versions[service.name])) == (State.LIVE, 1, "1.0")
        assert any("OSError: no space left" in warning for warning in rollout.plan.warnings)
        rollout.rollback()
        assert (rollout.state, service.quote()) == (State.ROLLED_BACK, 0)

    @pytest.mark.parametrize(
        "step",
        [
            "hotswap.swap.reversal.forget_twins",
            "hotswap.swap.reversal.forget_answers",
            "hotswap.generation.Shelf.put_back",
        ],
    )
    def test_back(self, service: Service, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        before = service.patcher.versions
        rollout = service.patcher.apply(service.patch(1))
        with monkeypatch.context() as patched:
            patched.setattr(step, _failing)
            rollout.rollback()
        assert (rollout.state, service.quote(), service.patcher.versions) == (State.ROLLED_BACK, 0, before)
        assert any("OSError: no space left" in warning for warning in rollout.plan.warnings)
        service.patcher.apply(service.patch(2))
        assert service.quote() == 2

    def test_who_follows(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[Any] = []
        monkeypatch.setattr(service.patcher, "_followers", [_failing, told.append])
        rollout = service.patcher.apply(service.patch(1))
        rollout.rollback()
        assert [record.state for record in told] == [State.ROLLED_BACK]
        assert any("OSError: no space left" in warning for warning in rollout.plan.warnings)

    def test_a_class_whose_attributes_fail_when_they_are_asked(self, service: Service) -> None:
        # The metaclass itself asks when a class is made, so they fail later.
        text = (
            "import abc\nASKED = set()\nclass Mock:\n    def __getattr__(self, name):\n"
            "        raise (RecursionError if name in ASKED else AttributeError)(name)\n"
            "class Shape(abc.ABC):\n    mock = Mock()\n    side = "
        )
        patches = [service.patch(n, more=f"{text}{n}\n") for n in (1, 2)]
        service.patcher.apply(patches[0])
        rollout = service.patcher.apply(patches[1])
        sys.modules[f"{service.name}.a"].ASKED.add("__isabstractmethod__")
        rollout.rollback()
        assert rollout.state is State.ROLLED_BACK
        assert not any("RecursionError" in warning for warning in rollout.plan.warnings)


def _failing(*_: Any, **__: Any) -> Any:
    raise OSError("no space left")
