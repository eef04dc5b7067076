"""What file systems, kernels and orchestrators do to a watched directory, against the real watchdog."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from hotswap.watching import mounts
from tests.test_watching import LONG, NEVER, Recorder, Watch, marker, put

pytestmark = pytest.mark.threads


class ConfigMap:
    """A volume as Kubernetes writes it: names are links into `..data`, which is a link that is replaced as a whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number = 0

    def update(self, files: dict[str, str]) -> None:
        """Write all files anew, as the kubelet does."""
        self._number += 1
        folder = self.directory / f"..2026_11_26_{self._number}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        data, aside = self.directory / "..data", self.directory / "..data_tmp"
        before = data.resolve() if data.exists() else None
        aside.symlink_to(folder.name)
        aside.replace(data)
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        for link in [path for path in self.directory.iterdir() if path.is_symlink() and path.name not in files]:
            if not link.name.startswith(".."):
                link.unlink()
        if before is not None:
            shutil.rmtree(before)


class TestConfigMap:
    def test_each_update_is_applied_once(self, drops: Path, apply: Recorder) -> None:
        volume = ConfigMap(drops)
        volume.update({"shop.py": "PRICE = 1\n"})
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            assert watch.wait_for("shop.py", LONG).applied
            for price in (2, 3):
                volume.update({"shop.py": f"PRICE = {price}\n"})
                apply.wait(price)
                assert watch.wait_for("shop.py", LONG).applied
            volume.update({"shop.py": "PRICE = 3\n"})  # the same bytes in another file: nothing new
            volume.update({"shop.py": "PRICE = 3\n", "tax.py": "RATE = 1\n"})
            apply.wait(4)
        prices = [patch.files["shop.py"] for patch in apply.patches if "shop.py" in patch.files]
        assert prices == [f"PRICE = {price}\n".encode() for price in (1, 2, 3)]
        assert marker(drops / "tax.py", "live")["state"] == "live"

    def test_events_tell_of_an_update(self, drops: Path, apply: Recorder) -> None:
        """They say nothing of the file itself; whatever stirs rings the bell."""
        volume = ConfigMap(drops)
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            volume.update({"shop.py": "PRICE = 1\n"})
            assert watch.wait_for("shop.py", LONG).applied
            volume.update({"shop.py": "PRICE = 2\n"})
            apply.wait(2)


class TestLostEvents:
    FLOOD = 20_000

    def test_a_flood_loses_no_drop(self, drops: Path, apply: Recorder) -> None:
        """The kernel's queue holds 16,384 events, and drops the rest for good."""
        with Watch(apply, drops, 0.5, settle=0.0) as watch:
            flooded = drops / ".flood"
            for _ in range(self.FLOOD):
                os.close(os.open(flooded, os.O_CREAT | os.O_WRONLY))
                flooded.unlink()
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).applied
            put(drops, "tax.py")
            assert watch.wait_for("tax.py", LONG).applied
            assert watch.alive

    def test_a_move_from_outside_and_one_inside_are_alike(self, drops: Path, tmp_path: Path, apply: Recorder) -> None:
        """The one gives an event of a file that was created, the other one of a move, with the name in its end."""
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            outside = tmp_path / "outside.py"
            outside.write_text("PRICE = 1\n")
            outside.rename(drops / "shop.py")
            assert watch.wait_for("shop.py", LONG).applied
            put(drops, "tax.py")
            assert watch.wait_for("tax.py", LONG).applied


