"""Hostile drops that are about time: what changes between check and use, what grows, what comes in thousands."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

from tests.hostile.gallery import LONG, World, soon, taken, world_of
from tests.signing import sign

pytestmark = [pytest.mark.threads, pytest.mark.skipif(os.name == "nt", reason="owners, modes, links, pipes")]


@pytest.fixture
def world(make_package: Callable[..., ModuleType], tmp_path: Path) -> Iterator[World]:
    package = make_package({"__init__.py": "__version__ = '1.0'\nPRICE = 1\n"})
    with world_of(package, tmp_path) as made:
        yield made


class TestBetweenCheckAndUse:
    def test_a_file_that_is_exchanged_all_the_time(self, world: World) -> None:
        """A good file and its evil twin take turns under the same name, faster than anybody can look."""
        good, evil = world.wheel("1.1", "PRICE = 2\n"), world.wheel("1.1")
        name = good.name
        sign(good).rename(world.drops / f"{name}.minisig")
        twins = [world.aside / "0", world.aside / "1"]
        stop = time.monotonic() + 3
        while time.monotonic() < stop:
            for twin, original in zip(twins, (good, evil), strict=True):
                shutil.copyfile(original, twin)
                twin.replace(world.drops / name)
        assert world.watch.wait_for(name, LONG).code == "bytes-tampered"
        taken(world)

    def test_a_file_that_is_rewritten_while_it_is_checked(self, world: World) -> None:
        """What was verified is what runs, whatever the file holds by then."""
        wheel, evil = world.wheel("1.1", "PRICE = 2\n"), world.wheel("1.1").read_bytes()
        seen: list[int] = []

        @world.patcher.check
        def meanwhile(candidate: Any) -> None:
            if not seen:
                (world.drops / wheel.name).write_bytes(evil)
            seen.append(candidate[world.name].PRICE)

        world.put(wheel)
        soon(lambda: seen and world.patcher.history()[0].state == "live", "it was not applied")
        assert seen == [2]
        assert world.watch.wait_for(wheel.name, LONG).code == "bytes-tampered"
        assert world.package.PRICE == 2
        taken(world)

    def test_a_directory_that_is_opened_to_everybody(self, world: World) -> None:
        with structlog.testing.capture_logs() as events:
            world.drops.chmod(0o777)
            name = world.put(world.wheel("1.1"))
            soon(lambda: [event for event in events if event["event"] == "watch.troubled"], "nobody complained")
            assert world.watch.scan() == world.watch.scan() == ()
            (world.drops / name).unlink()
            world.drops.chmod(0o755)
        taken(world)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.stress, pytest.mark.timeout(200)])])
def test_a_file_that_grows(world: World, seconds: int) -> None:
    wheel = world.wheel("1.1")
    sign(wheel).rename(world.drops / f"{wheel.name}.minisig")
    data, stop = wheel.read_bytes(), time.monotonic() + seconds
    with (world.drops / wheel.name).open("ab", buffering=0) as file:
        file.write(data[:-1])
        while time.monotonic() < stop:
            file.write(b"\0")
            time.sleep(0.05)
    assert world.watch.wait_for(wheel.name, LONG).code == "bytes-tampered"
    taken(world)


def test_a_file_that_may_not_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = world.wheel("1.1")
    wheel.chmod(0)
    if os.access(wheel, os.R_OK):  # root may read everything; the answer that anybody else gets is given by hand
        real = os.open

        def denying(path: Any, *arguments: Any, **options: Any) -> int:
            if path == wheel.name:
                raise PermissionError(13, "Permission denied", path)
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "open", denying)
    sign_it = world.wheel("1.1")  # the same bytes, which can be read to be signed
    sign(sign_it).rename(world.drops / f"{wheel.name}.minisig")
    wheel.rename(world.drops / wheel.name)
    pending = world.drops / f"{wheel.name}.pending"
    soon(pending.exists, "there is no marker")
    assert "Permission denied" in json.loads(pending.read_text())["reason"]
    taken(world)


@pytest.mark.slow
def test_ten_thousand_files_at_once(world: World) -> None:
    """Half of them wait for signatures that never come, half have wrong ones. What may run is taken all the same."""
    wheel = world.wheel("1.1")
    signature = world.aside / "signature"
    sign(wheel).rename(signature)
    evil = world.payload.encode()
    flood = world.aside / "flood"
    flood.mkdir()
    for number in range(5_000):
        (flood / f"evil{number}.py").write_bytes(evil)
    for number in range(2_500):
        (flood / f"wrong{number}.py").write_bytes(evil)
        shutil.copyfile(signature, flood / f"wrong{number}.py.minisig")
    began = time.monotonic()
    for entry in flood.iterdir():
        entry.rename(world.drops / entry.name)
    good = world.good()
    assert world.watch.wait_for(good, 150).applied
    print(f"taken after {time.monotonic() - began:.1f} s")
    soon(lambda: len(world.watch.outcomes) == 2_501, "not all of them were judged")
    soon(lambda: len(list(world.drops.glob("*.pending"))) == 5_000, "not all of them were told")
    print(f"all told after {time.monotonic() - began:.1f} s")
    outcomes = [outcome for name, outcome in world.watch.outcomes.items() if name != good]
    assert {outcome.code for outcome in outcomes} == {"bytes-tampered"}
    assert world.watch.alive
    assert world.package.PRICE == 8
    assert not world.witness.exists()
