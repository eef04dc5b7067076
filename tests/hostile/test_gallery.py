"""Hostile drops against a real watch: none runs, each has its own reason, and the watch goes on."""

from __future__ import annotations

import json
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap.watching import push
from tests.hostile.gallery import GALLERY, IGNORED, LONG, NOTHING, PENDING, Exhibit, World, soon, taken, world_of
from tests.signing import MALLORY, sign

pytestmark = [pytest.mark.threads, pytest.mark.skipif(os.name == "nt", reason="owners, modes, links, pipes")]


def marker(world: World, name: str, kind: str) -> dict[str, Any]:
    path = world.drops / f"{name}.{kind}"
    soon(path.exists, f"no {kind} marker; {dict(world.watch.outcomes)}")
    facts = json.loads(path.read_text())
    assert isinstance(facts, dict)
    return facts


def verdict(world: World, exhibit: Exhibit, name: str) -> str:
    """The reason that was given, once it is sure that it is of the right kind."""
    if exhibit.code == NOTHING:
        return ""
    if exhibit.code in (PENDING, IGNORED):
        facts = marker(world, name, "pending" if exhibit.code == PENDING else "failed")
        assert facts["state"] == exhibit.code
        return str(facts["reason"])
    outcome = world.watch.wait_for(name, LONG)
    assert exhibit.code in (outcome.code, outcome.error), outcome
    assert outcome.state == "rejected"
    facts = marker(world, name, "failed")
    assert (facts["code"], facts["error"]) == (outcome.code, outcome.error)
    assert facts["reason"] == outcome.reason
    return outcome.reason


@pytest.fixture
def package(make_package: Callable[..., ModuleType]) -> ModuleType:
    return make_package({"__init__.py": "__version__ = '1.0'\nPRICE = 1\n"})


@pytest.mark.parametrize("exhibit", GALLERY, ids=lambda exhibit: exhibit.name)
def test_does_not_run(exhibit: Exhibit, package: ModuleType, tmp_path: Path) -> None:
    with world_of(package, tmp_path, signed=exhibit.signed) as world:
        name = exhibit.drop(world)
        reason = verdict(world, exhibit, name)
        assert exhibit.words in reason, reason
        taken(world)
    assert not world.witness.exists()
    live = [record for record in world.patcher.history() if record.state in ("live", "permanent")]
    assert [record.version for record in live].count(world.patcher.versions[world.name]) == 1


LAYS: dict[str, Callable[[Path, Path], object]] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "link to a file": lambda path, precious: path.symlink_to(precious),
    "link to something endless": lambda path, _: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path, _: path.symlink_to("nowhere"),
    "link to itself": lambda path, _: path.symlink_to(path),
    "socket": lambda path, _: _socket(path),
}


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


class TestLocks:
    """Whoever drops something may also put something into the place where the lock of a process is, or will be."""

    @pytest.mark.parametrize("lay", LAYS.values(), ids=LAYS)
    @pytest.mark.parametrize("name", [".hotswap.lock", ".hotswap.stranger.lock"])
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_that_are_none(
        self, lay: Callable[[Path, Path], object], name: str, when: str, package: ModuleType, tmp_path: Path
    ) -> None:
        world = World(package, tmp_path, signed=True)
        precious, aside, lock = world.aside / "precious", world.aside / "trap", world.drops / name
        precious.write_text("untouched")
        lay(aside, precious)

        def trap() -> None:
            if aside.is_dir() and not aside.is_symlink():
                lock.unlink(missing_ok=True)
            aside.rename(lock)

        if when == "before":
            trap()
        with world.watch:
            if when == "meanwhile":
                world.watch.scan()
                trap()
            wheel = world.wheel(source="PRICE = 7\n")
            sign(wheel)
            outcomes, everybody = push(wheel, world.drops).wait(LONG)
            assert everybody
            assert [outcome.applied for outcome in outcomes] == [True]
            taken(world)
        assert precious.read_text() == "untouched"

    def test_of_many_strangers(self, package: ModuleType, tmp_path: Path) -> None:
        """One that can't be cleared away keeps nothing else from it."""
        with world_of(package, tmp_path) as world:
            os.mkfifo(world.drops / ".hotswap.a.lock")
            (world.drops / ".hotswap.b.lock").touch()
            soon(lambda: not (world.drops / ".hotswap.b.lock").exists(), "the empty seat was not cleared away")
            taken(world)


class TestMarkers:
    """Whoever drops something may also put something into the place where its marker will be."""

    @pytest.fixture
    def world(self, package: ModuleType, tmp_path: Path) -> Iterator[World]:
        with world_of(package, tmp_path) as made:
            yield made

    def refused(self, world: World, lay: Callable[[Path], object]) -> Path:
        wheel = world.wheel()
        trap = world.drops / f"{wheel.name}.failed"
        lay(trap)
        outcome = world.watch.wait_for(world.put(wheel, MALLORY), LONG)
        assert outcome.code == "key-unknown"
        taken(world)
        return trap

    def test_that_are_pipes(self, world: World) -> None:
        assert self.refused(world, os.mkfifo).is_file()

    def test_that_are_folders(self, world: World) -> None:
        assert self.refused(world, Path.mkdir).is_dir()

    def test_that_are_links(self, world: World) -> None:
        target = world.aside / "precious"
        target.write_text("untouched")
        trap = self.refused(world, lambda path: path.symlink_to(target))
        assert not trap.is_symlink()
        assert target.read_text() == "untouched"

    def test_that_lead_to_something_endless(self, world: World) -> None:
        self.refused(world, lambda path: path.symlink_to("/dev/zero"))

    def test_that_are_endless(self, world: World) -> None:
        def large(path: Path) -> None:
            with path.open("wb") as file:
                file.truncate(2**40)

        self.refused(world, large)


def test_there_are_enough_of_them_each_with_its_own_reason() -> None:
    assert len(GALLERY) >= 40
    assert len({exhibit.name for exhibit in GALLERY}) == len(GALLERY)
    reasons = Counter(exhibit.words for exhibit in GALLERY if exhibit.signed)
    assert [words for words, count in reasons.items() if count > 1] == []
    assert not [exhibit.name for exhibit in GALLERY if not re.fullmatch(r"[A-Za-z-]+", exhibit.code)]
