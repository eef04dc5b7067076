"""A watched directory: what is taken, when, what becomes of it, and what the watch survives."""

from __future__ import annotations

import base64
import contextvars
import gc
import hashlib
import importlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from packaging.version import Version

import hotswap
from hotswap.errors import (
    BusyError,
    CheckFailedError,
    DowngradeError,
    HotswapError,
    LoadError,
    OutdatedError,
    RequirementError,
    StateError,
    StoreError,
    WrongPackageError,
)
from hotswap.patch import Patch
from hotswap.watching import SETTLE, Outcome, attempt, doorbell, ledger, looks, passes, scanning
from hotswap.watching import Watch as StrictWatch
from hotswap.watching.seats import own_name
from tests.waiting import until

if TYPE_CHECKING:
    from hotswap.rollout import Rollout

pytestmark = pytest.mark.threads

LONG = 20.0
"""Seconds after which what should have happened never will."""
NEVER = 3600.0
"""Seconds between rescans, where a test is about events: a rescan must not be what finds the drop."""


class Recorder:
    """A patcher's `apply` that writes down what it was given, and does what it is told."""

    def __init__(self) -> None:
        self.patches: list[Patch] = []
        self.effect: Callable[[Patch], None] = lambda patch: None
        self._changed = threading.Condition()

    def __call__(self, patch: Patch) -> Rollout:
        with self._changed:
            self.patches.append(patch)
            self._changed.notify_all()
        self.effect(patch)
        version = patch.version or Version(f"1.2.0+hot.{len(self.patches)}")
        facts = {"id": f"r{len(self.patches)}", "patch": patch, "version": version, "state": hotswap.State.LIVE}
        facts["bake"] = None
        return cast("Rollout", SimpleNamespace(**facts))

    @property
    def count(self) -> int:
        return len(self.patches)

    @property
    def names(self) -> list[str]:
        return [f"{patch.name} {patch.version}" if patch.version else patch.name for patch in self.patches]

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.patches) >= count, LONG), f"applied: {self.names}"

    def fails(self, error: BaseException) -> None:
        def effect(patch: Patch) -> None:
            raise error

        self.effect = effect


class Watch(StrictWatch):
    """A watch that takes single files, since they are what most of these tests drop."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"single_files": True, **named})


@pytest.fixture
def by_hand(apply: Recorder, drops: Path) -> Watch:
    """A watch without a thread: passes are made by `scan`, and two of them are enough to settle."""
    return Watch(apply, drops, settle=0.0)


def put(directory: Path, name: str, content: str | bytes = "PRICE = 1\n") -> Path:
    """Drop a file as our users are told to: written beside, then renamed."""
    temporary = directory / f".{name}.tmp"
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    return temporary.replace(directory / name)


def put_folder(directory: Path, name: str, files: dict[str, str], *, go: bool = True) -> Path:
    """Drop a folder with a manifest, and its marker after it."""
    temporary = directory / f".{name}.tmp"
    for path, content in {"hotswap.toml": "", **files}.items():
        (temporary / path).parent.mkdir(parents=True, exist_ok=True)
        (temporary / path).write_text(content)
    folder = temporary.rename(directory / name)
    if go:
        (directory / f"{name}.go").touch()
    return folder


def wheel(name: str, version: str, files: dict[str, str]) -> tuple[str, bytes]:
    """The file name and the bytes of a wheel."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def put_wheel(directory: Path, name: str, version: str) -> Path:
    file, data = wheel(name, version, {f"{name}/__init__.py": f"__version__ = {version!r}\n"})
    return put(directory, file, data)


def settle(watch: StrictWatch) -> tuple[Outcome, ...]:
    """Two looks, so that what is there has settled; the outcomes of both."""
    return watch.scan() + watch.scan()


def drop_again(path: Path, watch: Watch, *, away: bool) -> None:
    """Drop the same bytes again: as our users do who take drop and marker away first, or over the old ones."""
    data = path.read_bytes()
    if away:
        for name in (path.name, *markers(path.parent)):
            (path.parent / name).unlink()
        watch.scan()
    put(path.parent, path.name, data)


def marker(drop: Path, kind: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(drop.with_name(f"{drop.name}.{kind}").read_text()))


def markers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in {".live", ".failed"})


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


