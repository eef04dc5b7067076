"""Several processes that watch one directory: each applies the drops, and each reports under its own name."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import hotswap
from hotswap.errors import HotswapError
from hotswap.watching import Outcome, seats
from hotswap.watching.seats import Seat, own_name, taken_seats
from tests import waiting
from tests.test_watching import LONG, NEVER, Recorder, Watch, marker, put, put_folder, settle

if sys.platform == "win32":
    pytest.skip("there is no flock", allow_module_level=True)

pytestmark = pytest.mark.threads

WORKER = """
import sys
from types import SimpleNamespace
from hotswap import errors
from hotswap.watching import Watch, ledger

live = []
tried = 0

def apply(patch):
    global tried
    tried += 1
    if "--fails" in sys.argv or b"fails" in b"".join(patch.files.values()):
        raise errors.LoadError("no")
    facts = {"id": f"r{len(live)}", "patch": patch, "version": "1.0", "state": "live", "reason": "by hand"}
    live.append(SimpleNamespace(**facts, bake=None))
    return live[-1]

name = next((argument for argument in sys.argv[2:] if argument != "--fails"), None)
with Watch(apply, sys.argv[1], 0.05, settle=0.0, single_files=True, name=name):
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "tried":
            print(tried, flush=True)
            continue
        ledger.follow(live[-1])
        print("rolled back", flush=True)
