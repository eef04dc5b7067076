"""The dress rehearsal: a patch goes its whole way in a copy of the process before it is loaded in this one."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog.testing

import hotswap
from hotswap import BusyError, Patch, Patcher, Rehearsal, RehearsalError, State
from hotswap.hooks import HookName
from hotswap.process_copy import can_copy
from hotswap.rehearsal import terms as terms_of_rehearsals
from tests.test_rehearsal_cut import held
from tests.waiting import until

if not can_copy():
    pytest.skip("a process can't be copied here", allow_module_level=True)

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]
_serial = itertools.count(1)

SOURCE = """
CACHE = {"kept": 1}
LOADED = []

def quote(n):
    CACHE[n] = CACHE.get(n, 0) + 1
    return RATE * n
RATE = 10
"""


class Service:
    """A package of one module, `a`, with a cache, and the patcher of it."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.name = f"rehearsed{next(_serial)}"
        self.module = make({"__init__.py": f"import {self.name}.a\n", "a.py": SOURCE}, name=self.name).a
        self.patcher = Patcher([self.name], **{"check_timeout": 10, **options})

    def patch(self, more: str = "", *, rate: int = 9, version: str = "1.0") -> Patch:
        source = SOURCE.replace("RATE = 10", f"RATE = {rate}")
        return Patch.from_sources({f"{self.name}.a": source + more}, version)

    def refused(self, more: str = "", **limits: Any) -> RehearsalError:
        """Apply a patch that does not come through its rehearsal, and return the error. Nothing is left of it."""
        loaded, quote, cache = self.module.LOADED, self.module.quote, dict(self.module.CACHE)
        with pytest.raises(RehearsalError) as caught:
            self.patcher.apply(self.patch(more), rehearse=Rehearsal(**limits))
        assert (self.module.LOADED, self.module.quote, self.module.CACHE) == (loaded, quote, cache)
        newest = self.patcher.history()[0]
        assert newest.state is State.REJECTED
        assert newest.reason == caught.value.reason
        assert caught.value.rollout == newest
        assert [row.name for row in newest.report][-1] == "rehearsal"
        assert self.module.quote(0) == 0
        return caught.value


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package)


def segfault() -> None:
    ctypes.string_at(0)


SEGFAULT = "import ctypes\nctypes.string_at(0)\n"


def wait_for(note: Path) -> None:
    """Wait until a copy of the process has written a file: it has no other way to say something."""
    while not note.exists():
        time.sleep(0.01)


