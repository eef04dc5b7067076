"""Walks over versions while loops and sessions go on: those that once went wrong, and some by chance.

`HOTSWAP_WALKS` sets another number of walks by chance, and `HOTSWAP_FIRST_WALK` the first of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.walking import Walk

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
    "a session, and a module that stayed": "session, apply 2/0 low, arm 3/1, disarm, abort, apply 4/1, settle",
    "a session that is older than two swaps": "arm 2/0 low, session, commit, apply 3/1, settle",
    "a session between flips": "arm 2/0 low, commit, session, arm 3/1, commit, rollback, apply 4/0 low, arm 5/0",
    "a loop of a module that stayed, and is changed next": (
        "loop tagged, loop task, loop method, apply 2/0 low, arm 3/1, disarm, abort, apply 4/0, wait, settle, settle"
    ),
    "one that came to another shape": "loop method, apply 2/0 low, apply 3/1, wait, settle, settle",
    "handed over, and left in the globals of the last": "loop task, apply 2/0, settle, apply 3/0 low, settle",
    "taken back twice": (
        "arm 2/1, commit, loop method, arm 3/1, commit, rollback, arm 4/1 low, commit, rollback, settle, settle"
    ),
    "one of an earlier swap, when a later one is noted": (
        "loop tagged, apply 2/0 low, settle, rollback, wait, arm 3/1, disarm, abort, wait, arm 4/0 low, commit, wait"
    ),
    "a long call that narrows the forks, and modules that stayed": (
        "loop method, apply 2/1, rollback, arm 3/0 low, commit, arm 4/1, commit, rollback, arm 5/0 low, commit,"
        " arm 6/1, commit, settle, settle"
    ),
    "flips of the lower module": (
        "arm 2/1, commit, arm 3/1 low, loop fixed, commit, rollback, rearm, commit, rollback, rearm, commit, arm 4/0,"
        " disarm, abort, arm 5/1 low, commit, apply 6/0, settle, settle"
    ),
    "the other module is changed later": (
        "loop tagged, loop task, session, apply 2/0 mid, apply 3/0 low, settle, apply 4/0"
    ),
    "flips of the lower module, and handed over in between": (
        "arm 2/0, commit, loop fixed, arm 3/0 low, commit, rollback, rearm, session, commit, settle, rollback, rearm,"
        " commit, settle"
    ),
    "given up while a loop is on it": (
        "arm 2/0, commit, loop fixed, loop tagged, rollback, rearm, disarm, abort, settle"
    ),
    "handed over after a rollback, and changed beside one that stays": (
        "loop fixed, loop tagged, apply 6/0 mid, settle, rollback, settle, apply 7/0, settle, apply 8/1"
    ),
    "changed by a version that was taken back when nothing was in flight of it": (
        "loop task, apply 2/0, arm 3/1, commit, drain, rollback, settle, settle"
    ),
    "changed by a version that was taken back, and one was armed over it": (
        "loop task, apply 2/0, apply 3/1, drain, arm 4/0, disarm, abort, rollback, settle, settle"
    ),
    "changed by a version in between, and the same once more": (
        "loop task, apply 2/0, apply 3/1, drain, apply 4/0, settle, settle"
    ),
    "handed over, and changed by several versions beside one that stays": (
        "loop tagged, loop task, loop fixed, loop method, apply 2/0, settle, apply 3/1, apply 4/1, drain, apply 5/1,"
        " settle"
    ),
    "changed by several versions, and handed over while another one stays": (
        "loop tagged, loop task, apply 2/0, rollback, apply 3/0, apply 4/1, apply 5/1, drain, apply 6/0, settle,"
        " apply 7/1, apply 8/1, drain, apply 9/1, settle"
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
        walk.by_chance(number, STEPS)
    assert not walk.wrong, "\n".join(walk.wrong[:5])


@pytest.mark.parametrize("number", range(FIRST, FIRST + WALKS))
def test_over_many_patches(make_package: Make, hotswap_clock: ManualClock, number: int) -> None:
    with Walk(make_package, hotswap_clock) as walk:
        walk.by_chance(number, STEPS, of_patches=True)
    assert not walk.wrong, "\n".join(walk.wrong[:5])
