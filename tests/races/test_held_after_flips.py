"""Code that somebody holds, of a generation that came back and went again: it is looked for as any other."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Loops(Versions):
    source = """
def helper({more}x): return "{v}"
def loop():
    while True:
        yield "{v}", helper({pass_}1)
"""


def test_the_import_wrapper_goes(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """It stayed for ten minutes: what had come back was looked for as if it were still live."""
    plain = builtins.__import__
    loops = Loops(make_package, None)
    old = loops.core.loop()
    assert next(old) == ("1", "1")
    held = old.gi_code
    loops.apply("2").rollback()
    hotswap_clock.advance(1)  # the first look: the loop goes on
    rollout = loops.apply("3")
    assert next(old) == ("1", "1")
    old.close()
    del old
    hotswap_clock.advance(10)
    assert rollout.drained.wait(20)
    assert forks_go()
    assert until(lambda: builtins.__import__ is plain, 20)
    assert held.co_name == "loop"