class TestWay:
    def test_what_comes_through_goes_live(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(), rehearse=True)
        assert rollout.state is State.LIVE
        assert service.module.quote(1) == 9
        found = rollout.rehearsal
        assert found is not None
        assert (found.verdict, found.step, found.reason, found.status) == ("passed", "rollback", "", 0)
        assert found.pause > 0
        assert found.duration > found.pause
        assert found.cpu is not None
        assert found.peak is not None

    def test_a_module_is_executed_once_here(self, service: Service, tmp_path: Path) -> None:
        note = f"import os\nwith open({str(tmp_path / 'ran')!r}, 'a') as file: file.write(f'{{os.getpid()}}\\n')\n"
        service.patcher.apply(service.patch(note), rehearse=True)
        here, *others = sorted(
            (int(line) for line in (tmp_path / "ran").read_text().split()), key=lambda pid: pid != os.getpid()
        )
        assert here == os.getpid()
        assert len(others) == 1
        assert others[0] != here

    def test_checks_see_the_real_state_after_the_swap(self, service: Service) -> None:
        service.module.quote(3)

        def sees(candidate: Any) -> None:
            assert hotswap.rehearsing()
            live = sys.modules[f"{service.name}.a"]
            assert live is candidate[f"{service.name}.a"]
            assert live.quote(3) == 27
            assert live.CACHE == {"kept": 1, 3: 2}

        rollout = service.patcher.apply(service.patch(), rehearse=Rehearsal(checks=[sees]))
        assert [row.name for row in rollout.report] == ["rehearsal: sees", "rehearsal"]
        assert service.module.CACHE == {"kept": 1, 3: 1}

    def test_checks_of_the_patcher_run_before_and_after(self, service: Service, tmp_path: Path) -> None:
        @service.patcher.check
        def notes(candidate: Any) -> None:
            swapped = sys.modules[f"{service.name}.a"] is candidate[f"{service.name}.a"]
            with (tmp_path / "notes").open("a") as file:
                file.write(f"{'there' if hotswap.rehearsing() else 'here'} {swapped}\n")

        rollout = service.patcher.apply(service.patch(), rehearse=True)
        assert (tmp_path / "notes").read_text().splitlines() == ["there False", "there True", "here False"]
        assert [row.name for row in rollout.report] == ["rehearsal: notes", "rehearsal", "notes"]

    def test_probes_run_after_the_swap(self, service: Service) -> None:
        asked: list[hotswap.Rollout] = []

        @service.patcher.probe(name="still ten")
        def probe(rollout: hotswap.Rollout) -> bool:
            assert rollout.state is State.LIVE
            asked.append(rollout)
            return bool(service.module.quote(1) == 10)

        error = service.refused()
        assert error.step == "live checks"
        assert "probe still ten failed" in error.reason
        assert asked == []  # only in the copy

    def test_hooks_are_for_the_process_itself(self, service: Service, tmp_path: Path) -> None:
        """What they reach (approval, a log of deployments, a cache to be warmed) is not in the copy."""
        points: tuple[HookName, ...] = ("before_stage", "before_commit", "after_commit", "after_rollback")
        for point in points:

            def hook(_: Any, point: str = point) -> None:
                with (tmp_path / "called").open("a") as file:
                    file.write(f"{point} {hotswap.rehearsing()}\n")

            service.patcher.hook(point)(hook)
        service.patcher.apply(service.patch(), rehearse=True)
        called = (tmp_path / "called").read_text().splitlines()
        assert called == ["before_stage False", "before_commit False", "after_commit False"]

    def test_undos_of_hooks_are_called_by_the_process_alone(self, service: Service, tmp_path: Path) -> None:
        flag = tmp_path / "flag"

        @service.patcher.hook("before_stage")
        def pause(_: Any) -> Callable[[], None]:
            flag.touch()
            return flag.unlink

        rollout = service.patcher.apply(service.patch(), rehearse=True)
        assert flag.exists()
        rollout.rollback()
        assert not flag.exists()

    def test_an_error_of_a_probe_is_no_verdict(self, service: Service) -> None:
        """As in a bake: nothing is known then, and one failure of three is none."""
        asked = 0

        @service.patcher.probe
        def broken() -> None:
            raise ConnectionError("not here")

        @service.patcher.probe(failures=3)
        def flaky() -> bool:
            nonlocal asked
            asked += 1
            return asked > 1

        @service.patcher.probe
        async def waits() -> None:
            await asyncio.sleep(0)

        report = service.patcher.apply(service.patch(), rehearse=True).report
        assert report.passed
        assert {row.name: str(row.verdict) for row in report} == {
            "rehearsal: probe broken": "inconclusive",
            "rehearsal: probe flaky": "passed",
            "rehearsal: probe waits": "passed",
            "rehearsal": "passed",
        }

    def test_checks_of_like_names_are_all_run(self, service: Service) -> None:
        for name, answer in (("x", True), ("x", True), ("x-2", False)):
            service.patcher.check(lambda _, answer=answer: answer, name=name)
        assert service.refused().code == "refused"

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the environment of a process can't be read")
    def test_programs_of_its_checks_end_with_it(self, service: Service, tmp_path: Path) -> None:
        """Also those that have a session of their own."""
        note = tmp_path / "pid"

        @service.patcher.check(timeout=60)
        def runs(_: Any) -> None:
            started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(90)"], start_new_session=True)
            note.write_text(str(started.pid))
            started.wait()

        assert service.refused(time=2).code == "timed-out"
        assert until(lambda: not Path("/proc", note.read_text()).exists())

    def test_then_it_bakes(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(), rehearse=True, bake=60)
        assert rollout.rehearsal is not None
        assert rollout.bake is not None
        with pytest.raises(BusyError):
            service.patcher.apply(service.patch(version="2.0"), rehearse=True)
        rollout.confirm()

    def test_what_a_check_may_find_refuses_nothing(self, service: Service) -> None:
        service.patcher.check(lambda _: False, name="advice", required=False)
        rollout = service.patcher.apply(service.patch(), rehearse=True)
        assert [(row.name, str(row.verdict), row.tolerated) for row in rollout.report] == [
            ("rehearsal: advice", "failed", True),
            ("rehearsal", "passed", False),
            ("advice", "failed", True),
        ]
        assert rollout.report.passed

    def test_async_checks(self, service: Service) -> None:
        @service.patcher.check
        async def awaits(candidate: Any) -> None:
            await asyncio.sleep(0)
            assert candidate[f"{service.name}.a"].quote(1) == 9

        async def serve() -> hotswap.Rollout:
            return await service.patcher.apply_async(service.patch(), rehearse=True)

        rollout = asyncio.run(serve())
        assert [str(row.verdict) for row in rollout.report] == ["passed"] * 3

    def test_on_the_thread_of_a_loop(self, service: Service) -> None:
        async def serve() -> None:
            service.patcher.apply(service.patch(), rehearse=True)
            await asyncio.sleep(0)

        asyncio.run(serve())
        assert service.module.quote(1) == 9

    def test_the_patcher_may_ask_for_it_each_time(self, make_package: Make, drops: Path) -> None:
        service = Service(make_package, rehearse=Rehearsal(time=20))
        assert service.patcher.apply(service.patch(version="1")).rehearsal is not None
        assert service.patcher.apply(service.patch(rate=8, version="2"), rehearse=False).rehearsal is None
        (drops / f"{service.name}.a.py").write_text(SOURCE.replace("RATE = 10", "import os; os._exit(0)"))
        with service.patcher.watch(drops, single_files=True) as watch:
            deadline = time.monotonic() + 30
            while not watch.outcomes and time.monotonic() < deadline:
                time.sleep(0.01)
        (outcome,) = watch.outcomes.values()
        assert outcome.error == "RehearsalError"
        assert service.module.quote(1) == 8

    @pytest.mark.parametrize("state", [State.STAGED, State.VERIFIED, State.ARMED])
    def test_of_a_rollout_on_its_way(self, service: Service, state: State) -> None:
        rollout = service.patcher.stage(service.patch())
        if state is not State.STAGED:
            rollout.verify()
        if state is State.ARMED:
            rollout.arm()
        found = rollout.rehearse(Rehearsal(checks=[lambda _: service.module.quote(1) == 9]))
        assert (found.verdict, rollout.state) == ("passed", state)
        assert service.module.quote(1) == 10
        if state is State.STAGED:
            rollout.verify()
        rollout.commit()
        assert service.module.quote(1) == 9

    def test_a_staged_one_that_fails_is_rejected(self, service: Service) -> None:
        rollout = service.patcher.stage(service.patch())
        with pytest.raises(RehearsalError):
            rollout.rehearse(Rehearsal(checks=[lambda _: segfault()]))
        assert rollout.state is State.REJECTED
        with pytest.raises(hotswap.StateError):
            rollout.rehearse()
        service.patcher.apply(service.patch())

    def test_stage_may_rehearse(self, service: Service) -> None:
        rollout = service.patcher.stage(service.patch(), rehearse=True)
        assert rollout.state is State.STAGED
        assert rollout.rehearsal is not None
        rollout.abort()

    def test_again_and_again(self, service: Service) -> None:
        def open_here() -> int:
            return len([*Path("/dev/fd").iterdir()])

        # What is live and what was before it keep their files, for which older Pythons hold descriptors.
        for number in (1, 2):
            service.patcher.apply(service.patch(rate=number, version=f"0.{number}"), rehearse=True)
        before = open_here()
        for number in range(1, 6):
            service.patcher.apply(service.patch(rate=number, version=f"1.{number}"), rehearse=True)
            assert service.module.quote(1) == number
        assert until(lambda: open_here() == before)  # the files of one that went go in a thread
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_the_files_of_what_is_live_stay(self, service: Service) -> None:
        """The swap in the copy makes older generations superfluous, there."""
        service.patcher.apply(service.patch(version="1"))
        rollout = service.patcher.stage(service.patch(version="2", rate=8), rehearse=True)
        assert Path(sys.modules[f"{service.name}.a"].__file__ or "").exists()
        rollout.abort()

    def test_a_store_knows_nothing_of_it_but_the_result(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package, store=tmp_path / "store")
        service.patcher.apply(service.patch(), rehearse=True)
        with pytest.raises(RehearsalError):
            service.patcher.apply(service.patch(SEGFAULT, version="2"), rehearse=True)
        other = Patcher([service.name], store=tmp_path / "store")
        told = [(record.state, [row.name for row in record.report]) for record in other.history()]
        assert told == [(State.REJECTED, ["rehearsal"]), (State.LIVE, ["rehearsal"])]
        (row,) = other.history()[0].report
        assert "a.py" in row.detail, "who reads the store in the morning wants to know where it crashed"

    def test_events(self, service: Service) -> None:
        with structlog.testing.capture_logs() as seen:
            service.patcher.apply(service.patch(), rehearse=True)
            with pytest.raises(RehearsalError):
                service.patcher.apply(service.patch(SEGFAULT, version="2"), rehearse=True)
        names = [entry["event"] for entry in seen]
        assert names == [
            "rollout.rehearsed",
            "rollout.staged",
            "rollout.verified",
            "rollout.live",
            "rehearsal.failed",
            "rollout.rejected",
        ]
        assert seen[4]["code"] == "crashed"
        assert seen[4]["signal"] == "SIGSEGV"
        assert seen[4]["step"] == "load"
        assert "a.py" in seen[4]["stack"]

    def test_each_check_is_told_as_it_goes(self, service: Service, tmp_path: Path) -> None:
        """While it runs: the copy waits here for a file that is made once its check has been seen."""
        go = tmp_path / "go"

        def patient(_: Any) -> None:
            until(go.exists)

        service.patcher.check(patient)
        with structlog.testing.capture_logs() as seen:
            rollout = service.patcher.stage(service.patch())
            thread = threading.Thread(target=rollout.rehearse, args=(Rehearsal(checks=[]),))
            thread.start()
            until(lambda: rollout.report.running == ("rehearsal: patient",))
            go.touch()
            thread.join()
            rollout.abort()
        told = [(entry["event"], entry["check"]) for entry in seen if entry["event"].startswith("check.")]
        assert told == [("check.started", "rehearsal: patient"), ("check.passed", "rehearsal: patient")]

    def test_limits_of_the_patcher_are_those_of_true(self, make_package: Make) -> None:
        service = Service(make_package, rehearse=Rehearsal(checks=[lambda _: False]))
        with pytest.raises(RehearsalError):
            service.patcher.apply(service.patch(), rehearse=True)

    def test_given_up_meanwhile(self, service: Service, tmp_path: Path) -> None:
        begun = f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport threading\nthreading.Event().wait()\n"

        async def serve() -> None:
            task = asyncio.create_task(service.patcher.apply_async(service.patch(begun), rehearse=True))
            await asyncio.to_thread(wait_for, tmp_path / "begun")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(serve())
        assert service.patcher.history()[0].state is State.REJECTED
        assert "given up" in service.patcher.history()[0].reason
        service.patcher.apply(service.patch())

    def test_aborted_meanwhile(self, service: Service, tmp_path: Path) -> None:
        begun = f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport threading\nthreading.Event().wait()\n"
        errors: list[BaseException] = []

        def apply() -> None:
            try:
                service.patcher.apply(service.patch(begun), rehearse=True)
            except hotswap.HotswapError as error:
                errors.append(error)

        thread = threading.Thread(target=apply)
        thread.start()
        wait_for(tmp_path / "begun")
        current = service.patcher.current
        assert current is not None
        current.abort("not today")
        thread.join()
        assert "not today" in str(errors[0])
        service.patcher.apply(service.patch())


