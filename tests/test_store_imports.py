"""What is held against a version at a start on it, and what says nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import hotswap
from tests.test_store_boot import BEGIN, Service
from tests.test_store_starts import CIRCULAR, LOWERED, RATE, START, confirm, fails, rows, start
from tests.test_store_starts import service as service

pytestmark = [pytest.mark.threads, pytest.mark.slow]  # each test starts some processes

FRESH = "import os\nLIMIT = 1\ndef rate(): return 16\nexec(os.environ.get('FRESH', ''))\n"

LOOK = f"{LOWERED}{START}"
"""A process that looks at the store, for which a start is good at once."""

LAZY = """
import threading
LIMIT = 1
_local = threading.local()
def rate(): return 16
def connect(): raise ConnectionError("no database")
def connection():
    try: return _local.connection
    except AttributeError:
        _local.connection = connect()
        return _local.connection
"""


def assert_stays(service: Service) -> None:
    status, said = start(service, RATE)
    assert (status, "rate 16" in said) == (0, True), said
    assert rows(service, "SELECT state FROM rollout WHERE version = '2.0'") == [("permanent",)]


def assert_comes_down(service: Service) -> None:
    assert "rate 19" in start(service, RATE)[1]
    assert rows(service, "SELECT state FROM rollout WHERE version = '2.0'") == [("died",)]


class TestWhatIsHeldAgainstIt:
    def test_is_not_what_the_service_lacks_where_something_is_made_at_the_first_use(self, service: Service) -> None:
        confirm(service, tax=LAZY)
        fails(service, "import shop\nshop.tax.connection()\n", "no database")
        assert_stays(service)

    def test_is_not_a_wrong_argument(self, service: Service) -> None:
        """`argparse` makes what a type raises into an end of the program."""
        confirm(service, tax="LIMIT = 1\ndef rate(): return 16\ndef parsed(text): return None + text\n")
        program = "import argparse, shop\nparser = argparse.ArgumentParser()\n"
        program += "parser.add_argument('rate', type=shop.tax.parsed)\nparser.parse_args(['1'])\n"
        fails(service, program, "invalid parsed value")
        assert_stays(service)

    def test_is_what_a_server_makes_of_it(self, service: Service) -> None:
        """As uvicorn does it: what it raises in an `except` block is an error of its own."""
        confirm(service, tax="def rate(): return 16\n")
        program = "import shop\ntry: shop.tax.LIMIT\nexcept AttributeError: raise RuntimeError('no such app')\n"
        fails(service, program, "no such app")
        assert_comes_down(service)

    def test_is_not_what_was_put_over_it(self, service: Service) -> None:
        confirm(service, tax="LIMIT = 1\ndef rate(): return 16\n")
        patch = "hotswap.Patch.from_sources({'shop.tax': 'LIMIT = 1\\ndef rate(): return undefined\\n'}, '3.0')"
        fails(
            service,
            f"import shop\nhotswap.Patcher(['shop'], store='var').apply({patch})\nshop.rate()\n",
            "name 'undefined' is not defined",
        )
        assert_stays(service)

    def test_is_not_what_the_same_program_does_well_in_between(self, service: Service) -> None:
        confirm(service, tax=FRESH + "def report(): return None + 1\n")
        program = "import os, shop\nif os.environ['DATA'] == 'odd': shop.tax.report()\n"
        for data in ("odd", "good", "odd"):
            start(service, program, DATA=data)
        assert_stays(service)
        start(service, program, DATA="odd")
        assert_comes_down(service)

    def test_is_so_whatever_another_program_does_well_in_between(self, service: Service) -> None:
        confirm(service, tax=FRESH)
        for fresh in ("raise ValueError", "", "raise ValueError"):
            start(service, RATE if fresh else "import shop.tax\n", FRESH=fresh)
        assert_comes_down(service)

    def test_is_known_also_if_nobody_looks_for_long(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        for _ in range(2):
            start(service, RATE)
            age(service, seconds=3600)
        assert_comes_down(service)

    @pytest.mark.parametrize(("took", "state"), [(1, "permanent"), (30, "died"), (3600, "permanent")])
    def test_is_an_import_that_hangs_until_nobody_waits_any_more(
        self, service: Service, took: float, state: str
    ) -> None:
        """Not one that is young, as somebody may restart a service; nor an old one, from within which it may serve."""
        confirm(service, tax=FRESH)
        path = os.pathsep.join([str(Path(hotswap.__file__).parent.parent), str(service.folder)])
        env = {**os.environ, "PYTHONPATH": path, "FRESH": "print(flush=True); import time; time.sleep(60)"}
        for _ in range(2):
            command = [sys.executable, "-c", f"{START}import shop"]
            with subprocess.Popen(command, cwd=service.folder, env=env, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None and process.stdout.readline() == b"\n"
                process.send_signal(signal.SIGTERM)
            assert process.returncode == -signal.SIGTERM
            age(service, seconds=took)
            start(service, "")
        assert rows(service, "SELECT state FROM rollout") == [(state,)]

    def test_is_so_where_two_rollouts_come_up_side_by_side(self, service: Service) -> None:
        """A patcher of both has one finder show them."""
        service.write("ware/__init__.py", "from ware.size import size\n")
        service.write("ware/size.py", "def size(): return 1\n")
        service.run("""
            import ware
            patch = hotswap.Patch.from_sources({"ware.size": "def size(): return 2\\n"}, "1.1")
            hotswap.Patcher(["ware"], store="var").apply(patch).confirm()
        """)
        confirm(service, tax=CIRCULAR)
        program = "patcher = hotswap.Patcher(['shop', 'ware'], store='var')\nimport shop, ware\nprint(ware.size())\n"
        fails(service, program, "circular import")
        status, said = start(service, program + RATE)
        assert (status, said.startswith("2\nrate 19")) == (0, True), said

    def test_is_so_where_a_server_forks_its_workers_anew(self, service: Service) -> None:
        """Whatever they die of: as gunicorn does it for signals, and the supervisor of uvicorn for all."""
        confirm(service, tax=FRESH)
        child = "    if not os.fork():\n        import shop\n        print('rate', shop.rate())\n        sys.exit()\n"
        program = f"import os, sys\nfor _ in range(4):\n{child}    os.wait()\n"
        status, said = start(service, program, FRESH="os.abort()")
        assert (status, said.count("rate 19")) == (0, 2), said
        assert_comes_down(service)


class TestAGoodStart:
    @pytest.mark.parametrize("end", ["sys.exit(1)", "os._exit(1)", "raise ValueError"])
    def test_is_known_of_what_fails_later(self, service: Service, end: str) -> None:
        confirm(service, tax=FRESH)
        assert start(service, f"import os, shop, sys\n{end}\n")[0] == 1
        service.raw("-c", LOOK)
        assert rows(service, "SELECT outcome FROM start") == [("good",)]

    def test_is_known_as_soon_as_another_process_looks(self, service: Service) -> None:
        """Nobody has died."""
        confirm(service, tax=FRESH)
        program = f"import os, shop, subprocess, sys\nsubprocess.run([sys.executable, '-c', {LOOK!r}], check=True)\n"
        start(service, program + "os.kill(os.getpid(), 9)\n")
        assert rows(service, "SELECT outcome FROM start") == [("good",)]

    def test_is_not_one_since_the_clock_was_set(self, service: Service) -> None:
        confirm(service, tax=FRESH)
        start(service, "import os, shop\nos._exit(1)\n")
        age(service, seconds=3600, clock=True)
        start(service, "")
        assert rows(service, "SELECT outcome FROM start") == []

    def test_is_known_also_when_the_rollout_is_forgotten(self, service: Service) -> None:
        """Two workers have made the same permanent, one after the other."""
        first = f"{BEGIN}\npatcher().apply(sources('2.0', tax={FRESH!r})).confirm()\n"
        service.run(f"""
            import subprocess
            for program in {[first, LOOK + RATE]!r}:
                subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
            patcher().apply(sources("2.0", tax={FRESH!r})).confirm()
            hotswap.Store("var", keep=1).tidy()
        """)
        assert rows(service, "SELECT count(*) FROM rollout") == [(1,)]
        fails(service, "import shop\n", "ValueError", FRESH="raise ValueError")
        assert_stays(service)


class TestNotes:
    def test_are_not_written_into_a_file_that_is_not_ours(self, service: Service) -> None:
        """A daemon closes all handles; the next file that it opens has the number of one of them."""
        confirm(service, tax=FRESH, late="def late(): return 3\n")
        program = "import os, shop, sys\nos.closerange(3, 200)\n"
        program += "files = [open(f'data{number}', 'w') for number in range(20)]\nimport shop.late\n"
        program += "print([os.fstat(file.fileno()).st_size for file in files], flush=True)\nos._exit(0)\n"
        status, said = start(service, program)
        assert (status, said) == (0, f"{[0] * 20}\n"), said

    def test_do_without_a_loader_that_is_copied(self, service: Service) -> None:
        confirm(service, tax=FRESH)
        program = "import copy, importlib.util, shop, sys\ndel sys.modules['shop.tax']\n"
        program += (
            "loader = copy.copy(importlib.util.find_spec('shop.tax').loader)\nprint(loader.get_filename('shop.tax'))\n"
        )
        status, said = start(service, program)
        assert (status, Path(said.strip()).name) == (0, "tax.py"), said


def age(service: Service, *, seconds: float, clock: bool = False) -> None:
    """Have what dead processes have noted be older; or only what came before the last note, as if the clock was set."""
    for path in (service.folder / "var/running").glob("*.start"):
        notes = [json.loads(line) for line in path.read_text().splitlines()]
        for note in notes[: -1 if clock else None]:
            note["at"] = (datetime.fromisoformat(note["at"]) - timedelta(seconds=seconds)).isoformat()
            note["up"] -= 0 if clock else seconds
        path.write_text("".join(f"{json.dumps(note)}\n" for note in notes))
