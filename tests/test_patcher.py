"""The patcher: one rollout at a time, versions and history, single files by their bare names, and the async way in."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.version import Version

from hotswap import Patch, Patcher, Record, Rollout, State
from hotswap.errors import (
    BusyError,
    CheckFailedError,
    DowngradeError,
    HotswapError,
    LoadError,
    NothingToRollBackError,
    StateError,
    WrongPackageError,
)
from hotswap.generation import gate

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide

Make = Callable[..., ModuleType]

_serial = itertools.count(1)

LIMIT = 10.0
"""Seconds that a test waits for something that is sure to come."""


class Service:
    """A package with some modules, and the patcher of it."""

    def __init__(self, make: Make, folder: Path, version: str = "1.2.0") -> None:
        self.name = f"patched{next(_serial)}"
        self.folder = folder
        imports = "".join(f"import {self.name}.{m}\n" for m in ("a", "sub.a", "sub.only", "sub.deep.more"))
        package = make(
            {
                "__init__.py": f'__version__ = "{version}"\n{imports}',
                "a.py": "def quote(): return 0\n",
                "sub/__init__.py": "",
                "sub/a.py": "def quote(): return 0\n",
                "sub/only.py": "def quote(): return 0\n",
                "sub/deep/__init__.py": "",
                "sub/deep/more.py": "def quote(): return 0\n",
            },
            name=self.name,
        )
        self.quote = package.a.quote
        self.patcher = Patcher([self.name], check_timeout=LIMIT)

    def patch(self, number: int, version: str | None = None, module: str = "a") -> Patch:
        return Patch.from_sources({f"{self.name}.{module}": f"def quote(): return {number}\n"}, version)

    def file(self, name: str, source: str = "def quote(): return 5\n") -> Path:
        path = self.folder / f"drop{next(_serial)}" / name
        path.parent.mkdir()
        path.write_text(source)
        return path

    @property
    def version(self) -> str:
        return str(self.patcher.versions[self.name])


@pytest.fixture
def service(make_package: Make, tmp_path: Path) -> Service:
    return Service(make_package, tmp_path)


class Blocker:
    """A check that says when it began, and waits until it may answer."""

    def __init__(self, patcher: Patcher) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        patcher.check(self, name="blocker")

    def __call__(self, candidate: object) -> None:
        self.began.set()
        assert self.go.wait(LIMIT)

    def run(self, function: Callable[[], object]) -> threading.Thread:
        def main() -> None:
            try:
                function()
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=main)
        self.threads.append(thread)
        thread.start()
        return thread

    def end(self) -> None:
        self.go.set()
        for thread in self.threads:
            thread.join(LIMIT)


@pytest.fixture
def blocker(service: Service) -> Iterator[Blocker]:
    blocker = Blocker(service.patcher)
    yield blocker
    blocker.end()


@pytest.mark.threads
class TestOneAtATime:
    def test_second_is_refused_at_once(self, service: Service, blocker: Blocker) -> None:
        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        with pytest.raises(BusyError, match=r"one rollout at a time: patched\d+ 2\.0 is staged") as caught:
            service.patcher.apply(service.patch(2, "3.0"))
        assert "running now" in str(caught.value)
        blocker.end()
        assert blocker.errors == []
        assert (service.quote(), service.version) == (1, "2.0")
        assert [record.state for record in service.patcher.history()] == [State.LIVE]

    def test_second_waits_some_seconds_in_vain(self, service: Service, blocker: Blocker) -> None:
        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        with pytest.raises(BusyError):
            service.patcher.apply(service.patch(2, "3.0"), wait=0.01)

    @pytest.mark.parametrize("wait", [LIMIT, None])
    def test_second_waits_until_the_first_is_live(
        self, service: Service, blocker: Blocker, wait: float | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting = threading.Event()
        place = service.patcher._place._free
        wait_for = place.wait_for

        def tell(*args: Any, **kwargs: Any) -> Any:
            waiting.set()
            return wait_for(*args, **kwargs)

        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        monkeypatch.setattr(place, "wait_for", tell)
        second = blocker.run(lambda: service.patcher.apply(service.patch(2, "3.0"), wait=wait))
        assert waiting.wait(LIMIT)
        assert second.is_alive()
        assert service.quote() == 0
        blocker.end()
        assert blocker.errors == []
        assert (service.quote(), service.version) == (2, "3.0")
        assert [str(record.version) for record in service.patcher.history()] == ["3.0", "2.0"]

    def test_second_waits_until_the_first_is_rejected(self, service: Service, blocker: Blocker) -> None:
        first = service.patcher.stage(service.patch(1, "2.0"))
        blocker.go.set()
        second = blocker.run(lambda: service.patcher.apply(service.patch(2, "3.0"), wait=None))
        first.abort()
        second.join(LIMIT)
        assert blocker.errors == []
        assert (service.quote(), first.state) == (2, State.REJECTED)

    def test_many_threads_take_turns(self, service: Service, blocker: Blocker) -> None:
        blocker.go.set()
        for number in range(1, 6):
            blocker.run(lambda number=number: service.patcher.apply(service.patch(number), wait=None))  # type: ignore[misc]
        blocker.end()
        assert blocker.errors == []
        assert service.version == "1.2.0+hot.5"
        records = service.patcher.history()
        assert [record.state for record in records] == [State.LIVE] + [State.PERMANENT] * 4
        assert service.quote() == service.patcher.current.candidate[f"{service.name}.a"].quote()  # type: ignore[union-attr]

    def test_who_waits_is_served_in_the_order_of_coming(self, service: Service, blocker: Blocker) -> None:
        """Otherwise the newest may go first, and the others are refused as downgrades."""
        blocker.run(lambda: service.patcher.apply(service.patch(1, "1.3")))
        assert blocker.began.wait(LIMIT)
        for number in range(2, 8):
            patch = service.patch(number, f"{number}.0")
            blocker.run(lambda patch=patch: service.patcher.apply(patch, wait=None))  # type: ignore[misc]
            deadline = time.monotonic() + LIMIT
            while len(service.patcher._place._queue) < number - 1:
                assert time.monotonic() < deadline
        blocker.end()
        assert blocker.errors == []
        assert [str(record.version) for record in service.patcher.history()] == [
            *(f"{number}.0" for number in range(7, 1, -1)),
            "1.3",
        ]

    def test_abort_while_a_check_runs_says_so_and_keeps_the_place_until_it_has_ended(
        self, service: Service, blocker: Blocker
    ) -> None:
        seen: list[object] = []

        @service.patcher.check(name="looks after the blocker")
        def looks(candidate: Mapping[str, Any]) -> None:
            seen.append(candidate[f"{service.name}.a"].quote())

        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        rollout = service.patcher.current
        assert rollout is not None
        rollout.abort(reason="the operator says no")
        second = blocker.run(lambda: service.patcher.apply(service.patch(2, "3.0"), wait=None))
        blocker.go.set()
        second.join(LIMIT)
        blocker.end()
        (error,) = blocker.errors
        assert isinstance(error, StateError)
        assert "it was given up while its checks ran: the operator says no" in str(error)
        assert seen == [2], "the checks that were left were not run on a candidate that is gone"
        assert [(str(r.version), r.state) for r in service.patcher.history()] == [
            ("3.0", State.LIVE),
            ("2.0", State.REJECTED),
        ]

    def test_rollback_aborts_a_staged_rollout(self, service: Service) -> None:
        service.patcher.apply(service.patch(1, "2.0"))
        staged = service.patcher.stage(service.patch(2, "3.0"))
        assert service.patcher.rollback().version == Version("2.0")
        assert (staged.state, staged.reason) == (State.REJECTED, "what it was staged on was rolled back")
        assert service.quote() == 0
        assert service.patcher.apply(service.patch(2, "3.0")).state is State.LIVE

    def test_rollback_while_a_check_runs_in_another_thread(self, service: Service, blocker: Blocker) -> None:
        blocker.go.set()
        service.patcher.apply(service.patch(1, "2.0"))
        blocker.go.clear()
        blocker.began.clear()
        blocker.run(lambda: service.patcher.apply(service.patch(2, "3.0")))
        assert blocker.began.wait(LIMIT)
        service.patcher.rollback()
        assert (service.quote(), service.version) == (0, "1.2.0")
        blocker.end()
        assert [type(error) for error in blocker.errors] == [StateError]
        assert (service.quote(), service.version) == (0, "1.2.0")
        assert [record.state for record in service.patcher.history()] == [State.REJECTED, State.ROLLED_BACK]
        assert service.patcher.apply(service.patch(3, "4.0")).state is State.LIVE
        assert not gate.installed

    def test_abort_while_a_check_runs_in_another_thread(self, service: Service, blocker: Blocker) -> None:
        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        current = service.patcher.current
        assert current is not None
        current.abort("enough")
        assert current.state is State.REJECTED
        blocker.end()
        assert [type(error) for error in blocker.errors] == [StateError]
        assert service.patcher.history()[0].reason == "enough"
        assert service.quote() == 0
        assert service.patcher.apply(service.patch(3, "4.0")).state is State.LIVE

    def test_patchers_of_different_packages_do_not_wait_for_each_other(
        self, service: Service, blocker: Blocker, make_package: Make, tmp_path: Path
    ) -> None:
        other = Service(make_package, tmp_path)
        blocker.run(lambda: service.patcher.apply(service.patch(1, "2.0")))
        assert blocker.began.wait(LIMIT)
        assert other.patcher.apply(other.patch(7, "2.0")).state is State.LIVE
        assert other.quote() == 7
        blocker.end()
        assert (service.quote(), blocker.errors) == (1, [])
        other.patcher.rollback()
        assert (service.quote(), other.quote()) == (1, 0)

    def test_check_of_one_patcher_may_use_another(self, service: Service, make_package: Make, tmp_path: Path) -> None:
        other = Service(make_package, tmp_path)

        @service.patcher.check
        def use_the_other(candidate: object) -> None:
            other.patcher.apply(other.patch(7, "2.0"))

        service.patcher.apply(service.patch(1, "2.0"))
        assert (service.quote(), other.quote()) == (1, 7)


class TestAsync:
    def test_applies(self, service: Service) -> None:
        rollout = asyncio.run(service.patcher.apply_async(service.patch(1, "2.0")))
        assert rollout.state is State.LIVE
        assert service.quote() == 1

    def test_event_loop_goes_on_while_a_check_blocks(self, service: Service, blocker: Blocker) -> None:
        async def main() -> int:
            work = asyncio.ensure_future(service.patcher.apply_async(service.patch(1, "2.0")))
            turns = 0
            assert await asyncio.to_thread(blocker.began.wait, LIMIT)
            for _ in range(100):
                await asyncio.sleep(0)
                turns += 1
                assert not work.done()
            blocker.go.set()
            assert (await work).state is State.LIVE
            return turns

        assert asyncio.run(main()) == 100

    def test_async_checks_run_on_the_loop(self, service: Service) -> None:
        seen: list[object] = []

        @service.patcher.check
        async def on_the_loop(candidate: Mapping[str, Any]) -> None:
            seen.append(asyncio.get_running_loop())
            seen.append(threading.current_thread())
            seen.append(candidate[f"{service.name}.a"].quote())

        async def main() -> None:
            await service.patcher.apply_async(service.patch(1, "2.0"))
            assert seen == [asyncio.get_running_loop(), threading.current_thread(), 1]

        asyncio.run(main())

    def test_errors_arrive(self, service: Service) -> None:
        service.patcher.check(lambda candidate: False)
        with pytest.raises(CheckFailedError, match="it returned False"):
            asyncio.run(service.patcher.apply_async(service.patch(1, "2.0")))
        assert service.patcher.history()[0].state is State.REJECTED

    def test_cancelled_before_the_commit_is_rejected(self, service: Service, blocker: Blocker) -> None:
        async def main() -> None:
            work = asyncio.ensure_future(service.patcher.apply_async(service.patch(1, "2.0")))
            assert await asyncio.to_thread(blocker.began.wait, LIMIT)
            work.cancel()
            await asyncio.sleep(0)
            blocker.go.set()
            with pytest.raises(asyncio.CancelledError):
                await work

        asyncio.run(main())
        (record,) = service.patcher.history()
        assert (record.state, record.reason) == (State.REJECTED, "the caller was cancelled")
        assert service.quote() == 0
        assert not gate.installed
        assert service.patcher.apply(service.patch(1, "2.0")).state is State.LIVE

    def test_cancelled_while_it_waits_for_its_turn(self, service: Service) -> None:
        async def main() -> None:
            staged = service.patcher.stage(service.patch(1, "2.0"))
            work = asyncio.ensure_future(service.patcher.apply_async(service.patch(2, "3.0"), wait=None))
            await asyncio.sleep(0)
            work.cancel()
            await asyncio.sleep(0)
            staged.abort()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(work, LIMIT)

        asyncio.run(main())
        assert service.quote() == 0
        assert {record.state for record in service.patcher.history()} == {State.REJECTED}
        assert service.patcher.apply(service.patch(3, "4.0")).state is State.LIVE

    def test_time_limit_around_a_check_that_takes_too_long(self, service: Service, blocker: Blocker) -> None:
        async def main() -> None:
            async with asyncio.timeout(0.05) as limit:
                asyncio.get_running_loop().call_later(0.2, blocker.go.set)
                with pytest.raises(asyncio.CancelledError):
                    await service.patcher.apply_async(service.patch(1, "2.0"))
                assert limit.expired()
                raise TimeoutError

        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert service.patcher.history()[0].state is State.REJECTED
        assert service.quote() == 0

    def test_busy(self, service: Service) -> None:
        async def main() -> None:
            with service.patcher.stage(service.patch(1, "2.0")):
                with pytest.raises(BusyError):
                    await service.patcher.apply_async(service.patch(2, "3.0"))

        asyncio.run(main())


class TestVersions:
    def test_of_what_is_live(self, service: Service) -> None:
        assert service.patcher.versions == {service.name: Version("1.2.0")}
        service.patcher.apply(service.patch(1, "1.3.0"))
        assert service.patcher.versions == {service.name: Version("1.3.0")}
        service.patcher.rollback()
        assert service.patcher.versions == {service.name: Version("1.2.0")}
        service.patcher.versions.clear()
        assert service.patcher.versions

    def test_unchanged_by_what_is_only_staged(self, service: Service) -> None:
        with service.patcher.stage(service.patch(1, "1.3.0")) as rollout:
            rollout.verify()
            assert service.version == "1.2.0"
        assert service.version == "1.2.0"

    def test_single_patches_count(self, service: Service) -> None:
        versions = []
        for number in range(1, 4):
            versions.append(str(service.patcher.apply(service.patch(number)).version))
        assert versions == ["1.2.0+hot.1", "1.2.0+hot.2", "1.2.0+hot.3"]
        service.patcher.apply(service.patch(4, "1.3.0"))
        assert str(service.patcher.apply(service.patch(5)).version) == "1.3.0+hot.1"

    def test_a_number_is_not_given_twice(self, service: Service) -> None:
        assert str(service.patcher.apply(service.patch(1)).version) == "1.2.0+hot.1"
        service.patcher.rollback()
        assert str(service.patcher.apply(service.patch(2)).version) == "1.2.0+hot.2"

    def test_local_segment_stays(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package, tmp_path, "1.2.0+ubuntu.1")
        assert str(service.patcher.apply(service.patch(1)).version) == "1.2.0+ubuntu.1.hot.1"
        assert str(service.patcher.apply(service.patch(2)).version) == "1.2.0+ubuntu.1.hot.2"

    def test_without_any_version(self, make_package: Make) -> None:
        name = f"patched{next(_serial)}"
        make_package({"__init__.py": "def f(): return 1\n"}, name=name)
        patcher = Patcher([name])
        assert patcher.versions == {name: Version("0")}
        patcher.apply(Patch.from_sources({name: "def f(): return 2\n"}))
        assert patcher.versions == {name: Version("0+hot.1")}
        assert sys.modules[name].f() == 2

    def test_several_packages(self, make_package: Make, tmp_path: Path) -> None:
        first, second = Service(make_package, tmp_path), Service(make_package, tmp_path, "7.0")
        patcher = Patcher([first.name, second.name])
        patcher.apply(first.patch(1, "2.0"))
        assert patcher.versions == {first.name: Version("2.0"), second.name: Version("7.0")}
        with pytest.raises(DowngradeError):
            patcher.apply(second.patch(1, "3.0"))
        both = {f"{s.name}.a": "def quote(): return 9\n" for s in (first, second)}
        patcher.apply(Patch.from_sources(both, "8.0"))
        assert set(patcher.versions.values()) == {Version("8.0")}
        assert (first.quote(), second.quote()) == (9, 9)
        patcher.rollback()
        assert (first.quote(), second.quote()) == (1, 0)
        assert patcher.versions == {first.name: Version("2.0"), second.name: Version("7.0")}

    def test_each_package_of_a_folder_has_its_own(self, make_package: Make, tmp_path: Path) -> None:
        names = [f"patched{next(_serial)}" for _ in range(3)]
        for name, version in zip(names, ("'1.0'", "'3.0'", "None"), strict=True):
            make_package({"__init__.py": f"__version__ = {version}\n"}, name=name)
        patcher = Patcher(names)

        def folder(*texts: str) -> Patch:
            place = tmp_path / f"folder{next(_serial)}"
            for name, text in zip(names, texts, strict=False):
                (place / name).mkdir(parents=True)
                (place / name / "__init__.py").write_text(text, encoding="utf-8")
            return Patch.from_path(place)

        def live() -> list[str]:
            return [str(patcher.versions[name]) for name in names]

        rollout = patcher.apply(folder("__version__ = '1.1'\n", "__version__ = '3.1'\n", "__version__ = None\nx = 1\n"))
        assert live() == ["1.1", "3.1", "0+hot.1"]
        assert (str(rollout.version), str(rollout.record.version)) == ("3.1", "3.1")
        patcher.rollback()
        assert live() == ["1.0", "3.0", "0"]
        patcher.apply(folder("__version__ = '1.1'\n", "__version__ = '3.1'\n"))
        patcher.apply(Patch.from_path(folder("__version__ = '1.2'\n").metadata["origin"] + f"/{names[0]}"))
        assert live() == ["1.2", "3.1", "0"]
        with pytest.raises(DowngradeError, match=rf"{names[0]} 1\.1 is older than 1\.2, which is live"):
            patcher.apply(folder("__version__ = '1.1'\n", "__version__ = '3.2'\n"))
        with pytest.raises(DowngradeError, match=rf"{names[1]} 3\.1 is live already"):
            patcher.apply(folder("__version__ = '1.3'\n", "__version__ = '3.1'\nx = 1\n"))
        with pytest.raises(DowngradeError, match="is live already"):
            patcher.apply(folder("__version__ = '1.2'\n", "__version__ = '3.1'\n"))
        patcher.apply(folder("__version__ = '1.3'\n", "__version__ = '3.1'\n"))
        assert live() == ["1.3", "3.1", "0"]
        patcher.apply(Patch.from_sources(dict.fromkeys(names, "y = 1\n")))
        assert live() == ["1.3+hot.1", "3.1+hot.1", "0+hot.2"]


class TestSingleFiles:
    @pytest.mark.parametrize(("name", "module"), [("only.py", "sub.only"), ("more.py", "sub.deep.more")])
    def test_bare_name_finds_its_module(self, service: Service, name: str, module: str) -> None:
        rollout = service.patcher.apply(Patch.from_path(service.file(name)))
        assert sys.modules[f"{service.name}.{module}"].quote() == 5
        assert str(rollout.version) == "1.2.0+hot.1"
        assert rollout.patch.name == service.name

    def test_bare_name_of_a_whole_module_is_of_the_version_that_it_states(
        self, make_package: Make, tmp_path: Path
    ) -> None:
        name = f"solo{next(_serial)}"
        make_package({}, name=name)
        sys.modules[name].__version__ = "2.0"  # type: ignore[attr-defined]
        patcher = Patcher([name])
        file = tmp_path / f"{name}.py"
        file.write_text("__version__ = '2.1'\n")
        patcher.apply(Patch.from_path(file))
        assert str(patcher.versions[name]) == "2.1" == sys.modules[name].__version__
        file.write_text("__version__ = '1.0'\n")
        with pytest.raises(DowngradeError):
            patcher.apply(Patch.from_path(file))
        file.write_text("LIMIT = 1\n")
        patcher.apply(Patch.from_path(file))
        assert str(patcher.versions[name]) == "2.1+hot.1"

    def test_what_a_module_of_a_package_states_is_not_the_version_of_the_package(self, service: Service) -> None:
        file = service.file("only.py")
        file.write_text("__version__ = '0.1'\n")
        service.patcher.apply(Patch.from_path(file))
        assert str(service.patcher.versions[service.name]) == "1.2.0+hot.1"

    def test_bare_name_that_is_not_clear(self, service: Service) -> None:
        with pytest.raises(WrongPackageError) as caught:
            service.patcher.apply(Patch.from_path(service.file("a.py")))
        text = str(caught.value)
        assert f"a.py may stand for any of {service.name}.a, {service.name}.sub.a" in text
        assert f"{service.name}.a.py" in text
        assert service.quote() == 0

    def test_dotted_file_name(self, service: Service) -> None:
        service.patcher.apply(Patch.from_path(service.file(f"{service.name}.a.py")))
        assert service.quote() == 5
        assert sys.modules[f"{service.name}.sub.a"].quote() == 0

    def test_module_given(self, service: Service) -> None:
        service.patcher.apply(Patch.from_path(service.file("whatever.py"), module=f"{service.name}.sub.a"))
        assert sys.modules[f"{service.name}.sub.a"].quote() == 5
        assert service.quote() == 0

    def test_init_of_a_package_by_the_name_of_the_package(self, service: Service) -> None:
        service.patcher.apply(Patch.from_path(service.file("sub.py", "value = 5\n")))
        package = sys.modules[f"{service.name}.sub"]
        assert package.value == 5
        assert package.__path__
        assert package.only.quote() == 0

    def test_unknown_name(self, service: Service) -> None:
        with pytest.raises(WrongPackageError, match="nothing of"):
            service.patcher.apply(Patch.from_path(service.file("stranger.py")))


class TestHistory:
    def test_newest_first_and_frozen(self, service: Service) -> None:
        before = datetime.now(UTC)
        service.patcher.apply(service.patch(1, "2.0"))
        with pytest.raises(LoadError):
            service.patcher.apply(Patch.from_sources({f"{service.name}.a": "1 / 0\n"}, "3.0"))
        service.patcher.apply(service.patch(2, "4.0"))
        service.patcher.rollback(reason="too slow")
        newest, rejected, first = service.patcher.history()
        assert [r.state for r in (newest, rejected, first)] == [State.ROLLED_BACK, State.REJECTED, State.PERMANENT]
        assert [str(r.version) for r in (newest, rejected, first)] == ["4.0", "3.0", "2.0"]
        assert newest.reason == "too slow"
        assert "ZeroDivisionError" in rejected.reason
        assert first.reason == f"superseded by {service.name} 4.0"
        for record in (newest, rejected, first):
            assert isinstance(record, Record)
            assert before <= record.started <= record.finished <= datetime.now(UTC)
            assert record.name == service.name
            assert len(record.digest) == 64
        with pytest.raises(dataclasses.FrozenInstanceError):
            first.reason = "mine"  # type: ignore[misc]

    def test_digest_is_that_of_the_patch(self, service: Service) -> None:
        patch = service.patch(1, "2.0")
        service.patcher.apply(patch)
        assert service.patcher.history()[0].digest == patch.digest

    def test_is_a_copy(self, service: Service) -> None:
        service.patcher.apply(service.patch(1, "2.0"))
        history = service.patcher.history()
        service.patcher.rollback()
        assert history[0].state is State.LIVE
        assert service.patcher.history()[0].state is State.ROLLED_BACK

    def test_keeps_a_thousand(self, service: Service) -> None:
        bad = service.patch(1, "1.0")
        for _ in range(1005):
            with pytest.raises(DowngradeError):
                service.patcher.apply(bad)
        assert len(service.patcher.history()) == 1000

    def test_refused_while_busy_is_no_rollout(self, service: Service) -> None:
        with service.patcher.stage(service.patch(1, "2.0")):
            with pytest.raises(BusyError):
                service.patcher.apply(service.patch(2, "3.0"))
        assert [str(record.version) for record in service.patcher.history()] == ["2.0"]


class TestCurrent:
    def test_what_is_in_progress_else_what_is_live(self, service: Service) -> None:
        patcher = service.patcher
        seen: list[Rollout | None] = [patcher.current]
        live = patcher.apply(service.patch(1, "2.0"))
        seen.append(patcher.current)
        with patcher.stage(service.patch(2, "3.0")) as staged:
            seen.append(patcher.current)
        seen.append(patcher.current)
        patcher.rollback()
        seen.append(patcher.current)
        assert seen == [None, live, staged, live, None]

    def test_repr(self, service: Service) -> None:
        assert repr(service.patcher) == f"<Patcher of {service.name} 1.2.0>"


class TestRollback:
    def test_nothing_to_roll_back(self, service: Service) -> None:
        with pytest.raises(NothingToRollBackError, match="no previous generation") as caught:
            service.patcher.rollback()
        assert f"running now: {service.name} 1.2.0" in str(caught.value)

    def test_only_once(self, service: Service) -> None:
        service.patcher.apply(service.patch(1, "2.0"))
        service.patcher.apply(service.patch(2, "3.0"))
        service.patcher.rollback()
        assert service.quote() == 1
        with pytest.raises(NothingToRollBackError):
            service.patcher.rollback()
        assert service.quote() == 1

    def test_after_confirm(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(1, "2.0"))
        rollout.confirm()
        assert service.patcher.rollback() is rollout
        assert (rollout.state, service.quote()) == (State.ROLLED_BACK, 0)

    def test_and_the_same_patch_again(self, service: Service) -> None:
        patch = service.patch(1, "2.0")
        for _ in range(3):
            service.patcher.apply(patch)
            assert (service.quote(), service.version) == (1, "2.0")
            service.patcher.rollback()
            assert (service.quote(), service.version) == (0, "1.2.0")


class TestChecks:
    def test_decorator_gives_the_function_back(self, service: Service) -> None:
        def check(candidate: object) -> None: ...

        assert service.patcher.check(check) is check
        assert service.patcher.check(timeout=1, name="other")(check) is check
        rollout = service.patcher.apply(service.patch(1, "2.0"))
        assert [result.name for result in rollout.report] == ["check", "other"]

    def test_its_own_time_limit(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package, tmp_path)
        never = threading.Event()
        service.patcher.check(timeout=0.02)(lambda candidate: never.wait(LIMIT))
        try:
            with pytest.raises(CheckFailedError, match=r"no answer within 0\.02 s"):
                service.patcher.apply(service.patch(1, "2.0"))
        finally:
            never.set()

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
    def test_bad_time_limit(self, service: Service, timeout: float) -> None:
        with pytest.raises(ValueError, match="time limit"):
            service.patcher.check(timeout=timeout)(lambda candidate: None)

    def test_what_is_no_check(self, service: Service) -> None:
        with pytest.raises(TypeError, match="can't be called"):
            service.patcher.check(5)  # type: ignore[call-overload]

    def test_registered_later_counts_for_the_next_rollout(self, service: Service) -> None:
        service.patcher.apply(service.patch(1, "2.0"))
        service.patcher.check(lambda candidate: False)
        with pytest.raises(CheckFailedError):
            service.patcher.apply(service.patch(2, "3.0"))


class TestPackages:
    @pytest.mark.parametrize("packages", ["shop", [], ["a.b"], ["1"], ["sys"], ["hotswap"]])
    def test_names_that_can_not_be_patched(self, packages: Any) -> None:
        with pytest.raises(ValueError, match=r"packages must be|is not the name|can't be patched"):
            Patcher(packages)

    def test_a_package_that_is_not_installed(self) -> None:
        with pytest.raises(WrongPackageError, match="there is no package named nowhere_at_all"):
            Patcher(["nowhere_at_all"])

    def test_twice_the_same(self, service: Service) -> None:
        assert list(Patcher([service.name, service.name]).versions) == [service.name]

    def test_new_patcher_of_a_patched_package(self, service: Service) -> None:
        service.patcher.apply(service.patch(1, "2.0"))
        again = Patcher([service.name])
        again.apply(service.patch(2, "3.0"))
        assert service.quote() == 2
        again.rollback()
        assert service.quote() == 1


class TestMisuse:
    @pytest.mark.parametrize("thing", ["dist/shop-1.0-py3-none-any.whl", Path("shop"), None])
    def test_what_is_no_patch(self, thing: Any, service: Service) -> None:
        for use in (service.patcher.apply, service.patcher.stage):
            with pytest.raises(TypeError, match=r"a patch is needed, not a \w+: Patch.from_path"):
                use(thing)
        assert service.patcher.history() == ()

    @pytest.mark.parametrize("wait", [float("nan"), -1, 1e20, float("inf")])
    def test_times_that_nobody_can_wait(self, wait: float, service: Service) -> None:
        with pytest.raises(ValueError, match="wait must be 0 to"):
            service.patcher.stage(service.patch(1), wait=wait)

    @pytest.mark.parametrize("wait", ["5", True])
    def test_what_is_no_time(self, wait: Any, service: Service) -> None:
        with pytest.raises(TypeError, match="wait must be a number"):
            service.patcher.stage(service.patch(1), wait=wait)

    @pytest.mark.parametrize("names", [[None], [5], [""]])
    def test_what_is_no_package(self, names: Any) -> None:
        with pytest.raises(ValueError, match="is not the name of a top-level package"):
            Patcher(names)


class TestPatchersOfOtherPackages:
    def test_are_not_blamed_for_each_other(self, make_package: Callable[..., ModuleType]) -> None:
        """What is made and registered while two candidates are loaded at once is that of one of them."""
        names = [make_package({}).__name__ for _ in range(2)]
        patchers = [Patcher([name]) for name in names]
        together = threading.Barrier(2)
        refused: list[str] = []

        def run(patcher: Patcher, name: str) -> None:
            for version in range(1, 16):
                source = f"table = [[{version}] for _ in range(3000)]\ndef function():\n    return {version}\n"
                together.wait()
                try:
                    patcher.apply(Patch.from_sources({name: source}, f"1.{version}"))
                except HotswapError as error:
                    refused.append(str(error))

        threads = [threading.Thread(target=run, args=both) for both in zip(patchers, names, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == []

    def test_wait_for_each_other_until_they_are_cancelled(self, make_package: Callable[..., ModuleType]) -> None:
        one, other = (make_package({}).__name__ for _ in range(2))
        begun, go = threading.Event(), threading.Event()
        builtins.two_events = begun, go  # type: ignore[attr-defined]
        slow = Patch.from_sources(
            {one: "import builtins\nbuiltins.two_events[0].set()\nbuiltins.two_events[1].wait()\n"}, "1"
        )
        first = threading.Thread(target=Patcher([one]).apply, args=(slow,))
        first.start()
        try:
            begun.wait()

            async def give_up() -> None:
                async with asyncio.timeout(0.5):
                    await Patcher([other]).apply_async(Patch.from_sources({other: "x = 1\n"}, "1"))

            with pytest.raises(TimeoutError):
                asyncio.run(give_up())
        finally:
            go.set()
            first.join()
            del builtins.two_events  # type: ignore[attr-defined]


class TestTwoPatchers:
    """Of one package. They share what is live; nobody takes back what another has built on."""

    def test_agree_on_what_is_live(self, service: Service) -> None:
        other = Patcher([service.name])
        service.patcher.apply(service.patch(1, "2.0"))
        assert other.versions == service.patcher.versions
        with pytest.raises(DowngradeError):
            other.apply(service.patch(2, "1.9"))
        other.apply(service.patch(2, "3.0"))
        assert service.version == "3.0"
        assert service.quote() == 2

    def test_one_can_t_take_back_what_the_other_has_changed_since(self, service: Service) -> None:
        other = Patcher([service.name])
        service.patcher.apply(service.patch(1, "2.0"))
        other.apply(service.patch(2, "3.0"))
        with pytest.raises(StateError, match="another patcher has changed these packages since"):
            service.patcher.rollback()
        assert (service.quote(), service.version) == (2, "3.0")
        other.rollback()
        assert (service.quote(), service.version) == (1, "2.0")

    def test_what_one_has_staged_is_stale_when_the_other_swaps(self, service: Service) -> None:
        other = Patcher([service.name])
        rollout = service.patcher.stage(service.patch(1, "2.0"))
        rollout.verify()
        other.apply(service.patch(2, "3.0"))
        with pytest.raises(StateError, match="what is live has changed since it was staged"):
            rollout.commit()
        assert (service.quote(), service.version) == (2, "3.0")
