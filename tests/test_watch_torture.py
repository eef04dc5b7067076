"""What file systems, kernels and orchestrators do to a watched directory, against the real watchdog."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from tests.test_watching import LONG, NEVER, Recorder, Watch, marker, put

pytestmark = pytest.mark.threads


@pytest.fixture
def apply() -> Recorder:
    return Recorder()


@pytest.fixture
def drops(tmp_path: Path) -> Path:
    directory = tmp_path / "drops"
    directory.mkdir()
    return directory


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
