"""A cache whose function takes other arguments: old work in modules that stay goes on with the old function."""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import Callable
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
