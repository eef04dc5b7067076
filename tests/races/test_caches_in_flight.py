"""A cache whose function takes other arguments: old work in modules that stay goes on with the old function."""

from __future__ import annotations

import contextvars
import importlib
import itertools
from collections.abc import Callable, Container
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

FEW = "import functools\n@functools.lru_cache\ndef rate(country): return 'few ' + country\n"
MANY = "import functools\n@functools.lru_cache\ndef rate(country, *, date): return 'many ' + country\n"
SAME = "import functools\n@functools.lru_cache\ndef rate(country, date=0): return 'same ' + country\n"
STAYS = """
from . import tax
from .tax import rate

def asks(**more):
    for number in range(100): yield tax.rate(f"DE{number}", **more), rate(f"FR{number}", **more)
"""


def service(make: Callable[..., ModuleType], first: str) -> tuple[Any, Patcher, Callable[[str], hotswap.Rollout]]:
    package = make({"tax.py": first, "stays.py": STAYS}).__name__
    stays: Any = importlib.import_module(f"{package}.stays")
    patcher = Patcher([package], handover=None)
    return stays, patcher, lambda text: patcher.apply(Patch.from_sources({f"{package}.tax": text}, version="2"))


@pytest.mark.parametrize("back", [False, True])
def test_old_work_gets_the_old(make_package: Callable[..., ModuleType], back: bool) -> None:
    first, then = (MANY, FEW) if back else (FEW, MANY)
    old, new = ("many", "few") if back else ("few", "many")
    with_old, with_new = ({"date": 1}, {}) if back else ({}, {"date": 1})
    stays, patcher, apply = service(make_package, first)
    flight, session, inside = stays.asks(**with_old), hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    assert next(flight) == (f"{old} DE0", f"{old} FR0")
    rollout = apply(then)
    assert next(flight) == (f"{old} DE1", f"{old} FR1")
    assert inside.run(next, stays.asks(**with_old)) == (f"{old} DE0", f"{old} FR0")
    assert next(stays.asks(**with_new)) == (f"{new} DE0", f"{new} FR0")
    later = stays.asks(**with_new)
    next(later)
    inside.run(session.__exit__, None, None, None)
    flight.close()
    assert rollout.drained.wait(20)
    patcher.rollback()
    assert next(later) == (f"{new} DE1", f"{new} FR1")
    assert next(stays.asks(**with_old)) == (f"{old} DE0", f"{old} FR0")
    later.close()
    assert forks_go()


def test_nothing_is_remembered_for_both(make_package: Callable[..., ModuleType]) -> None:
    """Where one call fits both, a session that filled the cache would have filled it for everybody."""
    stays, _, apply = service(make_package, FEW)
    session, inside = hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    apply(SAME)
    assert inside.run(next, stays.asks()) == ("same DE0", "same FR0")
    assert next(stays.asks()) == ("same DE0", "same FR0")
    inside.run(session.__exit__, None, None, None)
    assert forks_go()


FLIPPED = """
import functools
def low({takes}): return "{v}"
@functools.lru_cache
def rate({takes}): return "{v}" + low({given})
part = functools.partial(low)
class Tool:
    @staticmethod
    @functools.lru_cache
    def known({takes}): return "{v}"
def tell(): return {{"{v}", *rate({given}), part({given}), Tool.known({given})}}
"""
SIGNATURES: dict[str, Callable[[int], tuple[str, str]]] = {
    "number": lambda version: ("z, n", "0, 1") if version % 2 else ("n", "1"),
    "names": lambda version: (f"*, k{version}", f"k{version}=1"),  # as many: a call may be meant for either
}


@pytest.mark.parametrize("differ", SIGNATURES)
@pytest.mark.parametrize("wanted", [(1,), (2,), (1, 2), range(9)], ids=str)
@pytest.mark.parametrize("flips", [1, 2])
@pytest.mark.parametrize("armed", [True, False])
def test_sessions_keep_theirs_over_flips(
    make_package: Callable[..., ModuleType], wanted: Container[int], flips: int, armed: bool, differ: str
) -> None:
    """A generation that was brought back and went once more got the cache of the one before it."""

    def text(version: int) -> str:
        takes, given = SIGNATURES[differ](version)
        return FLIPPED.format(v=version, takes=takes, given=given)

    package = make_package({"core.py": text(1)}).__name__
    live: Any = importlib.import_module(f"{package}.core")
    patcher = Patcher([package], handover=None)
    opened: list[tuple[contextvars.Context, hotswap.Session, str]] = []

    looks = itertools.count(1)

    def look(version: str) -> None:
        assert live.tell() == {version}
        if next(looks) in wanted:
            inside, session = contextvars.Context(), hotswap.session()
            inside.run(session.__enter__)
            opened.append((inside, session, version))
        for other, _, known in opened:
            assert other.run(live.tell) == {known}

    def patch(version: int) -> hotswap.Rollout:
        rollout = patcher.stage(Patch.from_sources({f"{package}.core": text(version)}, version=str(version)))
        rollout.verify()
        return rollout

    look("1")
    second = patch(2)
    second.arm()
    second.commit()
    look("2")
    for _ in range(flips):
        second.rollback()
        look("1")
        if armed:
            second.arm()
            look("1")
        second.commit()
        look("2")
    patch(3).commit()
    look("3")
    patch(4).commit()
    look("4")
    for inside, session, _ in opened:
        inside.run(session.__exit__, None, None, None)
    opened.clear()
    assert forks_go()
