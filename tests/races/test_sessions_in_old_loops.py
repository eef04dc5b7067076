"""A session that a loop opens whose own text has changed: what it calls is of its version, however it comes to it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


class Turns(Versions):
    source = """
import functools
import hotswap
def total({more}n): return "{v}"
part = functools.partial(total)
@functools.lru_cache
def remembered({more}n): return "{v}"
def middle(*arguments): return total(*arguments)
def by_object(*arguments): return "".join({{part(*arguments), remembered(*arguments)}})
def outer(*arguments): return sorted([middle(*arguments)], key=lambda one: middle(*arguments))[0]
class Tool:
    def step(self, {more}n): return "{v}"
    def same(self, *arguments): return self.step(*arguments)
def loop():
    version = "{v}"
    while True:
        with hotswap.session():
            yield {{middle({pass_}1), by_object({pass_}1), outer({pass_}1), Tool().same({pass_}1), version}}
"""


@pytest.mark.parametrize("handover", [None, 10.0])
def test_does_not_mix(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    """Unchanged functions that it calls got the new of what they call, with what the old loop passes: a `TypeError`."""
    turns = Turns(make_package, handover)
    loop = turns.core.loop()
    assert next(loop) == {"1"}
    for version, shape in (("2", 1), ("3", 0)):
        turns.apply(version, shape)
        for _ in range(2):
            assert next(loop) == {"1"}
            assert next(turns.core.loop()) == {version}
            hotswap_clock.advance(20)
    loop.close()
    del loop
    assert forks_go()