class TestDeath:
    """Each of these would end or block the process, were it done here."""

    def test_crash_in_a_module(self, service: Service) -> None:
        error = service.refused(SEGFAULT)
        assert (error.code, error.signal, error.step) == ("crashed", "SIGSEGV", "load")
        assert "string_at" in error.stack
        assert "a.py" in error.stack

    def test_crash_in_a_check(self, service: Service) -> None:
        service.patcher.check(lambda candidate: segfault())
        error = service.refused()
        assert (error.code, error.signal, error.step) == ("crashed", "SIGSEGV", "checks")

    def test_crash_in_a_migration(self, service: Service) -> None:
        error = service.refused("def __hotswap__(old, new):\n    import ctypes\n    ctypes.string_at(0)\n")
        assert (error.code, error.signal, error.step) == ("crashed", "SIGSEGV", "migrations")
        assert "__hotswap__" in error.stack

    def test_crash_in_a_call_that_only_real_state_leads_to(self, service: Service) -> None:
        """A cache that is filled by now, and that the new version does not understand."""
        service.module.quote(7)

        def asks(candidate: Any) -> None:
            candidate[f"{service.name}.a"].quote(7)

        service.patcher.check(asks)
        crash = "def quote(n):\n    import ctypes\n    return ctypes.string_at(0) if n in CACHE else n\n"
        error = service.refused(crash)
        assert (error.code, error.signal, error.step) == ("crashed", "SIGSEGV", "live checks")

    @pytest.mark.parametrize("how", ["import os\nos._exit(0)\n", "import os\nos._exit(7)\n"])
    def test_exit_in_a_module(self, service: Service, how: str) -> None:
        error = service.refused(how)
        assert (error.code, error.signal, error.step) == ("exited", None, "load")

    def test_exit_in_a_check(self, service: Service) -> None:
        error = service.refused(checks=[lambda _: os._exit(0)])
        assert (error.code, error.step) == ("exited", "live checks")

    def test_ordinary_exit(self, service: Service) -> None:
        error = service.refused("raise SystemExit(0)\n")
        assert (error.code, error.error, error.step) == ("refused", "LoadError", "load")

    def test_hang(self, service: Service) -> None:
        error = service.refused("import time\ntime.sleep(600)\n", time=2)
        assert (error.code, error.signal, error.step) == ("timed-out", None, "load")
        assert "a.py" in error.stack
        assert service.patcher.history()[0].report.results[-1].verdict == "timed_out"

    def test_hang_that_lets_no_other_thread_run(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.rehearsal.director._GRACE", 0.2)
        error = service.refused("import ctypes\nctypes.pythonapi.sleep(600)\n", time=2)
        assert (error.code, error.signal) == ("timed-out", None)
        assert "a.py" in error.stack

    def test_endless_loop(self, service: Service) -> None:
        error = service.refused("while True:\n    pass\n", cpu=1)
        assert (error.code, error.signal, error.step) == ("out-of-cpu", "SIGXCPU", "load")
        assert "a.py" in error.stack

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit; elsewhere it is looked after")
    @pytest.mark.parametrize(
        "bomb",
        ["BOMB = [bytearray(1 << 20) for _ in range(1 << 20)]\n", "BOMB = bytes(1 << 40)\n"],
        ids=["piece-by-piece", "at-once"],
    )
    def test_memory_bomb(self, service: Service, bomb: str) -> None:
        error = service.refused(bomb, memory=100 << 20)
        assert (error.code, error.step) == ("out-of-memory", "load")

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit; elsewhere it is looked after")
    def test_memory_bomb_in_a_check(self, service: Service) -> None:
        error = service.refused(memory=100 << 20, checks=[lambda _: bytearray(1 << 40)])
        assert (error.code, error.step) == ("out-of-memory", "live checks")

    def test_memory_is_looked_after_where_the_system_does_not(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hotswap.rehearsal.performance._KEPT_BY_SYSTEM", False)
        monkeypatch.setattr("hotswap.rehearsal.limits.limit", lambda *_: None)
        bomb = "import time\nBOMB = [bytearray(b'x' * (1 << 20)) for _ in range(300)]\ntime.sleep(600)\n"
        error = service.refused(bomb, memory=100 << 20)
        assert (error.code, error.step) == ("out-of-memory", "load")

    def test_end_by_somebody_else(self, service: Service) -> None:
        error = service.refused(f"import os\nos.kill(os.getpid(), {int(signal.SIGKILL)})\n")
        assert (error.code, error.signal) == ("killed", "SIGKILL")
        assert service.patcher.history()[0].report.results[-1].verdict == "error"

    def test_a_check_that_refuses(self, service: Service) -> None:
        service.patcher.check(lambda candidate: False, name="never")
        error = service.refused()
        assert (error.code, error.error, error.step) == ("refused", "CheckFailedError", "checks")
        assert "never failed: it returned False" in error.reason
        assert [(row.name, str(row.verdict)) for row in service.patcher.history()[0].report] == [
            ("rehearsal: never", "failed"),
            ("rehearsal", "failed"),
        ]

    def test_an_unsupported_change(self, service: Service) -> None:
        error = service.refused("raise ValueError('not today')\n")
        assert (error.code, error.error) == ("refused", "LoadError")
        assert "not today" in error.reason

    def test_what_is_refused_without_being_executed_is_not_rehearsed(self, service: Service) -> None:
        with pytest.raises(hotswap.DowngradeError):
            service.patcher.apply(service.patch(version="0"), rehearse=True)


class TestWaiting:
    """What hangs because other threads are not in a copy says nothing about the patch."""

    @pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition])
    def test_a_lock_of_another_thread(self, service: Service, make: Callable[[], Any]) -> None:
        if sys.version_info >= (3, 14) and make is not threading.Lock:
            pytest.skip("nobody else can release a reentrant lock there")
        lock = make()

        def needs(_: Any) -> None:
            with lock:
                pass

        service.patcher.check(needs, timeout=0.3)
        with held(lock):
            error = service.refused()
        assert (error.code, error.step) == ("inconclusive", "checks")
        assert "a lock that was held when the process was copied" in error.reason

    def test_a_lock_of_another_thread_until_time_is_up(self, service: Service) -> None:
        lock = threading.Lock()

        def needs(_: Any) -> None:
            with lock:
                pass

        service.patcher.check(needs, timeout=30)
        with held(lock):
            error = service.refused(time=2)
        assert error.code == "inconclusive"
        assert "needs" in error.stack

    def test_a_lock_in_a_module(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = ModuleType("elsewhere")
        elsewhere.__dict__["lock"] = lock = threading.Lock()
        monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
        with held(lock):
            error = service.refused("import elsewhere\nwith elsewhere.lock: pass\n", time=2)
        assert (error.code, error.step) == ("inconclusive", "load")

    @pytest.mark.parametrize("what", ["queue", "event"])
    def test_the_word_of_another_thread(self, service: Service, what: str) -> None:
        answers: queue.Queue[int] = queue.Queue()
        event = threading.Event()
        service.patcher.check(lambda _: answers.get() if what == "queue" else event.wait(), timeout=0.3)
        error = service.refused()
        assert error.code == "inconclusive"
        assert "what a thread was to say that is not in the copy" in error.reason

    def test_a_pool(self, service: Service) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()
            service.patcher.check(lambda _: pool.submit(int).result(), timeout=0.3)
            error = service.refused()
        assert error.code == "inconclusive"
        assert "a thread of a pool" in error.reason

    @pytest.mark.parametrize("what", ["queue", "event", "pool"])
    def test_a_limit_of_its_own(self, service: Service, what: str) -> None:
        """Who gives up waiting before its time is up, and fails, has waited for the same."""
        answers: queue.Queue[int] = queue.Queue()
        event = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()

            def gives_up(_: Any) -> None:
                if what == "queue":
                    answers.get(timeout=0.1)
                elif what == "pool":
                    pool.submit(int).result(timeout=0.1)
                else:
                    assert event.wait(0.1)

            service.patcher.check(gives_up)
            error = service.refused()
        assert error.code == "inconclusive"
        assert "what a thread was to say or do that is not in the copy" in error.reason

    def test_waiting_for_its_own_is_its_own(self, service: Service) -> None:
        own: list[threading.Event] = []

        def gives_up(_: Any) -> None:
            own.append(threading.Event())
            assert own[0].wait(0.1), "never set"

        service.patcher.check(gives_up)
        error = service.refused()
        assert (error.code, error.error) == ("refused", "CheckFailedError")

    def test_the_loop_of_the_service(self, service: Service) -> None:
        async def serve() -> RehearsalError:
            loop = asyncio.get_running_loop()
            service.patcher.check(
                lambda _: asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(), timeout=0.3
            )
            return await asyncio.to_thread(service.refused)

        error = asyncio.run(serve())
        assert error.code == "inconclusive"

    def test_a_deadlock_of_its_own_is_its_own(self, service: Service) -> None:
        def locks_twice(_: Any) -> None:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

        service.patcher.check(locks_twice, timeout=0.3)
        with held(threading.Lock()):
            error = service.refused()
        assert (error.code, error.error) == ("refused", "CheckFailedError")
        assert "timed out" in error.reason

    def test_an_endless_loop_beside_held_locks_is_its_own(self, service: Service) -> None:
        def spins(_: Any) -> None:
            while True:
                pass

        service.patcher.check(spins, timeout=0.3)
        with held(threading.Lock()):
            assert service.refused().code == "refused"

    def test_a_crash_is_worse(self, service: Service) -> None:
        """One check that can't tell, and one that can: what is known counts."""
        lock = threading.Lock()
        service.patcher.check(lambda _: lock.acquire(), timeout=0.3)
        service.patcher.check(lambda _: False, name="knows")
        with held(lock):
            error = service.refused()
        assert error.code == "refused"
        assert [str(row.verdict) for row in service.patcher.history()[0].report] == ["inconclusive", "failed", "failed"]

    def test_one_that_refuses_nothing(self, service: Service) -> None:
        """Locks are let go for it, so that nothing was rehearsed that comes after it."""
        lock = threading.Lock()
        service.patcher.check(lambda _: lock.acquire(), name="statistics", timeout=0.3, required=False)
        with held(lock):
            error = service.refused(checks=[lambda _: False])
        assert error.code == "inconclusive"
        assert "nothing followed" in error.reason

    def test_it_may_pass(self, service: Service) -> None:
        lock = threading.Lock()

        def needs(_: Any) -> None:
            if hotswap.rehearsing():
                lock.acquire()

        service.patcher.check(needs, timeout=0.3)
        with held(lock), structlog.testing.capture_logs() as seen:
            rollout = service.patcher.apply(service.patch(), rehearse=Rehearsal(inconclusive="pass"))
        assert rollout.state is State.LIVE
        assert rollout.rehearsal is not None
        assert rollout.rehearsal.verdict == "inconclusive"
        assert rollout.rehearsal.step == "checks"  # locks were let go: what follows would say nothing
        assert [str(row.verdict) for row in rollout.report] == ["inconclusive", "inconclusive", "passed"]
        assert rollout.report.passed
        (told,) = [entry for entry in seen if entry["event"] == "rollout.rehearsed"]
        assert told["log_level"] == "warning"


class TestTerms:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"time": 0}, ValueError),
            ({"time": "1"}, TypeError),
            ({"cpu": -1}, ValueError),
            ({"memory": 0}, ValueError),
            ({"memory": 1.5}, TypeError),
            ({"checks": [1]}, TypeError),
            ({"inconclusive": "ignore"}, ValueError),
        ],
    )
    def test_that_make_no_sense(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            Rehearsal(**arguments)

    def test_no_wish(self, service: Service) -> None:
        with pytest.raises(TypeError):
            service.patcher.apply(service.patch(), rehearse="yes")  # type: ignore[arg-type]

    def test_cpu_is_counted_in_whole_seconds(self) -> None:
        assert Rehearsal(cpu=0.2).whole_cpu == 1

    def test_where_no_process_can_be_copied(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terms_of_rehearsals, "can_copy", lambda: False)
        with pytest.raises(RehearsalError) as caught:
            service.patcher.apply(service.patch(), rehearse=True)
        assert caught.value.code == "no-fork"
        assert service.patcher.history() == ()
        with pytest.raises(RehearsalError):
            Patcher([service.name], rehearse=True)
        service.patcher.apply(service.patch())