"""


class Worker:
    """A process of its own that watches a directory."""

    def __init__(self, drops: Path, *arguments: str, fails: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(drops), *arguments, *["--fails"] * fails],
            env={**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = arguments[0] if arguments else own_name().rpartition("-")[0] + f"-{self.process.pid}"
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def roll_back(self) -> None:
        assert self._ask("") == "rolled back"

    def tried(self) -> int:
        """How many drops it has tried to apply."""
        return int(self._ask("tried"))

    def _ask(self, what: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(LONG) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LONG)


Start = Callable[..., Worker]


@pytest.fixture
def start(drops: Path) -> Iterator[Start]:
    with begin_workers(drops) as begin:
        yield begin


@contextlib.contextmanager
def begin_workers(drops: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str, fails: bool = False) -> Worker:
            worker = Worker(drops, *arguments, fails=fails)
            for stream in (worker.process.stdin, worker.process.stdout):
                assert stream is not None
                stack.callback(stream.close)
            stack.callback(worker.kill)
            return worker

        yield begin


def until(holds: Callable[[], Any]) -> Any:
    found = waiting.until(holds, LONG)
    assert found
    return found


def told(drops: Path) -> list[str]:
    return sorted(path.name for path in drops.iterdir() if path.suffix in {".live", ".failed", ".pending"})


class TestThreeProcesses:
    def test_each_reports_under_its_own_name(self, drops: Path, start: Start) -> None:
        first, second, third = start(), start(), start("blue")
        path = put(drops, "shop.py")
        expected = sorted(["shop.py.live", f"shop.py.{second.name}.live", "shop.py.blue.live"])
        until(lambda: told(drops) == expected)
        facts = {
            worker: marker(path, infix)
            for worker, infix in ((first, "live"), (second, f"{second.name}.live"), (third, "blue.live"))
        }
        for worker, fact in facts.items():
            assert (fact["process"], fact["name"], fact["state"]) == (worker.process.pid, worker.name, "live")
        assert len({fact["digest"] for fact in facts.values()}) == 1
        assert taken_seats(drops) == sorted(["", f".{second.name}", ".blue"], key=lambda name: f".hotswap{name}.lock")

        put(drops, "bad.py", "# fails\n")
        put_folder(drops, "later", {"__init__.py": ""}, go=False)
        names = ["", f".{second.name}", ".blue"]
        for drop, kind in (("bad.py", "failed"), ("later", "pending")):
            expected = sorted(f"{drop}{name}.{kind}" for name in names)
            self.until_told(drops, expected)
        assert not any(name.startswith("bad") and name.endswith(".live") for name in told(drops))

    def until_told(self, drops: Path, expected: list[str]) -> None:
        until(lambda: {*expected} <= {*told(drops)})

    def test_one_that_rolls_back_speaks_for_itself_only(self, drops: Path, start: Start) -> None:
        first, second, third = start("red"), start("green"), start("blue")
        put(drops, "shop.py")
        until(lambda: len(told(drops)) == 3)
        second.roll_back()
        assert told(drops) == ["shop.py.blue.live", "shop.py.green.failed", "shop.py.live"]
        first.roll_back()
        assert told(drops) == ["shop.py.blue.live", "shop.py.failed", "shop.py.green.failed"]
        third.roll_back()
        assert told(drops) == ["shop.py.blue.failed", "shop.py.failed", "shop.py.green.failed"]

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_the_first_that_goes_is_followed_by_another(self, end: str, drops: Path, start: Start) -> None:
        first, second = start("red"), start("green")
        path = put(drops, "shop.py")
        put_folder(drops, "later", {"__init__.py": ""}, go=False)
        until(lambda: len(told(drops)) == 4)
        getattr(first, end)()
        until(lambda: told(drops) == ["later.pending", "shop.py.live"])
        until(lambda: marker(path, "live")["name"] == "green")
        assert marker(path, "live")["process"] == second.process.pid
        until(lambda: marker(drops / "later", "pending")["name"] == "green")
        third = start("blue")
        until(lambda: "shop.py.blue.live" in told(drops))
        assert taken_seats(drops) == [".blue", ""]
        assert marker(path, "blue.live")["process"] == third.process.pid

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_reports_of_those_that_are_gone_are_cleared_away(self, end: str, drops: Path, start: Start) -> None:
        start("red")
        second, _ = start("green"), start("blue")
        put(drops, "shop.py")
        until(lambda: len(told(drops)) == 3)
        getattr(second, end)()
        until(lambda: told(drops) == ["shop.py.blue.live", "shop.py.live"])
        until(lambda: not (drops / ".hotswap.green.lock").exists())

    def test_two_of_one_name_are_told_apart(self, drops: Path, start: Start) -> None:
        start("web")
        second, third = start("web"), start("web")
        put(drops, "shop.py")
        expected = sorted(["shop.py.live", "shop.py.web.live", f"shop.py.web-{third.process.pid}.live"])
        until(lambda: told(drops) == expected)
        assert marker(drops / "shop.py", "web.live")["process"] == second.process.pid

    def test_a_new_one_says_itself_what_it_takes_from_the_first(self, drops: Path, start: Start) -> None:
        """It does not try what was rolled back there; and it does not hold its tongue."""
        first = start("red")
        put(drops, "shop.py")
        until(lambda: told(drops) == ["shop.py.live"])
        first.roll_back()
        start("green")
        until(lambda: told(drops) == ["shop.py.failed", "shop.py.green.failed"])
        assert marker(drops / "shop.py", "green.failed")["state"] == "rolled_back"

    def test_the_directory_is_another_one(self, drops: Path, start: Start) -> None:
        start("red"), start("green")
        put(drops, "shop.py")
        until(lambda: len(told(drops)) == 2)
        drops.rename(drops.with_name("old"))
        drops.mkdir()
        put(drops, "tax.py")
        until(lambda: [name for name in told(drops) if "tax" in name and name.endswith(".live")][1:])
        assert "tax.py.live" in told(drops)
        assert len(taken_seats(drops)) == 2


class TestSeats:
    def test_leave_no_file_and_no_descriptor(self, drops: Path, apply: Recorder) -> None:
        open_before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        with Watch(apply, drops, settle=0.0) as watch:
            put(drops, "shop.py")
            watch.wait_for("shop.py", LONG)
            assert (drops / ".hotswap.lock").exists()
        assert sorted(path.name for path in drops.iterdir()) == ["shop.py", "shop.py.live"]
        if sys.platform == "linux":
            assert len(list(Path("/proc/self/fd").iterdir())) == open_before

    def test_who_waits_does_not_ring(self, drops: Path, apply: Recorder, start: Start) -> None:
        """To look for the first seat must not wake the others, or they would wake each other for ever."""
        start("red"), start("green")
        rung: list[str] = []
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            until(lambda: len(taken_seats(drops)) == 3)
            watch._doorbell._ring = lambda: rung.append("rung")  # heard by the next observer only
            watch._doorbell.close()
            watch._doorbell.tend()
            put(drops, ".mark")
            until(lambda: rung)
            deadline, heard = time.monotonic() + LONG, -1
            while len(rung) != heard:  # for ten looks of the others
                assert time.monotonic() < deadline, f"{len(rung)} times"
                heard = len(rung)
                time.sleep(0.5)

    @pytest.mark.parametrize("name", ["", "a.b", "a/b", "a b", "ä", 3, "whl", "py"])
    def test_refuses_what_is_no_name(self, name: Any, drops: Path, apply: Recorder) -> None:
        with pytest.raises(HotswapError, match="can't be named"):
            Watch(apply, drops, name=name)

    def test_a_directory_that_can_not_be_locked(
        self, drops: Path, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        with structlog.testing.capture_logs() as events:
            with Watch(apply, drops, 0.01, settle=0.0, name="blue") as watch:
                put(drops, "shop.py")
                assert watch.wait_for("shop.py", LONG).applied
                put(drops, "tax.py")
                assert watch.wait_for("tax.py", LONG).applied
        assert told(drops) == ["shop.py.blue.live", "tax.py.blue.live"]
        reasons = [event["reason"] for event in events if event["event"] == "watch.troubled"]
        assert reasons == [
            "it can't be locked ([Errno 37] No locks available); each process reports under a name of its own"
        ]

    def test_a_file_system_that_locks_only_what_is_open_for_writing(
        self, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NFS does."""
        import fcntl

        flock = fcntl.flock

        def strict(descriptor: int, operation: int) -> None:
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY and operation & fcntl.LOCK_EX:
                raise OSError(errno.EBADF, "Bad file descriptor")
            flock(descriptor, operation)

        monkeypatch.setattr("fcntl.flock", strict)
        seat, other = Seat(drops), Seat(drops)
        with seat.taken(), other.taken():
            assert (seat.infix, other.infix) == ("", f".{own_name()}")
        assert seats.taken_seats(drops) == []

    def test_after_its_watch_has_ended_a_process_still_tells_of_a_rollback(
        self, make_package: Callable[..., Any], drops: Path, start: Start
    ) -> None:
        package = make_package({"__init__.py": "PRICE = 1\n"})
        patcher = hotswap.Patcher([package.__name__])
        drop = f"{package.__name__}.py"
        with patcher.watch(drops, single_files=True) as watch:
            put(drops, drop, "PRICE = 2\n")
            assert watch.wait_for(drop, LONG).applied
        patcher.rollback()
        assert told(drops) == [f"{drop}.failed"]

    def test_that_end_as_another_drop_does_take_no_report_of_that(self, drops: Path, start: Start) -> None:
        first = start("red")
        put_folder(drops, "rates-1.2", {"rates/__init__.py": ""})
        until(lambda: told(drops) == ["rates-1.2.live"])
        second = start("2")
        until(lambda: told(drops) == ["rates-1.2.2.live", "rates-1.2.live"])
        second.stop()
        until(lambda: not (drops / ".hotswap.2.lock").exists())
        assert told(drops) == ["rates-1.2.live"]
        first.stop()

    def test_of_a_drop_whose_name_another_continues_leave_its_report(self, drops: Path, apply: Recorder) -> None:
        """`rates-1` of the process `2`, and `rates-1.2` of the first."""
        with Seat(drops).taken():
            (drops / "rates-1.2.failed").write_text(Outcome.ignored("rates-1.2", "no").to_json())
            put_folder(drops, "rates-1", {"rates/__init__.py": ""})
            with Watch(apply, drops, settle=0.0, name="2") as watch:
                assert watch.wait_for("rates-1", LONG).applied
            assert "rates-1.2.failed" in told(drops)

    @pytest.mark.parametrize("name", [".hotswap.lock", ".hotswap.blue.lock"])
    def test_are_for_their_owner_only(self, name: str, drops: Path) -> None:
        with contextlib.ExitStack() as stack:
            if "blue" in name:
                stack.enter_context(Seat(drops).taken())
            seat = Seat(drops)
            seat.name = "blue"
            stack.enter_context(seat.taken())
            assert (drops / name).stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("name", [".hotswap.lock", ".hotswap.blue.lock"])
    def test_that_others_could_have_taken_are_made_anew(self, name: str, drops: Path) -> None:
        import fcntl

        with contextlib.ExitStack() as stack:
            if "blue" in name:
                stack.enter_context(Seat(drops).taken())
            (drops / name).touch()
            (drops / name).chmod(0o644)
            stranger = stack.enter_context((drops / name).open())
            fcntl.flock(stranger, fcntl.LOCK_EX)
            seat = Seat(drops)
            seat.name = "blue"
            stack.enter_context(seat.taken())
            assert seat.infix == (".blue" if "blue" in name else "")
            assert (drops / name).stat().st_mode & 0o777 == 0o600
            assert seats.taken_seats(drops) == sorted({"", seat.infix}, reverse=True)

    def test_are_taken_as_they_are_where_there_are_no_modes(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        (drops / ".hotswap.lock").touch()
        (drops / ".hotswap.lock").chmod(0o666)
        monkeypatch.setattr("os.fchmod", refuse)
        with Seat(drops).taken():
            other = Seat(drops)
            with other.taken():
                assert other.infix == f".{own_name()}"

    def test_that_can_not_be_opened_count_as_taken(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever pushes as another user waits for them."""

        def refuse(*args: Any) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        with Seat(drops).taken():
            monkeypatch.setattr(seats, "_opened_as_it_is", refuse)
            assert taken_seats(drops) == [""]
            monkeypatch.undo()

    def test_a_marker_of_nobody_is_left_alone(self, drops: Path, apply: Recorder) -> None:
        """Only what was reported from a seat is cleared away with it."""
        (drops / "shop.py.else.live").write_text("{}")
        (drops / ".hotswap.gone.lock").touch()
        (drops / "shop.py.gone.live").write_text(Outcome.ignored("shop.py", "no").to_json())
        (drops / "tax.py.gone.live").write_text("{}")
        settle(Watch(apply, drops, settle=0.0))
        assert told(drops) == ["shop.py.else.live", "tax.py.gone.live"]
        assert not (drops / ".hotswap.gone.lock").exists()
