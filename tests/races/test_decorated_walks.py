"""Walks over versions of modules with decorators: those that once went wrong, and some by chance.

`HOTSWAP_DECORATED_WALKS` sets another number of walks by chance, and `HOTSWAP_FIRST_WALK` the first of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.decorating import DecoratedWalk

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

WALKS = int(os.environ.get("HOTSWAP_DECORATED_WALKS", "6"))
FIRST = int(os.environ.get("HOTSWAP_FIRST_WALK", "1"))
STEPS = 40

KNOWN = {
    "decorators patched twice, and a session that begins then": (
        "session, apply 2/0 deco, apply 3/1 deco, session, settle, end, end, settle"
    ),
    "decorators patched twice, and a preview": "session, apply 2/0 deco, arm 3/1 deco, commit, settle, end, settle",
    "decorators that come back, and are patched twice": (
        "arm 2/0 mid, session, commit, apply 3/0 deco, rollback, apply 4/0 deco, apply 5/1 deco, session"
    ),
    "plain calls through wrappers that are not led on yet": (
        "session, loop method, apply 2/1 deco, arm 3/0 low, wait, commit"
    ),
    "plain calls through wrappers that are forks": (
        "arm 2/0 mid, session, commit, arm 5/0 deco, commit, arm 6/0 low, commit"
    ),
    "wrappers of an older version than a session's": "session, apply 3/0, apply 5/0 deco, arm 6/0 low",
    "a coroutine, and another candidate beside it": "loop task, apply 3/0, loop watched, apply 5/0 deco, arm 6/0 low",
    "a session on decorators that were taken back": (
        "loop flowing, arm 2/1 deco, commit, arm 3/0 deco, commit, close 0, session, rollback, arm 4/1 deco"
    ),
    "what is lent of wrappers that came back": "apply 7/0 deco, session, rollback, arm 8/0 mid, disarm, rearm, commit",
    "a generator on decorators that were taken back": "arm 2/1 deco, commit, loop flowing, rollback, arm 8/1 deco",
    "a session on decorators that were taken back, and others came": (
        "arm 5/1 deco, commit, session, rollback, apply 6/0 deco"
    ),
    "a decorated coroutine of a module that is changed later": (
        "session, apply 5/0 deco, apply 6/0 low, loop watched, apply 9/0 mid"
    ),
    "a task of a module that is changed later": (
        "arm 2/0 mid, commit, session, apply 5/0 deco, arm 6/0 low, commit, arm 7/0, disarm, loop task, abort,"
        " apply 9/0 mid"
    ),
    "a decorated generator, flips, and all changed": (
        "arm 2/0 mid, loop fixed, commit, apply 3/0 deco, loop flowing, arm 5/0 low, commit, arm 8/1, commit"
    ),
    "a coroutine that was handed over, and its wrapper comes back": "loop watched, apply 7/0, settle, rollback",
    "the same with flips": "arm 2/0, commit, arm 5/0 low, commit, loop watched, arm 7/0, commit, settle, rollback",
    "led on while a session of a version in between is open": (
        "session, apply 2/0 deco, session, apply 4/0 deco, settle, apply 5/0 deco, end, settle"
    ),
    "armed once more over a wrapper that was led on while it is a fork": (
        "arm 2/0, disarm, loop tagged, rearm, commit, arm 6/0 deco, commit, arm 7/0 low, disarm, abort, arm 8/0 deco"
    ),
    "a rollback, and a patch of a module below": "arm 4/0, commit, rollback, apply 5/0 low",
    "led on while it is a fork": "arm 2/0, loop method, commit, apply 3/0 deco, settle",
    "a rollback after the decorators": (
        "arm 2/0 mid, session, commit, arm 5/0 deco, commit, apply 7/0 mid, settle, rollback"
    ),
    "a decorated generator of a module that was taken back": (
        "arm 3/0 mid, commit, loop flowing, rollback, apply 6/1 deco, settle"
    ),
    "code of one decorator that somebody runs, and a patch of others": "loop flowing, arm 5/0 low, commit",
    "copies of what came back": (
        "session, arm 6/1 deco, commit, arm 7/0 mid, commit, rollback, apply 9/0 mid, apply 10/0 deco"
    ),
    "a session in a module that came back": (
        "session, apply 2/0 deco, arm 3/1 deco, commit, rollback, arm 4/0 low, commit, loop method, rollback, close 0,"
        " wait, rearm, commit"
    ),
    "a call in a module that came back": (
        "session, loop tagged, arm 8/0 deco, commit, arm 9/0 low, commit, rollback, arm 10/1, commit"
    ),
    "decorators, and then all": "apply 8/0 deco, loop tagged, apply 9/0, settle",
    "nested code is handed over, and goes back": (
        "arm 2/0 low, loop flowing, commit, apply 3/0 deco, apply 4/0 deco, settle, rollback, settle, apply 5/1 deco"
    ),
    "a call of decorators that come again": (
        "arm 5/0 deco, commit, loop method, rollback, rearm, commit, apply 6/0 deco"
    ),
    "operators under decorators, narrowed": "apply 2/0 mid, loop tagged, rollback, apply 7/0 deco, settle",
    "a call between a wrapper that stays old and what is new": (
        "arm 3/1 deco, loop flowing, commit, rollback, apply 4/0 low, arm 5/1 deco, commit, settle"
    ),
    "nested code of what was brought back": (
        "arm 2/0 low, disarm, loop flowing, abort, apply 3/0 low, rollback, apply 5/1 deco"
    ),
    "between a wrapper that stays old and what comes again": (
        "loop watched, arm 6/1 deco, commit, settle, rollback, rearm, commit"
    ),
    "a call that was handed over to what goes runs the code of what comes back": (
        "arm 2/0 deco, commit, rollback, loop watched, rearm, commit, settle, rollback"
    ),
    "what stood for a method in a candidate runs its code": (
        "arm 2/0, commit, loop method, rollback, loop method, rearm, disarm, abort, arm 3/0 low, commit, arm 7/0,"
        " commit, settle, rollback"
    ),
    "a partial object, the decorators patched first": "loop tagged, apply 6/1 deco, apply 7/1",
    "a partial object, and a session": "arm 4/1 deco, session, commit, arm 6/0, commit",
    "a partial object that stays, and is taken back": "arm 2/0, commit, loop method, rollback",
    "a partial object around a wrapper that no version has any more": (
        "arm 4/0 low, commit, arm 6/0 mid, commit, arm 7/0 deco, disarm, abort, arm 10/0 deco"
    ),
    "operators under decorators, narrowed when a later swap has settled": (
        "apply 5/1, arm 6/1 deco, commit, loop tagged, arm 7/0 deco, commit, arm 8/1 deco, disarm, abort,"
        " apply 9/1 mid, settle"
    ),
    "led on, and a loop that calls what it was led to before": (
        "apply 3/0 deco, apply 4/0 mid, loop task, apply 5/0 low, apply 6/0 deco, wait"
    ),
    "a partial object, and a session in a module that was taken back": (
        "session, apply 3/0 mid, rollback, apply 4/0 deco, apply 5/1"
    ),
    "operators, when what they were led to before is gone": (
        "loop tagged, apply 4/1 deco, settle, apply 6/0 mid, apply 8/0 deco, apply 9/0 deco, settle"
    ),
    "a session, and what came back twice while it was open": (
        "arm 2/0 mid, loop flowing, session, commit, session, rollback, rearm, commit, arm 3/0, commit, apply 4/0 deco,"
        " close 0, rollback, settle"
    ),
    "clones that make the same closures": (
        "arm 2/1 deco, session, commit, rollback, loop fixed, rearm, commit, rollback, loop flowing, apply 3/0 low,"
        " loop watched, arm 4/1 deco, commit, arm 5/0 deco, loop method, wait, loop fixed, commit, wait, close 2,"
        " rollback, wait"
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known(make_package: Make, hotswap_clock: ManualClock, name: str) -> None:
    with DecoratedWalk(make_package, hotswap_clock) as walk:
        walk.go(*KNOWN[name].split(", "))
    assert not walk.wrong, "\n".join(walk.wrong)


@pytest.mark.parametrize("number", range(FIRST, FIRST + WALKS))
def test_by_chance(make_package: Make, hotswap_clock: ManualClock, number: int) -> None:
    with DecoratedWalk(make_package, hotswap_clock) as walk:
        walk.by_chance(number, STEPS)
    assert not walk.wrong, "\n".join(walk.wrong[:5])


@pytest.mark.parametrize("number", range(FIRST, FIRST + WALKS))
def test_over_many_patches(make_package: Make, hotswap_clock: ManualClock, number: int) -> None:
    with DecoratedWalk(make_package, hotswap_clock) as walk:
        walk.by_chance(number, STEPS, of_patches=True)
    assert not walk.wrong, "\n".join(walk.wrong[:5])
