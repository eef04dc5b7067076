"""Fakes: they behave as the real ones do, and touch nothing."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog.testing

import hotswap
from hotswap import (
    BusyError,
    DowngradeError,
    LoadError,
    NothingToRollBackError,
    Patch,
    State,
    StateError,
    VetoError,
    WrongPackageError,
)
from hotswap.cli import main
from hotswap.generation import standing
from hotswap.process_copy import can_copy
from hotswap.succession import Succession
from hotswap.testing import FakePatcher, FakeRollout
from hotswap.testing.choices import Refusable
from hotswap.testing.successions import FakeSuccession
from tests.faking import SOON, events_of, patch

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


class TestSurface:
    """Whoever is handed a fake may do with it what can be done with the real one."""

    @pytest.mark.parametrize(("fake", "real"), [(FakeRollout, hotswap.Rollout), (FakePatcher, hotswap.Patcher)])
    def test_it_is_that_of_the_real_one_with_the_same_signatures(self, fake: Any, real: Any) -> None:
        extra = {"choose", "patcher", "refuse"}
        assert {name for name in dir(fake) if not name.startswith("_")} - {*dir(real)} <= extra
        for name in dir(real):
            if name.startswith("_"):
                continue
            wanted, given = inspect.getattr_static(real, name), inspect.getattr_static(fake, name)
            assert type(given) is type(wanted), name
            if inspect.isfunction(wanted):
                assert inspect.signature(given) == inspect.signature(wanted), name

    def test_so_are_the_attributes_of_their_instances(self, make_package: Make) -> None:
        name = make_package({"a.py": "x = 1\n"}).__name__
        patcher, fake = hotswap.Patcher([name]), FakePatcher([name])
        rollout = patcher.stage(Patch.from_sources({f"{name}.a": "x = 2\n"}, "9"))
        faked = fake.stage(Patch.from_sources({f"{name}.a": "x = 2\n"}, "9"))
        faked.abort()
        rollout.abort()
        assert vars(faked).keys() >= vars(rollout).keys()
        assert vars(fake).keys() >= vars(patcher).keys()
        assert isinstance(faked, hotswap.Rollout)

    def test_nothing_of_what_swaps_is_left_in_it(self) -> None:
        """A method that a real succession gets must have a counterpart, or a fake patcher would swap."""
        real = {name for base in Succession.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
        assert real - vars(FakeSuccession).keys() == set()


class TestStates:
    def test_a_rollout_goes_through_them(self) -> None:
        rollout = FakeRollout({"shop.tax": "RATE = 7\n"}, version="2.0", state=State.STAGED)
        candidate: Any = rollout.candidate
        assert candidate["shop.tax"].RATE == 7
        for step in (rollout.verify, rollout.arm, rollout.disarm, rollout.commit, rollout.confirm):
            step()
        rollout.rollback("too slow", by="a probe")
        assert rollout.calls == ["verify", "arm", "disarm", "commit", "confirm", "rollback"]
        assert (rollout.state, rollout.reason, rollout.actor) == (State.ROLLED_BACK, "too slow", "a probe")
        assert rollout.record.reason == "too slow"
        assert (rollout.label, rollout.id) == ("shop 2.0", "fake")
        with pytest.raises(StateError, match="the rollout is rolled back, not live"):
            rollout.confirm()
        assert rollout.calls[-1] == "rollback"

    @pytest.mark.parametrize("state", [state for state in State if state is not State.DIED])
    def test_it_begins_in_any(self, state: State) -> None:
        made = list[FakeRollout]()
        assert events_of(lambda: made.append(FakeRollout(state=state))) == []
        assert (made[0].state, made[0].calls) == (state, [])
        assert [record.state for record in made[0].patcher.history()] == [state]

    def test_but_in_none_that_only_a_history_has(self) -> None:
        with pytest.raises(ValueError, match="no rollout is died"):
            FakeRollout(state=State.DIED)

    STEPS = ("verify", "arm", "disarm", "commit", "confirm", "rollback", "abort", "preview", "audit", "rehearse")

    @pytest.mark.parametrize("state", [state for state in State if state is not State.DIED])
    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.skipif(not can_copy(), reason="a process can't be copied here")
    def test_each_step_does_to_it_what_it_does_to_a_real_one(self, make_package: Make, state: State, step: str) -> None:
        """State, reason, versions, events and errors: one table for both, of which neither is written here."""
        name = make_package({"a.py": "x = 1\n"}).__name__
        importlib.import_module(f"{name}.a")

        def told(patcher: Any) -> list[object]:
            rollout = patcher.stage(Patch.from_sources({f"{name}.a": "x = 2\n"}, "2.0"))
            for before in _WAYS[state]:
                getattr(rollout, before)()
            error = ""
            with structlog.testing.capture_logs() as logs:
                try:
                    getattr(rollout, step)()
                except hotswap.HotswapError as raised:
                    error = f"{type(raised).__name__}: {raised}".replace("FakeRollout", "Rollout")
            found = [rollout.state, rollout.reason, patcher.versions, error.replace(rollout.id, "id")]
            found += [[(log["event"], log["log_level"], log["reason"]) for log in logs]]
            found += [[(record.state, record.reason) for record in patcher.history()]]
            found += [patcher.current is rollout, rollout.wait_settled(SOON) if state in AFTER else None]
            if rollout.state in hotswap.records.BEFORE_LIVE:
                rollout.abort()
            elif rollout.state in (State.LIVE, State.PERMANENT):
                rollout.rollback()
            return found

        assert told(FakePatcher([name])) == told(hotswap.Patcher([name]))

    def test_one_that_was_armed_comes_again(self) -> None:
        rollout = FakeRollout(state=State.ARMED)
        for _ in range(2):
            rollout.commit()
            rollout.rollback()
        rollout.arm()
        assert rollout.state is State.ARMED
        with rollout.preview(about=3) as session:
            assert session.about == 3

    def test_what_has_settled_is_told(self) -> None:
        patcher, seen = FakePatcher(["shop"]), list[str]()
        patcher.hook("settled", lambda rollout: seen.append(rollout.state))
        rollout = patcher.apply(patch())
        assert rollout.drained.is_set()
        assert rollout.in_flight() == ()
        rollout.rollback()
        assert seen == ["live", "rolled_back"]


AFTER = (State.LIVE, State.PERMANENT)

_WAYS = {
    State.STAGED: (),
    State.VERIFIED: ("verify",),
    State.ARMED: ("verify", "arm"),
    State.LIVE: ("verify", "commit"),
    State.PERMANENT: ("verify", "commit", "confirm"),
    State.REJECTED: ("abort",),
    State.ROLLED_BACK: ("verify", "commit", "rollback"),
}


class TestPatcher:
    def test_what_is_pushed_again_is_live_unless_something_else_is(self, make_package: Make, tmp_path: Path) -> None:
        package = make_package({"__init__.py": "", "a.py": "PRICE = 0\n"}).__name__
        importlib.import_module(f"{package}.a")
        drop, fake = tmp_path / f"{package}.a.py", FakePatcher([package])

        def pushed(path: Path, price: int) -> int:
            path.write_text(f"PRICE = {price}\n")
            return main(["push", "--wait", "20", str(path), str(tmp_path / "drops")])

        with fake.watch(tmp_path / "drops", single_files=True, name="blue"):
            assert [pushed(drop, 1), pushed(drop, 1)] == [0, 0]
            assert [pushed(tmp_path / "a.py", 2), pushed(drop, 1)] == [0, 1]
            fake.rollback()
            assert pushed(drop, 1) == 0

    def test_touches_nothing(self, make_package: Make) -> None:
        name = make_package({"__init__.py": "__version__ = '1.2'\n", "a.py": "def f(): return 1\n"}).__name__
        module: Any = importlib.import_module(f"{name}.a")
        before = dict(sys.modules), list(sys.meta_path), standing(name).epoch, module.f.__code__, __import__
        patcher: Any = FakePatcher([name])
        assert str(patcher.versions[name]) == "1.2"
        rollout = patcher.apply(Patch.from_sources({f"{name}.a": "def f(): return 2\n"}, "2.0"))
        assert str(patcher.versions[name]) == "2.0"
        assert rollout.candidate[f"{name}.a"].f() == 2
        assert module.f() == 1
        assert (dict(sys.modules), list(sys.meta_path), standing(name).epoch, module.f.__code__, __import__) == before
        rollout.rollback()
        assert str(patcher.versions[name]) == "1.2"

    def test_refuses_what_the_real_one_refuses(self) -> None:
        patcher = FakePatcher(["shop"], versions={"shop": "1.0"})
        with pytest.raises(WrongPackageError):
            patcher.apply(Patch.from_sources({"other": ""}, "2"))
        with pytest.raises(DowngradeError, match=r"0\.9 is older than 1\.0"):
            patcher.apply(patch("0.9"))
        with pytest.raises(LoadError, match=r"shop/tax\.py:1 raised ZeroDivisionError"):
            patcher.apply(patch(source="1 / 0\n"))
        with pytest.raises(NothingToRollBackError):
            patcher.rollback()
        staged = patcher.stage(patch())
        with pytest.raises(BusyError, match="one rollout at a time"):
            patcher.stage(patch("3.0"))
        staged.abort()
        assert [record.state for record in patcher.history()] == ["rejected"] * 4
        with pytest.raises(ValueError, match="json can't be patched"):
            FakePatcher(["json"])

    def test_a_module_that_hangs_is_given_up(self) -> None:
        patcher = FakePatcher(["shop"], load_timeout=0.05)
        with pytest.raises(LoadError, match="did not return in time"):
            patcher.apply(patch(source="import time\nwhile True: time.sleep(0.01)\n"))

    def test_later_rollouts_make_earlier_ones_permanent(self) -> None:
        patcher = FakePatcher(["shop"])
        first, second = patcher.apply(patch("1.0")), patcher.apply(patch("1.1"))
        assert (first.state, patcher.current) == (State.PERMANENT, second)
        with pytest.raises(StateError, match="it is not what is live"):
            first.rollback()
        assert patcher.rollback(reason="too slow") is second
        assert str(patcher.versions["shop"]) == "1.0"

    def test_hooks_are_called_and_may_refuse(self) -> None:
        patcher, seen = FakePatcher(["shop"]), list[str]()

        @patcher.hook("after_commit")
        def note(rollout: Any) -> Callable[[], None]:
            seen.append(f"{rollout.version} is live")
            return lambda: seen.append("and gone")

        @patcher.hook("before_commit")
        def refuse(rollout: Any) -> None:
            assert str(rollout.version) != "3.0", "not that one"

        patcher.apply(patch())
        with pytest.raises(VetoError, match="not that one"):
            patcher.apply(patch("3.0"))
        patcher.rollback()
        assert seen == ["2.0 is live", "and gone"]

    def test_it_can_be_awaited(self) -> None:
        patcher = FakePatcher(["shop"])

        @patcher.check
        async def on_the_loop(candidate: Any) -> None:
            await asyncio.sleep(0)
            assert candidate["shop.tax"].RATE == 7

        rollout = asyncio.run(patcher.apply_async(patch(), by="ann", why="a test"))
        assert (rollout.state, rollout.by, rollout.why) == ("live", "ann", "a test")

    def test_a_step_fails_once_if_a_test_wants_it(self) -> None:
        patcher = FakePatcher(["shop"], store="nowhere")
        steps: tuple[Refusable, ...] = ("stage", "commit")
        for step in steps:
            patcher.refuse(step, hotswap.StoreError("the disk is full"))
            with pytest.raises(hotswap.StoreError, match="the disk is full"):
                patcher.apply(patch())
            assert patcher.history()[0].state == "rejected"
        rollout = patcher.apply(patch())
        patcher.refuse("rollback", hotswap.CommitError("no way back"))
        with pytest.raises(hotswap.CommitError, match="no way back"):
            patcher.rollback()
        assert rollout.state == "live"
        patcher.rollback()
        with pytest.raises(ValueError, match="step is one of"):
            patcher.refuse("verify", KeyError())  # type: ignore[arg-type]
