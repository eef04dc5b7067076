"""Hostile drops against a real watch: none runs, each has its own reason, and the watch goes on."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.hostile.gallery import GALLERY, IGNORED, LONG, NOTHING, PENDING, Exhibit, World, soon, taken, world_of

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


def test_there_are_enough_of_them_each_with_its_own_reason() -> None:
    assert len(GALLERY) >= 40
    assert len({exhibit.name for exhibit in GALLERY}) == len(GALLERY)
    reasons = Counter(exhibit.words for exhibit in GALLERY if exhibit.signed)
    assert [words for words, count in reasons.items() if count > 1] == []
    assert not [exhibit.name for exhibit in GALLERY if not re.fullmatch(r"[A-Za-z-]+", exhibit.code)]
