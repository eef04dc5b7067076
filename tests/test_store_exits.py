"""How a process ended within a trial: what counts as a death of the patch, and what does not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import hotswap
from hotswap import Store
from hotswap.store import exits

pytestmark = [
    pytest.mark.threads,  # files, locks and subprocesses
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="there are no such signals, and no fork"),
]

LIMIT = 60.0

BEGIN = """
import os, signal, sys, threading, time
from hotswap import Store
from hotswap.store.entries import Entry
store = Store("var")
def write(state, name="two"):
    store.journal.write(Entry(id=name, name="shop", version=None, state=state, reason="", by="", why="", actor="",
        started="2026-01-01T00:00:00+00:00", changed="2026-01-01T00:00:00+00:00", given="d", digest="d"))
before = sys.exit, os._exit, signal.getsignal(signal.SIGTERM)
"""


class Ended:
    """Processes that end somehow, and what the store says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, code: str, *command: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "service.py").write_text(BEGIN + textwrap.dedent(code))
        return subprocess.run(
            [sys.executable, *(command or ("service.py",))],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def how(self) -> tuple[list[Any], int]:
        """Return how the processes have ended, and how many deaths count."""
        store = Store(self.folder / "var")
        store.journal.bury()
        connection = sqlite3.connect(store.journal.path)
        ends = [row[0] for row in connection.execute("SELECT how FROM incarnation ORDER BY how")]
        (deaths,) = connection.execute("SELECT coalesce(sum(count), 0) FROM death").fetchone()
        connection.close()
        return ends, deaths


@pytest.fixture
def service(tmp_path: Path) -> Ended:
    return Ended(tmp_path)


class TestEnd:
    @pytest.mark.parametrize(
        ("end", "status"),
        [
            ("", 0),
            ("sys.exit()", 0),
            ("sys.exit(0)", 0),
            ("try:\n    sys.exit(0)\nfinally:\n    print()", 0),
            ("try:\n    sys.exit(3)\nexcept SystemExit:\n    print()", 0),
            ("exit()", 0),
            ("threading.Thread(target=sys.exit, args=(3,)).start()", 0),
            ("os._exit(0)", 0),
            ("raise KeyboardInterrupt", -signal.SIGINT),
        ],
    )
    def test_in_good_order_does_not_count(self, service: Ended, end: str, status: int) -> None:
        done = service.run(f"write('live')\n{end}\n")
        assert (done.returncode, service.how()) == (status, (["ended"], 0)), done.stderr

    def test_by_sigterm_does_not_count_if_who_looks_first_is_killed(self, service: Ended) -> None:
        """What it has noted of its end is there for the next one."""
        service.run("write('live')\nos.kill(os.getpid(), signal.SIGTERM)\n")
        look = "from hotswap.store.journal import Journal\nbury = Journal._bury\n"
        look += "def killed(*args):\n    bury(*args)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        done = service.run(look + "Journal._bury = killed\nStore('var').journal.bury()\n")
        assert (done.returncode, service.how()) == (-signal.SIGKILL, (["stopped"], 0)), done.stderr

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            ("sys.exit(1)", 1),
            ("sys.exit('it is broken')", 1),
            ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    sys.exit(2)", 2),
            ("raise SystemExit(3)", 3),
            ("exit(4)", 4),
            ("1 / 0", 1),
            ("os._exit(5)", 5),
            ("os.abort()", -signal.SIGABRT),
            ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
            ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ],
    )
    def test_of_a_failure_counts(self, service: Ended, end: str, status: int) -> None:
        done = service.run(f"write('live')\n{end}\n")
        assert (done.returncode, service.how()) == (status, (["died"], 1)), done.stderr

    @pytest.mark.parametrize(("status", "told"), [(0, (["ended"], 0)), (1, (["died"], 1))])
    @pytest.mark.parametrize("how", ["-m service", "-m hotswap run service.py"])
    def test_is_known_however_it_was_started(
        self, service: Ended, how: str, status: int, told: tuple[list[str], int]
    ) -> None:
        done = service.run(f"write('live')\nsys.exit({status})\n", *how.split())
        assert (done.returncode, service.how()) == (status, told)

    def test_by_a_raised_exit_is_known_to_a_launch(self, service: Ended) -> None:
        done = service.run("write('live')\nraise SystemExit\n", *["-m", "hotswap", "run", "service.py"])
        assert (done.returncode, service.how()) == (0, (["ended"], 0))