def remove(directory: Path) -> None:
    """Remove a directory that is watched: the watch may put its lock into it once more meanwhile."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            shutil.rmtree(directory)
        except OSError:
            assert time.monotonic() < deadline
        else:
            return


class TestTheDirectory:
    """What happens to the directory itself, with rescans that are seldom: the doorbell has to hear of it, or a look."""

    def replaced(self, drops: Path, how: str) -> None:
        if how == "deleted":
            remove(drops)
            drops.mkdir()
        elif how == "renamed":
            drops.rename(drops.with_name("old"))
            drops.mkdir()
        elif how == "swapped":
            (drops.parent / "green").mkdir()
            (drops.parent / "next").symlink_to("green")
            (drops.parent / "next").replace(drops)
        elif how == "mounted over":  # as good as one can without being root: another directory in one step
            other = drops.parent / "other"
            other.mkdir()
            drops.rename(drops.with_name("old"))
            other.rename(drops)

    @pytest.mark.parametrize("how", ["deleted", "renamed", "swapped", "mounted over"])
    def test_is_another_one_and_events_come_again(self, how: str, tmp_path: Path, apply: Recorder) -> None:
        drops = tmp_path / "drops"
        if how == "swapped":
            (tmp_path / "blue").mkdir()
            drops.symlink_to("blue")
        else:
            drops.mkdir()
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            put(drops, "one.py")
            assert watch.wait_for("one.py", LONG).applied
            for number in range(3):
                self.replaced(drops, how) if number == 0 or how != "swapped" else None
                put(drops, f"two{number}.py")
                assert watch.wait_for(f"two{number}.py", LONG).applied
                if drops.with_name("old").exists():
                    shutil.rmtree(drops.with_name("old"))
            until_rings(watch, drops)
            watch.interval = NEVER
            watch.scan()
            put(drops, "three.py")  # found by an event: it is too long until the next look
            apply.wait(5)
            assert watch.alive

    def test_goes_away_for_a_while(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            remove(drops)
            deadline = time.monotonic() + LONG
            while watch._doorbell.rings:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert watch.alive
            drops.mkdir()
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).applied


def until_rings(watch: Watch, drops: Path) -> None:
    """Until the doorbell hears the directory that is there now."""
    deadline = time.monotonic() + LONG
    while watch._doorbell._heard != (drops.stat().st_dev, drops.stat().st_ino) or not watch._doorbell.rings:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestNoEvents:
    """Network file systems."""

    LINE = "36 35 98:0 / {place} rw,noatime shared:1 - {kind} server:/drops rw"

    def test_rescans_find_what_makes_no_sound(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FileSystemEventHandler, "dispatch", lambda self, event: None)
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            for number in range(3):
                put(drops, "shop.py", f"PRICE = {number}\n")
                apply.wait(number + 1)
            assert watch._doorbell.rings  # as far as it knows

    @pytest.mark.parametrize(
        ("kind", "remote"),
        [("nfs4", True), ("cifs", True), ("9p", True), ("fuse.sshfs", True), ("ext4", False), ("overlay", False)],
    )
    def test_are_told_once(
        self,
        kind: str,
        remote: bool,
        drops: Path,
        tmp_path: Path,
        apply: Recorder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        place = str(drops.parent).replace("_", "\\137")  # they write odd characters so
        lines = ["1 1 8:1 / / rw - ext4 /dev/sda rw", "half a line", self.LINE.format(place=place, kind=kind)]
        (tmp_path / "mountinfo").write_text("\n".join([*lines, "9 9 8:1 / /elsewhere rw - nfs4 a:/b rw"]))
        monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
        with structlog.testing.capture_logs() as events:
            with Watch(apply, drops, 0.01, settle=0.0) as watch:
                put(drops, "shop.py")
                assert watch.wait_for("shop.py", LONG).applied
                put(drops, "tax.py")
                assert watch.wait_for("tax.py", LONG).applied
        told = [event["reason"] for event in events if event["event"] == "watch.troubled"]
        assert len(told) == remote
        assert all(f"({kind})" in reason for reason in told)

    def test_what_is_mounted_on_top_counts(self, drops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
        for kinds, remote in ((("nfs", "ext4"), None), (("ext4", "nfs"), "nfs")):
            lines = [self.LINE.format(place=drops, kind=kind) for kind in kinds]
            (tmp_path / "mountinfo").write_text("\n".join(lines))
            assert mounts.remote_kind(drops) == remote
        (tmp_path / "mountinfo").unlink()
        assert mounts.remote_kind(drops) is None


class TestWatchdogAsItIs:
    """What the doorbell is built around: if watchdog mends one of these, it can be simpler."""

    def observed(self, drops: Path, handle: Callable[[object], None]) -> BaseObserver:
        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: object) -> None:
                handle(event)

        observer = Observer()
        observer.schedule(Handler(), str(drops), recursive=True)
        observer.start()
        return observer

    def test_is_alive_and_dispatches_nothing_when_a_handler_raised(
        self, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So ours does nothing but ring, and what rings is an event's `set`."""
        monkeypatch.setattr(threading, "excepthook", lambda told: None)
        seen: list[object] = []

        def handle(event: object) -> None:
            seen.append(event)
            raise RuntimeError("a handler's")

        observer = self.observed(drops, handle)
        try:
            put(drops, "shop.py")
            observer.join(LONG)  # it is the thread that dispatches
            assert not observer.is_alive()
            assert all(emitter.is_alive() for emitter in observer.emitters)
            assert len(seen) == 1
        finally:
            observer.stop()

    def test_is_alive_and_its_emitter_is_not_when_its_directory_was_deleted(self, drops: Path) -> None:
        observer = self.observed(drops, lambda event: None)
        try:
            shutil.rmtree(drops)
            drops.mkdir()
            deadline = time.monotonic() + LONG
            while any(emitter.is_alive() for emitter in observer.emitters):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert observer.is_alive()
        finally:
            observer.stop()
            observer.join(LONG)

    def test_is_alive_and_deaf_when_its_directory_was_renamed(self, drops: Path) -> None:
        seen: list[object] = []
        observer = self.observed(drops, seen.append)
        try:
            drops.rename(drops.with_name("old"))
            drops.mkdir()
            seen.clear()
            put(drops, "shop.py")
            # What is put into the old directory is heard; it comes after what was put into the new one.
            put(drops.with_name("old"), "mark.py")
            deadline = time.monotonic() + LONG
            while not any("mark.py" in str(event) for event in list(seen)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert observer.is_alive()
            assert not any("shop.py" in str(event) for event in seen)
        finally:
            observer.stop()
            observer.join(LONG)
