"""A copy of the process, cut off: what it does reaches nobody, and nothing is left of it."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import fcntl
import logging
import mmap
import os
import resource
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

import hotswap
from hotswap.process_copy import can_copy

if not can_copy():
    pytest.skip("a process can't be copied here", allow_module_level=True)

from hotswap.rehearsal import Rehearsal, Rehearsed, rehearse
from hotswap.verification import CheckResult

pytestmark = pytest.mark.threads

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the memory that a process shares")


def in_a_copy(act: Callable[[], object], *, cancelled: threading.Event | None = None, **limits: Any) -> Rehearsed:
    """Do something in a copy, as the one step of a rehearsal."""
    scenes = [("act", lambda _: act())]
    cancelled = cancelled or threading.Event()
    return rehearse(Rehearsal(**limits), scenes, locks=(), cancelled=cancelled, tell=ignore)


def ignore(name: str, result: CheckResult | None) -> None:
    """No check runs in these rehearsals."""


def does(act: Callable[[], object], **limits: Any) -> Rehearsed:
    """Do something in a copy that has to go well there."""
    found = in_a_copy(act, **limits)
    assert found.verdict == "passed", f"{found.reason}\n{found.stack}"
    return found


def descriptors() -> dict[int, str]:
    found = {}
    for path in Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir():
        try:
            facts = os.fstat(int(path.name))
        except OSError:
            continue
        found[int(path.name)] = f"{facts.st_mode:o} {facts.st_dev} {facts.st_ino}"
    return found


@contextmanager
def other_threads(count: int) -> Iterator[None]:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Have another thread hold a lock."""
    has_it, end = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