class TestSigterm:
    @pytest.mark.parametrize(
        ("where", "handler", "status"),
        [
            ("write('live')", "", -signal.SIGTERM),
            ("t = threading.Thread(target=write, args=('live',)); t.start(); t.join()", "", -signal.SIGTERM),
            ("write('live')", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))", 9),
            ("write('live')", "def stop(*_): raise SystemExit\nsignal.signal(signal.SIGTERM, stop)", 0),
        ],
    )
    def test_does_not_count(self, service: Ended, where: str, handler: str, status: int) -> None:
        """Nor does it change how the process ends: the supervisor sees what it has always seen."""
        done = service.run(f"{handler}\n{where}\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n")
        assert (done.returncode, service.how()) == (status, (["stopped"], 0)), done.stderr

    def test_reaches_whoever_handles_it(self, service: Ended) -> None:
        done = service.run("""
            came = []
            signal.signal(signal.SIGTERM, lambda *_: came.append(1))
            write("live")
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            write("permanent")
            os.kill(os.getpid(), signal.SIGTERM)
            print(came)
        """)
        assert done.stdout == "[1, 1, 1]\n"

    def test_of_a_handler_that_came_meanwhile_is_left_to_it(self, service: Ended) -> None:
        done = service.run("""
            came = []
            write("live")
            signal.signal(signal.SIGTERM, lambda *_: came.append(1))
            write("permanent")
            write("live", "three")
            os.kill(os.getpid(), signal.SIGTERM)
            print(came)
        """)
        assert (done.returncode, done.stdout) == (0, "[1]\n")

    def test_that_is_ignored_stays_so(self, service: Ended) -> None:
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwrite('live')\nos.kill(os.getpid(), signal.SIGTERM)\n"
        service.run(ignore + "os.kill(os.getpid(), signal.SIGKILL)\n")
        assert service.how() == (["died"], 1)

    def test_of_a_child_is_not_that_of_its_parent(self, service: Ended) -> None:
        service.run("""
            write("live")
            for _ in range(20):  # some of them before they know that they are children
                child = os.fork()
                if not child:
                    time.sleep(60)
                os.kill(child, signal.SIGTERM)
                assert os.waitpid(child, 0)[1] == signal.SIGTERM
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
            os.kill(os.getpid(), signal.SIGKILL)
        """)
        assert service.how() == (["died"], 1)


class TestChild:
    CHILD = """
        import multiprocessing
        def work(status):
            write("live", str(os.getpid()))
            open(f"ready-{{os.getpid()}}", "w").close()  # and it listens for signals
            {end}
        if __name__ == "__main__":
            write("live")
            child = multiprocessing.get_context("{method}").Process(target=work, args=({status},))
            child.start()
            {then}
            child.join()
            print(child.exitcode)
    """

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    @pytest.mark.parametrize(("status", "told"), [(0, (["ended", "ended"], 0)), (1, (["died", "ended"], 1))])
    def test_of_multiprocessing_is_judged_by_its_status(
        self, service: Ended, method: str, status: int, told: tuple[list[str], int]
    ) -> None:
        code = self.CHILD.format(method=method, status=status, end="sys.exit(status)", then="")
        done = service.run(code)
        assert (done.stdout, service.how()) == (f"{status}\n", told), done.stderr

    def test_that_the_parent_ends_does_not_count(self, service: Ended) -> None:
        then = "while not os.path.exists(f'ready-{child.pid}'): time.sleep(0.01)"
        then += "\n            child.terminate()"
        done = service.run(self.CHILD.format(method="fork", status=0, end="time.sleep(60)", then=then))
        ends, deaths = service.how()
        assert (done.stdout, deaths) == ("-15\n", 0), ends


class TestTrial:
    def test_leaves_nothing_when_it_is_over(self, service: Ended) -> None:
        done = service.run("""
            import inspect
            def now():
                return sys.exit, os._exit, signal.getsignal(signal.SIGTERM)
            for state in ("permanent", "rejected", "rolled_back"):
                write("staged", state)
                write("live", state + "!")
                assert now() != before
                assert inspect.signature(sys.exit) == inspect.signature(before[0])
                assert (sys.exit.__name__, sys.exit.__doc__) == ("exit", before[0].__doc__)
                write(state, state)
                assert now() != before
                write(state, state + "!")
                assert now() == before
            print("over")
        """)
        assert done.stdout == "over\n", done.stderr

    def test_leaves_what_somebody_has_put_over_it(self, service: Ended) -> None:
        done = service.run("""
            write("live")
            ours = sys.exit
            sys.exit = theirs = lambda status=None: ours(status)
            write("permanent")
            assert sys.exit is theirs
            sys.exit(3)
        """)
        assert done.returncode == 3, done.stderr

    @pytest.mark.parametrize(
        ("note", "told"),
        [
            (b"", None),
            (b"ended\n", "ended"),
            (b"Stack (most recent call first):\n", "stopped"),
            (b"x ended\n", "ended"),
        ],
    )
    def test_is_told_by_what_was_noted(self, note: bytes, told: str | None) -> None:
        assert exits.told_by(note) == told
