"""The armed state: both generations are reachable, everybody is on the old one, and a preview is on the candidate."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import Patch, Patcher, State, StateError, walk
from hotswap.swap import calls
from hotswap.swap.apart import Apart
from tests.races.test_sessions import API, everything, text
from tests.races.threads import Crowd, forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads  # what has drained is settled in one


class Service:
    def __init__(self, package: str) -> None:
        self.package = package
        self.patcher = Patcher([package])
        self.api = sys.modules[f"{package}.api"]
        self.held, self.thing = self.core(), self.core().Thing()

    def core(self) -> Any:
        return sys.modules[f"{self.package}.core"]

    def everything(self) -> set[str]:
        return everything(self, self.held, self.thing)  # type: ignore[arg-type]  # it has what is asked for

    def patch(self, version: str, *, more: bool = True, extra: str = "") -> Patch:
        source = text(version, more=more) + extra
        return Patch.from_sources({f"{self.package}.core": source}, version=version)

    def armed(self, version: str = "2", policy: Callable[[Any], bool] | None = None, **how: Any) -> hotswap.Rollout:
        rollout = self.patcher.stage(self.patch(version, **how))
        rollout.verify()
        rollout.arm(policy)
        return rollout


def served(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    """Yield a service, and see that nothing of its rollouts is left."""
    package = make_package({"core.py": text("1"), "api.py": API}).__name__
    __import__(f"{package}.api")
    made = Service(package)
    yield made
    progress = made.patcher.current
    if progress is not None and progress.state is State.ARMED:
        progress.abort()
    elif progress is not None:
        assert progress.drained.wait(10)
        assert progress.wait_settled(10)
    assert forks_go()


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    yield from served(make_package)


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that is in no session, and no preview."""
    return contextvars.Context().run(call, *arguments)


