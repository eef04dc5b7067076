"""Functions that old code pickles: `pickle` finds them by their names, where it has to find the same object."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go, settles
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Work(Versions):
    source = """
import pickle

def crunch(n): return n * 2
def label({more}n=0): return "{v}"
def made(n): return n
class Job:
    def __init__(self, n): self.n = n
    def __reduce__(self): return made, (self.n,)
def other({more}n): return label({pass_}n)

def args(): return ({pass_}1,)
def changed():
    text = "{v}"
    while True:
        yield text, label({pass_}1), other({pass_}1)
def endless():
    while True:
        try:
            dumped = [pickle.dumps(one) for one in (crunch, label, made, Job(3))]
        except pickle.PicklingError:
            dumped = []
        yield label(*args()), len(dumped)
"""


@pytest.mark.parametrize("beside", [False, True])
def test_are_found_by_loops_that_were_handed_over(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, beside: bool
) -> None:
    """A worker that feeds a pool of processes could not do so again as long as it ran, drained or not."""
    work = Work(make_package, 1.0)
    loops, held, changed = [work.core.endless()], work.core.crunch, work.core.changed() if beside else None

    def answers(version: str) -> bool:
        hotswap_clock.advance(3)
        return bool(next(loops[0]) == (version, 4))

    assert answers("1")
    if changed is not None:
        next(changed)
    gone = weakref.ref(work.core)
    for version, shape in (("2", 1), ("3", 0), ("4", 1), ("5", 1)):
        rollout = work.apply(version, shape)
        if version == "3":
            rollout.rollback()
            rollout = work.apply(version, shape)
        if version == "4":
            rollout.rollback()
            assert until(lambda: answers("3"))
            rollout = work.apply(version, shape)
        if changed is not None:  # changed code goes on as it began, and hands over nothing
            assert next(changed) == ("1", "1", "1")
            changed.close()
            changed = None
        assert until(lambda: answers(version))  # noqa: B023
        rollout.confirm()
    assert held(3) == 6
    loops.pop().close()
    del held
    assert settles(hotswap_clock)
    assert until(lambda: gc.collect() >= 0 and gone() is None)


class Lasting(Versions):
    source = """
def label({more}n=0): return "{v}"
def args(): return ({pass_}1,)
def make():
    def only_{v}(): return "{v}", label({pass_}1)
    return only_{v}
def endless():
    while True: yield label(*args())
"""


def test_closures_that_stay_old_keep_their_helpers_beside_them(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """They run in the globals of such a loop, in which the live functions have no place then."""
    lasting = Lasting(make_package, 1.0)
    loops, closure = [lasting.core.endless()], lasting.core.make()
    assert next(loops[0]) == "1"
    for version, shape in (("2", 1), ("3", 2)):
        rollout = lasting.apply(version, shape)
        assert until(lambda: hotswap_clock.advance(3) >= 0 and next(loops[0]) == version)  # noqa: B023
        assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.settled is not None)  # noqa: B023
        assert closure() == ("1", "1")
        assert next(loops[0]) == version
    loops.pop().close()
    assert settles(hotswap_clock)
    assert closure() == ("1", "1")


def test_are_found_by_new_code_at_once(make_package: Callable[..., ModuleType]) -> None:
    work = Work(make_package, None)
    loop = work.core.endless()
    next(loop)
    work.apply("2")
    assert next(work.core.endless()) == ("2", 4)
    assert pickle.loads(pickle.dumps(work.core.crunch)) is work.core.crunch
    loop.close()
    del loop
    assert forks_go()
