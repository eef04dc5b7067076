"""Whatever a damaged file of the store contains: the service starts, and is told. Bits are flipped, by a seed."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import Patch, Patcher, Store
from hotswap.errors import StoreError
from hotswap.generation import BootedFinder

pytestmark = [pytest.mark.threads, pytest.mark.slow]

Make = Callable[..., ModuleType]

FLIPS = int(os.environ.get("HOTSWAP_FLIPS", "200"))
"""How many bits are flipped, each in a journal of its own."""


class Damaged:
    """A store with two permanent rollouts of a package, whose journal is damaged in one way after another."""

    def __init__(self, folder: Path, package: str) -> None:
        self.package, self.folder, self.whole = package, folder / "var", folder / "whole"
        patcher = Patcher([package], store=self.folder)
        for number in (1, 2):
            patch = Patch.from_sources({f"{package}.a": f"def quote(): return {number}\n"}, f"1.{number}")
            patcher.apply(patch).confirm()
        patcher.rollback()  # what lies below and the states differ, and the process runs what lies below
        self.folder.rename(self.whole)
        self.good = (self.whole / "journal.db").read_bytes()

    def comes_up(self, data: bytes | None = None) -> tuple[hotswap.Boot, list[str]]:
        """Start from a journal with these bytes; return what came up, and the events that told of trouble."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)
        if data is not None:
            (self.folder / "journal.db").write_bytes(data)
        return self.start()

    def start(self) -> tuple[hotswap.Boot, list[str]]:
        """Do what a service does when it starts."""
        gone = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == self.package}
        before = list(sys.meta_path)
        with structlog.testing.capture_logs() as told:
            try:
                for name in gone:
                    del sys.modules[name]
                booted = hotswap.boot(self.folder)
                patcher = Patcher([self.package], store=self.folder)
                patcher.history()
            finally:
                sys.meta_path[:] = before
                sys.modules.update(gone)
        return booted, [event["reason"] for event in told if event["event"] == "store.troubled"]


@pytest.fixture
def damaged(make_package: Make, tmp_path: Path) -> Iterator[Damaged]:
    package = make_package({"__init__.py": '__version__ = "1.0"\n', "a.py": "def quote(): return 0\n"})
    __import__(f"{package.__name__}.a")
    yield Damaged(tmp_path, package.__name__)
    assert not [finder for finder in sys.meta_path if isinstance(finder, BootedFinder)]


class TestBits:
    def test_that_are_flipped_anywhere(self, damaged: Damaged) -> None:
        booted, told = damaged.comes_up()
        assert (booted.versions, told) == ({damaged.package: "1.1"}, [])
        rng = random.Random(5)
        spots = [place for place, byte in enumerate(damaged.good) if byte]
        seen = {True: 0, False: 0}
        for _ in range(FLIPS):
            data = bytearray(damaged.good)
            data[rng.choice(spots)] ^= 1 << rng.randrange(8)
            booted, told = damaged.comes_up(bytes(data))
            came_up = booted.versions == {damaged.package: "1.1"}
            assert came_up or (booted.versions == {} and booted.troubles), (booted, told)
            seen[came_up] += 1
        assert min(seen.values()) > FLIPS // 20

    def test_of_the_names_of_columns(self, damaged: Damaged) -> None:
        """SQLite takes a name in quotation marks that it does not know for a text, and the query goes through."""
        schema = damaged.good.index(b"CREATE TABLE rollout")
        for found in re.finditer(rb"\n    \"?(\w+)", damaged.good[schema : damaged.good.index(b"\n)", schema)]):
            for mask in (1, 128):
                data = bytearray(damaged.good)
                data[schema + found.start(1) + 1] ^= mask
                booted, told = damaged.comes_up(bytes(data))
                assert booted.versions in ({damaged.package: "1.1"}, {}), found
                assert told or booted.versions, found


class TestValues:
    @pytest.mark.parametrize(
        ("change", "comes_up", "tells"),
        [
            ("UPDATE standing SET rollout = 'gone'", False, True),
            ("UPDATE standing SET package = CAST(package AS BLOB)", False, True),
            ("UPDATE standing SET package = package || '.a'", False, True),
            ("UPDATE standing SET package = 5", False, True),
            ("UPDATE rollout SET state = 'rolled_back'", False, True),
            ("UPDATE rollout SET id = x'ff' WHERE version = '1.1'", False, True),
            ("UPDATE rollout SET name = CAST(x'ff' AS TEXT)", False, True),
            ("ALTER TABLE rollout RENAME COLUMN generation TO other", False, True),
            ("ALTER TABLE incarnation RENAME COLUMN how TO other", True, True),
            ("UPDATE rollout SET brought = '3'", False, True),
            ("DROP TABLE start", False, True),
            ("DROP TABLE death", True, False),
            ("DROP TABLE refusal", True, True),
            ("UPDATE incarnation SET id = 5, how = NULL", True, False),
        ],
    )
    def test_that_nobody_has_written(self, damaged: Damaged, change: str, comes_up: bool, tells: bool) -> None:
        with sqlite3.connect(damaged.whole / "journal.db") as connection:
            connection.execute("DROP VIEW history")
            connection.execute(change)
        connection.close()
        booted, told = damaged.comes_up()
        assert booted.versions == ({damaged.package: "1.1"} if comes_up else {})
        assert bool(told) == tells

    @pytest.mark.parametrize("what", ["death", "lived"])
    def test_are_told_to_who_asks(self, damaged: Damaged, what: str) -> None:
        store = Store(damaged.whole)
        with sqlite3.connect(store.journal.path) as connection:
            connection.execute("UPDATE lived SET given = x'ff'")
            connection.execute("DROP TABLE death")
        connection.close()
        asked: dict[str, Callable[[], Any]] = {"death": store.quarantined, "lived": store.journal.lived}
        with pytest.raises(StoreError):
            asked[what]()