class TestSockets:
    def test_a_peer_sees_nothing_and_the_connection_stays(self) -> None:
        near, far = socket.socketpair()
        with near, far:
            far.setblocking(False)

            def act() -> None:
                near.sendall(b"from the copy")
                assert near.recv(10) == b""
                near.shutdown(socket.SHUT_RDWR)
                near.close()

            in_a_copy(act)
            with pytest.raises(BlockingIOError):
                far.recv(100)
            near.sendall(b"here")
            assert far.recv(100) == b"here"

    def test_what_waits_to_be_read_is_not_taken_away(self) -> None:
        near, far = socket.socketpair()
        with near, far:
            far.sendall(b"a request")
            does(lambda: near.recv(100))
            assert near.recv(100) == b"a request"

    def test_a_listening_socket_accepts_nobody_there_and_goes_on_here(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            found = in_a_copy(server.accept)
            assert found.verdict == "failed"
            server.accept()[0].close()

    def test_an_epoll_keeps_its_list(self) -> None:
        if not hasattr(select, "epoll"):
            pytest.skip("there is no epoll here; a kqueue is not inherited")
        near, far = socket.socketpair()
        with near, far, select.epoll() as epoll:
            epoll.register(near, select.EPOLLIN)

            def act() -> None:
                with pytest.raises(OSError):
                    epoll.unregister(near)
                with pytest.raises(OSError):
                    epoll.modify(near, 0)
                epoll.close()
                near.close()

            in_a_copy(act)
            far.sendall(b"x")
            assert [handle for handle, _ in epoll.poll(0)] == [near.fileno()]

    def test_an_eventfd_is_not_emptied(self) -> None:
        if not hasattr(os, "eventfd"):
            pytest.skip("there is no eventfd here")
        handle = os.eventfd(3)
        try:
            in_a_copy(lambda: os.read(handle, 8))
            assert os.eventfd_read(handle) == 3
        finally:
            os.close(handle)

    def test_it_is_told_that_a_connection_was_used(self) -> None:
        near, far = socket.socketpair()
        with near, far:

            def act() -> None:
                near.sendall(b"select 1")
                assert near.recv(10), "the server does not answer"

            found = in_a_copy(act)
            assert found.verdict == "inconclusive"
            assert "it used a connection" in found.reason


class TestFiles:
    def test_a_log_gets_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "log.txt"
        with path.open("a") as file:
            file.write("pending, ")
            does(lambda: print("from the copy", file=file, flush=True))
            file.write("here")
        assert path.read_text() == "pending, here"

    def test_a_handler_of_the_service_rotates_nothing(self, tmp_path: Path) -> None:
        class Rotating(logging.FileHandler):
            def emit(self, record: logging.LogRecord) -> None:
                (tmp_path / "rotated").touch()

        handler = Rotating(tmp_path / "log.txt")
        logger = logging.getLogger("a.service")
        logger.addHandler(handler)
        try:
            does(lambda: logger.error("from the copy"))
        finally:
            logger.removeHandler(handler)
            handler.close()
        assert not (tmp_path / "rotated").exists()

    def test_a_position_does_not_move(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_bytes(b"0123456789")
        with (tmp_path / "data").open("rb", buffering=0) as file:
            file.seek(2)

            def act() -> None:
                assert file.read(3) == b"234"

            does(act)
            assert file.tell() == 2

    def test_a_file_to_read_and_write_stays_as_it_is(self, tmp_path: Path) -> None:
        with (tmp_path / "data").open("w+b", buffering=0) as file:
            file.write(b"0123456789")
            in_a_copy(lambda: file.write(b"from the copy"))
            in_a_copy(lambda: os.pwrite(file.fileno(), b"from the copy", 0))
            in_a_copy(lambda: os.ftruncate(file.fileno(), 0))
        assert (tmp_path / "data").read_bytes() == b"0123456789"

    def test_a_database_is_not_written_and_not_locked(self, tmp_path: Path) -> None:
        database = sqlite3.connect(tmp_path / "data.db", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            database.execute("create table prices (cents integer)")
            database.execute("insert into prices values (1)")
            before = (tmp_path / "data.db").read_bytes()
            found = in_a_copy(lambda: database.execute("insert into prices values (2)"))
            assert found.verdict == "inconclusive"
            assert "a file that was open" in found.reason
            assert (tmp_path / "data.db").read_bytes() == before
            database.execute("insert into prices values (3)")
            assert database.execute("select cents from prices").fetchall() == [(1,), (3,)]
        finally:
            database.close()

    def test_a_lock_stays_with_the_original(self, tmp_path: Path) -> None:
        with (tmp_path / "lock").open("w") as file, (tmp_path / "lock").open("w") as other:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            does(lambda: fcntl.flock(file, fcntl.LOCK_UN))
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_a_pipe_is_neither_written_nor_read(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            os.write(writing, b"here")
            does(lambda: (os.write(writing, b"there"), os.read(reading, 100)))
            assert os.read(reading, 100) == b"here"
        finally:
            os.close(reading)
            os.close(writing)

    def test_a_temporary_folder_stays_when_it_is_dropped(self, tmp_path: Path) -> None:
        held = [tempfile.TemporaryDirectory(dir=tmp_path)]
        there = Path(held[0].name)

        def act() -> None:
            held.clear()
            mine = [tempfile.TemporaryDirectory(dir=tmp_path)]
            place = Path(mine[0].name)
            with pytest.warns(ResourceWarning):
                mine.clear()
            assert not place.exists()

        does(act)
        assert there.is_dir()
        held[0].cleanup()

    def test_files_that_are_opened_there_are_ordinary_ones(self, tmp_path: Path) -> None:
        does(lambda: (tmp_path / "new").write_text("written there"))
        assert (tmp_path / "new").read_text() == "written there"


@LINUX
class TestSharedMemory:
    def test_of_no_file(self) -> None:
        with mmap.mmap(-1, 3 * mmap.PAGESIZE) as counters:
            counters[:4] = b"here"

            def act() -> None:
                assert counters[:4] == b"here"
                counters[:5] = b"there"
                assert counters[:5] == b"there"

            assert does(act).remarks == ()
            assert counters[:5] == b"here\0"

    @pytest.mark.parametrize("gone", [False, True], ids=["file", "file-that-is-gone"])
    def test_of_a_file_beyond_its_end(self, tmp_path: Path, gone: bool) -> None:
        path = tmp_path / "counters"
        with path.open("w+b") as file:
            file.write(b"here" + bytes(100))
            file.flush()
            counters = mmap.mmap(file.fileno(), 0)
        with counters:
            if gone:
                path.unlink()

            def act() -> None:
                counters[:5] = b"there"
                assert counters[:5] == b"there"

            assert does(act).remarks == ()
            assert counters[:5] == b"here\0"

    def test_a_segment_of_the_process_is_not_removed(self) -> None:
        code = """
        import threading
        from multiprocessing.shared_memory import SharedMemory
        from hotswap.rehearsal import Rehearsal, rehearse

        segment = SharedMemory(create=True, size=8)
        scenes = [("act", lambda _: segment.unlink())]
        found = rehearse(Rehearsal(), scenes, locks=(), cancelled=threading.Event(), tell=print)
        print(found.verdict, f"would have removed shared memory of the process (/{segment.name})" in found.reason)
        segment.close()
        segment.unlink()  # it is there still
        """
        assert run(code).split() == ["inconclusive", "True"]

    def test_a_segment_of_the_copy_is(self) -> None:
        def act() -> None:
            segment = SharedMemory(create=True, size=8)
            segment.close()
            segment.unlink()
            with pytest.raises(FileNotFoundError):
                SharedMemory(segment.name)

        does(act)

    def test_a_lock_of_several_processes_stays_free(self) -> None:
        code = """
        import multiprocessing, os, sys, threading
        from hotswap.rehearsal import Rehearsal, rehearse

        lock = multiprocessing.get_context("fork").Lock()

        def act(_):
            lock.acquire()
            os.kill(os.getpid(), 9)

        found = rehearse(Rehearsal(), [("act", act)], locks=(), cancelled=threading.Event(), tell=print)
        print(found.signal, lock.acquire(timeout=5))
        """
        assert run(code).split() == ["SIGKILL", "True"]


class TestQuiet:
    def test_stdout_is_written_once(self) -> None:
        code = """
        import os, sys, threading
        from hotswap.rehearsal import Rehearsal, rehearse

        sys.stdout.write("pending ")
        scenes = [("act", lambda _: print("from the copy", flush=True))]
        rehearse(Rehearsal(), scenes, locks=(), cancelled=threading.Event(), tell=print)
        sys.stdout.write("here")
        """
        assert run(code) == "pending here"

    def test_exit_handlers_are_not_called(self, tmp_path: Path) -> None:
        register = atexit.register((tmp_path / "called").touch)
        try:
            does(lambda: None)
            in_a_copy(sys.exit)
        finally:
            atexit.unregister(register)
        assert not (tmp_path / "called").exists()

    def test_handlers_of_signals_are_not_called(self, tmp_path: Path) -> None:
        before = signal.signal(signal.SIGTERM, lambda *_: (tmp_path / "called").touch())
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        signal.set_wakeup_fd(writing)
        try:
            found = in_a_copy(lambda: os.kill(os.getpid(), signal.SIGTERM))
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, before)
        assert found.signal == "SIGTERM"
        assert found.code == "killed"
        assert not (tmp_path / "called").exists()
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
        os.close(reading)
        os.close(writing)

    def test_nobody_runs_the_loop(self) -> None:
        woken: list[str] = []

        async def serve() -> None:
            loop = asyncio.get_running_loop()

            def act() -> None:
                with pytest.raises(RuntimeError):
                    asyncio.get_running_loop()
                loop.call_soon_threadsafe(woken.append, "the copy")
                assert asyncio.run(asyncio.sleep(0, "a loop of its own")) == "a loop of its own"

            does(act)
            await asyncio.sleep(0)

        asyncio.run(serve())
        assert woken == []

    def test_hooks_of_others_run_in_a_process_that_is_cut_off(self) -> None:
        code = """
        import os, sys, threading
        import hotswap
        from hotswap.rehearsal import Rehearsal, rehearse

        reading, writing = os.pipe()
        os.set_blocking(reading, False)

        def hook():
            os.write(writing, b"from a hook of the fork")
            seen.append(hotswap.rehearsing())

        seen = []
        os.register_at_fork(after_in_child=hook)

        def act(_):
            assert seen == [True]

        found = rehearse(Rehearsal(), [("act", act)], locks=(), cancelled=threading.Event(), tell=print)
        print(found.verdict, hotswap.rehearsing())
        try:
            print(os.read(reading, 100))
        except BlockingIOError:
            print("nothing")
        """
        assert run(code).split() == ["passed", "False", "nothing"]

    def test_no_events(self, capfd: pytest.CaptureFixture[str]) -> None:
        from hotswap.events import emit

        does(lambda: emit("rollout.live"))
        assert capfd.readouterr().err == ""

    def test_it_says_what_it_is(self) -> None:
        def act() -> None:
            assert hotswap.rehearsing()
            assert threading.current_thread() is threading.main_thread()

        worker = threading.Thread(target=does, args=(act,))
        worker.start()
        worker.join()
        does(act)
        assert not hotswap.rehearsing()


class TestHang:
    @pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
    def test_of_the_copying_thread_itself_in_a_lock(self, make: Callable[[], Any]) -> None:
        if sys.version_info >= (3, 14) and make is threading.RLock:
            pytest.skip("nobody else can release a reentrant lock there")
        lock = make()
        with other_threads(1), held(lock):
            found = in_a_copy(lock.acquire, time=0.5)
        assert (found.verdict, found.signal) == ("inconclusive", None)
        assert "a lock that was held when the process was copied" in found.reason

    def test_of_its_own(self) -> None:
        with held(threading.Lock()):
            found = in_a_copy(lambda: threading.Event().wait(), time=0.5)
        assert (found.verdict, found.signal) == ("timed_out", None)


class TestEnd:
    def test_nothing_is_left(self) -> None:
        does(lambda: None)
        before = descriptors()
        for act in (lambda: None, lambda: os._exit(0), lambda: ctypes.string_at(0)):
            in_a_copy(act)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert descriptors() == before

    def test_what_it_has_started_ends_with_it(self, tmp_path: Path) -> None:
        note = tmp_path / "pid"

        def act() -> None:
            note.write_text(str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid))
            os._exit(0)

        in_a_copy(act)
        gone = wait_until_gone(int(note.read_text()))
        assert gone, "what it has started goes on"

    def test_it_ends_with_the_original(self, tmp_path: Path) -> None:
        code = """
        import os, sys, threading, time
        from hotswap.rehearsal import Rehearsal, rehearse

        def act(_):
            with open(sys.argv[1] + ".part", "w") as note:
                note.write(str(os.getpid()))
            os.rename(sys.argv[1] + ".part", sys.argv[1])
            time.sleep(600)

        rehearse(Rehearsal(), [("act", act)], locks=(), cancelled=threading.Event(), tell=print)
        """
        note = tmp_path / "pid"
        service = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(note)])
        while not note.exists():
            assert service.poll() is None
            time.sleep(0.01)
        service.kill()
        service.wait()
        assert wait_until_gone(int(note.read_text())), "the copy has outlived the original"

    def test_somebody_else_waits_for_all_children(self) -> None:
        """A handler that reaps every child, as servers with workers have it: the status is gone, the news is not."""
        code = """
        import ctypes, os, signal, threading
        from hotswap.rehearsal import Rehearsal, rehearse

        reaped = []

        def reap(*_):
            try:
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    reaped.append(found)
            except ChildProcessError:
                pass

        signal.signal(signal.SIGCHLD, reap)
        for act in (lambda _: None, lambda _: os._exit(0), lambda _: ctypes.string_at(0)):
            found = rehearse(Rehearsal(), [("act", act)], locks=(), cancelled=threading.Event(), tell=print)
            print(found.verdict, found.code, found.signal)
        """
        lines = run(code).splitlines()
        assert lines == ["passed  None", "failed exited None", "failed crashed SIGSEGV"]

    def test_it_may_be_given_up(self, tmp_path: Path) -> None:
        cancelled = threading.Event()

        def act() -> None:
            (tmp_path / "begun").touch()
            threading.Event().wait()

        def give_up() -> None:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            cancelled.set()

        thread = threading.Thread(target=give_up)
        thread.start()
        found = in_a_copy(act, cancelled=cancelled)
        thread.join()
        assert (found.code, found.verdict) == ("cancelled", "error")

    def test_under_fifty_threads(self) -> None:
        with other_threads(50):
            for _ in range(5):
                assert does(lambda: len(threading.enumerate())).verdict == "passed"

    def test_where_a_child_can_not_be_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.rehearsal.director._CAN_LOOK", False)
        assert does(lambda: None).status == 0
        assert in_a_copy(lambda: os._exit(3)).status == 3
        assert in_a_copy(lambda: ctypes.string_at(0)).signal == "SIGSEGV"
        assert in_a_copy(lambda: time.sleep(600), time=0.5).code == "timed-out"
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_there_is_no_core_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = resource.getrlimit(resource.RLIMIT_CORE)
        monkeypatch.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
        try:
            assert in_a_copy(os.abort).signal == "SIGABRT"
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)
        assert list(tmp_path.iterdir()) == []

    def test_no_copy_can_be_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(os, "fork", full)
        before = descriptors()
        with pytest.raises(hotswap.RehearsalError) as caught:
            in_a_copy(lambda: None)
        assert caught.value.code == "no-copy"
        assert descriptors() == before

    def test_a_copy_that_can_not_be_cut_off_does_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError("no more descriptors")

        monkeypatch.setattr("hotswap.rehearsal.performance.guard", fail)
        found = in_a_copy((tmp_path / "done").touch)
        assert found.code == "no-copy"
        assert "no more descriptors" in found.reason
        assert not (tmp_path / "done").exists()

    def test_a_copy_that_closes_everything_is_not_taken_for_a_good_one(self) -> None:
        found = in_a_copy(lambda: os.closerange(3, 1 << 12))
        assert found.verdict == "failed"

    def test_locks_are_whole_in_the_copy(self) -> None:
        lock = threading.RLock()
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                let_go.wait()

        def act() -> None:
            assert lock.acquire(blocking=False)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        threading.Thread(target=let_go.set).start()
        found = rehearse(
            Rehearsal(), [("act", lambda _: act())], locks=(lock,), cancelled=threading.Event(), tell=ignore
        )
        thread.join()
        assert found.verdict == "passed", found.reason
        assert lock.acquire(blocking=False)
        lock.release()


def wait_until_gone(process: int) -> bool:
    """Whether a process that is to be killed is gone; a zombie that nobody waits for counts as gone."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
        if not told.stdout.strip() or told.stdout.strip().startswith("Z"):
            return True
        time.sleep(0.01)
    return False


def run(code: str) -> str:
    """Run a program of its own, and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=folder, check=False
        )
    assert found.returncode == 0, found.stderr
    return found.stdout
