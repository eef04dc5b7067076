"""A loop that stays old while a version is flipped there and back: what stands for it does not pile up."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap import Patch
from hotswap.swap.junctions import Junction
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Loops(Versions):
    source = """
def helper({more}x): return "{v}"
def loop():
    tag = "{v}"
    while True:
        yield tag, helper({pass_}1)
"""


def test_of_one_generation_one_is_in_flight(make_package: Callable[..., ModuleType]) -> None:
    loops = Loops(make_package, None)
    loop = loops.core.loop()
    next(loop)
    rollout = loops.patcher.stage(Patch.from_sources({loops.name: loops.text("2", 1)}, version="2"))
    rollout.verify()
    rollout.arm()
    found = []
    for _ in range(2):
        for _ in range(6):
            rollout.commit()
            assert next(loop) == ("1", "1")
            rollout.rollback()
            assert next(loop) == ("1", "1")
            rollout.arm()
        gc.collect()
        found.append(len(gc.get_objects()))
    assert until(lambda: len(Junction.in_flight) <= 2)
    # It was twice as much for each flip: tens of thousands.
    assert found[1] - found[0] < 2_000
    loop.close()
    del loop
    rollout.abort()
    assert until(lambda: not Junction.in_flight)
    assert forks_go()
