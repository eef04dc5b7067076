"""Walks over versions while loops and sessions go on: those that once went wrong, and some by chance.

`HOTSWAP_WALKS` sets another number of walks by chance, and `HOTSWAP_FIRST_WALK` the first of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from itertools import islice
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.walking import Walk, steps

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

WALKS = int(os.environ.get("HOTSWAP_WALKS", "6"))
FIRST = int(os.environ.get("HOTSWAP_FIRST_WALK", "1"))
STEPS = 40

KNOWN = {
    "a lambda in a helper that a changed loop calls": "loop tagged, apply 2/0, settle, loop tagged, rollback, settle",
    "what a loop leaves behind in its code is not that of who comes back": (
        "loop fixed, apply 2/0, settle, rollback, loop fixed, settle"
    ),
    "changed by a version in between": "loop fixed, apply 2/0, apply 3/1, settle, settle",
    "handed over, taken back, and changed once more": (
        "loop fixed, apply 2/0, settle, rollback, wait, apply 3/1, wait, wait, settle"
    ),
    "handed over, taken back, and another one": (
        "loop fixed, apply 2/0, settle, rollback, wait, apply 3/0, wait, wait, settle"
    ),
    "flips": (
        "loop fixed, arm 2/0, commit, loop fixed, settle, rollback, settle, rearm, commit, settle, rollback, settle"
    ),
    "handed over while one is armed": (
        "arm 2/0, commit, loop fixed, loop tagged, rollback, rearm, settle, commit, loop fixed, settle"
    ),
    "a helper by the name of an earlier module": (
        "apply 2/0, apply 3/0, loop fixed, rollback, apply 4/0, settle, rollback, arm 5/1, commit, rollback, rearm"
    ),
    "left on a candidate, and handed over since": (
        "arm 2/0, commit, loop fixed, rollback, rearm, disarm, settle, abort, arm 3/0, commit, settle, rollback, settle"
    ),
    "given up while a loop is on it": (
        "arm 2/0, commit, loop fixed, loop tagged, rollback, rearm, disarm, abort, settle"
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known(make_package: Make, hotswap_clock: ManualClock, name: str) -> None:
    with Walk(make_package, hotswap_clock) as walk:
        walk.go(*KNOWN[name].split(", "))
    assert not walk.wrong, "\n".join(walk.wrong)


@pytest.mark.parametrize("number", range(FIRST, FIRST + WALKS))
def test_by_chance(make_package: Make, hotswap_clock: ManualClock, number: int) -> None:
    with Walk(make_package, hotswap_clock) as walk:
        for step in islice(steps(walk, random.Random(number)), STEPS):
            walk.go(step)
    assert not walk.wrong, "\n".join(walk.wrong[:5])
