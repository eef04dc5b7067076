"""The first start on a permanent version: what can't be started is taken back, and nothing else is."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_store_boot import BEGIN, Service

pytestmark = [pytest.mark.threads, pytest.mark.slow]  # each test starts some processes

CONFIRM = """
patcher().apply(sources("{version}", **{modules!r})).confirm()
"""
CIRCULAR = "from shop.web import hello\nLIMIT = 1\ndef rate(): return 16\n"
"""Beside what is live this loads. Afresh `shop` imports `tax`, which imports `web`, which asks `tax` for `rate`."""

START = "import hotswap\nbooted = hotswap.boot('var')\n"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    service = Service(tmp_path)
    service.write("shop/web.py", "from shop.tax import rate\ndef hello(): return rate()\n")
    return service


def confirm(service: Service, version: str = "2.0", **modules: str) -> None:
    """Have a patch live, and permanent, in a process that was started without it."""
    service.run(CONFIRM.format(version=version, modules=modules))


def start(service: Service, code: str, **env: str) -> tuple[int, str]:
    """Start the service once; return how it ended, and what it said."""
    done = service.raw("-c", START + code, **env)
    return done.returncode, done.stdout + done.stderr


def rows(service: Service, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(service.folder / "var/journal.db")
    found = connection.execute(query).fetchall()
    connection.close()
    return found


RATE = "import shop\nprint('rate', shop.rate())\n"


LOWERED = "from datetime import timedelta\nfrom hotswap.store import starts\nstarts.GOOD = timedelta(seconds=-1)\n"
"""A start is good at once."""


def fails(service: Service, code: str, why: str, **env: str) -> None:
    """Start the service twice, and have it fail."""
    for _ in range(2):
        status, said = start(service, code, **env)
        assert status and why in said, said


def assert_taken_back(service: Service, why: str) -> None:
    for _ in range(2):
        status, said = start(service, RATE)
        assert (status, "rate 19" in said) == (0, True), said
    ((state, reason),) = rows(service, "SELECT state, reason FROM rollout")
    assert state == "died"
    assert "2 processes that came up on it could not start" in reason and why in reason, reason
    assert rows(service, "SELECT quarantined FROM death") == [(reason,)]


class TestIsTakenBack:
    def test_what_cannot_be_imported_afresh(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        fails(service, RATE, "circular import")
        assert_taken_back(service, "when it could not import shop.tax of it (ImportError: cannot import name 'rate'")

    def test_and_told(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        assert "store.died" not in start(service, RATE)[1]
        said = start(service, RATE)[1]
        assert "store.died" in said and "quarantined=False" in said, said
        said = start(service, RATE)[1]
        assert "store.died" in said and "quarantined=True" in said, said
        assert "store.died" not in start(service, RATE)[1]

    def test_what_dies_while_it_is_imported(self, service: Service) -> None:
        confirm(service, tax="import os\nLIMIT = 1\ndef rate(): return 16\nos.environ.get('FRESH') and os.abort()\n")
        for _ in range(2):
            assert start(service, RATE, FRESH="yes")[0] == -6
        assert_taken_back(service, "died at its start, while it imported shop.tax of it")

    def test_what_the_program_does_not_fit_to(self, service: Service) -> None:
        confirm(service, tax="def rate(): return 16\n")
        fails(service, "from shop.tax import LIMIT\n", "cannot import name 'LIMIT'")
        assert_taken_back(service, "when the program did not fit to shop.tax of it (ImportError: cannot import name")

    def test_what_a_server_could_not_load(self, service: Service) -> None:
        """As gunicorn does it: it logs what it was, and ends with a status."""
        confirm(service, tax="def rate(): return 16\n")
        program = "import shop.tax, sys\ntry: shop.tax.LIMIT\nexcept Exception as error: print(error); sys.exit(3)\n"
        fails(service, program, "no attribute 'LIMIT'")
        assert_taken_back(service, "when the program did not fit to shop.tax of it (AttributeError: module 'shop.tax'")

    def test_what_breaks_at_once(self, service: Service) -> None:
        confirm(service, tax="LIMIT = 1\ndef rate(): return RATE\n")
        fails(service, RATE, "name 'RATE' is not defined")
        assert_taken_back(service, "when the program did not fit to shop.tax of it (NameError: name 'RATE'")

    def test_in_a_forked_worker(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        program = "import os, sys\nif (child := os.fork()) == 0:\n    import shop\nsys.exit(os.waitpid(child, 0)[1])\n"
        for _ in range(2):
            assert start(service, program)[0] == 0  # 256, of which a parent is told the lower byte
        assert_taken_back(service, "when it could not import shop.tax of it")

    def test_by_the_hook(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        folder = subprocess.run(
            [sys.executable, "-m", "hotswap", "hook"], capture_output=True, text=True, check=True
        ).stdout.strip()
        service.write("main.py", f"import sys\nsys.path.insert(0, {str(service.folder)!r})\n{RATE}")
        path = f"{folder}:{Path(__file__).parent.parent}"
        for said in ("circular", "circular", "rate 19", "rate 19"):
            done = service.raw("main.py", PYTHONPATH=path, HOTSWAP_STORE="var")
            assert said in done.stdout + done.stderr

    def test_to_the_version_below(self, service: Service) -> None:
        confirm(service, "2.0", tax="LIMIT = 1\ndef rate(): return 17\n")
        confirm(service, "3.0", tax=CIRCULAR)
        fails(service, RATE, "circular import")
        status, said = start(service, RATE)
        assert (status, "rate 17" in said) == (0, True), said
        assert rows(service, "SELECT version, state FROM rollout ORDER BY number") == [
            ("2.0", "permanent"),
            ("3.0", "died"),
        ]

    def test_and_is_refused_until_it_is_released(self, service: Service) -> None:
        confirm(service, tax=CIRCULAR)
        fails(service, RATE, "circular import")
        again = f"""
            try: patcher().apply(sources("2.0", tax={CIRCULAR!r}))
            except hotswap.QuarantinedError as error: say(error=str(error))
        """
        assert "could not start" in service.run(again)["error"]
        service.run(f"""
            patch = sources("2.0", tax={CIRCULAR!r})
            say(released=hotswap.Store("var").release(patch.digest), live=patcher().apply(patch).state)
        """)


class TestStays:
    """What other failures say nothing against."""

    @pytest.fixture
    def service(self, service: Service) -> Service:
        confirm(service, tax="import os\nLIMIT = 1\ndef rate(): return 16\nexec(os.environ.get('FRESH', ''))\n")
        return service

    @pytest.mark.parametrize(
        ("program", "fresh"),
        [
            pytest.param("import shop, sys; sys.exit(1)", "", id="a status that is a failure"),
            pytest.param("import shop, os; os._exit(1)", "", id="a hard end"),
            pytest.param("import shop; raise ConnectionError('no database')", "", id="what a service lacks"),
            pytest.param("import shop, os; os.kill(os.getpid(), 9)", "", id="killed later"),
            pytest.param("import shop", "raise KeyboardInterrupt", id="Ctrl+C"),
            pytest.param("import shop", "raise SystemExit", id="left"),
            pytest.param("try: import shop\nexcept ValueError: pass", "raise ValueError", id="caught"),
            pytest.param("import shop, missing", "", id="another module that is missing"),
            pytest.param("import shop; undefined", "", id="an error of the program"),
        ],
    )
    def test_after(self, service: Service, program: str, fresh: str) -> None:
        for _ in range(3):
            start(service, program, FRESH=fresh)
        status, said = start(service, RATE)
        assert (status, "rate 16" in said) == (0, True), said
        assert rows(service, "SELECT state FROM rollout") == [("permanent",)]

    def test_when_several_fail_at_once(self, service: Service) -> None:
        program = "import os, sys\nfor _ in range(4):\n    if not os.fork():\n        import shop\n"
        start(service, program + "for _ in range(4): os.wait()", FRESH="raise ValueError")
        status, said = start(service, RATE)
        assert (status, "rate 16" in said) == (0, True), said
        failed = rows(service, "SELECT outcome, upto IS NOT NULL FROM start WHERE outcome IS NOT NULL")
        assert failed == [("failed", 1), *[("failed", 0)] * 3]

    def test_when_a_start_was_good(self, service: Service) -> None:
        assert start(service, LOWERED + RATE)[0] == 0
        assert rows(service, "SELECT outcome FROM start") == [("good",)]
        for _ in range(3):
            assert "ValueError" in start(service, RATE, FRESH="raise ValueError")[1]
        assert "rate 16" in start(service, RATE)[1]
        assert rows(service, "SELECT outcome FROM start") == [("good",)]

    def test_while_another_process_lives_well_on_it(self, service: Service) -> None:
        program = LOWERED + "import os, shop, subprocess, sys\n"
        child = (
            f"subprocess.run([sys.executable, '-c', {LOWERED + START + RATE!r}], env=os.environ | {{'FRESH': fresh}})"
        )
        program += f"for fresh in ('raise ValueError', 'raise ValueError', ''): {child}\n"
        said = start(service, program)[1]
        assert said.count("ValueError\n") == 2 and "rate 16" in said, said
        assert rows(service, "SELECT state FROM rollout") == [("permanent",)]

    def test_when_the_failures_are_far_apart(self, service: Service) -> None:
        for at in ("2020-01-01T00:00:00.000+00:00", None):
            start(service, RATE, FRESH="raise ValueError")
            start(service, "")  # it looks who died
            if at is not None:
                connection = sqlite3.connect(service.folder / "var/journal.db")
                assert connection.execute("UPDATE start SET at = ? WHERE outcome = 'failed'", (at,)).rowcount == 1
                connection.commit()
                connection.close()
        assert "rate 16" in start(service, RATE)[1]

    def test_when_what_was_noted_is_damaged(self, service: Service) -> None:
        for _ in range(2):
            start(service, RATE, FRESH="raise ValueError")
            (note,) = (service.folder / "var/running").glob("*.start")
            note.write_bytes(b"[]\n{\xff}\n3\n" + note.read_bytes()[:30])
        assert "rate 16" in start(service, RATE)[1]


class TestTheModules:
    def test_have_their_own_loader(self, service: Service) -> None:
        confirm(service, tax="LIMIT = 1\ndef rate(): return 16\n")
        program = "import inspect, shop.late\nfor module in (shop, shop.tax, shop.late):\n"
        program += "    loader = module.__loader__\n    assert module.__spec__.loader is loader\n"
        program += "    print(type(loader).__name__, vars(loader).keys() - {'_data'} == {'name', 'path'})\n"
        program += "print(inspect.getsource(shop.tax.rate))\n"
        status, said = start(service, program)
        assert status == 0, said
        assert said.splitlines()[:3] == ["SourceFileLoader True", "PatchLoader True", "SourceFileLoader True"]

    def test_are_noted_no_more_after_a_good_start(self, service: Service) -> None:
        confirm(service, tax="LIMIT = 1\ndef rate(): return 16\n")
        program = LOWERED + "import os, shop, shop.late\nprint(len(os.listdir('var/running')))\n"
        assert start(service, program)[1] == "2\n"  # the lock and the notes
        assert start(service, program)[1] == "0\n"

    def test_come_up_where_nothing_can_be_noted(self, service: Service) -> None:
        confirm(service, tax="LIMIT = 1\ndef rate(): return 16\n")
        block = "import hotswap.store.journal as journal\nfrom hotswap import StoreError\n"
        block += "def begin(*_): raise StoreError('read-only')\njournal.begin = begin\n"
        status, said = start(service, block + RATE)
        assert (status, "rate 16" in said) == (0, True), said
        assert "store.troubled" in said and "nothing will take that back" in said


BAD = 'sources("2.0", tax="LIMIT = 1\\ndef rate(): return 16\\n")'
FOLDER = 'hotswap.Patch.from_path("bad/shop", version="2.0")'


class TestWhatLiesOverIt:
    """A patch that other processes died of is live in one: it is part of what is applied there."""

    def test_does_not_bring_it_up(self, service: Service) -> None:
        said = self.run(service, web="def hello(): return 'new'\n")
        assert "it has code of a patch (SHA-256" in said["error"] and "quarantined" in said["error"], said
        assert said["state"] == "live"
        assert service.run("say(rate=shop.rate(), hello=shop.web.hello())")["rate"] == 19

    def test_does_so_by_a_later_one_neither(self, service: Service) -> None:
        self.run(service, web="def hello(): return 'new'\n", then={"late": "def late(): return 3\n"})
        assert service.run("say(versions=booted.versions)")["versions"] == {}

    def test_comes_up_if_it_replaces_it(self, service: Service) -> None:
        said = self.run(service, tax="LIMIT = 1\ndef rate(): return 21\n")
        assert (said["error"], said["state"]) == (None, "permanent")
        assert service.run("say(rate=shop.rate())")["rate"] == 21

    def test_does_not_bring_up_its_data(self, service: Service) -> None:
        self.copy(service, rates="sixteen")
        said = self.run(service, FOLDER, web="def hello(): return 'new'\n")
        assert "it has code of a patch (SHA-256" in said["error"], said
        program = (
            "import importlib.resources as data, shop\nprint(data.files('shop').joinpath('rates.txt').read_text())"
        )
        assert start(service, program)[1].startswith("nineteen")

    def test_comes_up_if_it_replaces_it_and_the_data_is_that_of_the_disk(self, service: Service) -> None:
        self.copy(service, rates="nineteen")
        said = self.run(service, FOLDER, tax="LIMIT = 1\ndef rate(): return 21\n")
        assert (said["error"], said["state"]) == (None, "permanent")

    def copy(self, service: Service, rates: str) -> None:
        """Have a folder with all of the package, in which only `tax` and the data may be others."""
        shutil.copytree(service.folder / "shop", service.folder / "bad/shop")
        service.write("bad/shop/tax.py", "LIMIT = 1\ndef rate(): return 16\n")
        service.write("bad/shop/rates.txt", rates)

    def run(
        self, service: Service, bad: str = BAD, then: dict[str, str] | None = None, **modules: str
    ) -> dict[str, Any]:
        dies = f"{BEGIN}\npatcher().apply({bad})\nos.kill(os.getpid(), 9)\n"
        return service.run(f"""
            import subprocess, sys
            patcher = patcher()
            patcher.apply({bad})
            for _ in range(2):
                assert subprocess.run([sys.executable, "-c", {dies!r}]).returncode == -9
            rollout, error = patcher.apply(sources("3.0", **{modules!r})), None
            if {then!r}:
                patcher.apply(sources("4.0", **{then!r}))
            try: rollout.confirm()
            except hotswap.HotswapError as caught: error = str(caught)
            say(error=error, state=str(rollout.state))
        """)
