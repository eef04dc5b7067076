"""The control socket: who may connect, who has connected, what is left of dead processes, and of forks."""

from __future__ import annotations

import getpass
import itertools
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from hotswap import HotswapError, Patcher
from hotswap.admin import Access
from hotswap.control import ControlSocket
from hotswap.control.peers import Peer, admits
from tests.cli.conftest import environment
from tests.waiting import until

pytestmark = pytest.mark.threads

_serial = itertools.count(1)


@pytest.fixture
def patcher(make_package: Callable[..., ModuleType]) -> Patcher:
    name = f"controlled{next(_serial)}"
    make_package({"__init__.py": "V = 1\n"}, name=name)
    return Patcher([name])


@contextmanager
def client(path: Path) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://h", timeout=60) as made:
        yield made


def status_of(path: Path) -> int:
    with client(path) as http:
        return http.get("/versions").status_code


class TestWho:
    def test_the_account_may_do_everything(self, patcher: Patcher, short: Path) -> None:
        with ControlSocket(patcher, short / "run" / "s") as control, client(control.path) as http:
            assert http.get("/").json()["who"] == getpass.getuser()
            assert http.get("/").json()["rights"] == ["read", "write"]

    def test_others_may_nothing(self) -> None:
        access = admits(Peer(os.geteuid() + 1, 0, 1, "somebody"))
        assert (access.who, access.read, access.write) == ("somebody", False, False)
        assert admits(Peer(0, 0, 1, "root")).write

    def test_an_application_may_say_otherwise(self, patcher: Patcher, short: Path) -> None:
        seen: list[Peer] = []

        async def authorize(peer: Peer) -> Access | None:
            seen.append(peer)
            return Access("reader") if len(seen) == 1 else None

        with ControlSocket(patcher, short / "s", authorize=authorize), client(short / "s") as http:
            assert http.post("/undo").status_code == 403
            assert http.get("/versions").status_code == 401
        assert [(peer.uid, peer.gid) for peer in seen] == [(os.geteuid(), os.getegid())] * 2
        if sys.platform == "linux":
            assert seen[0].pid == os.getpid()