class TellingCondition(threading.Condition):
    """Tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.set()
        return super().wait(timeout)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestWhatIsTaken:
    def test_files_folders_and_wheels(self, drops: Path, by_hand: Watch) -> None:
        put(drops, "shop.py")
        put_folder(drops, "pantry", {"__init__.py": "", "inner/__init__.py": "X = 1\n"})
        name = put_wheel(drops, "cellar", "1.0").name
        assert {outcome.drop for outcome in settle(by_hand)} == {"shop.py", "pantry", name}
        assert all(outcome.applied for outcome in by_hand.outcomes.values()), dict(by_hand.outcomes)

    @pytest.mark.parametrize(
        "name",
        [
            ".hidden.py",
            "_private.py",
            "shop.py~",
            "shop.py.tmp",
            "shop.whl.part",
            ".shop.py.swp",
            "shop.whl.crdownload",
            "4913",
            "README.md",
            "shop.py.live",
            "shop.py.failed",
            "shop.go",
        ],
    )
    def test_not_these_files(self, name: str, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        (drops / name).write_text("X = 1\n")
        assert settle(by_hand) == ()
        assert apply.patches == []

    @pytest.mark.parametrize("name", [".git", "__pycache__", "shop~", "shop.tmp", "shop.part", "shop.live"])
    def test_not_these_folders(self, name: str, drops: Path, by_hand: Watch) -> None:
        (drops / name).mkdir()
        (drops / name / "shop.py").write_text("X = 1\n")
        assert settle(by_hand) == ()

    def test_a_link_to_a_file(self, drops: Path, tmp_path: Path, by_hand: Watch) -> None:
        (tmp_path / "real.py").write_text("X = 1\n")
        (drops / "shop.py").symlink_to(tmp_path / "real.py")
        assert [outcome.applied for outcome in settle(by_hand)] == [True]

    def test_a_link_that_leads_nowhere_waits(self, drops: Path, tmp_path: Path, by_hand: Watch) -> None:
        (drops / "shop.py").symlink_to(tmp_path / "later.py")
        assert settle(by_hand) == ()
        (tmp_path / "later.py").write_text("X = 1\n")
        assert [outcome.drop for outcome in settle(by_hand)] == ["shop.py"]

    def test_a_missing_directory_holds_nothing(self, tmp_path: Path, apply: Recorder) -> None:
        assert settle(Watch(apply, tmp_path / "not there", settle=0.0)) == ()


class TestFolders:
    """A folder can't be renamed into the place of another, and whoever copies one does so file by file."""

    def test_wait_for_their_marker(self, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": "X = 1\n"}, go=False)
        for _ in range(2):
            assert settle(by_hand) == ()
        facts = marker(folder, "pending")
        assert facts["state"] == "pending"
        assert facts["reason"].startswith("shop is a folder: waiting for an empty file shop.go beside it")
        assert [(event["event"], event["reason"]) for event in events] == [("drop.waiting", facts["reason"])]
        (drops / "shop.go").touch()
        assert [outcome.drop for outcome in settle(by_hand)] == ["shop"]
        assert sorted(path.name for path in drops.iterdir()) == ["shop", "shop.go", "shop.live"]
        assert settle(by_hand) == ()
        assert apply.count == 1

    @pytest.mark.parametrize("change", ["write", "add", "remove", "rename"])
    def test_that_changed_wait_for_a_new_marker(
        self, change: str, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": "", "prices.py": "X = 1\n", "other.py": ""})
        settle(by_hand)
        self.wait_for_the_clock(folder)
        old = folder / "prices.py"
        if change == "write":
            old.write_text("X = 2\n")
            os.utime(old, ns=(0, 0))  # as whoever copies with the times of the original
        elif change == "add":
            (folder / "new.py").write_text("Y = 1\n")
        elif change == "remove":
            old.unlink()
        else:
            old.rename(folder / "cost.py")
        assert settle(by_hand) == ()
        assert "touch shop.go" in marker(folder, "pending")["reason"]
        assert marker(folder, "live")["state"] == "live"  # What was live before is, in its old bytes.
        (drops / "shop.go").touch()
        assert [outcome.applied for outcome in settle(by_hand)] == [True]
        assert not (drops / "shop.pending").exists()
        assert apply.count == 2

    def test_stop_nothing_else_while_they_wait(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        put_folder(drops, "shop", {"__init__.py": ""}, go=False)
        put(drops, "tax.py")
        assert [outcome.drop for outcome in settle(by_hand)] == ["tax.py"]

    def test_that_another_one_took_the_place_of_wait(self, drops: Path, by_hand: Watch) -> None:
        """The marker was for the folder that is gone."""
        folder = put_folder(drops, "shop", {"__init__.py": ""})
        settle(by_hand)
        self.wait_for_the_clock(folder)
        folder.rename(drops / ".old")
        put_folder(drops, "shop", {"__init__.py": "X = 2\n"}, go=False)
        assert settle(by_hand) == ()
        assert "touch shop.go" in marker(folder, "pending")["reason"]

    def test_that_wait_are_told_when_somebody_asks(self, drops: Path, apply: Recorder) -> None:
        put_folder(drops, "shop", {"__init__.py": ""}, go=False)
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            deadline = time.monotonic() + LONG
            while not (drops / "shop.pending").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with pytest.raises(TimeoutError, match=r"waiting for an empty file shop\.go"):
                watch.wait_for("shop", 0.1)

    def test_need_a_manifest(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": ""})
        (folder / "hotswap.toml").unlink()
        (drops / "shop.go").touch()
        (outcome,) = settle(by_hand)
        assert outcome.error == "PatchError"
        assert outcome.reason.startswith("shop is a folder without a hotswap.toml")
        assert apply.patches == []
        (folder / "hotswap.toml").write_text("version = '1.3'\n")
        (drops / "shop.go").touch()
        assert [again.version for again in settle(by_hand)] == ["1.3"]

    def test_of_packages_need_one_at_their_top(self, drops: Path, by_hand: Watch) -> None:
        put_folder(drops, "both", {"shop/__init__.py": "", "tax/__init__.py": ""})
        folder = put_folder(drops, "inside", {"shop/__init__.py": "", "shop/hotswap.toml": ""})
        (folder / "hotswap.toml").unlink()
        (drops / "inside.go").touch()
        assert {outcome.drop: outcome.applied for outcome in settle(by_hand)} == {"both": True, "inside": False}

    def wait_for_the_clock(self, folder: Path) -> None:
        """File systems take the time of the last tick: let the next change have a later one."""
        mark, first = folder.with_name(".mark"), folder.with_name(f"{folder.name}.go").stat().st_ctime_ns
        deadline = time.monotonic() + LONG
        while not mark.exists() or mark.stat().st_ctime_ns <= first:
            assert time.monotonic() < deadline
            mark.touch()


class TestSingleFiles:
    def test_are_taken_only_if_that_is_allowed(self, drops: Path, apply: Recorder, events: list[Any]) -> None:
        path = put(drops, "shop.py")
        strict = StrictWatch(apply, drops, settle=0.0, running=lambda: {"shop": Version("1.2")})
        (outcome,) = settle(strict)
        assert settle(strict) == ()
        assert (outcome.error, outcome.code) == ("TrustError", "kind-refused")
        facts = marker(path, "failed")
        assert facts["reason"] == outcome.reason
        assert "single_files=True" in outcome.reason
        assert "running now: shop 1.2" in outcome.reason
        assert [event["event"] for event in events] == ["drop.failed"]
        assert apply.patches == []
        assert [outcome.applied for outcome in settle(Watch(apply, drops, settle=0.0))] == [True]

    def test_are_not_read(self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        put(drops, "shop.py")

        def refuse(*args: Any, **named: Any) -> Any:
            raise AssertionError("it was read")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        monkeypatch.setattr(Patch, "from_path", refuse)
        assert [outcome.code for outcome in settle(StrictWatch(apply, drops, settle=0.0))] == ["kind-refused"]

    def test_a_patcher_refuses_them_by_default(self, make_package: Callable[..., Any], drops: Path) -> None:
        package = make_package({"__init__.py": "PRICE = 1\n"})
        with hotswap.Patcher([package.__name__]).watch(drops) as watch:
            put(drops, f"{package.__name__}.py", "PRICE = 2\n")
            assert watch.wait_for(f"{package.__name__}.py", LONG).code == "kind-refused"
        assert package.PRICE == 1


class TestSettling:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def scanner(self, drops: Path, clock: Clock) -> scanning.Scanner:
        return scanning.Scanner(drops, SETTLE, clock)

    def names(self, scanner: scanning.Scanner) -> list[str]:
        return [drop.name for drop in scanner.scan()[0]]

    def test_is_taken_when_two_looks_agree(self, drops: Path, scanner: scanning.Scanner, clock: Clock) -> None:
        put(drops, "shop.py")
        assert scanner.scan() == ([], SETTLE)
        clock.now += SETTLE / 2
        found, due = scanner.scan()
        assert found == []
        assert due == pytest.approx(SETTLE / 2)
        clock.now += SETTLE
        assert self.names(scanner) == ["shop.py"]

    def test_a_file_that_grows_waits_and_stops_nothing_else(
        self, drops: Path, scanner: scanning.Scanner, clock: Clock
    ) -> None:
        put(drops, "other.py")
        growing = put(drops, "shop.whl", b"PK")
        assert self.names(scanner) == []
        for _ in range(3):
            clock.now += 1
            growing.write_bytes(growing.read_bytes() + b"more")
            assert self.names(scanner) == ["other.py"]
        clock.now += 1
        assert self.names(scanner) == ["other.py", "shop.whl"]

    def test_a_folder_waits_for_what_is_deep_inside(self, drops: Path, scanner: scanning.Scanner, clock: Clock) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": "", "a/b/c.py": "X = 1\n"})
        scanner.scan()
        (folder / "a/b/d.py").write_text("Y = 1\n")
        clock.now += 1
        assert self.names(scanner) == []
        clock.now += 1
        assert self.names(scanner) == ["shop"]

    def test_bytecode_inside_does_not_matter(self, drops: Path) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": "", "__pycache__/a.pyc": "1"})
        before = looks.look_at(folder).stamp
        (folder / "__pycache__" / "b.pyc").write_text("2")
        assert looks.look_at(folder).stamp == before

    def test_another_file_of_the_same_size_and_time_is_seen(self, drops: Path) -> None:
        first = put(drops, "shop.py", "PRICE = 1\n")
        os.utime(first, ns=(10**18, 10**18))
        before = looks.look_at(first).stamp
        second = put(drops, "shop.py", "PRICE = 2\n")
        os.utime(second, ns=(10**18, 10**18))
        assert looks.look_at(second).stamp != before

    def test_links_that_lead_in_a_circle_end(self, drops: Path) -> None:
        folder = put_folder(drops, "shop", {"__init__.py": ""})
        (folder / "again").symlink_to(folder, target_is_directory=True)
        (folder / ".#lock").symlink_to("nobody@nowhere")
        assert looks.look_at(folder).odd is None

    def test_what_was_dealt_with_is_given_again_only_on_request(
        self, drops: Path, scanner: scanning.Scanner, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(drops, "shop.py")
        monkeypatch.setattr(time, "time", lambda: datetime.now(UTC).timestamp() + 60)
        scanner.scan()
        clock.now += 1
        (drop,), _ = scanner.scan()
        scanner.handled(drop)
        assert scanner.scan() == ([], None)
        assert scanner.scan(everything=True) == ([drop], None)

    def test_what_was_written_a_moment_ago_is_given_once_more(
        self, drops: Path, scanner: scanning.Scanner, clock: Clock
    ) -> None:
        """Where the times in a file system are coarse, a second write may bear the time of the first."""
        path = put(drops, "shop.py")
        os.utime(path, (time.time() + 60,) * 2)
        scanner.scan()
        clock.now += 1
        (drop,), _ = scanner.scan()
        scanner.handled(drop)
        assert self.names(scanner) == ["shop.py"]

    def test_bytes_that_change_while_they_are_read_are_not_applied(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(drops, "shop.py", "PRICE = 1\n")
        original = Patch.from_path

        def read_and_meet_a_writer(path: Path, *, module: str | None = None) -> Patch:
            patch = original(path, module=module)
            if b"PRICE = 1\n" in patch.files.values():
                put(drops, "shop.py", "PRICE = 2\n")
            return patch

        monkeypatch.setattr(Patch, "from_path", read_and_meet_a_writer)
        assert settle(by_hand) == ()
        assert [outcome.drop for outcome in settle(by_hand)] == ["shop.py"]
        assert [list(patch.files.values()) for patch in apply.patches] == [[b"PRICE = 2\n"]]

    def test_bytes_that_change_while_another_drop_is_applied_wait_anew(
        self, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        put(drops, "a.py", "PRICE = 1\n")
        put(drops, "b.py", "PRICE = 1\n")

        def effect(patch: Patch) -> None:
            if patch.name == "a":
                put(drops, "b.py", "PRICE = 2\n")

        apply.effect = effect
        settle(by_hand)
        assert apply.names == ["a"]
        settle(by_hand)
        assert apply.names == ["a", "b"]
        assert list(apply.patches[1].files.values()) == [b"PRICE = 2\n"]


class TestOutcome:
    def test_a_live_drop(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        path = put_wheel(drops, "shop", "1.2.1")
        before = datetime.now(UTC)
        (outcome,) = settle(by_hand)
        facts = marker(path, "live")
        when = datetime.fromisoformat(facts.pop("time"))
        assert before <= when <= datetime.now(UTC)
        assert when.utcoffset() == UTC.utcoffset(None)
        assert facts.pop("reason").startswith("shop 1.2.1 is live, ")
        assert facts == {
            "drop": path.name,
            "digest": apply.patches[0].digest,
            "version": "1.2.1",
            "rollout": "r1",
            "state": "live",
            "error": None,
            "process": os.getpid(),
            "name": own_name(),
            "rolled_out": apply.patches[0].digest,
            "code": None,
        }
        assert outcome.applied
        assert by_hand.outcomes == {path.name: outcome}
        assert Outcome.from_json(path.with_name(f"{path.name}.live").read_text()) == outcome
        assert markers(drops) == [f"{path.name}.live"]

    def test_a_failed_drop(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        path = put_wheel(drops, "shop", "1.1.0")
        apply.fails(DowngradeError("it is too old", patch="shop 1.1.0", running={"shop": "1.2.0"}, advice="wait"))
        (outcome,) = settle(by_hand)
        facts = marker(path, "failed")
        assert facts.pop("time")
        assert facts == {
            "drop": path.name,
            "digest": apply.patches[0].digest,
            "version": "1.1.0",
            "rollout": None,
            "state": "rejected",
            "reason": "shop 1.1.0: it is too old; running now: shop 1.2.0; what to do: wait",
            "error": "DowngradeError",
            "process": os.getpid(),
            "name": own_name(),
            "rolled_out": None,
            "code": None,
        }
        assert not outcome.applied
        assert markers(drops) == [f"{path.name}.failed"]

    def test_one_at_a_time(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        put(drops, "shop.py", "PRICE = 1\n")
        settle(by_hand)
        assert markers(drops) == ["shop.py.live"]
        apply.fails(LoadError("no"))
        put(drops, "shop.py", "PRICE = 2\n")
        settle(by_hand)
        assert markers(drops) == ["shop.py.failed"]
        apply.effect = lambda patch: None
        put(drops, "shop.py", "PRICE = 3\n")
        settle(by_hand)
        assert markers(drops) == ["shop.py.live"]

    def test_nothing_else_is_left_in_the_directory(self, drops: Path, by_hand: Watch) -> None:
        put(drops, "shop.py")
        settle(by_hand)
        assert sorted(path.name for path in drops.iterdir()) == ["shop.py", "shop.py.live"]

    def test_everybody_may_read_a_marker_that_may_read_a_file(self, drops: Path, by_hand: Watch) -> None:
        path = put(drops, "shop.py")
        settle(by_hand)
        assert (drops / "shop.py.live").stat().st_mode == path.stat().st_mode

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            (wheel("shop", "1.2.1", {"shop/__init__.py": "X = 1\n" * 99})[1][:-40], "shop-1.2.1-py3-none-any.whl"),
            (b"", "shop-1.2.1-py3-none-any.whl"),
            (wheel("shop", "1.2.1", {"shop/__init__.py": ""})[1], "not a wheel's name.whl"),
        ],
        ids=["truncated", "empty", "misnamed"],
    )
    def test_a_bad_wheel_that_stays(
        self, content: bytes, name: str, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        path = put(drops, name, content)
        (outcome,) = settle(by_hand)
        assert apply.patches == []
        assert outcome.error in {"WheelError", "PatchError"}
        assert outcome.digest == looks.digest_of(path)
        assert len(outcome.reason) > 20
        assert "\n" not in outcome.reason
        assert markers(drops) == [f"{name}.failed"]
        assert settle(by_hand) == ()  # The same bytes are not tried again.
        path.write_bytes(content + b"x")
        assert [again.drop for again in settle(by_hand)] == [name]

    def test_an_empty_folder(self, drops: Path, by_hand: Watch) -> None:
        (drops / "shop").mkdir()
        (drops / "shop.go").touch()
        (outcome,) = settle(by_hand)
        assert outcome.error == "PatchError"

    @pytest.mark.parametrize("name", ["loop", "loop.py"])
    @pytest.mark.parametrize("target", [".", "..", "../drops", "/", "itself"])
    def test_a_link_that_leads_back_is_judged_once(
        self, target: str, name: str, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        """Its marker lies in what it leads to, and so changed what the drop looked like, for ever."""
        (drops / name).symlink_to(name if target == "itself" else target)
        (drops / f"{name}.go").touch()
        for _ in range(3):
            settle(by_hand)
        if target == "itself" and name == "loop":  # No folder, and no file that would be taken.
            assert [event["event"] for event in events] == ["drop.ignored"]
            return
        assert [event["event"] for event in events] == ["drop.failed"]
        assert by_hand.outcomes[name].reason == f"{name} is a link that leads back to where it lies"
        assert by_hand.outcomes[name].error == "PatchError"
        assert apply.patches == []

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    @pytest.mark.parametrize("name", ["shop.py", "shop/prices.py"])
    def test_a_pipe_is_not_read(self, name: str, drops: Path, by_hand: Watch) -> None:
        (drops / name).parent.mkdir(exist_ok=True)
        os.mkfifo(drops / name)
        (drops / "shop.go").touch()
        (outcome,) = settle(by_hand)
        assert outcome.error == "PatchError"
        assert "neither a file nor a folder" in outcome.reason

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ValueError("two\nlines"), "ValueError: two; lines"),
            (ValueError(), "ValueError, without a message"),
            (SystemExit(3), "SystemExit: 3"),
            (LoadError("it broke"), "it broke"),
            (HotswapError("2 unsupported changes:\n  - one\n  - two"), "2 unsupported changes: - one; - two"),
        ],
    )
    def test_whatever_apply_raises(
        self, error: BaseException, reason: str, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        put(drops, "shop.py")
        apply.fails(error)
        (outcome,) = settle(by_hand)
        assert (outcome.error, outcome.reason) == (type(error).__name__, reason)

    @pytest.mark.parametrize("name", ["shop.whl", "shop-1.0-py2-none-any.whl"])
    def test_what_makes_no_patch_says_what_runs(self, name: str, drops: Path, apply: Recorder) -> None:
        put(drops, name)
        (outcome,) = settle(Watch(apply, drops, settle=0.0, running=lambda: {"shop": Version("1.2")}))
        assert outcome.error in ("PatchError", "WheelError")
        assert "running now: shop 1.2" in outcome.reason

    def test_an_error_that_can_not_be_read(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        class Rude(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        put(drops, "shop.py")
        apply.fails(Rude())
        (outcome,) = settle(by_hand)
        assert outcome.reason == "Rude: (its text could not be read)"
        assert marker(drops / "shop.py", "failed")["error"] == "Rude"

    def test_control_c_reaches_the_user_who_scans(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        put(drops, "shop.py")
        apply.fails(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            settle(by_hand)
        assert markers(drops) == []
        apply.effect = lambda patch: None
        assert [outcome.drop for outcome in by_hand.scan()] == ["shop.py"]

    def test_a_marker_that_can_not_be_written(
        self, drops: Path, by_hand: Watch, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(drops, "shop.py")
        (drops / "shop.py.live").mkdir()
        put(drops, "tea.py")
        with caplog.at_level(logging.WARNING, "hotswap"):
            settle(by_hand)
        assert {name: outcome.applied for name, outcome in by_hand.outcomes.items()} == {
            "shop.py": True,
            "tea.py": True,
        }
        assert "event='drop.unmarked'" in caplog.text
        assert "drop='shop.py'" in caplog.text
        assert settle(by_hand) == ()
        assert [path.name for path in drops.iterdir() if path.name.startswith(".")] == []


class TestAgain:
    def test_a_live_drop_is_not_applied_again(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        path = put(drops, "shop.py")
        settle(by_hand)
        path.touch()
        assert settle(by_hand) == ()
        assert apply.count == 1

    def test_a_failed_drop_is_tried_again_when_its_bytes_change(
        self, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        path = put(drops, "shop.py", "PRICE = 1\n")
        apply.fails(LoadError("no"))
        settle(by_hand)
        path.touch()
        assert settle(by_hand) == ()
        put(drops, "shop.py", "PRICE = 2\n")
        assert len(settle(by_hand)) == 1
        assert apply.count == 2

    def test_going_back_to_earlier_bytes_is_a_change(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        for content in ("PRICE = 1\n", "PRICE = 2\n", "PRICE = 1\n"):
            put(drops, "shop.py", content)
            settle(by_hand)
        assert apply.count == 3

    @pytest.mark.parametrize("state", ["live", "rolled_back"])
    def test_removing_the_marker_of_what_was_live_starts_nothing(
        self, state: str, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        put(drops, "shop.py")
        settle(by_hand)
        if state == "rolled_back":
            ledger.follow(cast("Any", SimpleNamespace(id="r1", state="rolled_back", reason="too slow")))
        for name in markers(drops):
            (drops / name).unlink()
        assert settle(by_hand) == ()
        assert apply.count == 1

    def test_removing_the_marker_of_a_failure_asks_for_another_try(
        self, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        path = put(drops, "shop.py")
        apply.fails(LoadError("no"))
        settle(by_hand)
        for count in (2, 3):
            (drops / "shop.py.failed").unlink()
            assert len(by_hand.scan()) == 1
            assert settle(by_hand) == ()
            assert apply.count == count
            assert marker(path, "failed")["error"] == "LoadError"
        assert [event["event"] for event in events] == ["drop.failed"] * 3
        apply.effect = lambda patch: None
        (drops / "shop.py.failed").unlink()
        assert [outcome.applied for outcome in by_hand.scan()] == [True]
        assert markers(drops) == ["shop.py.live"]

    def test_a_watch_sees_that_a_marker_is_removed(self, drops: Path, apply: Recorder) -> None:
        apply.fails(LoadError("no"))
        path = put(drops, "shop.py")
        os.utime(path, (1, 1))
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            assert not watch.wait_for("shop.py", LONG).applied
            time.sleep(scanning._COARSE + 0.1)  # it is dealt with for good
            apply.effect = lambda patch: None
            (drops / "shop.py.failed").unlink()
            apply.wait(2)
            assert until(lambda: markers(drops) == ["shop.py.live"], LONG)

    def test_another_try_waits_for_a_busy_patcher(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        put(drops, "shop.py")
        apply.fails(LoadError("no"))
        settle(by_hand)
        (drops / "shop.py.failed").unlink()
        apply.fails(BusyError("another rollout is in progress"))
        assert settle(by_hand) == ()
        apply.effect = lambda patch: None
        assert [outcome.applied for outcome in settle(by_hand)] == [True]

    def test_a_marker_that_could_not_be_written_was_not_removed(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any) -> Any:
            raise OSError(28, "No space left on device")

        apply.fails(LoadError("no"))
        put(drops, "shop.py")
        with monkeypatch.context() as context:
            context.setattr(ledger, "write_marker", refuse)
            settle(by_hand)
        assert markers(drops) == []
        assert settle(by_hand) == ()
        assert apply.count == 1

    def test_another_directory_in_the_place_of_this_one_does_not_ask(
        self, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        apply.fails(LoadError("no"))
        put(drops, "shop.py")
        settle(by_hand)
        drops.rename(drops.with_name("old"))
        drops.mkdir()
        put(drops, "shop.py")
        assert settle(by_hand) == ()
        assert apply.count == 1
        assert markers(drops) == ["shop.py.failed"]  # it says so here, too

    def test_a_folder_that_waited_meanwhile_is_not_tried_again(
        self, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        apply.fails(LoadError("no"))
        put_folder(drops, "shop", {"__init__.py": ""})
        settle(by_hand)
        (drops / "shop.go").unlink()
        settle(by_hand)
        assert (drops / "shop.pending").exists()
        (drops / "shop.go").touch()
        settle(by_hand)
        assert apply.count == 1
        assert markers(drops) == ["shop.failed"]

    def test_removing_and_dropping_the_same_again_starts_nothing(
        self, drops: Path, by_hand: Watch, apply: Recorder
    ) -> None:
        path = put(drops, "shop.py")
        settle(by_hand)
        path.unlink()
        by_hand.scan()
        put(drops, "shop.py")
        assert settle(by_hand) == ()
        assert by_hand.outcomes["shop.py"].applied

    def test_a_busy_patcher_is_asked_again(
        self, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        put(drops, "shop.py")
        apply.fails(BusyError("another rollout is in progress"))
        assert settle(by_hand) == ()
        by_hand.scan()
        by_hand.scan()
        assert apply.count == 3
        assert markers(drops) == []  # It is no verdict.
        facts = marker(drops / "shop.py", "pending")
        assert (facts["state"], facts["reason"]) == ("pending", "another rollout is in progress")
        assert facts["digest"] == apply.patches[0].digest
        assert by_hand.outcomes == {}
        (told,) = events  # Said once, not at every try.
        assert (told["event"], told["log_level"], told["drop"]) == ("drop.waiting", "info", "shop.py")
        assert told["reason"] == "another rollout is in progress"
        assert told["digest"] == apply.patches[0].digest
        apply.effect = lambda patch: None
        by_hand.scan()
        assert markers(drops) == ["shop.py.live"]
        assert not (drops / "shop.py.pending").exists()
        put(drops, "shop.py", "PRICE = 2\n")
        apply.fails(BusyError("another rollout is in progress"))
        settle(by_hand)
        assert [event["event"] for event in events] == ["drop.waiting", "drop.applied", "drop.waiting"]
        assert markers(drops) == ["shop.py.live"]  # That of the bytes before.

    def test_nothing_overtakes_a_drop_that_waits(
        self, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        put_wheel(drops, "shop", "1.3")
        put_wheel(drops, "shop", "1.4")
        busy = iter([BusyError("another rollout is in progress")])

        def effect(patch: Patch) -> None:
            for error in busy:  # And free again when the next one could be tried.
                raise error

        apply.effect = effect
        assert settle(by_hand) == ()
        assert [event["event"] for event in events] == ["drop.waiting", "drop.waiting"]
        by_hand.scan()
        assert apply.names == ["shop 1.3", "shop 1.3", "shop 1.4"]

    @pytest.mark.parametrize("error", [StoreError("the store is locked"), OutdatedError("it was imported meanwhile")])
    def test_other_circumstances_are_waited_for_too(
        self, error: Exception, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        path = put(drops, "shop.py")
        put(drops, "broken.whl", b"no wheel")
        apply.fails(error)
        assert [outcome.drop for outcome in settle(by_hand)] == ["broken.whl"]  # that one needs no store
        by_hand.scan()
        assert marker(path, "pending")["reason"] == str(error)
        assert [event["event"] for event in events] == ["drop.failed", "drop.waiting"]
        apply.effect = lambda patch: None
        assert [outcome.applied for outcome in by_hand.scan()] == [True]
        assert markers(drops) == ["broken.whl.failed", "shop.py.live"]
        assert not (drops / "shop.py.pending").exists()

    def test_what_takes_time_is_tried_less_and_less_often(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=clock))
        put(drops, "shop.py")
        apply.fails(StoreError("the store is locked"))
        settle(by_hand)
        tried, waits = [], []
        for _ in range(10):
            count = apply.count
            _, due = by_hand._pass(everything=False)
            tried.append(apply.count - count)
            assert due is not None
            waits.append(round(due, 3))
            clock.now += due
        assert tried[1:] == [1] * 9
        assert waits[:3] == [0.8, 0.8, 1.6] or waits[:3] == [0.4, 0.8, 1.6], waits
        assert waits[-1] == 30.0
        clock.now -= 10
        by_hand._pass(everything=False)
        assert apply.count == sum(tried) + 1  # not its time yet

    def test_a_waiting_drop_is_tried_soon_and_does_not_keep_the_watch(self, drops: Path, apply: Recorder) -> None:
        apply.fails(BusyError("another rollout is in progress"))
        put(drops, "shop.py")
        with Watch(apply, drops, NEVER, settle=0.0):
            apply.wait(3)
        assert markers(drops) == []

    def test_an_unreadable_drop_is_read_again(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(drops, "shop.py")
        with monkeypatch.context() as context:

            def refuse(*args: Any, **named: Any) -> Any:
                raise PermissionError(13, "Permission denied")

            context.setattr(Patch, "from_path", refuse)
            context.setattr(attempt, "digest_of", refuse)
            assert settle(by_hand) == ()
            facts = marker(drops / "shop.py", "pending")
        assert facts["state"] == "pending"
        assert "Permission denied" in facts["reason"]
        assert apply.count == 0
        (outcome,) = by_hand.scan()  # Its times and its size are the same, and still it is read again.
        assert outcome.applied
        assert not (drops / "shop.py.pending").exists()

    @pytest.mark.parametrize(
        "error",
        [
            CheckFailedError("the database is away", None),
            RequirementError(["humbug is not installed"]),
            LoadError("no"),
            DowngradeError("no"),
            ValueError("no"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_failed_is_tried_again_if_its_marker_was_taken_away_with_it(
        self, error: Exception, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        apply.fails(error)
        path = put(drops, "shop.py")
        settle(by_hand)
        drop_again(path, by_hand, away=True)
        assert len(settle(by_hand)) == 1
        assert settle(by_hand) == ()
        assert apply.count == 2
        assert marker(path, "failed")["error"] == type(error).__name__  # Also where the reason is the very same.
        assert [event["event"] for event in events] == ["drop.failed", "drop.failed"]
        apply.effect = lambda patch: None
        drop_again(path, by_hand, away=True)
        assert [outcome.applied for outcome in settle(by_hand)] == [True]
        assert markers(drops) == ["shop.py.live"]

    @pytest.mark.parametrize(
        ("error", "kind", "level", "says", "away"),
        [
            (None, "live", "info", "went live before", True),
            (None, "live", "info", "went live before", False),
            ("SourceError", "failed", "warning", "remove shop.py.failed", False),
            ("LoadError", "failed", "warning", "remove shop.py.failed", False),
            ("rolled_back", "failed", "warning", "were rolled back before", True),
            ("rolled_back", "failed", "warning", "were rolled back before", False),
        ],
    )
    def test_anything_else_is_told_when_it_is_dropped_again(
        self,
        error: str | None,
        kind: str,
        level: str,
        says: str,
        away: bool,
        drops: Path,
        by_hand: Watch,
        apply: Recorder,
        events: list[Any],
    ) -> None:
        path = put(drops, "shop.py")
        if error is not None and error.endswith("Error"):
            apply.fails(getattr(hotswap.errors, error)("line 1"))
        settle(by_hand)
        if error == "rolled_back":
            ledger.follow(cast("Any", SimpleNamespace(id="r1", state="rolled_back", reason="too slow")))
        told = marker(path, kind)
        events.clear()
        for _ in range(2):
            drop_again(path, by_hand, away=away)
            assert settle(by_hand) == ()
            assert settle(by_hand) == ()
        assert apply.count == 1
        assert marker(path, kind) == told
        assert markers(drops) == [f"shop.py.{kind}"]
        assert [(e["event"], e["log_level"], e["drop"]) for e in events] == [("drop.ignored", level, "shop.py")] * 2
        assert says in events[0]["reason"]
        assert "what to do: " in events[0]["reason"]

    def test_what_was_dropped_again_while_nobody_watched(self, drops: Path, apply: Recorder, events: list[Any]) -> None:
        path = put(drops, "shop.py")
        apply.fails(LoadError("no"))
        settle(Watch(apply, drops, settle=0.0))
        for name in markers(drops):
            (drops / name).unlink()
        put(drops, "shop.py")
        assert len(settle(Watch(apply, drops, settle=0.0))) == 1
        assert marker(path, "failed")["error"] == "LoadError"

    def test_a_directory_that_can_not_be_read_for_a_moment_was_not_empty(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(drops, "shop.py")
        apply.fails(LoadError("no"))
        settle(by_hand)

        def refuse(*args: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as context:
            context.setattr(os, "scandir", refuse)
            assert by_hand.scan() == ()
        assert settle(by_hand) == ()
        assert apply.count == 1

    def test_another_patcher_does_not_inherit(self, drops: Path, apply: Recorder) -> None:
        put(drops, "other.py")
        apply.fails(WrongPackageError("it holds other, nothing of shop"))
        first = Watch(apply, drops, settle=0.0)
        settle(first)
        second = Watch(Recorder(), drops, settle=0.0)
        assert [outcome.applied for outcome in settle(second)] == [True]
        assert not first.outcomes["other.py"].applied

    def test_a_later_watch_of_the_same_directory_remembers(self, drops: Path, apply: Recorder) -> None:
        put(drops, "good.py")
        settle(Watch(apply, drops, settle=0.0))
        apply.fails(LoadError("no"))
        put(drops, "bad.py")
        settle(Watch(apply, drops, settle=0.0))
        (drops / "good.py.live").unlink()  # It is the process that remembers, not the markers.
        later = Watch(apply, drops, settle=0.0)
        assert settle(later) == ()
        assert {name: outcome.applied for name, outcome in later.outcomes.items()} == {"good.py": True, "bad.py": False}
        assert apply.count == 2


IN_A_NEW_PROCESS = """
import sys
from types import SimpleNamespace
from hotswap import errors
from hotswap.watching import Watch

def apply(patch):
    print("applied", patch.name)
    if patch.name == "bad":
        raise getattr(errors, sys.argv[2])("no")
    return SimpleNamespace(id="r1", patch=patch, version="1.2.1", state="live", bake=None)

watch = Watch(apply, sys.argv[1], settle=0.0, single_files=True)
watch.scan()
watch.scan()
for name, outcome in sorted(watch.outcomes.items()):
    print(name, outcome.applied)
"""


def run(script: str, *arguments: str) -> list[str]:
    """Run a script in a process of its own; the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class TestNewProcess:
    def test_applies_what_was_live_and_not_what_is_damaged(self, drops: Path) -> None:
        put(drops, "good.py")
        put(drops, "bad.py")
        ends = ["bad.py False", "good.py True"]
        assert run(IN_A_NEW_PROCESS, str(drops), "SourceError") == ["applied bad", "applied good", *ends]
        assert run(IN_A_NEW_PROCESS, str(drops), "SourceError") == ["applied good", *ends]

    @pytest.mark.parametrize("error", ["LoadError", "DowngradeError", "CommitError", "HotswapError", "TrustError"])
    def test_does_not_try_what_failed(self, error: str, drops: Path) -> None:
        put(drops, "bad.py")
        assert run(IN_A_NEW_PROCESS, str(drops), error) == ["applied bad", "bad.py False"]
        assert run(IN_A_NEW_PROCESS, str(drops), error) == ["bad.py False"]
        assert markers(drops) == ["bad.py.failed"]

    @pytest.mark.parametrize("error", ["BusyError", "StoreError", "OutdatedError"])
    def test_tries_what_waited(self, error: str, drops: Path) -> None:
        put(drops, "bad.py")
        for _ in range(2):
            assert "applied bad" in run(IN_A_NEW_PROCESS, str(drops), error)
            assert (drops / "bad.py.pending").exists()
            assert markers(drops) == []

    def test_tries_what_was_not_of_the_packages_of_another(self, drops: Path) -> None:
        """Several services may watch one directory."""
        put(drops, "bad.py")
        for _ in range(2):
            assert run(IN_A_NEW_PROCESS, str(drops), "WrongPackageError") == ["applied bad", "bad.py False"]

    def test_runs_no_check_again(self, make_package: Callable[..., Any], drops: Path, tmp_path: Path) -> None:
        package = make_package({"__init__.py": "__version__ = '1.0'\nPRICE = 1\n"})
        put(drops, f"{package.__name__}.py", "PRICE = 2\n")
        script = f"""
            import sys
            sys.path.insert(0, {str(Path(package.__path__[0]).parent)!r})
            import hotswap, {package.__name__}
            patcher = hotswap.Patcher([{package.__name__!r}])
            @patcher.check
            def fails(candidate):
                print("checked")
                return False
            with patcher.watch({str(drops)!r}, single_files=True) as watch:
                print(watch.wait_for("{package.__name__}.py", 30).error)
        """
        assert run(script) == ["checked", "CheckFailedError"]
        assert run(script) == ["CheckFailedError"]
        (drops / f"{package.__name__}.py.failed").unlink()
        assert run(script) == ["checked", "CheckFailedError"]

    def test_tries_what_is_damaged_when_the_bytes_or_the_marker_changed(self, drops: Path) -> None:
        put(drops, "bad.py", "PRICE = 1\n")
        run(IN_A_NEW_PROCESS, str(drops), "WheelError")
        assert run(IN_A_NEW_PROCESS, str(drops), "WheelError") == ["bad.py False"]
        put(drops, "bad.py", "PRICE = 2\n")
        assert run(IN_A_NEW_PROCESS, str(drops), "WheelError") == ["applied bad", "bad.py False"]
        (drops / "bad.py.failed").write_text('{"drop": 1}')  # Nobody's marker says nothing.
        assert run(IN_A_NEW_PROCESS, str(drops), "WheelError") == ["applied bad", "bad.py False"]
        (drops / "bad.py.failed").unlink()
        assert run(IN_A_NEW_PROCESS, str(drops), "WheelError") == ["applied bad", "bad.py False"]


class TestRolledBack:
    """A marker must not go on saying that a drop is live."""

    SOURCE = "def quote():\n    return 2\n"

    @pytest.fixture
    def name(self, make_package: Callable[..., Any]) -> str:
        return str(make_package({"__init__.py": "def quote():\n    return 1\n"}).__name__)

    def test_the_marker_and_the_log_say_so(self, name: str, drops: Path, events: list[Any]) -> None:
        patcher = hotswap.Patcher([name])
        with patcher.watch(drops, single_files=True) as watch:
            drop = put(drops, f"{name}.py", self.SOURCE)
            live = watch.wait_for(drop.name, LONG)
            assert live.applied
            patcher.rollback(reason="too slow")
            assert markers(drops) == [f"{drop.name}.failed"]
            facts = marker(drop, "failed")
            assert (facts["state"], facts["error"], facts["rollout"]) == ("rolled_back", None, live.rollout)
            assert facts["digest"] == live.digest
            assert facts["reason"].endswith("was rolled back: too slow")
            assert not watch.outcomes[drop.name].applied
            assert watch.wait_for(drop.name, LONG) == watch.outcomes[drop.name]
            assert settle(watch) == ()
        (told,) = [event for event in events if event["event"] == "drop.rolled_back"]
        assert (told["drop"], told["rollout"], told["log_level"]) == (drop.name, live.rollout, "warning")

    def test_also_when_nobody_watches_any_more(self, name: str, drops: Path) -> None:
        patcher = hotswap.Patcher([name])
        with patcher.watch(drops, single_files=True) as watch:
            drop = put(drops, f"{name}.py", self.SOURCE)
            assert watch.wait_for(drop.name, LONG).applied
        del watch
        patcher.rollback()
        assert marker(drop, "failed")["state"] == "rolled_back"

    def test_also_when_it_is_taken_back_before_it_was_told(self, name: str, drops: Path) -> None:
        patcher = hotswap.Patcher([name])

        def apply(patch: Patch) -> Rollout:
            rollout = patcher.apply(patch)
            rollout.rollback("a handler did not like it")
            return rollout

        drop = put(drops, f"{name}.py", self.SOURCE)
        (outcome,) = settle(Watch(apply, drops, settle=0.0))
        assert not outcome.applied
        assert marker(drop, "failed")["state"] == "rolled_back"

    def test_the_drop_before_it_stays_live(self, name: str, drops: Path) -> None:
        patcher = hotswap.Patcher([name])
        with patcher.watch(drops, single_files=True) as watch:
            drop = put(drops, f"{name}.py", self.SOURCE)
            watch.wait_for(drop.name, LONG)
            folder = put_folder(drops, name, {"__init__.py": "def quote():\n    return 3\n"})
            assert watch.wait_for(folder.name, LONG).applied
            patcher.rollback()
        assert markers(drops) == sorted([f"{drop.name}.live", f"{folder.name}.failed"])

    def test_a_new_process_does_not_apply_it_again(self, name: str, drops: Path) -> None:
        patcher = hotswap.Patcher([name])
        with patcher.watch(drops, single_files=True) as watch:
            drop = put(drops, f"{name}.py", self.SOURCE)
            watch.wait_for(drop.name, LONG)
        patcher.rollback()
        assert run(IN_A_NEW_PROCESS, str(drops), "LoadError") == [f"{drop.name} False"]
        drop.write_text(self.SOURCE + "\n")
        assert run(IN_A_NEW_PROCESS, str(drops), "LoadError") == [f"applied {name}", f"{drop.name} True"]

    def test_a_marker_that_can_not_be_written_does_not_stop_the_rollback(
        self, name: str, drops: Path, events: list[Any]
    ) -> None:
        patcher = hotswap.Patcher([name])
        with patcher.watch(drops, single_files=True) as watch:
            drop = put(drops, f"{name}.py", self.SOURCE)
            watch.wait_for(drop.name, LONG)
        drop.with_name(f"{drop.name}.failed").mkdir()
        assert patcher.rollback().state == "rolled_back"
        assert [event["drop"] for event in events if event["event"] == "drop.unmarked"] == [drop.name]


class TestIgnored:
    @pytest.mark.parametrize("name", ["_private.py", "SHOP.PY", "shop-1.0.tar.gz", "shop.WHL", "shop.zip", "_shop.whl"])
    def test_what_was_meant_as_a_drop_is_told_once_and_marked(
        self, name: str, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        path = put(drops, name)
        for _ in range(3):
            assert settle(by_hand) == ()
        assert [(e["event"], e["drop"], e["log_level"]) for e in events] == [("drop.ignored", name, "warning")]
        facts = marker(path, "failed")
        assert (facts["drop"], facts["state"], facts["error"]) == (name, "ignored", None)
        assert facts["reason"] == events[0]["reason"]
        assert apply.patches == []
        assert by_hand.outcomes == {}

    def test_any_other_file_is_told_only(self, drops: Path, by_hand: Watch, events: list[Any]) -> None:
        put(drops, "README.md")
        settle(by_hand)
        settle(by_hand)
        assert [(e["event"], e["drop"], e["log_level"]) for e in events] == [("drop.ignored", "README.md", "info")]
        assert [path.name for path in drops.iterdir()] == ["README.md"]

    @pytest.mark.parametrize("name", [".hidden.py", "shop.py~", "shop.py.tmp", "shop.whl.part", "shop.py.live"])
    def test_what_nobody_meant_is_not_told(self, name: str, drops: Path, by_hand: Watch, events: list[Any]) -> None:
        (drops / name).write_text("X = 1\n")
        settle(by_hand)
        assert events == []

    def test_a_file_that_goes_away_at_once_is_not_told(self, drops: Path, events: list[Any]) -> None:
        clock = Clock()
        scanner = scanning.Scanner(drops, SETTLE, clock)
        (drops / "4913").touch()
        assert scanner.scan() == ([], SETTLE)
        (drops / "4913").unlink()
        clock.now += 1
        assert scanner.scan() == ([], None)
        assert scanner.ignored() == []


class TestOrder:
    def test_by_version_then_by_name(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        put_wheel(drops, "shop", "1.10.0")
        put_wheel(drops, "shop", "1.9.0")
        put_wheel(drops, "cellar", "1.9.0")
        put(drops, "b.py")
        put(drops, "a.py")
        settle(by_hand)
        assert apply.names == ["cellar 1.9.0", "shop 1.9.0", "shop 1.10.0", "a", "b"]


class TestEvents:
    def test_tell_the_story(self, drops: Path, apply: Recorder, events: list[Any]) -> None:
        with Watch(apply, drops, settle=0.0) as watch:
            good = put_wheel(drops, "shop", "1.2.1")
            watch.wait_for(good.name, LONG)
            apply.fails(ValueError("not this one"))
            put(drops, "bad.py")
            watch.wait_for("bad.py", LONG)
        assert [(event["event"], event["log_level"]) for event in events] == [
            ("watch.started", "info"),
            ("drop.applied", "info"),
            ("drop.failed", "error"),
            ("watch.stopped", "info"),
        ]
        started, applied, failed, _ = events
        assert started["directory"] == str(drops)
        assert (applied["drop"], applied["version"], applied["rollout"]) == (good.name, "1.2.1", "r1")
        assert applied["digest"] == apply.patches[0].digest
        assert applied["duration"] >= 0
        assert (failed["drop"], failed["error"]) == ("bad.py", "ValueError")
        assert failed["reason"] == "ValueError: not this one"
        assert "in effect" in failed["traceback"]

    def test_our_own_errors_come_without_a_traceback(
        self, drops: Path, by_hand: Watch, apply: Recorder, events: list[Any]
    ) -> None:
        put(drops, "bad.py")
        apply.fails(LoadError("it broke"))
        settle(by_hand)
        assert "traceback" not in events[0]


class TestWatching:
    """The thread, with the real observer of this platform."""

    def test_what_is_dropped_is_applied(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, NEVER, settle=0.0):
            put(drops, "shop.py")
            apply.wait(1)
            put_folder(drops, "pantry", {"__init__.py": "X = 1\n"})
            apply.wait(2)
            put_wheel(drops, "cellar", "1.0")
            apply.wait(3)
        assert apply.names == ["shop", "pantry", "cellar 1.0"]
        assert len(markers(drops)) == 3

    def test_what_was_there_before_is_applied(self, drops: Path, apply: Recorder) -> None:
        put(drops, "shop.py")
        with Watch(apply, drops, NEVER) as watch:
            assert watch.wait_for("shop.py", LONG).applied

    def test_what_is_written_in_place_is_applied(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, NEVER, settle=0.0):
            folder = drops / "shop"
            folder.mkdir()
            (folder / "__init__.py").write_text("X = 1\n")
            (folder / "hotswap.toml").touch()
            (drops / "shop.go").touch()
            apply.wait(1)
            (folder / "__init__.py").write_text("X = 22\n")
            (drops / "shop.go").touch()
            apply.wait(2)
        assert apply.patches[-1].files["shop/__init__.py"] == b"X = 22\n"

    def test_a_bad_drop_does_not_end_it(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            for error in (ValueError("no"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError()):
                apply.fails(error)
                name = f"{type(error).__name__}.py"
                put(drops, name)
                assert watch.wait_for(name, LONG).error == type(error).__name__
            put(drops, "broken-1.0-py3-none-any.whl", b"PK")
            assert not watch.wait_for("broken-1.0-py3-none-any.whl", LONG).applied
            apply.effect = lambda patch: None
            put(drops, "good.py")
            assert watch.wait_for("good.py", LONG).applied
            assert watch.alive

    def test_an_error_of_its_own_does_not_end_it(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        original = scanning.Scanner.scan
        failures = iter([RuntimeError("a bug of ours")])

        def scan(self: scanning.Scanner, **arguments: Any) -> Any:
            for failure in failures:
                raise failure
            return original(self, **arguments)

        monkeypatch.setattr(scanning.Scanner, "scan", scan)
        put(drops, "shop.py")
        with Watch(apply, drops, 0.01, settle=0.0) as watch:
            assert watch.wait_for("shop.py", LONG).applied
        assert "event='watch.failed'" in caplog.text
        assert "a bug of ours" in caplog.text
        assert "Traceback" in caplog.text

    def test_without_events_rescans_find_drops(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*args: Any) -> Any:
            raise OSError(28, "inotify watch limit reached")

        monkeypatch.setattr(doorbell, "_observe", refuse)
        with Watch(apply, drops, 0.01, settle=0.0):
            put(drops, "shop.py")
            apply.wait(1)
            put(drops, "tea.py")
            apply.wait(2)
        assert [record.levelname for record in caplog.records if "inotify watch limit" in record.message] == ["WARNING"]

    @pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
    def test_an_observer_that_can_not_start_leaves_nothing_behind(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from watchdog.observers import inotify_c

        monkeypatch.setattr(inotify_c, "inotify_add_watch", lambda *args: -1)
        monkeypatch.setattr("watchdog.observers.inotify_c.ctypes.get_errno", lambda: 28)
        threads, open_before = set(threading.enumerate()), descriptors()
        bell = doorbell.Doorbell(drops, lambda: None)
        bell.tend()
        assert not bell.rings
        assert (set(threading.enumerate()), descriptors()) == (threads, open_before)

    def test_readers_do_not_ring(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or each pass would ring for the next."""
        from watchdog.events import FileSystemEventHandler

        heard: list[str] = []
        ended = threading.Event()
        path = put(drops, "shop.py")
        bell = doorbell.Doorbell(drops, lambda: ended.set() if (drops / "end.py").exists() else None)
        dispatch = FileSystemEventHandler.dispatch

        def listen(self: FileSystemEventHandler, event: Any) -> None:
            heard.append(f"{event.event_type} {Path(event.src_path).name}")
            dispatch(self, event)

        monkeypatch.setattr(FileSystemEventHandler, "dispatch", listen)
        bell.tend()
        try:
            path.read_bytes()
            looks.look_at(path)
            looks.digest_of(path)
            put(drops, "end.py")
            assert ended.wait(LONG)
        finally:
            bell.close()
        assert heard
        assert [event for event in heard if event.endswith(" shop.py")] == []

    def test_outcomes_can_be_seen_while_a_drop_is_applied(self, drops: Path, apply: Recorder) -> None:
        seen: list[Any] = []
        with Watch(apply, drops, NEVER, settle=0.0) as watch:

            def effect(patch: Patch) -> None:
                other = threading.Thread(target=lambda: seen.append((watch.alive, dict(watch.outcomes))))
                other.start()
                other.join(LONG)
                with pytest.raises(TimeoutError):
                    watch.wait_for("shop.py", 0.0)

            apply.effect = effect
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).reason.startswith("shop ")
        assert seen == [(True, {})]

    def test_a_scan_by_hand_waits_for_the_pass_in_progress(self, drops: Path, apply: Recorder) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def effect(patch: Patch) -> None:
            entered.set()
            assert go_on.wait(LONG)

        apply.effect = effect
        watch = Watch(apply, drops, NEVER, settle=0.0)
        watch.turn.changed = changed = TellingCondition()
        with watch:
            put(drops, "shop.py")
            assert entered.wait(LONG)
            found: list[tuple[Outcome, ...]] = []
            by_hand = threading.Thread(target=lambda: found.append(watch.scan()))
            by_hand.start()
            assert changed.waits.wait(LONG)
            assert found == []
            go_on.set()
            by_hand.join(LONG)
            assert found == [()]
            assert watch.outcomes["shop.py"].applied
        assert apply.count == 1

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["in the same thread", "in a thread with its context"])
    @pytest.mark.parametrize("method", ["scan", "stop"])
    def test_a_check_can_not_wait_for_itself(self, method: str, elsewhere: bool, drops: Path, apply: Recorder) -> None:
        errors: list[BusyError] = []
        with Watch(apply, drops, NEVER, settle=0.0) as watch:

            def check() -> None:
                try:
                    getattr(watch, method)()
                except BusyError as error:
                    errors.append(error)

            def effect(patch: Patch) -> None:
                if elsewhere:
                    thread = threading.Thread(target=contextvars.copy_context().run, args=(check,))
                    thread.start()
                    thread.join(LONG)
                else:
                    contextvars.Context().run(check)

            apply.effect = effect
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).applied
            assert watch.alive
        assert "called from within a rollout" in str(errors[0])


class TestWaiting:
    def test_gives_the_outcome_of_the_present_bytes(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, settle=0.0) as watch:
            for number in range(1, 4):
                put(drops, "shop.py", f"PRICE = {number}\n")
                outcome = watch.wait_for("shop.py", LONG)
                assert outcome.rollout == f"r{number}"
                assert outcome == watch.wait_for("shop.py", 0.0)

    def test_ends_in_time(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops) as watch:
            with pytest.raises(TimeoutError, match="there is no such drop"):
                watch.wait_for("shop.py", 0.01)
            apply.fails(BusyError("another rollout is in progress"))
            put(drops, "shop.py")
            apply.wait(2)  # The first try is finished and told.
            with pytest.raises(HotswapError, match="another rollout is in progress"):
                watch.wait_for("shop.py", 0.01)

    def test_ends_when_the_watch_does(self, drops: Path, apply: Recorder) -> None:
        watch = Watch(apply, drops)
        watch.turn.changed = changed = TellingCondition()
        watch.start()
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                watch.wait_for("shop.py", NEVER)
            except StateError as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert changed.waits.wait(LONG)
        watch.stop()
        thread.join(LONG)
        assert "is not running" in str(errors[0])

    def test_refuses_what_never_comes(self, drops: Path, by_hand: Watch) -> None:
        for name in (".shop.py", "shop.py.live", "../shop.py", str(drops / "shop.py")):
            with pytest.raises(HotswapError, match="is not the name of a drop"):
                by_hand.wait_for(name, LONG)
        with pytest.raises(StateError, match="is not running"):
            by_hand.wait_for("shop.py", LONG)


class TestTheDirectoryChanges:
    def test_deleted_and_made_anew(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, 0.01, settle=0.0) as watch:
            put(drops, "one.py")
            watch.wait_for("one.py", LONG)
            drops.rename(drops.with_name("old"))
            shutil.rmtree(drops.with_name("old"))
            drops.mkdir()
            put(drops, "two.py")
            apply.wait(2)
        assert apply.names == ["one", "two"]

    def test_renamed_and_made_anew(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, 0.01, settle=0.0) as watch:
            put(drops, "one.py")
            watch.wait_for("one.py", LONG)
            drops.rename(drops.with_name("old"))
            drops.mkdir()
            put(drops, "two.py")
            apply.wait(2)

    def test_the_doorbell_follows(self, drops: Path, caplog: pytest.LogCaptureFixture) -> None:
        rung = threading.Event()
        bell = doorbell.Doorbell(drops, rung.set)
        bell.tend()
        try:
            drops.rename(drops.with_name("old"))
            bell.tend()
            assert bell._observer is None
            drops.mkdir()
            with caplog.at_level(logging.INFO, "hotswap"):
                bell.tend()
            assert bell.rings
            assert rung.is_set()  # What came before it listened is found too.
            assert "event='watch.recovered'" in caplog.text
            rung.clear()
            put(drops, "shop.py")
            assert rung.wait(LONG)
        finally:
            bell.close()

    def test_the_doorbell_notices_that_its_observer_went_deaf(self, drops: Path) -> None:
        rung = threading.Event()
        bell = doorbell.Doorbell(drops, rung.set)
        bell.tend()
        try:
            assert bell._observer is not None
            for emitter in bell._observer.emitters:
                emitter.stop()
                emitter.join(LONG)
            bell.tend()
            rung.clear()
            put(drops, "shop.py")
            assert rung.wait(LONG)
        finally:
            bell.close()

    def test_a_missing_directory_is_reported_once(self, drops: Path, caplog: pytest.LogCaptureFixture) -> None:
        bell = doorbell.Doorbell(drops, lambda: None)
        drops.rmdir()
        bell.tend()
        bell.tend()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        bell.close()

    def test_a_link_that_leads_elsewhere_now(self, tmp_path: Path, apply: Recorder) -> None:
        for name in ("blue", "green"):
            (tmp_path / name).mkdir()
        (tmp_path / "drops").symlink_to(tmp_path / "blue")
        with Watch(apply, tmp_path / "drops", 0.01, settle=0.0) as watch:
            put(tmp_path / "blue", "one.py")
            watch.wait_for("one.py", LONG)
            (tmp_path / "next").symlink_to(tmp_path / "green")
            (tmp_path / "next").replace(tmp_path / "drops")
            put(tmp_path / "green", "two.py")
            apply.wait(2)
        assert markers(tmp_path / "blue") == ["one.py.live"]
        assert markers(tmp_path / "green") == ["two.py.live"]

    def test_events_come_through_a_link(self, tmp_path: Path, apply: Recorder) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "drops").symlink_to(tmp_path / "real")
        with Watch(apply, tmp_path / "drops", NEVER, settle=0.0):
            put(tmp_path / "real", "shop.py")
            apply.wait(1)


class TestStarting:
    def test_makes_the_directory(self, tmp_path: Path, apply: Recorder) -> None:
        with Watch(apply, tmp_path / "var" / "drops") as watch:
            assert watch.directory.is_dir()
            assert watch.alive
        assert not watch.alive

    def test_takes_a_relative_path_once(
        self, drops: Path, tmp_path: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        watch = Watch(apply, "drops/", settle=0.0)
        monkeypatch.chdir("/")
        put(drops, "shop.py")
        assert [outcome.drop for outcome in settle(watch)] == ["shop.py"]

    @pytest.mark.parametrize("inside", [False, True])
    def test_refuses_a_file(self, inside: bool, tmp_path: Path, apply: Recorder) -> None:
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "drops" if inside else tmp_path / "file"
        with pytest.raises(HotswapError, match="is not a directory"):
            Watch(apply, path).start()

    def test_refuses_what_can_not_be_made(
        self, tmp_path: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any, **more: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(HotswapError, match="Permission denied"):
            Watch(apply, tmp_path / "drops").start()

    @pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
    def test_refuses_an_interval_that_is_none(self, interval: float, drops: Path, apply: Recorder) -> None:
        with pytest.raises(HotswapError, match="interval"):
            Watch(apply, drops, interval)

    @pytest.mark.skipif(os.name == "nt", reason="there are no such modes")
    @pytest.mark.parametrize("above", [False, True])
    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755])
    def test_warns_where_everybody_may_write_and_no_policy_says_anything(
        self, mode: int, above: bool, tmp_path: Path, apply: Recorder, events: list[Any]
    ) -> None:
        place = tmp_path / "place"
        place.mkdir()
        place.chmod(mode)
        drops = place / "drops" if above else place
        with Watch(apply, drops, NEVER):
            pass
        told = [event for event in events if event["event"] == "watch.troubled"]
        assert len(told) == (mode != 0o755 and not (above and mode == 0o1777))
        if told:
            assert told[0]["log_level"] == "warning"
            assert f"chmod o-w {place}" in told[0]["reason"]

    def test_does_not_warn_where_a_policy_allows_it(
        self, make_package: Callable[..., Any], tmp_path: Path, events: list[Any]
    ) -> None:
        drops = tmp_path / "drops"
        drops.mkdir()
        drops.chmod(0o777)
        patcher = hotswap.Patcher([make_package({"__init__.py": ""}).__name__])
        with patcher.watch(drops, trust=hotswap.Trust(unsigned=True, owners=None)):
            pass
        assert not [event for event in events if event["event"] == "watch.troubled"]

    def test_refuses_a_second_watch_of_one_directory(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops) as watch:
            with pytest.raises(HotswapError, match="watched already"):
                Watch(apply, drops).start()
            with pytest.raises(StateError, match="already running"):
                watch.start()
            assert watch.alive
        with Watch(apply, drops) as later:
            assert later.alive

    def test_can_be_started_again(self, drops: Path, apply: Recorder) -> None:
        watch = Watch(apply, drops, settle=0.0)
        for number in (1, 2):
            with watch:
                put(drops, "shop.py", f"PRICE = {number}\n")
                assert watch.wait_for("shop.py", LONG).applied
        assert apply.count == 2

    @pytest.mark.parametrize("platform", ["emscripten", "wasi"])
    def test_says_where_there_are_no_threads(
        self, platform: str, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = Watch(apply, drops, settle=0.0)
        with monkeypatch.context() as context:
            context.setattr(sys, "platform", platform)
            with pytest.raises(HotswapError, match="no threads"):
                watch.start()
        put(drops, "shop.py")
        assert len(settle(watch)) == 1  # By hand it works there too.

    def test_a_thread_that_can_not_start_leaves_nothing_behind(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = Watch(apply, drops)
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name.startswith("hotswap-watch"):
                raise RuntimeError("can't start new thread")
            start(thread)

        threads = set(threading.enumerate())
        with monkeypatch.context() as context:
            context.setattr(threading.Thread, "start", refuse)
            with pytest.raises(HotswapError, match="can't start new thread"):
                watch.start()
        assert set(threading.enumerate()) == threads
        with watch:
            assert watch.alive

    def test_imports_without_watchdog(self, drops: Path) -> None:
        script = """
            import sys
            from types import SimpleNamespace
            sys.modules["watchdog"] = None
            from hotswap.watching import Watch
            done = lambda patch: SimpleNamespace(id="r1", patch=patch, version="1.0", state="live", bake=None)
            with Watch(done, sys.argv[1], 0.01, settle=0.0, single_files=True) as watch:
                print(watch.wait_for("shop.py", 20).applied)
            """
        put(drops, "shop.py")
        assert run(script, str(drops)) == ["True"]


class TestStopping:
    @pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
    def test_leaves_no_thread_and_no_descriptor(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, settle=0.0):
            pass  # What is imported and opened for the first time, is.
        threads, open_before = set(threading.enumerate()), descriptors()
        for number in range(10):
            with Watch(apply, drops, settle=0.0) as watch:
                put(drops, "shop.py", f"PRICE = {number}\n")
                watch.wait_for("shop.py", LONG)
        assert (set(threading.enumerate()), descriptors()) == (threads, open_before)

    def test_waits_for_the_rollout_in_progress_and_begins_no_other(self, drops: Path, apply: Recorder) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def effect(patch: Patch) -> None:
            entered.set()
            assert go_on.wait(LONG)

        apply.effect = effect
        put(drops, "a.py")
        put(drops, "b.py")
        watch = Watch(apply, drops, NEVER, settle=0.0).start()
        assert entered.wait(LONG)
        stopping = threading.Thread(target=watch.stop)
        stopping.start()
        assert watch._stopping.wait(LONG)
        assert stopping.is_alive()
        assert watch.alive
        go_on.set()
        stopping.join(LONG)
        assert not stopping.is_alive()
        assert apply.names == ["a"]
        assert markers(drops) == ["a.py.live"]
        assert [outcome.drop for outcome in settle(watch)] == ["b.py"]

    def test_is_quick_when_idle_and_may_be_repeated(self, drops: Path, apply: Recorder) -> None:
        watch = Watch(apply, drops, NEVER)
        watch.stop()
        watch.start()
        watch.stop()
        watch.stop()
        assert not watch.alive

    def test_happens_also_when_the_block_fails(self, drops: Path, apply: Recorder) -> None:
        with pytest.raises(ZeroDivisionError):
            with Watch(apply, drops) as watch:
                raise ZeroDivisionError
        assert not watch.alive


class TestWithAPatcher:
    """The whole way: bytes in a directory become running code, or a reason why not."""

    V1 = """
        __version__ = "1.2.0"

        def quote(amount):
            return amount * 2
        """

    @pytest.fixture
    def shop(self, make_package: Callable[..., Any]) -> Any:
        return make_package({"__init__.py": self.V1, "pricing.py": "def price():\n    return 1\n"})

    def test_good_and_bad_drops(self, shop: Any, drops: Path) -> None:
        quote, name = shop.quote, shop.__name__
        pricing = importlib.import_module(f"{name}.pricing")
        price = pricing.price
        patcher = hotswap.Patcher([name])

        @patcher.check
        def quotes_are_positive(candidate: Any) -> None:
            assert candidate[name].quote(1) > 0, "a quote must be positive"

        def source(version: str, body: str) -> str:
            return f"__version__ = {version!r}\ndef quote(amount):\n    return {body}\n"

        with patcher.watch(drops, single_files=True) as watch:
            put_folder(drops, name, {"__init__.py": source("1.3.0", "amount * 3")})
            good = watch.wait_for(name, LONG)
            assert (good.applied, good.version, good.state) == (True, "1.3.0", "live"), good
            assert (quote(1), shop.quote(1)) == (3, 3)

            put(drops, f"{name}.py", "def quote(amount)\n")
            bad = watch.wait_for(f"{name}.py", LONG)
            assert bad.error == "SourceError"
            assert f"running now: {name} 1.3.0" in bad.reason

            put(drops, f"{name}.py", source("1.4.0", "-amount"))
            refused = watch.wait_for(f"{name}.py", LONG)
            assert refused.error == "CheckFailedError"
            assert "a quote must be positive" in refused.reason
            assert quote(1) == 3

            file, data = wheel(name, "1.5.0", {f"{name}/__init__.py": source("1.5.0", "amount * 5")})
            put(drops, file, data)
            assert watch.wait_for(file, LONG).applied
            assert quote(1) == 5
            assert str(patcher.versions[name]) == "1.5.0"

            put(drops, file.replace("1.5.0", "1.1.0"), wheel(name, "1.1.0", {f"{name}/__init__.py": self.V1})[1])
            assert watch.wait_for(file.replace("1.5.0", "1.1.0"), LONG).error == "DowngradeError"
        assert patcher.history()[1].id == watch.outcomes[file].rollout
        assert price() == 1

    def test_a_bare_file_gets_the_live_version_and_a_local_part(self, shop: Any, drops: Path) -> None:
        pricing = importlib.import_module(f"{shop.__name__}.pricing")
        patcher = hotswap.Patcher([shop.__name__])
        with patcher.watch(drops, single_files=True) as watch:
            put(drops, "pricing.py", "def price():\n    return 2\n")
            outcome = watch.wait_for("pricing.py", LONG)
        assert outcome.version == "1.2.0+hot.1"
        assert outcome.reason.startswith(f"{shop.__name__} 1.2.0+hot.1 is live, ")
        assert pricing.price() == 2

    def test_a_drop_waits_for_a_rollout_that_somebody_staged(self, shop: Any, drops: Path) -> None:
        """And the watch can be left meanwhile: it never waits inside the patcher."""
        name = shop.__name__
        drop = f"{name}.pricing.py"
        patcher = hotswap.Patcher([name])
        staged = patcher.stage(Patch.from_sources({f"{name}.pricing": "def price():\n    return 3\n"}))
        tried = threading.Event()

        def apply(patch: Patch) -> Rollout:
            try:
                return patcher.apply(patch, wait=0.0)
            finally:
                tried.set()

        watch = Watch(apply, drops, 0.01, settle=0.0)
        with watch:
            put(drops, drop, "def price():\n    return 2\n")
            assert tried.wait(LONG)
        assert markers(drops) == []
        with watch:
            staged.abort()
            assert watch.wait_for(drop, LONG).applied
        assert markers(drops) == [f"{drop}.live"]

    def test_events_and_markers_name_the_rollout(self, shop: Any, drops: Path, events: list[Any]) -> None:
        name = shop.__name__
        importlib.import_module(f"{name}.pricing")
        patcher = hotswap.Patcher([name])

        @patcher.check
        def prices_are_small(candidate: Any) -> None:
            assert candidate[f"{name}.pricing"].price() < 50, "too much"

        with patcher.watch(drops, single_files=True) as watch:
            put(drops, "pricing.py", "def price():\n    return 2\n")
            assert watch.wait_for("pricing.py", LONG).applied
            put(drops, f"{name}.pricing.py", "def price():\n    return 99\n")
            assert not watch.wait_for(f"{name}.pricing.py", LONG).applied
            put(drops, "broken.py", "def")
            assert not watch.wait_for("broken.py", LONG).applied
            patcher.rollback()
        kinds = ("drop.applied", "drop.failed", "drop.rolled_back")
        applied, refused, broken, back = [event for event in events if event["event"] in kinds]
        failed, live = [record for record in patcher.history() if record.version is not None][:2]
        for event, record in ((applied, live), (refused, failed), (back, live)):
            assert (event["rollout"], event["version"], event["digest"]) == (
                record.id,
                str(record.version),
                record.digest,
            )
        assert broken["version"] is None
        facts = marker(drops / f"{name}.pricing.py", "failed")
        assert (facts["rollout"], facts["version"], facts["rolled_out"]) == (failed.id, "1.2.0+hot.2", failed.digest)
        assert facts["digest"] != failed.digest
        joined = [event for event in events if event.get("rollout") == failed.id]
        assert [event["event"] for event in joined] == [
            "rollout.staged",
            "check.started",
            "check.failed",
            "rollout.rejected",
            "drop.failed",
        ]
        assert {(event["version"], event["digest"]) for event in joined} == {("1.2.0+hot.2", failed.digest)}

    def test_a_second_patcher_tries_for_itself(
        self, shop: Any, drops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with hotswap.Patcher([shop.__name__]).watch(drops, single_files=True) as watch:
            put(drops, "other.py", "X = 2\n")
            assert watch.wait_for("other.py", LONG).error == "WrongPackageError"
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "other.py").write_text("X = 1\n")
        monkeypatch.syspath_prepend(tmp_path / "elsewhere")
        other = importlib.import_module("other")
        with hotswap.Patcher(["other"]).watch(drops, single_files=True) as watch:
            assert watch.wait_for("other.py", LONG).applied
        assert sys.modules["other"].X == 2
        assert other.X == 2
        assert markers(drops) == ["other.py.live"]


class TestMemory:
    def test_a_failure_keeps_nothing_of_the_candidate_alive(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        import gc
        import weakref

        class Candidate:
            pass

        references = []

        def effect(patch: Patch) -> None:
            candidate = Candidate()
            references.append(weakref.ref(candidate))
            raise ValueError("with frames")

        apply.effect = effect
        put(drops, "shop.py")
        settle(by_hand)
        gc.collect()
        assert references[0]() is None

    @pytest.mark.parametrize("kept", [0, 1, 10**9])
    def test_a_pass_keeps_few_bytes(
        self, kept: int, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is read to find out the order is read again, and verified again, when it is its turn."""
        monkeypatch.setattr(passes, "_KEPT", kept)
        alive: list[int] = []
        known: weakref.WeakSet[Patch] = weakref.WeakSet()
        from_path = Patch.from_path

        def tracked(*args: Any, **named: Any) -> Patch:
            patch = from_path(*args, **named)
            known.add(patch)
            return patch

        def effect(patch: Patch) -> None:
            apply.patches.clear()
            gc.collect()
            alive.append(len(known))
            raise LoadError("no")

        monkeypatch.setattr(Patch, "from_path", tracked)
        apply.effect = effect
        for number in range(5):
            put_wheel(drops, "shop", f"1.{number}")
        assert [outcome.version for outcome in settle(by_hand)] == [f"1.{number}" for number in range(5)]
        assert alive == ([5, 4, 3, 2, 1] if kept > 1 else [1] * 5)

    def test_bytes_that_changed_before_they_are_read_again_are_not_applied(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passes, "_KEPT", 0)
        put(drops, "shop.py", "PRICE = 1\n")
        by_hand.scan()
        reads = passes.Passes._read

        def change(self: passes.Passes, drop: Any) -> Any:
            found = reads(self, drop)
            path = drops / "shop.py"
            if path.read_text() == "PRICE = 1\n":
                monkeypatch.setattr(passes.Passes, "_unchanged", lambda *_: True)  # not noticed by the look
                put(drops, "shop.py", "PRICE = 2\n")
            return found

        monkeypatch.setattr(passes.Passes, "_read", change)
        assert by_hand.scan() == ()
        assert apply.count == 0
        assert len(settle(by_hand)) == 1
        assert [dict(patch.files) for patch in apply.patches] == [{"shop.py": b"PRICE = 2\n"}]

    def test_places_are_kept_by_directory(self, drops: Path, tmp_path: Path, apply: Recorder) -> None:
        (tmp_path / "other").mkdir()
        put(drops, "shop.py")
        put(tmp_path / "other", "shop.py")
        settle(Watch(apply, drops, settle=0.0))
        settle(Watch(apply, tmp_path / "other", settle=0.0))
        assert apply.count == 2
