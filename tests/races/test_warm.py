"""Blue-green: a rollout that was armed stays warm when it is taken back, and is flipped back and forth."""

from __future__ import annotations

import contextvars
import gc
import importlib
import logging
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import BusyError, Patch, Patcher, State, StateError, walk
from tests.races.test_armed import Service, apart, served
from tests.races.threads import Crowd, forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    yield from served(make_package)


def flipped(service: Service, **how: Any) -> hotswap.Rollout:
    """Return a rollout that was armed, committed and taken back."""
    rollout = service.armed(**how)
    rollout.commit()
    rollout.rollback()
    return rollout


class TestWarm:
    def test_flips_back_and_forth(self, service: Service) -> None:
        rollout = service.armed()
        for _ in range(5):
            rollout.commit()
            assert rollout.state == "live"
            assert service.everything() == {"2"}
            rollout.rollback()
            assert rollout.state == "rolled_back"
            assert service.everything() == {"1"}
        rollout.commit()
        assert service.everything() == {"2"}
        assert [record.state for record in service.patcher.history()] == [State.LIVE]

    def test_executes_no_module_body(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        rollout = flipped(service)
        module: Any = None

        def never(*_: object) -> None:
            raise AssertionError("a module body is executed")

        monkeypatch.setattr("hotswap.generation.files.PatchLoader.exec_module", never)
        for _ in range(2):
            rollout.commit()
            assert module in (None, service.core())
            module = service.core()
            rollout.rollback()
        rollout.arm()
        assert rollout.candidate[module.__name__] is module
        rollout.commit()
        assert service.core() is module

    def test_is_armed_again(self, service: Service) -> None:
        rollout = flipped(service)
        new = None
        for _ in range(3):
            rollout.arm(lambda about: about == "canary")
            assert service.everything() == {"1"}
            with rollout.preview():
                entry, held, thing = service.api.handle(1), service.held, service.thing
                assert {one for found in entry for one in found} == {"2"}
                assert held.entry(1) == {"2"}
                assert {thing.price, thing.kind, *thing.step(1), held.Thing().made} == {"2"}
                assert apart(service.everything) == {"1"}
            with hotswap.session("canary"):
                assert service.held.entry(1) == {"2"}
            # What somebody has kept of it since it was live leads to what is live.
            assert new is None or new(1) == {"1"}
            rollout.disarm()
            assert service.everything() == {"1"}
            assert new is None or new(1) == {"1"}
            rollout.arm()
            rollout.commit()
            assert service.everything() == {"2"}
            new = service.core().entry
            assert new(1) == {"2"}
            rollout.rollback()
            assert service.everything() == new(1) | {"1"} == {"1"}

    def test_state_goes_with_each_flip(self, make_package: Callable[..., ModuleType]) -> None:
        source = (
            "hits = 0\ncache = {{}}\nclass Point:\n    total = 0\n"
            "def hit(key):\n    global hits\n    hits += 1\n    cache[key] = '{0}'\n    Point.total += 1\n"
            "    return hits, Point.total, len(cache)\n"
        )
        package = make_package({"core.py": source.format("1")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        rollout = Patcher([package]).stage(Patch.from_sources({f"{package}.core": source.format("2")}, version="2"))
        rollout.verify()
        rollout.arm()
        expected = 0
        for _ in range(4):
            for flip in (rollout.commit, rollout.rollback):
                flip()
                for key in range(3):
                    expected += 1
                    hits, total, size = core.hit(f"{expected} {key}")
                    assert (hits, total, size, core.hits) == (expected, expected, expected, expected)

    def test_constants_follow_by_name_and_by_module(self, make_package: Callable[..., ModuleType]) -> None:
        source = (
            "LIMIT = {0}\nhits = 0\ndef limit():\n    import {1}.core as core\n    return LIMIT, core.LIMIT, hits\n"
        )
        package = make_package(
            {"core.py": "", "api.py": "from .core import *\nfrom .core import LIMIT, limit\n"}
        ).__name__
        core_file = Path(str(sys.modules[package].__file__)).parent / "core.py"
        core_file.write_text(source.format(1, package))
        api: Any = importlib.import_module(f"{package}.api")
        held: Any = sys.modules[f"{package}.core"]
        patch = Patch.from_sources({f"{package}.core": source.format(2, package)}, version="2")
        rollout = Patcher([package]).stage(patch)
        rollout.verify()
        rollout.arm()
        new: Any = rollout.candidate[f"{package}.core"]
        for number in range(3):
            rollout.commit()
            held.hits = number
            assert (api.LIMIT, held.LIMIT, new.LIMIT, api.limit()) == (2, 2, 2, (2, 2, number))
            rollout.rollback()
            assert (api.LIMIT, held.LIMIT, new.LIMIT, api.limit()) == (1, 1, 1, (1, 1, number))
            rollout.arm()
            assert (api.LIMIT, held.LIMIT, api.limit()) == (1, 1, (1, 1, number))
            assert rollout.candidate[f"{package}.core"] is new
            assert new.LIMIT == 2
            with rollout.preview():
                assert api.limit() == (2, 2, number)
            rollout.disarm()
        rollout.abort()
        assert (api.LIMIT, held.LIMIT, new.LIMIT, api.limit()) == (1, 1, 1, (1, 1, 2))

    def test_names_of_modules_imported_meanwhile_follow(self, service: Service) -> None:
        rollout = flipped(service)
        late = ModuleType(f"{service.package}_late")
        late.entry, late.core = service.core().entry, service.core()  # type: ignore[attr-defined]
        sys.modules[late.__name__] = late
        try:
            for version in ("2", "1", "2"):
                (rollout.rollback if version == "1" else rollout.commit)()
                assert late.entry is service.core().entry
                assert late.core is service.core()
                assert late.entry(1) == {version}
        finally:
            del sys.modules[late.__name__]

    def test_names_bound_meanwhile_follow_where_no_module_was_imported(self, service: Service) -> None:
        held, table = service.core().entry, [None]
        other = ModuleType(f"{service.package}_other")
        vars(other).update(entry=None, core=None, table=table, deep=(None,))
        sys.modules[other.__name__] = other
        rollout = flipped(service)

        def bind() -> None:
            core: Any = service.core()
            vars(other).update(entry=core.entry, core=core, deep=(core.entry,))  # names that were there
            table[0] = core.entry

        try:
            for version in ("2", "1", "2", "1"):
                bind()
                (rollout.rollback if version == "1" else rollout.commit)()
                core: Any = service.core()
                assert vars(other)["entry"] is vars(other)["deep"][0] is table[0] is core.entry
                assert vars(other)["core"] is core
                assert vars(other)["entry"](1) == held(1) == {version}
                vars(other).update(entry=None, core=None, deep=(None,))
                table[0] = None
        finally:
            del sys.modules[other.__name__]

    def test_events_and_history(self, service: Service) -> None:
        with structlog.testing.capture_logs() as logs:
            rollout = flipped(service)
            rollout.commit()
            rollout.rollback(reason="again")
        told = [log["event"] for log in logs if log["event"] in ("rollout.live", "rollout.rolled_back")]
        assert told == ["rollout.live", "rollout.rolled_back"] * 2
        (record,) = service.patcher.history()
        assert (record.state, record.reason) == (State.ROLLED_BACK, "again")
        assert record.pause is not None
        assert record.pause < 1

    def test_files_stay_as_long(self, service: Service) -> None:
        rollout = service.armed()
        rollout.commit()
        file = Path(str(service.core().__file__))
        rollout.rollback()
        assert file.is_file()
        rollout.commit()
        assert file.is_file()
        rollout.rollback()
        rollout.abort()
        assert not file.exists()
        assert rollout.state is State.ROLLED_BACK


class TestInFlight:
    def test_sessions_of_each_stage_keep_theirs(self, service: Service) -> None:
        rollout = service.armed()
        opened: list[tuple[str, hotswap.Session, contextvars.Context]] = []

        def look() -> None:
            for version, _, context in opened:
                assert context.run(service.everything) == {version}

        def begin(version: str) -> None:
            session, context = hotswap.session(), contextvars.Context()
            context.run(session.__enter__)
            opened.append((version, session, context))

        begin("1")
        for _ in range(3):
            rollout.commit()
            begin("2")
            look()
            assert service.everything() == {"2"}
            rollout.rollback()
            begin("1")
            look()
            assert service.everything() == {"1"}
        while opened:
            _, session, context = opened.pop(len(opened) // 2)
            context.run(session.__exit__, None, None, None)
            look()
            assert service.everything() == {"1"}
        assert rollout.drained.wait(10)
        rollout.commit()
        assert service.everything() == {"2"}

    @pytest.mark.parametrize("more", [False, True], ids=["same", "other-signature"])
    def test_loops_that_began_in_each_stage(self, service: Service, more: bool) -> None:
        # Each is suspended over all the flips that follow.
        extra = "\ndef rounds():\n    while True: yield step(), helper({0}1), *entry(1), Thing().made, '{1}'\n"
        core: Any = service.core()
        first = service.patcher.apply(service.patch("1.1", more=False, extra=extra.format("", "1.1")))
        del core
        rollout = service.armed("2", more=more, extra=extra.format("0, " if more else "", "2"))
        going: list[tuple[str, Iterator[Any]]] = []

        def look() -> None:
            for version, loop in going:
                assert set(next(loop)) == {version}

        def begin(version: str) -> None:
            going.append((version, service.core().rounds()))
            look()

        begin("1.1")
        for _ in range(3):
            rollout.commit()
            begin("2")
            assert service.everything() == {"2"}
            rollout.rollback()
            begin("1.1")
            assert service.everything() == {"1.1"}
        while going:
            assert not rollout.drained.is_set() or all(version == "1.1" for version, _ in going)
            _, loop = going.pop(len(going) // 2)
            loop.close()  # type: ignore[attr-defined]  # it is a generator
            del loop
            look()
        assert rollout.drained.wait(10)
        assert first.state is State.PERMANENT

    def test_calls_in_flight_when_it_is_armed_again(self, service: Service) -> None:
        rollout = service.armed()
        rollout.commit()
        new, inside = hotswap.session(), contextvars.Context()
        inside.run(new.__enter__)
        rollout.rollback()
        rollout.arm()
        assert inside.run(service.everything) == {"2"}
        assert service.everything() == {"1"}
        with rollout.preview():
            assert service.held.entry(1) == {"2"}
        rollout.disarm()
        assert inside.run(service.everything) == {"2"}
        assert service.everything() == {"1"}
        rollout.commit()
        assert inside.run(service.everything) == service.everything() == {"2"}
        inside.run(new.__exit__, None, None, None)

    def test_a_session_from_before_it_was_live_over_arming_and_disarming(self, service: Service) -> None:
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        rollout = flipped(service)
        for _ in range(2):
            rollout.arm()
            assert context.run(service.everything) == {"1"}
            rollout.disarm()
            assert context.run(service.everything) == {"1"}
        rollout.commit()
        assert context.run(service.everything) == {"1"}
        assert service.everything() == {"2"}
        context.run(session.__exit__, None, None, None)

    @pytest.mark.slow
    def test_under_load(self, service: Service) -> None:
        wrong: list[Any] = []

        def work() -> None:
            while not crowd.over.is_set():
                try:
                    with hotswap.session():
                        found = {*service.held.entry(1), service.thing.price, *service.thing.step(1)}
                        found |= {*service.api.handle(1)[0], service.thing.kind, service.held.Thing().made}
                except (TypeError, AttributeError) as error:
                    wrong.append(error)
                    return
                if len(found) != 1:
                    wrong.append(found)

        crowd = Crowd([work] * 3)
        rollout = service.armed()
        with crowd:
            for number in range(40):
                rollout.commit()
                if number % 4 == 0:
                    rollout.rollback()
                    rollout.arm()
                    with rollout.preview():
                        assert service.held.entry(1) == {"2"}
                    rollout.commit()
                rollout.rollback()
        assert wrong == []


FLIPS = 200
"""There and back: an object that each left would be one of so many."""


class TestLettingGo:
    def kept(self, rollout: hotswap.Rollout, service: Service) -> weakref.ref[ModuleType]:
        rollout.commit()
        reference = weakref.ref(service.core())
        rollout.rollback()
        return reference

    def goes(self, reference: weakref.ref[ModuleType], within: float = 10.0) -> bool:
        """Wait until a generation is gone: its calls are settled in a thread."""
        until = time.monotonic() + within
        while reference() is not None and time.monotonic() < until:
            gc.collect()
            time.sleep(0.01)
        return reference() is None

    def test_when_it_is_aborted(self, service: Service) -> None:
        rollout = service.armed()
        reference = self.kept(rollout, service)
        assert not self.goes(reference, within=0.3)
        rollout.abort()
        assert self.goes(reference)
        with pytest.raises(StateError, match="not kept"):
            rollout.commit()
        with pytest.raises(StateError):
            rollout.abort()
        rollout.arm()
        rollout.commit()
        assert service.everything() == {"2"}

    def test_when_another_one_goes_live(self, service: Service) -> None:
        rollout = service.armed()
        reference = self.kept(rollout, service)
        other = service.patcher.apply(service.patch("3"))
        assert self.goes(reference)
        with pytest.raises(StateError):
            rollout.commit()
        assert (rollout.state, other.state) == (State.ROLLED_BACK, State.LIVE)
        assert service.everything() == {"3"}

    def test_when_another_one_is_armed(self, service: Service) -> None:
        rollout = service.armed()
        reference = self.kept(rollout, service)
        other = service.patcher.stage(service.patch("3"))
        other.verify()
        with pytest.raises(BusyError):
            rollout.commit()
        assert not self.goes(reference, within=0.3)
        other.arm()
        assert self.goes(reference)
        assert rollout.state is State.ROLLED_BACK

    def test_when_it_is_armed_again_and_given_up(self, service: Service) -> None:
        rollout = service.armed()
        reference = self.kept(rollout, service)
        rollout.arm()
        rollout.abort()
        assert rollout.state is State.REJECTED
        assert self.goes(reference)
        assert service.everything() == {"1"}

    def test_is_kept_when_another_one_is_given_up(self, service: Service) -> None:
        rollout = flipped(service)
        other = service.patcher.stage(service.patch("3"))
        other.abort()
        rollout.commit()
        assert service.everything() == {"2"}

    def test_flips_leave_nothing(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.CRITICAL)  # it keeps each event
        rollout = service.armed()

        def flips(number: int) -> Counter[str]:
            for _ in range(number):
                rollout.commit()
                rollout.rollback()
            assert rollout.drained.wait(10)
            assert rollout.wait_settled(10)
            assert forks_go()
            gc.collect()
            found = Counter(walk.class_name(type(o)) for o in gc.get_objects())
            return found + Counter(code=len(weakref.getweakrefs(service.held.entry)))

        counts = [flips(3), flips(FLIPS), flips(FLIPS)]
        # The writes of the last flip are there, or those with forks: some hundred more, however many flips it were.
        # What each flip leaves behind grows both times.
        more = [after - before for before, after in pairwise(counts)]
        assert [kind for kind, number in more[0].items() if number >= FLIPS and more[1][kind] >= FLIPS] == []
        assert counts[-1]["Junction"] <= counts[0]["Junction"]


class TestWhatHasChangedMeanwhile:
    def test_another_patcher(self, service: Service) -> None:
        rollout = flipped(service)
        Patcher([service.package]).apply(service.patch("3"))
        with pytest.raises(StateError, match="changed since"):
            rollout.commit()
        assert rollout.state is State.ROLLED_BACK
        assert service.patcher.current is None
        assert service.everything() == {"3"}

    def test_module_that_only_the_patch_had_imported(self, make_package: Callable[..., ModuleType]) -> None:
        files = {"core.py": "def step(): return '1'\n", "late.py": "VERSION = '1'\n"}
        package = make_package(files).__name__
        core: Any = importlib.import_module(f"{package}.core")
        texts = {f"{package}.core": "def step(): return '2'\n", f"{package}.late": "VERSION = '2'\n"}
        rollout = Patcher([package]).stage(Patch.from_sources(texts, version="2"))
        rollout.verify()
        rollout.arm()
        rollout.commit()
        late: Any = importlib.import_module(f"{package}.late")
        rollout.rollback()  # its old version is loaded for that, of which the swap knows nothing
        with pytest.raises(StateError, match="not kept"):
            rollout.commit()
        assert rollout.state is State.ROLLED_BACK
        assert (late.VERSION, core.step()) == ("1", "1")
        rollout.arm()
        for _ in range(2):
            rollout.commit()
            assert (late.VERSION, core.step()) == ("2", "2")
            rollout.rollback()
            assert (late.VERSION, core.step()) == ("1", "1")

    def test_migrations_are_run_each_time(self, make_package: Callable[..., ModuleType]) -> None:
        source = "rows = [1]\ndef __hotswap__(old, new): new.rows = [*old.rows, 2]\n"
        package = make_package({"core.py": "rows = [1]\n"}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        rollout = Patcher([package]).stage(Patch.from_sources({f"{package}.core": source}, version="2"))
        rollout.verify()
        rollout.arm()
        rollout.commit()
        assert core.rows == [1, 2]
        rollout.rollback()
        core.rows.append(5)
        with pytest.raises(StateError, match="not kept"):
            rollout.commit()
        rollout.arm()
        rollout.commit()
        assert core.rows == [1, 5, 2]

    def test_one_that_was_never_armed(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch("2"))
        rollout.rollback()
        with pytest.raises(StateError, match="not kept"):
            rollout.commit()
        with pytest.raises(StateError):
            rollout.abort()
