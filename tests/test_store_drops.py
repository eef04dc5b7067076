"""The store and the drop directory: what a directory does not tell, or can't, the store knows after a restart."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import FilesError, Patch, Patcher, PatchError, Store, StoreError
from hotswap.generation import files
from hotswap.store import blobs
from tests.test_store import query
from tests.test_store_boot import BEGIN, Service
from tests.test_watching import markers, put
from tests.waiting import until

pytestmark = pytest.mark.threads

WATCH = """
    from hotswap.watching import ledger
    def fails(*_, **__):
        raise OSError(30, "Read-only file system")
    if {mounted}:
        ledger.write_marker = fails
        access = os.access
        os.access = lambda path, mode, **more: mode != os.W_OK and access(path, mode, **more)
    live = patcher()
    tried = []
    @live.check
    def it_is_not_bad(candidate):
        tried.append(1)
        assert candidate["shop.tax"].rate() > 0, "a bad rate"
    with live.watch("drops", single_files=True) as watch:
        outcome = watch.wait_for("shop.tax.py", timeout=30)
    {then}
    say(rate=shop.rate(), state=outcome.state, error=outcome.error, reason=outcome.reason, tried=len(tried))
    """


def watched(service: Service, *, mounted: bool = False, then: str = "") -> dict[str, Any]:
    return service.run(WATCH.format(mounted=mounted, then=then))


@pytest.fixture
def program(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    (tmp_path / "drops").mkdir(mode=0o755)
    return made


@pytest.mark.slow
class TestAfterARestart:
    def test_what_was_rolled_back_without_a_watch_is_not_applied_again(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        assert watched(program, then="live.current.confirm()")["rate"] == 16
        facts = "SELECT origin, packages, base, before, after, generation FROM rollout"
        store = Store(program.folder / "var")
        known = query(store, facts)
        program.run("patcher().rollback(reason='the old rate was right'); say()")
        assert query(store, facts) == known
        assert known[0][0] == str(program.folder / "drops" / "shop.tax.py")
        said = watched(program)
        assert (said["rate"], said["state"], said["error"]) == (19, "rolled_back", None)
        assert said["reason"].endswith("was rolled back: the old rate was right")
        assert markers(program.folder / "drops") == ["shop.tax.py.failed"]
        assert watched(program)["rate"] == 19
        (program.folder / "drops" / "shop.tax.py.failed").unlink()
        assert watched(program)["rate"] == 16

    def test_what_was_rolled_back_where_no_marker_stands_is_not_applied_again(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        assert watched(program, mounted=True, then="live.rollback()")["rate"] == 19
        said = watched(program, mounted=True)
        assert (said["rate"], said["state"], said["tried"]) == (19, "rolled_back", 0)
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 17\n")
        assert watched(program, mounted=True)["rate"] == 17

    def test_what_failed_where_no_marker_stands_is_not_tried_again(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 0\n")
        assert (said := watched(program, mounted=True))["tried"] == 1
        assert "a bad rate" in said["reason"]
        said = watched(program, mounted=True)
        assert (said["rate"], said["state"], said["tried"]) == (19, "rejected", 0)
        assert "a bad rate" in said["reason"]

    def test_what_is_of_another_service_is_tried_where_no_marker_stands(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        program.write("other/__init__.py", "")
        begin = BEGIN.replace("shop, shop.web", "shop, other").replace('["shop"]', '["other"]')
        said = program.run(WATCH.format(mounted=True, then=""), begin=begin)
        assert said["error"] == "WrongPackageError"
        assert watched(program, mounted=True)["rate"] == 16

    def test_what_only_died_is_tried_again_where_no_marker_stands(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        assert watched(program, mounted=True)["rate"] == 16
        assert watched(program, mounted=True)["rate"] == 16

    def test_what_is_released_is_tried_again_where_no_marker_stands(self, program: Service) -> None:
        put(program.folder / "drops", "shop.tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        for _ in range(2):
            program.run(WATCH.format(mounted=True, then="os.kill(os.getpid(), 9)"), dies=True)
        assert watched(program, mounted=True)["error"] == "QuarantinedError"
        program.run("store = hotswap.Store('var'); say(freed=[store.release(one) for one in store.quarantined()])")
        assert watched(program, mounted=True)["rate"] == 16


@pytest.mark.slow
class TestCodeInAnArchive:
    """What lies in a zip archive on the path is code on disk, too."""

    BEGIN = """
import json, sys
sys.path.insert(0, "app.zip")
import hotswap
booted = hotswap.boot("var")
import zipped, zipped.tax
def say(**facts):
    print(json.dumps(facts, default=str))
