"""A safe drop: whole or not at all, whatever happens meanwhile; and what becomes of it."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.cli import main
from hotswap.errors import HotswapError, LoadError
from hotswap.watching import push
from hotswap.watching.seats import Seat
from tests.test_watching import LONG, NEVER, Recorder, Watch, put, wheel

pytestmark = pytest.mark.threads


@pytest.fixture
def build(tmp_path: Path) -> Path:
    directory = tmp_path / "build"
    directory.mkdir()
    return directory


def built_file(build: Path, content: str = "PRICE = 1\n") -> Path:
    path = build / "shop.py"
    path.write_text(content)
    return path


def built_folder(build: Path) -> Path:
    for name, text in {"hotswap.toml": "", "__init__.py": "X = 1\n", "inner/prices.py": "Y = 1\n"}.items():
        path = build / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (build / "shop" / "__pycache__").mkdir()
    return build / "shop"


def built_signed(build: Path) -> Path:
    name, data = wheel("shop", "1.3", {"shop/__init__.py": ""})
    for suffix in (".minisig", ".toml", ".toml.minisig"):
        (build / f"{name}{suffix}").write_text(suffix)
    (build / name).write_bytes(data)
    return build / name


def tree(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


class TestPush:
    def test_a_file(self, build: Path, drops: Path) -> None:
        pushed = push(built_file(build), drops)
        assert pushed.path == drops / "shop.py"
        assert tree(drops) == {"shop.py": b"PRICE = 1\n"}

    def test_in_the_place_of_another(self, build: Path, drops: Path) -> None:
        push(built_file(build), drops)
        push(built_file(build, "PRICE = 2\n"), drops)
        assert tree(drops) == {"shop.py": b"PRICE = 2\n"}

    def test_a_file_with_what_belongs_to_it_first(
        self, build: Path, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        renamed: list[str] = []
        replace = Path.replace

        def note(self: Path, target: Path) -> Path:
            renamed.append(target.name)
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", note)
        name = built_signed(build).name
        push(build / name, drops)
        assert renamed == [f"{name}.toml", f"{name}.toml.minisig", f"{name}.minisig", name]
        assert tree(drops) == tree(build)

    def test_a_folder_and_its_marker_last(self, build: Path, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            pushed = push(built_folder(build), drops)
            assert watch.wait_for("shop", LONG).applied
            assert [outcome.drop for outcome in pushed.wait(LONG)[0]] == ["shop"]
        assert sorted(tree(drops)) == [
            "shop.go",
            "shop.live",
            "shop/__init__.py",
            "shop/hotswap.toml",
            "shop/inner/prices.py",
        ]

    def test_a_folder_whose_marker_lies_there_already(self, build: Path, drops: Path, apply: Recorder) -> None:
        (drops / "shop.go").touch()
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            push(built_folder(build), drops)
            assert watch.wait_for("shop", LONG).applied

    def test_nobody_else_may_write_to_it(self, build: Path, drops: Path) -> None:
        path, folder = built_file(build), built_folder(build)
        for each in (path, folder, folder / "inner", folder / "inner" / "prices.py"):
            each.chmod(0o777)
        before = os.umask(0)
        try:
            push(path, drops)
            push(folder, drops)
        finally:
            os.umask(before)
        for each in (drops / "shop.py", drops / "shop", drops / "shop/inner", drops / "shop/inner/prices.py"):
            assert each.stat().st_mode & 0o777 == 0o755


class TestRefuses:
    def refused(self, source: Path, drops: Path, says: str) -> None:
        before = tree(drops)
        with pytest.raises(HotswapError, match=says):
            push(source, drops)
        assert tree(drops) == before

    @pytest.mark.parametrize("name", [".shop.py", "_shop.py", "shop.py.live", "shop.whl.part"])
    def test_a_name_that_is_passed_by(self, name: str, build: Path, drops: Path) -> None:
        self.refused(build / name, drops, "passes by")

    def test_what_is_not_there(self, build: Path, drops: Path) -> None:
        self.refused(build / "shop.py", drops, "No such file")

    def test_what_is_no_patch(self, build: Path, drops: Path) -> None:
        (build / "shop.tar.gz").touch()
        self.refused(build / "shop.tar.gz", drops, "is no patch")

    def test_a_directory_that_is_not_there(self, build: Path, tmp_path: Path) -> None:
        with pytest.raises(HotswapError, match="is no directory"):
            push(built_file(build), tmp_path / "dorps")
        assert not (tmp_path / "dorps").exists()

    def test_a_folder_where_there_is_one(self, build: Path, drops: Path) -> None:
        push(built_folder(build), drops)
        self.refused(build / "shop", drops, "there is a folder shop in .* already")

    def test_a_folder_without_a_manifest(self, build: Path, drops: Path) -> None:
        (built_folder(build) / "hotswap.toml").unlink()
        self.refused(build / "shop", drops, r"without a hotswap\.toml")

    def test_a_folder_with_a_link(self, build: Path, drops: Path, tmp_path: Path) -> None:
        (built_folder(build) / "linked").symlink_to(tmp_path)
        self.refused(build / "shop", drops, "is a link to a folder")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe(self, build: Path, drops: Path) -> None:
        os.mkfifo(build / "shop.py")
        self.refused(build / "shop.py", drops, "is no file")

    @pytest.mark.parametrize(
        ("suffix", "what"), [(".toml", "manifest"), (".minisig", "signature"), (".toml.minisig", "signature")]
    )
    def test_a_file_that_would_get_what_belongs_to_another(
        self, suffix: str, what: str, build: Path, drops: Path
    ) -> None:
        source = built_signed(build)
        push(source, drops)
        (build / f"{source.name}{suffix}").unlink()
        self.refused(source, drops, f"there is a {what}")


BUILT: dict[str, Callable[[Path], Path]] = {"file": built_file, "folder": built_folder, "signed": built_signed}


class TestWhatBreaks:
    @pytest.mark.parametrize("kind", BUILT)
    def test_a_full_disk_leaves_nothing(
        self, kind: str, build: Path, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At each of the steps that make sure that the bytes are on disk."""
        source = BUILT[kind](build)
        put(drops, "shop.py", "PRICE = 0\n")
        before, fsync, left = tree(drops), os.fsync, 0

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        for steps in range(99):
            left = steps
            with pytest.raises(HotswapError, match="No space left on device"):
                push(source, drops)
            if tree(drops) != before:
                break  # the last step is that of the names: by then the drop is there, whole
        assert steps == {"file": 1, "folder": 5, "signed": 4}[kind]
        assert not [path for path in tree(drops) if path.endswith(".part")]
        assert tree(build).items() <= {**tree(drops)}.items()

    @pytest.mark.parametrize("kind", BUILT)
    def test_a_kill_leaves_nothing_under_the_name(self, kind: str, build: Path, drops: Path, apply: Recorder) -> None:
        source = BUILT[kind](build)
        script = (
            "import os, sys, signal\n"
            "from hotswap.watching import push\n"
            "left, fsync = int(sys.argv[3]), os.fsync\n"
            "def dying(descriptor):\n"
            "    global left\n"
            "    left -= 1\n"
            "    if left < 0:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    fsync(descriptor)\n"
            "os.fsync = dying\n"
            "push(sys.argv[1], sys.argv[2])\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)}
        put(drops, "shop.py", "PRICE = 0\n")
        before = tree(drops)
        for steps in {"file": (0,), "folder": (0, 2, 4), "signed": (0, 3)}[kind]:
            command = [sys.executable, "-c", script, str(source), str(drops), str(steps)]
            died = subprocess.run(command, env=environment, timeout=LONG, check=False)
            assert died.returncode == -signal.SIGKILL
            seen = {path: data for path, data in tree(drops).items() if not path.startswith(".")}
            assert seen == before
        watch = Watch(apply, drops, settle=0.0)
        watch.scan()
        assert [outcome.drop for outcome in watch.scan()] == ["shop.py"]
        if kind != "file":
            push(source, drops)
            watch.scan()
            assert [outcome.drop for outcome in watch.scan()] == [source.name]

    def test_nobody_ever_sees_a_half(self, build: Path, drops: Path) -> None:
        """A reader that looks all the time sees one content or the other."""
        contents = {f"X = {number}\n" * 200_000 for number in (1, 2)}
        push(built_file(build, min(contents)), drops)
        seen: list[int] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                seen.append((drops / "shop.py").read_text() in contents)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(20):
                push(built_file(build, sorted(contents)[number % 2]), drops)
        finally:
            done.set()
            reader.join(LONG)
        assert seen
        assert all(seen)


class TestCommand:
    def test_drops(self, build: Path, drops: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["push", str(built_file(build)), str(drops)]) == 0
        assert capsys.readouterr().out == f"dropped {drops / 'shop.py'}\n"

    def test_for_programs(self, build: Path, drops: Path, apply: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
        with Watch(apply, drops, NEVER, settle=0.0, name="blue"):
            assert main(["push", "--json", "--wait", "20", str(built_file(build)), str(drops)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["exit"], found["complete"], found["path"]) == (0, True, str(drops / "shop.py"))
        assert [(one["name"], one["applied"]) for one in found["outcomes"]] == [("blue", True)]
        assert main(["push", "--json", "nothing.py", str(drops)]) == 1
        assert json.loads(capsys.readouterr().out)["exit"] == 1

    def test_says_what_can_not_be_dropped(self, drops: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["push", "nothing.py", str(drops)]) == 1
        assert "No such file" in capsys.readouterr().err

    def test_waits_for_what_becomes_of_it(
        self, build: Path, drops: Path, apply: Recorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Watch(apply, drops, NEVER, settle=0.0, name="blue"):
            assert main(["push", "--wait", "20", str(built_file(build)), str(drops)]) == 0
            told = capsys.readouterr().out.splitlines()
            assert told[1].startswith("blue: shop 1.2.0+hot.1 is live, ")
            apply.fails(LoadError("it broke", advice="mend it"))
            assert main(["push", "--wait", "20", str(built_file(build, "X = 2\n")), str(drops)]) == 1
            assert capsys.readouterr().out.splitlines()[1] == "blue: it broke; what to do: mend it"

    def test_is_told_of_the_same_bytes_again(
        self, build: Path, drops: Path, apply: Recorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Watch(apply, drops, NEVER, settle=0.0):
            for _ in range(2):
                assert main(["push", "--wait", "20", str(built_file(build)), str(drops)]) == 0
        assert apply.count == 1

    def test_is_told_that_something_else_is_live_over_the_same_bytes(
        self, build: Path, drops: Path, make_package: Callable[..., ModuleType], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Whoever pushes what was live an hour ago wants it back: he must not hear that it is live."""
        package = make_package({"__init__.py": "", "a.py": "PRICE = 0\n", "b.py": "PRICE = 0\n"})
        for name in ("a", "b"):
            importlib.import_module(f"{package.__name__}.{name}")

        def pushed(name: str, price: int) -> tuple[int, str]:
            path = build / name
            path.write_text(f"PRICE = {price}\n")
            status = main(["push", "--wait", "20", str(path), str(drops)])
            return status, capsys.readouterr().out.splitlines()[1]

        patcher = hotswap.Patcher([package.__name__])
        with patcher.watch(drops, single_files=True, name="blue"):
            long, short = f"{package.__name__}.a.py", "a.py"
            assert pushed(long, 1)[0] == 0
            assert pushed(f"{package.__name__}.b.py", 5)[0] == 0
            assert pushed(long, 1)[0] == 0  # what is live beside it takes nothing away
            assert pushed(short, 2)[0] == 0
            status, told = pushed(long, 1)
            assert (status, package.a.PRICE) == (1, 2)
            assert "is live over it by now: it is not applied again" in told
            assert json.loads((drops / f"{long}.live").read_text())["code"] == "superseded"
            patcher.rollback()
            assert pushed(long, 1)[0] == 0
            assert package.a.PRICE == 1
            assert json.loads((drops / f"{long}.live").read_text())["code"] is None

    def test_waits_in_vain(self, build: Path, drops: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (drops / "shop.py.live").write_text("{}")  # of an earlier drop
        assert main(["push", "--wait", "0.1", str(built_file(build)), str(drops)]) == 3
        assert capsys.readouterr().out.splitlines()[1] == "nobody has said in 0.1 s what became of it"

    def test_says_what_the_drop_waits_for(
        self, build: Path, drops: Path, apply: Recorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = built_folder(build)
        with Watch(apply, drops, 0.01, settle=0.0):
            pushed = push(folder, drops)
            assert pushed.wait(LONG)[1]
            (drops / "shop.go").unlink()
            deadline = time.monotonic() + LONG
            while pushed.waits_for() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert "waiting for an empty file shop.go" in str(pushed.waits_for())

    def test_waits_for_every_process(self, build: Path, drops: Path, apply: Recorder, tmp_path: Path) -> None:
        """Two processes: the other is one that has a seat, and says nothing for a while."""
        seat: Any = Seat(drops)
        with Watch(apply, drops, NEVER, settle=0.0):
            seat.name = "slow"
            seat.keep()
            try:
                pushed = push(built_file(build), drops)
                said, everybody = pushed.wait(1.0)
                assert [outcome.applied for outcome in said] == [True]
                assert not everybody
            finally:
                seat.leave()
            assert pushed.wait(LONG)[1]

    @pytest.mark.parametrize("seconds", ["-1", "nan", "x"])
    def test_refuses_what_makes_no_sense(self, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["push", "--wait", seconds, "a.py", "drops"])
        assert ended.value.code == 2
