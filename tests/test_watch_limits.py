"""What a drop may cost whoever watches: large files, large folders, strange times, slow writers, full disks."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import pytest

import hotswap
from hotswap.patch import Patch
from hotswap.patch.contents import MAX_SIZE
from hotswap.watching import ledger, looks, owed, scanning, writers
from hotswap.watching.bounds import OPEN
from hotswap.watching.outcome import Outcome, write_marker
from hotswap.watching.owed import Owed
from tests.test_watching import LONG, NEVER, Clock, Recorder, Watch, marker, markers, put, put_folder, put_wheel, settle
from tests.waiting import until

pytestmark = pytest.mark.threads


@pytest.fixture
def by_hand(apply: Recorder, drops: Path) -> Watch:
    return Watch(apply, drops, settle=0.0)


class TestLargeDrops:
    def large(self, drops: Path, name: str = "core-9.9-py3-none-any.whl") -> Path:
        path = put(drops, name)
        os.truncate(path, MAX_SIZE + 1)  # a hole: it takes no room on the disk
        return path

    @pytest.mark.parametrize("name", ["core-9.9-py3-none-any.whl", "core.py"])
    def test_are_refused_unread_and_stop_nothing_else(
        self, name: str, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[Path] = []
        whole = Path.open

        def remembered(path: Path, *arguments: Any, **named: Any) -> IO[Any]:
            opened.append(path)
            found: IO[Any] = whole(path, *arguments, **named)
            return found

        monkeypatch.setattr(Path, "open", remembered)
        path = self.large(drops, name)
        put_wheel(drops, "shop", "1.1")
        settle(by_hand)
        assert "is too large" in marker(path, "failed")["reason"]
        assert apply.names == ["shop 1.1"]
        assert path not in opened

    def test_are_judged_once(self, drops: Path, apply: Recorder) -> None:
        path = self.large(drops)
        settle(Watch(apply, drops, settle=0.0))
        first = marker(path, "failed")
        settle(Watch(Recorder(), drops, settle=0.0))
        assert marker(path, "failed") == first
        assert first["digest"] == looks.look_at(path).stamp

    def test_are_read_in_pieces_up_to_there(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(looks, "_PIECE", 3)
        monkeypatch.setattr(looks, "MAX_SIZE", 20)
        digests = {looks.digest_of(put(drops, "shop.whl", data)) for data in (b"1234567", b"1234568", b"123456", b"")}
        assert None not in digests
        assert len(digests) == 4
        assert looks.digest_of(put(drops, "shop.whl", b"x" * 20)) is not None
        assert looks.digest_of(put(drops, "shop.whl", b"x" * 21)) is None
        put_folder(drops, "shop", {"a.py": "x" * 12, "b.py": "x" * 12})
        assert looks.digest_of(drops / "shop") is None

    def test_that_grow_while_they_are_read_are_left(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = put(drops, "shop.whl", b"x" * 21)
        facts = put(drops, "other.whl", b"x").stat()
        monkeypatch.setattr(looks, "MAX_SIZE", 20)
        monkeypatch.setattr(looks, "_entries", lambda *_, **__: iter([("", path, facts)]))
        assert looks.digest_of(path) is None

    def test_without_memory_for_them_wait(
        self, drops: Path, by_hand: Watch, apply: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, small = put(drops, "shop.py"), put_wheel(drops, "shop", "1.1")
        whole = Patch.from_path

        def scarce(place: Path, **named: Any) -> Patch:
            if place == path:
                raise MemoryError
            return whole(place, **named)

        with monkeypatch.context() as context:
            context.setattr(Patch, "from_path", scarce)
            settle(by_hand)
            assert apply.names == ["shop 1.1"]
            assert "MemoryError" in marker(path, "pending")["reason"]
        by_hand.scan()
        assert markers(drops) == [f"{small.name}.live", "shop.py.live"]


class TestLargeFolders:
    def test_that_nobody_called_complete_are_not_entered(self, drops: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (drops / "usr").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        listed: list[Path] = []

        class Listing(type(drops)):  # type: ignore[misc]  # the class of paths is one of two
            def iterdir(self) -> Any:
                listed.append(self)
                return super().iterdir()

        for names in (None, {"usr"}):
            look = looks.look_at(Listing(drops / "usr"), OPEN, names)
            assert look.lacks is not None
            assert "waiting for an empty file usr.go" in look.lacks
        assert listed == []
        (drops / "usr.go").touch()
        for names in (None, {"usr", "usr.go"}):
            listed.clear()
            assert looks.look_at(Listing(drops / "usr"), OPEN, names).lacks is None
            assert listed


class TestTimes:
    def test_that_lie_in_the_future_are_certain_once_they_stay(self, drops: Path) -> None:
        clock = Clock()
        scanner = scanning.Scanner(drops, scanning.SETTLE, clock)
        path = put(drops, "shop.py")
        os.utime(path, (time.time() + 10**8,) * 2)
        scanner.scan()
        clock.now += 1
        (drop,), _ = scanner.scan()
        scanner.handled(drop)
        assert not drop.certain
        clock.now += scanning._COARSE
        (drop,), _ = scanner.scan()
        scanner.handled(drop)
        assert drop.certain
        assert scanner.scan() == ([], None)
        path.write_text("PRICE = 2\n")
        os.utime(path, (time.time() + 10**8,) * 2)
        scanner.scan()
        clock.now += 1
        assert [one.name for one in scanner.scan()[0]] == ["shop.py"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
class TestOpenForWriting:
    def test_is_waited_for_and_stops_nothing_else(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        path = drops / "shop.py"
        with path.open("w") as file:
            file.write("PRICE = 1\n")
            file.flush()
            put_wheel(drops, "shop", "1.1")
            settle(by_hand)
            by_hand.scan()
            assert apply.names == ["shop 1.1"]
            assert marker(path, "pending")["reason"] == "shop.py is still open for writing: waiting until it is closed"
            file.write("PRICE = 2\n")
        settle(by_hand)
        assert apply.names == ["shop 1.1", "shop"]
        assert b"PRICE = 2" in b"".join(apply.patches[-1].files.values())
        assert markers(drops) == ["shop-1.1-py3-none-any.whl.live", "shop.py.live"]
        assert not (drops / "shop.py.pending").exists()

    def test_its_end_rings(self, drops: Path, apply: Recorder) -> None:
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            with (drops / "shop.py").open("w") as file:
                file.write("PRICE = 1\n")
                file.flush()
                assert until((drops / "shop.py.pending").exists, LONG)
            assert watch.wait_for("shop.py", LONG).applied

    def test_what_was_live_stays_so(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        path = put(drops, "shop.py")
        settle(by_hand)
        with path.open("a"):
            by_hand.scan()
            assert (drops / "shop.py.live").exists()
            assert (drops / "shop.py.pending").exists()
        settle(by_hand)
        assert not (drops / "shop.py.pending").exists()
        assert apply.count == 1

    def test_what_had_failed_is_told_again(self, drops: Path, by_hand: Watch, apply: Recorder) -> None:
        apply.fails(hotswap.LoadError("no"))
        path = put(drops, "shop.py")
        settle(by_hand)
        with path.open("a"):
            by_hand.scan()
            assert not (drops / "shop.py.failed").exists()
            again = Recorder()
            settle(Watch(again, drops, settle=0.0))  # as a new process would
        settle(by_hand)
        assert markers(drops) == ["shop.py.failed"]
        settle(Watch(again, drops, settle=0.0))
        assert (apply.count, again.count) == (1, 0)

    def test_readers_and_what_is_closed_do_not_count(self, drops: Path) -> None:
        path = put(drops, "shop.py")
        with path.open():
            assert not writers.is_open_for_writing(path)
        with path.open("a"):
            assert writers.is_open_for_writing(path)
        assert not writers.is_open_for_writing(path)

    def test_a_mapping_counts_as_long_as_it_lasts(self, drops: Path) -> None:
        path = put(drops, "shop.py")
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), 0)
        assert writers.is_open_for_writing(path)
        mapped.close()
        assert not writers.is_open_for_writing(path)

    def test_what_is_no_file_is_not_opened(self, drops: Path, tmp_path: Path) -> None:
        os.mkfifo(drops / "shop.py")
        (drops / "link.py").symlink_to(put(tmp_path, "aside.py"))
        with (tmp_path / "aside.py").open("a"):
            for name in ("shop.py", "link.py", "missing.py"):
                assert not writers.is_open_for_writing(drops / name)

    def test_nothing_is_asked_where_somebody_handles_the_signal(self, drops: Path) -> None:
        path = put(drops, "shop.py")
        before = signal.signal(signal.SIGURG, lambda *_: None)
        try:
            with path.open("a"):
                assert not writers.is_open_for_writing(path)
        finally:
            signal.signal(signal.SIGURG, before)

    @pytest.mark.parametrize("refusal", [errno.EACCES, errno.EINVAL, errno.ENOLCK])
    def test_nothing_is_said_where_there_are_no_leases(
        self, refusal: int, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(refusal, os.strerror(refusal))

        path = put(drops, "shop.py")
        monkeypatch.setattr("fcntl.fcntl", refuse)
        assert not writers.is_open_for_writing(path)

    def test_nothing_is_said_on_a_network_file_system(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """NFS refuses a lease with the same error when its server has not granted one."""
        path = put(drops, "shop.py")
        monkeypatch.setattr(writers, "remote_kind", lambda _: "nfs4")
        with path.open("a"):
            assert not writers.is_open_for_writing(path)

    def test_who_opens_it_at_that_moment_waits_and_nobody_dies(
        self, drops: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel tells who has a lease, by a signal that would end the process if it were SIGIO."""
        path = put(drops, "shop.py")
        fcntl = pytest.importorskip("fcntl")
        real, done = fcntl.fcntl, threading.Event()

        def write() -> None:
            with path.open("a"):
                done.set()

        writer = threading.Thread(target=write)

        def slow(descriptor: int, command: int, argument: Any = 0) -> Any:
            found = real(descriptor, command, argument)
            if command == fcntl.F_SETLEASE and argument == fcntl.F_RDLCK:
                writer.start()
                # It is being broken: the kernel says so as soon as the writer has come as far as that.
                assert until(lambda: real(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK, LONG)
                assert not done.is_set()
            return found

        monkeypatch.setattr("fcntl.fcntl", slow)
        assert not writers.is_open_for_writing(path)
        writer.join(LONG)
        assert done.is_set()


class TestUnfinishedMarkers:
    def test_of_the_dead_are_removed(self, drops: Path, by_hand: Watch) -> None:
        """SIGKILL leaves them; those of the living are younger."""
        old, young, foreign = (
            drops / f".hotswap-{name}.tmp" for name in ("0" * 32, "1" * 32, "not one of ours"[:15] + "0" * 17)
        )
        for path in (old, young, foreign):
            path.write_text("{")
        for path in (old, foreign):
            os.utime(path, (1, 1))
        by_hand.start()
        by_hand.stop()
        assert [path for path in (old, young, foreign) if path.exists()] == [young, foreign]


class TestOwedMarkers:
    @pytest.fixture
    def full(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """A disk that is full as long as there is a number in this list, the number of the error."""
        trouble: list[int] = []
        whole = write_marker

        def write(*arguments: Any) -> None:
            if trouble:
                raise OSError(trouble[0], os.strerror(trouble[0]))
            whole(*arguments)

        monkeypatch.setattr("hotswap.watching.ledger.write_marker", write)
        return trouble

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
    def test_are_written_when_there_is_room(
        self, number: int, drops: Path, by_hand: Watch, apply: Recorder, full: list[int]
    ) -> None:
        full.append(number)
        put(drops, "shop.py")
        put(drops, "_shop.py")
        put_folder(drops, "shop", {"__init__.py": ""}, go=False)
        settle(by_hand)
        by_hand.scan()
        assert markers(drops) == []
        full.clear()
        by_hand.scan()
        assert markers(drops) == ["_shop.py.failed", "shop.py.live"]
        assert (drops / "shop.pending").exists()
        assert apply.count == 1

    def test_of_a_rollback_too(self, drops: Path, by_hand: Watch, apply: Recorder, full: list[int]) -> None:
        put(drops, "shop.py")
        settle(by_hand)
        full.append(errno.ENOSPC)
        ledger.follow(self.record())
        assert markers(drops) == ["shop.py.live"]
        full.clear()
        by_hand.scan()
        assert markers(drops) == ["shop.py.failed"]
        again = Recorder()
        settle(Watch(again, drops, settle=0.0))
        assert again.count == 0

    def record(self) -> Any:
        return type("Record", (), {"id": "r1", "state": "rolled_back", "reason": "by hand"})

    def test_are_tried_by_the_watch_itself(self, drops: Path, apply: Recorder, full: list[int]) -> None:
        full.append(errno.ENOSPC)
        with Watch(apply, drops, 0.05, settle=0.0) as watch:
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).applied
            full.clear()
            assert until((drops / "shop.py.live").exists, LONG)

    def test_are_tried_a_last_time_when_the_watch_ends(self, drops: Path, apply: Recorder, full: list[int]) -> None:
        full.append(errno.ENOSPC)
        with Watch(apply, drops, NEVER, settle=0.0) as watch:
            put(drops, "shop.py")
            assert watch.wait_for("shop.py", LONG).applied
            full.clear()
        assert markers(drops) == ["shop.py.live"]

    def outcome(self, drop: str, state: str, digest: str = "d") -> Outcome:
        found = Outcome.pending(drop, "why", digest)
        error = "LoadError" if state == "rejected" else None
        return Outcome(drop, digest, None, None, state, "why", error, 1, found.time)

    def paid(self, owed: Owed, failing: dict[str, int] | None = None) -> list[str]:
        told: list[str] = []

        def write(outcome: Outcome) -> OSError | None:
            number = (failing or {}).get(outcome.drop)
            if number is not None:
                owed.owe(outcome)
                return OSError(number, "no")
            told.append(f"{outcome.drop} {outcome.state}")
            owed.told(outcome)
            return None

        owed.pay(write)
        return told

    def test_are_the_latest_of_each_drop(self) -> None:
        owed = Owed()
        for state in ("live", "rolled_back", "live", "pending"):
            owed.owe(self.outcome("a", state))
        for state in ("live", "pending", "rejected"):
            owed.owe(self.outcome("b", state))
        for state in ("rejected", "pending"):
            owed.owe(self.outcome("c", state))
        owed.owe(self.outcome("d", "live"))
        owed.told(self.outcome("d", "rolled_back"))
        owed.owe(self.outcome("e", "pending"))
        owed.forget("e")
        assert self.paid(owed) == ["a live", "a pending", "b rejected", "c pending"]
        assert owed.left() is None

    def test_are_tried_less_and_less_often(self) -> None:
        clock = Clock()
        owed = Owed(clock)
        assert owed.left() is None
        owed.owe(self.outcome("a", "live"))
        waits = []
        for _ in range(9):
            waits.append(owed.left())
            clock.now += waits[-1] or 0.0
            assert self.paid(owed, {"a": errno.ENOSPC}) == []
        assert waits[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
        assert waits[-1] == pytest.approx(30.0)

    def test_one_that_can_never_be_written_keeps_none_waiting(self) -> None:
        owed = Owed()
        for drop in ("a", "b", "c"):
            owed.owe(self.outcome(drop, "live"))
        assert self.paid(owed, {"a": errno.ENAMETOOLONG, "b": errno.ENOSPC}) == []
        assert self.paid(owed, {"a": errno.ENAMETOOLONG}) == ["c live", "b live"]

    def test_have_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(owed, "_MOST", 3)
        some = Owed()
        for drop, state in (("a", "rolled_back"), ("b", "pending"), ("c", "live"), ("d", "live"), ("e", "live")):
            some.owe(self.outcome(drop, state))
        assert self.paid(some) == ["c live", "d live", "e live"]