say(rate=zipped.tax.rate(), troubles=booted.troubles)
"""

    def archive(self, service: Service, rate: int) -> None:
        with zipfile.ZipFile(service.folder / "app.zip", "w") as file:
            file.writestr("zipped/__init__.py", '__version__ = "1.0"\n')
            file.writestr("zipped/tax.py", f"def rate(): return {rate}\n")

    def patched(self, service: Service) -> None:
        self.archive(service, 19)
        then = """
            patcher = hotswap.Patcher(["zipped"], store="var")
            patch = hotswap.Patch.from_sources({"zipped.tax": "def rate(): return 16\\n"}, "1.1")
            patcher.apply(patch).confirm()
            """
        service.run(then, begin=self.BEGIN)
        assert service.run("", begin=self.BEGIN)["rate"] == 16

    def test_that_is_another_by_now_comes_up(self, program: Service) -> None:
        self.patched(program)
        self.archive(program, 25)
        said = program.run("", begin=self.BEGIN)
        assert said["rate"] == 25
        assert "is another than the one" in said["troubles"][0]
        self.archive(program, 19)
        assert program.run("", begin=self.BEGIN)["rate"] == 16

    def test_is_what_a_rollback_leads_to(self, program: Service) -> None:
        self.patched(program)
        then = """
            hotswap.Patcher(["zipped"], store="var").rollback()
            say(rate=zipped.tax.rate())
            """
        assert program.run(then, begin=self.BEGIN)["rate"] == 19
        assert program.run("", begin=self.BEGIN)["rate"] == 19


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "var")


@pytest.fixture
def service(make_package: Callable[..., ModuleType], store: Store) -> tuple[ModuleType, Patcher]:
    package = make_package({"__init__.py": '__version__ = "1.2.0"\nRATE = 19\n'})
    return package, Patcher([package.__name__], store=store)


class TestADropThatWaits:
    @pytest.mark.parametrize("place", [(blobs, "write_whole"), (files, "new_directory")])
    def test_leaves_nothing_in_the_history_and_comes_when_it_can(
        self,
        service: tuple[ModuleType, Patcher],
        store: Store,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        place: tuple[ModuleType, str],
    ) -> None:
        package, patcher = service
        drop = f"{package.__name__}.py"
        put(tmp_path, drop, "RATE = 16\n")
        watch = patcher.watch(tmp_path, single_files=True)
        with monkeypatch.context() as full:
            full.setattr(*place, refused)
            assert until(lambda: watch.scan() or (tmp_path / f"{drop}.pending").exists()) is True
            assert [watch.scan() for _ in range(3)] == [()] * 3
            assert "No space left on device" in (tmp_path / f"{drop}.pending").read_text()
            assert patcher.history() == ()
        watch.scan()
        assert (package.RATE, markers(tmp_path)) == (16, [f"{drop}.live"])
        assert not (tmp_path / f"{drop}.pending").exists()
        assert [str(one.state) for one in patcher.history()] == ["live"]
        assert states(store) == ["live"]
        assert str(patcher.versions[package.__name__]) == "1.2.0+hot.1"  # its tries have used no numbers up

    def test_is_withdrawn_when_the_journal_can_be_written_again(
        self, service: tuple[ModuleType, Patcher], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        put(tmp_path, f"{package.__name__}.py", "RATE = 16\n")
        watch = patcher.watch(tmp_path, single_files=True)
        with monkeypatch.context() as full:
            full.setattr(blobs, "write_whole", refused)
            full.setattr(store.journal, "withdraw", fails)
            assert until(lambda: watch.scan() or (tmp_path / f"{package.__name__}.py.pending").exists()) is True
            assert states(store) == ["rejected"]
        watch.scan()
        assert (package.RATE, states(store)) == (16, ["live"])


def test_names_that_no_disk_takes_are_the_fault_of_the_patch(service: tuple[ModuleType, Patcher]) -> None:
    package, patcher = service
    data = {f"{package.__name__}/__init__.py": b"RATE = 16\n", f"{package.__name__}/{'a' * 300}.txt": b""}
    with pytest.raises(PatchError, match="can't be laid out"):
        patcher.apply(Patch(name=package.__name__, version=None, files=data))
    assert (package.RATE, patcher.current) == (19, None)


def test_a_full_disk_is_not(service: tuple[ModuleType, Patcher], monkeypatch: pytest.MonkeyPatch) -> None:
    package, patcher = service
    patch = Patch.from_sources({f"{package.__name__}.__init__": "RATE = 16\n"})
    with monkeypatch.context() as full:
        full.setattr(files, "new_directory", refused)
        with pytest.raises(FilesError, match="No space left on device"):
            patcher.apply(patch)
    assert [str(one.state) for one in patcher.history()] == ["rejected"]
    patcher.apply(patch)
    assert package.RATE == 16


def refused(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails(*_: object) -> None:
    raise StoreError("the journal can't be written")


def states(store: Store) -> list[str]:
    """What the journal says of all rollouts."""
    return [state for (state,) in query(store, "SELECT state FROM rollout")]