class TestArmed:
    def test_leaves_everybody_on_the_old(self, service: Service) -> None:
        rollout = service.armed()
        assert rollout.state is State.ARMED
        assert service.everything() == {"1"}
        with hotswap.session():
            assert service.everything() == {"1"}
        assert service.patcher.current is rollout

    def test_preview_is_on_the_candidate_by_what_the_service_holds(self, service: Service) -> None:
        rollout = service.armed()
        with rollout.preview():
            entry, held, thing = service.api.handle(1), service.held, service.thing
            assert {one for found in entry for one in found} == {"2"}
            assert held.entry(1) == {"2"}
            assert {thing.price, thing.kind, *thing.step(1), held.Thing().made} == {"2"}
            assert isinstance(rollout.candidate[service.core().__name__].Thing(), held.Thing)
            assert apart(service.everything) == {"1"}
        assert service.everything() == {"1"}

    def test_preview_holds_for_the_tasks_that_it_starts(self, service: Service) -> None:
        rollout = service.armed()

        async def work() -> list[str]:
            async with rollout.preview():
                inside = asyncio.create_task(service.held.answer(1))
                beside = asyncio.create_task(service.held.answer(1), context=contextvars.Context())
                return [await inside, await beside, await asyncio.to_thread(next, service.held.counted())]

        # A coroutine function is asked where it is called: in the preview, for both.
        assert asyncio.run(work()) == ["2", "2", "2"]

    def test_preview_sees_what_is_kept(self, service: Service, make_package: Callable[..., ModuleType]) -> None:
        source = "cache = {{}}\nhits = 0\ndef put(key):\n    cache[key] = '{0}'\n    return hits, cache\n"
        package = make_package({"core.py": source.format("1")}).__name__
        __import__(f"{package}.core")
        core: Any = sys.modules[f"{package}.core"]
        core.hits = 5
        core.put("a")
        patcher = Patcher([package])
        rollout = patcher.stage(Patch.from_sources({f"{package}.core": source.format("2")}, version="2"))
        rollout.verify()
        rollout.arm()
        with rollout.preview():
            assert core.put("b") == (5, {"a": "1", "b": "2"})
        core.hits = 6
        assert core.put("c") == (6, {"a": "1", "b": "2", "c": "1"})
        rollout.commit()
        assert core.put("d") == (6, {"a": "1", "b": "2", "c": "1", "d": "2"})
        assert rollout.drained.wait(10)

    def test_preview_harms_no_objects_with_slots(
        self, service: Service, make_package: Callable[..., ModuleType]
    ) -> None:
        source = "class Row:\n    __slots__ = ('a'{0},)\n    def __init__(self): self.a = 5\n    def put(self): {1}\n"
        package = make_package({"core.py": source.format("", "return 0")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        row = core.Row()
        new = source.format(", 'b'", "self.b = 1; return self.a, self.b")
        rollout = Patcher([package]).stage(Patch.from_sources({core.__name__: new}, version="2"))
        rollout.verify()
        rollout.arm()
        with rollout.preview(), pytest.raises(AttributeError, match="b"):
            row.put()
        assert row.a == 5
        assert row.put() == 0
        rollout.commit()
        assert row.put() == (5, 1)
        assert row.a == 5
        assert rollout.drained.wait(10)

    def test_preview_leaves_nothing_in_caches(self, service: Service, make_package: Callable[..., ModuleType]) -> None:
        source = "import functools\n@functools.lru_cache\ndef rate(n): return '{0}'\ndef ask(n): return rate(n)\n"
        package = make_package({"core.py": source.format("1")}).__name__
        __import__(f"{package}.core")
        core: Any = sys.modules[f"{package}.core"]
        rollout = Patcher([package]).stage(Patch.from_sources({f"{package}.core": source.format("2")}, version="2"))
        rollout.verify()
        rollout.arm()
        with rollout.preview():
            assert core.ask(1) == "2"
            core.rate(1)
        rollout.abort()
        assert core.rate(1) == core.ask(1) == "1"

    def test_commit_reaches_what_was_imported_since(self, service: Service) -> None:
        rollout = service.armed(extra="LIMIT = 7\n")
        service.held.LIMIT = 5
        late = ModuleType(f"{service.package}_late")
        late.entry, late.core = service.core().entry, service.core()  # type: ignore[attr-defined]
        sys.modules[late.__name__] = late
        try:
            rollout.commit()
            assert late.entry is service.core().entry
            assert late.core is service.core()
        finally:
            del sys.modules[late.__name__]

    def test_disarming_changes_nothing_for_anybody(self, service: Service) -> None:
        code = service.core().entry.__code__
        rollout = service.armed()
        preview = rollout.preview()
        with preview:
            assert service.held.entry(1) == {"2"}
            rollout.disarm()
            assert service.held.entry(1) == {"2"}  # who is on it stays on it
            assert apart(service.everything) == {"1"}
        assert rollout.state is State.VERIFIED
        assert forks_go()
        assert service.everything() == {"1"}
        assert service.core().entry.__code__ is code
        assert not walk.forked
        with pytest.raises(StateError, match="previewed"):
            rollout.preview()
        rollout.arm()
        with rollout.preview():
            assert service.held.entry(1) == {"2"}
        rollout.commit()
        assert service.everything() == {"2"}

    def test_can_be_given_up(self, service: Service) -> None:
        with service.armed() as rollout:
            pass
        assert rollout.state is State.REJECTED
        assert service.everything() == {"1"}
        assert not walk.forked
        assert service.patcher.apply(service.patch("3")).state is State.LIVE
        assert service.everything() == {"3"}

    def test_commit_flips_everybody_but_old_sessions(self, service: Service) -> None:
        rollout = service.armed()
        old, inside = hotswap.session(), contextvars.Context()
        inside.run(old.__enter__)
        with rollout.preview():
            rollout.commit()
            assert service.everything() == {"2"}
            assert apart(service.everything) == {"2"}
            assert inside.run(service.everything) == {"1"}
            inside.run(old.__exit__, None, None, None)
        assert rollout.state is State.LIVE
        assert service.everything() == {"2"}
        assert rollout.drained.wait(10)
        service.patcher.rollback()
        assert service.everything() == {"1"}

    def test_flips_back_and_forth(self, service: Service) -> None:
        rollout = service.armed()
        for _ in range(3):
            rollout.commit()
            assert service.everything() == {"2"}
            rollout.rollback()
            assert service.everything() == {"1"}
            assert rollout.state is State.ROLLED_BACK
            rollout.arm()
            assert service.everything() == {"1"}
            with rollout.preview():
                assert service.held.entry(1) == {"2"}
        rollout.commit()
        assert service.everything() == {"2"}
        assert [record.state for record in service.patcher.history()] == [State.LIVE]

    def test_calls_in_flight_at_the_commit_finish_on_the_old(self, service: Service) -> None:
        done: list[Any] = []
        rollouts: list[hotswap.Rollout] = []

        def turns() -> Iterator[int]:
            yield 0
            rollouts.append(service.armed())
            yield 1
            rollouts[0].commit()
            yield 2

        service.core().changed_loop(turns(), done)
        assert done == [("1", "1")] * 3
        assert service.everything() == {"2"}

    def test_candidate_that_fails_to_commit_leaves_all_as_it_was(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rollout = service.armed()

        def fails(*_: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(rollout.candidate.journal, "make", fails)
        with pytest.raises(hotswap.CommitError, match="no"):
            rollout.commit()
        assert rollout.state is State.REJECTED
        assert service.everything() == {"1"}
        assert not walk.forked

    def test_is_given_up_with_what_it_was_staged_on(self, service: Service) -> None:
        service.patcher.apply(service.patch("2"))
        flight = service.core().counted()
        next(flight)
        rollout = service.armed("3", more=False)
        with rollout.preview():
            assert service.held.entry(1) == {"3"}
            service.patcher.rollback()
            # It is a session, too, and began on the second version.
            assert service.held.entry(1) == {"2"}
            assert apart(service.held.entry, 1) == {"1"}
        assert rollout.state is State.REJECTED
        assert service.everything() == {"1"}
        del flight

    def test_over_a_generation_that_has_not_drained(self, service: Service) -> None:
        old, inside = hotswap.session(), contextvars.Context()
        inside.run(old.__enter__)
        first = service.patcher.apply(service.patch("2"))
        rollout = service.armed("3", more=False)
        assert inside.run(service.everything) == {"1"}
        assert service.everything() == {"2"}
        with rollout.preview():
            assert service.held.entry(1) == {"3"}
        inside.run(old.__exit__, None, None, None)
        assert first.drained.wait(10)
        assert service.everything() == {"2"}
        with rollout.preview():
            assert service.held.entry(1) == {"3"}
        rollout.disarm()
        assert service.everything() == {"2"}
        rollout.commit()
        assert service.everything() == {"3"}

    def test_is_outdated_when_a_module_of_it_is_imported_meanwhile(
        self, make_package: Callable[..., ModuleType]
    ) -> None:
        files = {"core.py": "def step(): return '1'\n", "late.py": "from .core import step\nVERSION = '1'\n"}
        package = make_package(files).__name__
        core: Any = importlib.import_module(f"{package}.core")
        texts = {
            f"{package}.core": "from . import late\ndef step(): return '2'\n",
            f"{package}.late": "VERSION = '2'\n",
        }
        rollout = Patcher([package]).stage(Patch.from_sources(texts, version="2"))
        rollout.verify()
        rollout.arm()
        late: Any = importlib.import_module(f"{package}.late")
        with pytest.raises(hotswap.OutdatedError, match="late was imported"):
            rollout.commit()
        assert rollout.state is State.REJECTED
        assert (late.VERSION, core.step()) == ("1", "1")

    def test_two_packages_are_previewed_each_for_itself(
        self, service: Service, make_package: Callable[..., ModuleType]
    ) -> None:
        other = make_package({"core.py": text("1"), "api.py": API}).__name__
        __import__(f"{other}.api")
        second = Service(other)
        one, two = service.armed(), second.armed()
        with two.preview():
            assert second.held.entry(1) == {"2"}
            assert service.held.entry(1) == {"1"}
            with one.preview():
                assert second.held.entry(1) == {"2"}
                assert service.held.entry(1) == {"2"}
        two.abort()

    def test_in_states_that_do_not_allow_it(self, service: Service) -> None:
        rollout = service.patcher.stage(service.patch("2"))
        with pytest.raises(StateError, match="armed"):
            rollout.arm()
        with pytest.raises(StateError):
            rollout.disarm()
        rollout.abort()


class TestPolicy:
    def test_routes_sessions_by_what_they_are_about(self, service: Service) -> None:
        rollout = service.armed(policy=lambda about: about == "canary")
        with hotswap.session("canary"):
            assert service.held.entry(1) == {"2"}
            with hotswap.session("another"):
                assert service.held.entry(1) == {"2"}
        with hotswap.session("another"):
            assert service.held.entry(1) == {"1"}
        assert hotswap.session("canary")(lambda: service.held.entry(1))() == {"2"}
        rollout.disarm()
        with hotswap.session("canary"):
            assert service.held.entry(1) == {"1"}
        rollout.abort()

    def test_is_a_callable_that_says_so_itself(self, service: Service) -> None:
        async def policy(_: object) -> bool:
            return True

        rollout = service.patcher.stage(service.patch("2"))
        rollout.verify()
        for wrong in (policy, 0.1):
            with pytest.raises(TypeError, match="policy"):
                rollout.arm(wrong)  # type: ignore[arg-type]
        assert rollout.state is State.VERIFIED
        rollout.abort()

    def test_that_raises_is_told_once_and_says_no(self, service: Service) -> None:
        def policy(_: object) -> bool:
            raise KeyError("user")

        with structlog.testing.capture_logs() as logs:
            service.armed(policy=policy)
            for _ in range(2):
                with hotswap.session():
                    assert service.held.entry(1) == {"1"}
        told = [log for log in logs if log["event"] == "rollout.misrouted"]
        assert [log["message"] for log in told] == ["KeyError: 'user'"]


@pytest.mark.slow
class TestArmingUnderLoad:
    def test_changes_nothing_for_anybody(self, service: Service) -> None:
        wrong: list[Any] = []
        present: list[set[str]] = [{"1"}]

        def work() -> None:
            while not crowd.over.is_set():
                before = present[0]
                try:
                    found = {*service.held.entry(1), service.thing.price, *service.thing.step(1), service.thing.kind}
                except (TypeError, AttributeError) as error:
                    wrong.append(error)
                    return
                if found != before and present[0] is before:
                    wrong.append(found)

        crowd = Crowd([work] * 3)
        with crowd:
            for version in range(2, 8):
                rollout = service.armed(str(version), more=version % 2 == 0)
                with rollout.preview():
                    assert service.held.entry(1) == {str(version)}
                rollout.disarm()
                rollout.arm()
                rollout.abort()
        assert wrong == []


class TestLeaving:
    def test_session_stays_when_what_it_is_on_is_taken_back_under_an_armed_candidate(self, service: Service) -> None:
        service.patcher.apply(service.patch("2"))
        service.armed("3", more=False)
        inside, session = contextvars.Context(), hotswap.session()
        inside.run(session.__enter__)
        flight = service.core().counted()
        next(flight)
        service.patcher.rollback()
        assert inside.run(service.everything) == {"2"}
        assert service.everything() == {"1"}
        inside.run(session.__exit__, None, None, None)
        flight.close()

    @pytest.mark.parametrize("how", ["disarm", "abort"])
    def test_those_on_the_candidate_finish_on_it(self, service: Service, how: str) -> None:
        rollout = service.armed(policy=lambda about: about == "canary")
        chosen, session = contextvars.Context(), hotswap.session("canary")
        chosen.run(session.__enter__)
        previewing, preview = contextvars.Context(), rollout.preview()
        previewing.run(preview.__enter__)
        getattr(rollout, how)()
        for _ in range(3):
            for inside in (chosen, previewing):
                assert inside.run(service.held.entry, 1) == {"2"}
                assert inside.run(lambda: {*service.thing.step(1), service.thing.price}) == {"2"}
            assert apart(service.everything) == {"1"}
            with hotswap.session("canary"):
                assert service.everything() == {"1"}
        chosen.run(session.__exit__, None, None, None)
        assert previewing.run(service.held.entry, 1) == {"2"}
        assert walk.forked
        previewing.run(preview.__exit__, None, None, None)
        assert forks_go()
        assert previewing.run(service.everything) == {"1"}
        if how == "disarm":
            rollout.abort()

    def test_they_stay_when_it_is_armed_again_and_committed(self, service: Service) -> None:
        rollout = service.armed()
        previewing, preview = contextvars.Context(), rollout.preview()
        previewing.run(preview.__enter__)
        old, session = contextvars.Context(), hotswap.session()
        old.run(session.__enter__)
        rollout.disarm()
        rollout.arm()
        assert previewing.run(service.held.entry, 1) == {"2"}
        assert apart(service.everything) == {"1"}
        rollout.disarm()
        assert previewing.run(service.held.entry, 1) == {"2"}
        rollout.commit()
        assert previewing.run(service.everything) == {"2"}
        assert apart(service.everything) == {"2"}
        assert old.run(service.everything) == {"1"}
        previewing.run(preview.__exit__, None, None, None)
        old.run(session.__exit__, None, None, None)

    def test_they_stay_when_another_rollout_goes_live(self, service: Service) -> None:
        rollout = service.armed()
        previewing, preview = contextvars.Context(), rollout.preview()
        previewing.run(preview.__enter__)
        old, session = contextvars.Context(), hotswap.session()
        old.run(session.__enter__)
        rollout.abort()
        assert previewing.run(service.held.entry, 1) == {"2"}
        service.patcher.apply(service.patch("3"))
        assert apart(service.everything) == {"3"}
        assert old.run(service.everything) == {"1"}
        assert previewing.run(service.everything) == {"2"}
        service.patcher.rollback()
        assert previewing.run(service.everything) == {"2"}
        assert apart(service.everything) == {"1"}
        previewing.run(preview.__exit__, None, None, None)
        old.run(session.__exit__, None, None, None)

    def test_one_that_is_never_begun_keeps_nothing(self, service: Service) -> None:
        rollout = service.armed()
        preview = rollout.preview()
        del preview
        rollout.abort()
        assert not walk.forked


POOL = """
class Pool:
    limit = {0}
    used = 0
    gone = "there"
    def step(self): return {0}
    def take(self):
        Pool.used += {0}
        return Pool.used
"""


class TestWhatSomebodySets:
    """Arming and disarming leave alone what the service writes into classes, before, between and after them."""

    @pytest.fixture
    def pool(self, make_package: Callable[..., ModuleType]) -> Iterator[tuple[Any, hotswap.Rollout]]:
        source = POOL.format(10)
        core: Any = importlib.import_module(f"{make_package({'core.py': source}).__name__}.core")
        patcher = Patcher([core.__package__])
        new = POOL.format(20).replace("used = 0", "used = 0 + 0").replace('    gone = "there"\n', "")
        rollout = patcher.stage(Patch.from_sources({core.__name__: new}, version="2"))
        rollout.verify()
        yield core.Pool, rollout
        if rollout.state is not State.REJECTED:
            rollout.abort()
        assert forks_go()

    @staticmethod
    def set(pool: Any, number: int) -> None:
        pool.limit, pool.used, pool.gone = number, number * 2, number * 3
        pool.step = lambda _: number * 4

    @staticmethod
    def found(pool: Any) -> tuple[Any, ...]:
        return pool.limit, pool.used, pool.gone, pool().step()

    @pytest.mark.parametrize("previewed", [False, True])
    def test_survives_arming_again(self, pool: tuple[Any, hotswap.Rollout], *, previewed: bool) -> None:
        cls, rollout = pool
        previews, session = [], contextvars.Context()
        for number in range(1, 4):
            self.set(cls, number * 100)
            rollout.arm()
            preview = rollout.preview()
            assert self.found(cls) == (number * 100, number * 200, number * 300, number * 400)
            if previewed:
                session.run(preview.__enter__)
                previews.append(preview)
                assert session.run(lambda: (cls.limit, cls().step())) == (20, 20)
            self.set(cls, number)
            assert self.found(cls) == (number, number * 2, number * 3, number * 4)
            del preview
            rollout.disarm()
            assert self.found(cls) == (number, number * 2, number * 3, number * 4)
        self.set(cls, 7)
        rollout.arm(lambda _: False)
        assert self.found(cls) == (7, 14, 21, 28)
        rollout.abort()
        assert self.found(cls) == (7, 14, 21, 28)
        for preview in reversed(previews):
            session.run(preview.__exit__, None, None, None)

    def test_counts_on(self, pool: tuple[Any, hotswap.Rollout]) -> None:
        cls, rollout = pool
        assert cls().take() == 10
        for times in range(2, 5):
            rollout.arm()
            assert cls().take() == times * 20 - 20
            rollout.disarm()
            assert cls().take() == times * 20 - 10
        rollout.arm()
        rollout.disarm()
        assert cls.used == 70

    @pytest.mark.parametrize("armed", [True, False])
    def test_comes_back_with_a_rollback(self, pool: tuple[Any, hotswap.Rollout], *, armed: bool) -> None:
        cls, rollout = pool
        rollout.arm()
        self.set(cls, 5)
        if not armed:
            rollout.disarm()
        old, session = contextvars.Context(), hotswap.session()
        old.run(session.__enter__)
        for _ in range(2):
            before = self.found(cls)
            rollout.commit()
            assert (cls.limit, cls().step(), hasattr(cls, "gone")) == (20, 20, False)
            assert old.run(self.found, cls) == before
            rollout.rollback()
            assert self.found(cls) == before
            self.set(cls, 6)
        old.run(session.__exit__, None, None, None)

    def test_is_deleted(self, pool: tuple[Any, hotswap.Rollout]) -> None:
        cls, rollout = pool
        rollout.arm()
        del cls.limit
        rollout.disarm()
        rollout.arm()
        assert not hasattr(cls, "limit")
        with rollout.preview():
            assert cls.limit == 20
        rollout.commit()
        assert cls.limit == 20
        rollout.rollback()
        assert not hasattr(cls, "limit")


JOBS = """
import threading

class Account:
    kind = "{v}"
    def __init__(self{more}): self.made = "{v}"
    @property
    def price(self): return "{v}"
    def pay(self, a{more}): return "{v}"
    def sum(self): return self.pay(1{given})

class Savings(Account):
    def pay(self, a{more}): return super().pay(a{given})

def helper(a{more}): return "{v}"

def seen(account):
    fresh = Savings({first})
    return {{
        "{v}", account.pay(1{given}), account.sum(), account.price, account.kind, fresh.made, fresh.pay(1{given}),
        helper(1{given}), Account.pay(account, 1{given})
    }}

async def answer(event):
    account = Savings({first})
    await event.wait()
    return seen(account)

async def outer(event):
    await event.wait()
    return [await answer(event), await inner(event)]

def counted():
    account = Savings({first})
    while True:
        yield seen(account)

def made():
    account = Savings({first})
    def inside():
        while True:
            yield account.pay(1{given})
    return inside()

async def stream():
    account = Savings({first})
    while True:
        yield seen(account)

async def inner(event):
    return seen(Savings({first}))

def waits(begun, event, out):
    account = Savings({first})
    begun.set()
    event.wait()
    out.append(seen(account))

def starts(begun, event, out):
    begun.set()
    event.wait()
    thread = threading.Thread(target=waits, args=(threading.Event(), event, out))
    thread.start()
    thread.join()

def begins(turn):
    yield
    yield counted()
"""


def jobs(version: str, *, more: bool) -> str:
    given = {"more": ", b", "given": ", 2", "first": "2"} if more else {"more": "", "given": "", "first": ""}
    return JOBS.format(v=version, **given)


class Jobs:
    """A rollout that is armed, and whose calls go on when nobody is on it by a session any more."""

    def __init__(self, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"jobs.py": jobs("1", more=False), "other.py": "def step(): return '1'\n"}).__name__
        self.core: Any = importlib.import_module(f"{package}.jobs")
        importlib.import_module(f"{package}.other")
        self.package = package
        self.account = self.core.Savings()
        self.patcher = Patcher([package])
        self.rollout = self.patcher.stage(self.patch("2", more=True))
        self.rollout.verify()
        self.rollout.arm(lambda about: about == "canary")

    def patch(self, version: str, *, more: bool) -> Patch:
        return Patch.from_sources({self.core.__name__: jobs(version, more=more)}, version=version)

    def on_it(self, how: str) -> hotswap.Session:
        return self.rollout.preview() if how == "preview" else hotswap.session("canary")

    def live(self) -> set[str]:
        return set(self.core.seen(self.account)) | {self.account.pay(1), self.core.Savings().sum()}


@pytest.fixture
def armed(make_package: Callable[..., ModuleType]) -> Iterator[Jobs]:
    made = Jobs(make_package)
    yield made
    if made.patcher.current is made.rollout and made.rollout.state is not State.LIVE:
        made.rollout.abort()
    assert forks_go()
    assert until(lambda: not Apart.standing)


HOWS = pytest.mark.parametrize("how", ["preview", "canary"])
ENDS = pytest.mark.parametrize("end", ["disarm", "abort"])


@HOWS
@ENDS
class TestCallsOnTheCandidate:
    """They go on with it when it is disarmed or rejected, also after the session in which they began."""

    def test_of_tasks(self, armed: Jobs, how: str, end: str) -> None:
        async def work() -> list[Any]:
            event = asyncio.Event()
            async with armed.on_it(how):
                tasks = [asyncio.create_task(call(event)) for call in (armed.core.answer, armed.core.outer)]
                await asyncio.sleep(0)
            getattr(armed.rollout, end)()
            assert armed.live() == {"1"}
            event.set()
            return await asyncio.gather(*tasks)

        assert asyncio.run(work()) == [{"2"}, [{"2"}, {"2"}]]
        assert forks_go()
        assert armed.live() == {"1"}

    @pytest.mark.parametrize("name", ["waits", "starts"])
    def test_of_threads(self, armed: Jobs, how: str, end: str, name: str) -> None:
        begun, event = threading.Event(), threading.Event()
        out: list[set[str]] = []
        with armed.on_it(how):
            thread = threading.Thread(
                target=contextvars.copy_context().run, args=(getattr(armed.core, name), begun, event, out)
            )
            thread.start()
            assert begun.wait(10)
        getattr(armed.rollout, end)()
        assert armed.live() == {"1"}
        event.set()
        thread.join()
        assert out == [{"2"}]
        assert forks_go()
        assert armed.live() == {"1"}

    @pytest.mark.parametrize("name", ["counted", "made"])
    def test_of_generators(self, armed: Jobs, how: str, end: str, name: str) -> None:
        with armed.on_it(how):
            flight = getattr(armed.core, name)()
            next(flight)
        getattr(armed.rollout, end)()
        for _ in range(2):
            assert set(next(flight)) == {"2"}
            assert armed.live() == {"1"}
        assert walk.forked
        code = weakref.ref(flight.gi_code)
        del flight
        assert forks_go()
        assert armed.live() == {"1"}
        assert name == "made" or code() is None

    def test_of_async_generators(self, armed: Jobs, how: str, end: str) -> None:
        async def work() -> None:
            async with armed.on_it(how):
                flight = armed.core.stream()
                await anext(flight)
            getattr(armed.rollout, end)()
            for _ in range(2):
                assert await anext(flight) == {"2"}
                assert armed.live() == {"1"}
            await flight.aclose()

        asyncio.run(work())
        assert forks_go()

    def test_that_others_have_begun(self, armed: Jobs, how: str, end: str) -> None:
        with armed.on_it(how):
            first = armed.core.begins(1)
            next(first)
        getattr(armed.rollout, end)()
        second = next(first)
        assert next(second) == {"2"}
        del first
        for _ in range(3):
            assert until(lambda: walk.forked)
            assert next(second) == {"2"}
            assert armed.live() == {"1"}
        del second
        assert forks_go()

    def test_beside_another_rollout(self, armed: Jobs, how: str, end: str) -> None:
        with armed.on_it(how):
            flight = armed.core.counted()
            next(flight)
        getattr(armed.rollout, end)()
        if end == "disarm":
            armed.rollout.abort()
        third = armed.patcher.stage(armed.patch("3", more=False))
        third.verify()
        third.arm()
        assert next(flight) == {"2"}
        with third.preview():
            assert next(flight) == {"2"}
            assert armed.core.seen(armed.account) == {"3"}
        third.disarm()
        assert next(flight) == {"2"}
        third.commit()
        assert (next(flight), armed.live()) == ({"2"}, {"3"})
        third.rollback()
        assert (next(flight), armed.live()) == ({"2"}, {"1"})
        armed.patcher.apply(armed.patch("4", more=False))
        assert (next(flight), armed.live()) == ({"2"}, {"4"})
        del flight
        assert forks_go()
        assert armed.live() == {"4"}

    def test_have_the_classes_and_modules_of_the_candidate(
        self, make_package: Callable[..., ModuleType], how: str, end: str
    ) -> None:
        source = {
            "core.py": "class Base:\n    def kind(self): return '1'\ndef run(): yield\n",
            "late.py": "VERSION = '1'\n",
        }
        package = make_package(source).__name__
        core: Any = importlib.import_module(f"{package}.core")
        importlib.import_module(f"{package}.late")
        new = (
            "class Base:\n    def kind(self, a): return '2'\nclass Own(Base): pass\n"
            "def run():\n    one = Own()\n    while True:\n        yield\n        from . import late\n"
            "        yield one.kind(1), Own().kind(1), isinstance(one, Base), late.VERSION\n"
        )
        texts = {core.__name__: new, f"{package}.late": "VERSION = '2'\n"}
        rollout = Patcher([package]).stage(Patch.from_sources(texts, version="2"))
        rollout.verify()
        rollout.arm(lambda about: about == "canary")
        with rollout.preview() if how == "preview" else hotswap.session("canary"):
            flight = core.run()
            next(flight)
        getattr(rollout, end)()
        if end == "disarm":
            rollout.abort()
        for _ in range(2):
            assert next(flight) == ("2", "2", True, "2")
            next(flight)
        assert core.Base.__subclasses__()
        del flight
        assert forks_go()
        assert until(lambda: gc.collect() >= 0 and not core.Base.__subclasses__())
        assert core.Base().kind() == "1"

    def test_keep_nothing_when_they_have_ended(self, armed: Jobs, how: str, end: str) -> None:
        with armed.on_it(how):
            flight = armed.core.counted()
            next(flight)
        getattr(armed.rollout, end)()
        next(flight)
        candidate = weakref.ref(flight.gi_frame.f_globals["helper"])
        if end == "disarm":
            armed.rollout.abort()
        patcher = armed.patcher
        armed.rollout = patcher.stage(armed.patch("3", more=False))
        del flight
        assert until(lambda: gc.collect() >= 0 and candidate() is None)
        assert armed.live() == {"1"}


class TestCallsOnTheCandidateOf:
    """Those of one rollout that is armed several times, and committed."""

    def test_one_that_is_armed_again(self, armed: Jobs) -> None:
        with armed.rollout.preview():
            flight = armed.core.counted()
            next(flight)
        for _ in range(3):
            armed.rollout.disarm()
            assert (next(flight), armed.live()) == ({"2"}, {"1"})
            armed.rollout.arm()
            assert (next(flight), armed.live()) == ({"2"}, {"1"})
        del flight
        armed.rollout.disarm()
        assert not walk.forked

    def test_one_that_is_committed(self, armed: Jobs) -> None:
        with armed.rollout.preview():
            flight = armed.core.counted()
            next(flight)
        armed.rollout.disarm()
        armed.rollout.commit()
        assert next(flight) == {"2"}
        assert armed.core.seen(armed.core.Savings(1)) == {"2"}
        armed.rollout.rollback()
        assert (next(flight), armed.live()) == ({"2"}, {"1"})
        armed.rollout.arm()
        assert (next(flight), armed.live()) == ({"2"}, {"1"})
        with armed.rollout.preview():
            second = armed.core.counted()
            assert next(second) == {"2"}
        armed.rollout.disarm()
        assert (next(flight), next(second), armed.live()) == ({"2"}, {"2"}, {"1"})
        del flight
        assert (next(second), armed.live()) == ({"2"}, {"1"})
        del second
        armed.rollout.abort()

    def test_one_that_fails_to_commit(self, armed: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        with armed.rollout.preview():
            flight = armed.core.counted()
            next(flight)
        armed.rollout.disarm()

        def fails(*_: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(armed.rollout.candidate.journal, "make", fails)
        with pytest.raises(hotswap.CommitError, match="no"):
            armed.rollout.commit()
        assert (next(flight), armed.live()) == ({"2"}, {"1"})
        del flight
        assert forks_go()
        armed.rollout = armed.patcher.stage(armed.patch("3", more=False))

    def test_code_that_somebody_holds_is_not_waited_for(self, armed: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls, "_FIRST_PAUSE", 0.01)
        with armed.rollout.preview():
            flight = armed.core.counted()
            next(flight)
        held = flight.gi_code
        armed.rollout.disarm()
        assert next(flight) == {"2"}
        del flight
        assert forks_go()
        assert held is not None

    def test_nobody_waits_for_one_on_which_nobody_was(self, armed: Jobs) -> None:
        armed.rollout.disarm()
        assert not walk.forked
        assert not Apart.standing
