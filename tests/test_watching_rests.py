"""A large directory in which nothing stirs is left alone for a while, and nothing is missed by that for long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import hotswap
from hotswap.watching import doorbell, passes, rests
from hotswap.watching.bounds import Bounds
from hotswap.watching.ledger import Ledger, ledger_of
from hotswap.watching.passes import Passes
from hotswap.watching.rests import LONGEST, Rests
from hotswap.watching.watch import Watch
from tests import waiting


class Time:
    """A clock, and what the looks of a thread have cost."""

    def __init__(self) -> None:
        self.now, self.spent = 1000.0, 0.0


class Looking:
    """Looks that cost a tenth of a second each, at a directory that has been as it is for long."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.time = directory, Time()
        self.rests = Rests(directory, lambda: self.time.now, lambda: self.time.spent)

    def look(self, *, cost: float = 0.1, quiet: bool = True) -> None:
        os.utime(self.directory, (0, 0))
        self.rests.begin()
        self.time.spent += cost
        self.rests.end(quiet=quiet)


@pytest.fixture
def looking(tmp_path: Path) -> Looking:
    return Looking(tmp_path)


class TestARest:
    def test_takes_as_long_as_a_hundred_looks(self, looking: Looking) -> None:
        assert looking.rests.over()
        looking.look()
        assert not looking.rests.over()
        looking.time.now += 9.9
        assert not looking.rests.over()
        looking.time.now += 0.1
        assert looking.rests.over()

    def test_has_an_end(self, looking: Looking) -> None:
        looking.look(cost=60.0)
        looking.time.now += LONGEST
        assert looking.rests.over()

    def test_ends_when_the_directory_has_other_entries(self, looking: Looking) -> None:
        looking.look()
        (looking.directory / "shop.py").write_text("")
        assert looking.rests.over()

    def test_ends_when_the_directory_is_another_one_or_none(self, looking: Looking) -> None:
        looking.look()
        aside = looking.directory.rename(looking.directory.with_name("aside"))
        assert looking.rests.over()
        aside.with_name("new").mkdir()
        aside.with_name("new").rename(looking.directory)
        os.utime(looking.directory, (0, 0))
        assert looking.rests.over()

    def test_is_none_where_there_is_something_to_do(self, looking: Looking) -> None:
        looking.look(quiet=False)
        assert looking.rests.over()

    def test_is_none_after_a_change_of_this_moment(self, looking: Looking) -> None:
        """Another one within the same tick of the clock would leave the same time."""
        looking.rests.begin()
        looking.time.spent += 0.1
        looking.rests.end(quiet=True)
        assert looking.rests.over()


class Scans:
    """Passes over a directory in which nothing stirs, whose looks cost a second each."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.number = directory, 0
        costly(monkeypatch)
        bounds, stopping = Bounds(single_files=True), threading.Event()
        ledger = ledger_of(refuse, directory)
        ledger.seat.keep()  # as a watch does: to take it anew stirs in the directory
        made = dict[str, Any](settle=0.0, bounds=bounds, running=None, gate=None, stopping=stopping)
        self.passes = Passes(directory, refuse, ledger, **made)
        self.ends = ledger.leave

    def looks(self, *, rang: bool = False, everything: bool = False) -> bool:
        """Make a pass; return whether it looked at the drops."""
        with mock.patch.object(Ledger, "asked_again", autospec=True, side_effect=Ledger.asked_again) as asked:
            self.passes.make(lambda: None, everything=everything, rang=rang)
        return asked.called

    def settles(self) -> None:
        """Make passes until nothing is left to do."""
        os.utime(self.directory, (0, 0))
        assert waiting.until(lambda: self.passes.make(lambda: None, everything=False) and not self.looks(), 20.0)


def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each look cost a second, and each change of a directory be long ago."""
    spent = count(0.0, 1.0)
    monkeypatch.setattr(rests, "_COARSE", -1e9)
    monkeypatch.setattr(passes, "Rests", lambda directory: Rests(directory, spent=lambda: next(spent)))


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scans]:
    (tmp_path / "drops").mkdir()
    made = Scans(tmp_path / "drops", monkeypatch)
    yield made
    made.ends()


class TestAPass:
    def test_over_what_is_dealt_with_looks_at_nothing(self, scans: Scans) -> None:
        drop = scans.directory / "shop.py"
        drop.write_text("RATE = 16\n")
        os.utime(drop, (0, 0))
        assert scans.looks()
        scans.settles()
        assert (scans.looks(), scans.looks(rang=True), scans.looks(everything=True)) == (False, True, True)
        drop.with_name("shop.py.failed").unlink()
        assert scans.looks()

    @pytest.mark.skipif(os.name == "nt", reason="to make links takes a right there")
    def test_over_a_link_looks_at_what_it_leads_to(self, scans: Scans) -> None:
        scans.settles()
        aside = scans.directory.with_name("aside.py")
        aside.write_text("RATE = 16\n")
        scans.directory.joinpath("shop.py").symlink_to(aside)
        assert waiting.until(lambda: scans.looks(rang=True) and is_dealt_with(scans.passes), 20.0)
        assert all(scans.looks() for _ in range(3))


@pytest.mark.threads
@pytest.mark.parametrize("deaf", [False, True], ids=["heard", "on a network file system"])
def test_bytes_that_change_in_their_place_are_not_rested_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deaf: bool
) -> None:
    costly(monkeypatch)
    if deaf:
        monkeypatch.setattr(doorbell, "remote_kind", lambda _: "nfs4")
        monkeypatch.setattr(doorbell, "_observe", lambda *_: Silent())
    drop = tmp_path / "shop.py"
    drop.write_text("RATE = 16\n")
    with Watch(refuse, tmp_path, 0.02, settle=0.0, single_files=True) as watch:
        first = watch.wait_for("shop.py", 20.0).digest
        assert waiting.until(lambda: is_dealt_with(watch._passes) and not watch._passes._rests.over(), 20.0)
        drop.write_text("RATE = 7\n")
        assert waiting.until(lambda: watch.outcomes["shop.py"].digest != first, 20.0)


def is_dealt_with(passes: Passes) -> bool:
    """Whether a drop is not read again while it looks the same, as it is while it may have been written just now."""
    return passes._scanner._seen["shop.py"].handled


class Silent:
    """An observer that hears nothing."""

    emitters = ()

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        """Nothing is running."""

    def join(self) -> None:
        """Nothing is running."""


def refuse(patch: hotswap.Patch) -> Any:
    raise hotswap.HotswapError("no")