class TestPlace:
    @pytest.mark.parametrize("mode", [0o600, 0o660])
    def test_has_its_mode_whatever_the_umask_is(self, mode: int, patcher: Patcher, short: Path) -> None:
        before = os.umask(0)
        try:
            with ControlSocket(patcher, short / "s", mode=mode):
                assert stat.S_IMODE((short / "s").stat().st_mode) == mode
                assert os.umask(0) == 0
        finally:
            os.umask(before)
        assert sorted(path.name for path in short.iterdir()) == ["s.lock"]

    def test_nobody_connects_before_it_has_its_mode(
        self, patcher: Patcher, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes = []
        chmod = Path.chmod

        def look(self: Path, mode: int) -> None:
            modes.append((self.parent.stat().st_mode & 0o777, (short / "s").exists()))
            chmod(self, mode)

        monkeypatch.setattr(Path, "chmod", look)
        with ControlSocket(patcher, short / "s"):
            assert modes == [(0o700, False)]

    def test_a_live_one_is_refused(self, patcher: Patcher, short: Path) -> None:
        with ControlSocket(patcher, short / "s"):
            with pytest.raises(HotswapError, match="another process, or another socket of this one"):
                ControlSocket(patcher, short / "s").start()
            assert status_of(short / "s") == 200
        assert not (short / "s").exists()

    def test_one_of_somebody_else_is_refused(self, patcher: Patcher, short: Path) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(short / "s"))
            other.listen()
            with pytest.raises(HotswapError, match="another process"):
                ControlSocket(patcher, short / "s").start()
        assert (short / "s").is_socket()

    def test_a_file_is_refused(self, patcher: Patcher, short: Path) -> None:
        (short / "s").write_text("precious")
        with pytest.raises(HotswapError, match="is no socket"):
            ControlSocket(patcher, short / "s").start()
        assert (short / "s").read_text() == "precious"

    def test_a_name_that_does_not_fit_is_refused(self, patcher: Patcher, short: Path) -> None:
        with pytest.raises(HotswapError, match="too long for a socket"):
            ControlSocket(patcher, short / ("s" * 110)).start()
        assert [path for path in short.iterdir() if path.is_dir()] == []

    def test_what_a_dead_process_left_is_replaced(self, patcher: Patcher, short: Path) -> None:
        script = (
            "import os, signal, sys, hotswap, packaging.version\n"
            "from hotswap.control import ControlSocket\n"
            "ControlSocket(hotswap.Patcher(['packaging']), sys.argv[1]).start()\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        subprocess.run([sys.executable, "-c", script, str(short / "s")], env=environment(), check=False)
        assert (short / "s").is_socket()
        with ControlSocket(patcher, short / "s"):
            assert status_of(short / "s") == 200

    def test_arguments_that_make_no_sense(self, patcher: Patcher, short: Path) -> None:
        with pytest.raises(ValueError, match="mode"):
            ControlSocket(patcher, short / "s", mode=0o1777)
        wrong: Any = "somebody"
        with pytest.raises(TypeError, match="authorize"):
            ControlSocket(patcher, short / "s", authorize=wrong)


class TestLife:
    def test_begins_again(self, patcher: Patcher, short: Path) -> None:
        control = ControlSocket(patcher, short / "s")
        for _ in range(2):
            with control:
                assert status_of(short / "s") == 200
                with pytest.raises(HotswapError, match="already"):
                    control.start()
        control.stop()
        assert "hotswap control" not in {thread.name for thread in threading.enumerate()}

    def test_one_who_follows_events_does_not_hold_it_up(self, patcher: Patcher, short: Path) -> None:
        with client(short / "s") as http:
            with ControlSocket(patcher, short / "s"), http.stream("GET", "/events") as answer:
                assert next(answer.iter_lines()) == "retry: 2000"
            assert "hotswap control" not in {thread.name for thread in threading.enumerate()}

    def test_the_process_ends_and_takes_the_name_along(self, short: Path) -> None:
        script = (
            "import sys, hotswap, packaging.version\n"
            "from hotswap.control import ControlSocket\n"
            "ControlSocket(hotswap.Patcher(['packaging']), sys.argv[1]).start()\n"
        )
        command = [sys.executable, "-c", script, str(short / "s")]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert not (short / "s").exists()

    def test_logging_of_the_service_is_left_alone(self, patcher: Patcher, short: Path) -> None:
        import logging

        loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.access", "uvicorn.error")]
        before = [(one.level, one.handlers[:], one.propagate) for one in loggers]
        with ControlSocket(patcher, short / "s"):
            status_of(short / "s")
            assert [(one.level, one.handlers[:], one.propagate) for one in loggers] == before


FORKS = """
import os, sys
import hotswap, packaging.version
from hotswap.control import ControlSocket

path = sys.argv[1]
patcher = hotswap.Patcher(["packaging"])
control = ControlSocket(patcher, path).start()
child = os.fork()
if child == 0:
    own = ControlSocket(patcher, path + ".child").start()
    os.write(1, b"ready\\n")
    sys.stdin.read()
    own.stop()
    sys.exit(0)  # with all that is to be done at the exit of a process
os.write(1, f"{child}\\n".encode())
sys.stdin.read(1)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
class TestForks:
    def test_a_child_neither_answers_nor_removes(self, short: Path) -> None:
        path = short / "s"
        command = [sys.executable, "-c", FORKS, str(path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines = {process.stdout.readline(), process.stdout.readline()}
            assert b"ready\n" in lines
            assert (status_of(path), status_of(Path(f"{path}.child"))) == (200, 200)
            process.stdin.write(b"x")
            process.stdin.flush()
            process.wait(30)
            # The parent is dead: nobody holds its socket open, nor its lock.
            with socket.socket(socket.AF_UNIX) as asking, pytest.raises(ConnectionRefusedError):
                asking.connect(str(path))
            assert status_of(Path(f"{path}.child")) == 200
            process.stdin.close()
            assert until(lambda: not Path(f"{path}.child").exists())
            assert path.is_socket()  # what is not its own
