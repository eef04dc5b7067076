"""What somebody holds of a generation that came back and went again: it is looked for, and led, as any other."""

from __future__ import annotations

import builtins
import gc
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.swap.junctions import Junction
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


class Keepers(Versions):
    source = """
def helper({more}n): return "{v}"
class Tool:
    def step(self, {more}n): return "{v}"
def changed():
    kept = []
    while True:
        yield {{*[kept_one({pass_}1) for kept_one in kept], helper({pass_}1), Tool().step({pass_}1)}}
        kept += [helper, Tool().step]
def same(arguments):
    kept = []
    while True:
        yield {{*[kept_one(*arguments()) for kept_one in kept], helper(*arguments()), Tool().step(*arguments())}}
        kept += [helper, Tool().step]
"""


@pytest.mark.parametrize("handover", [None, 10.0])
@pytest.mark.parametrize("kind", ["same", "changed"])
@pytest.mark.parametrize("look", ["while it is gone", "while it is back", "when it has gone again"])
def test_what_a_loop_has_kept_goes_with_it(
    make_package: Callable[..., ModuleType],
    hotswap_clock: ManualClock,
    kind: str,
    handover: float | None,
    look: str,
) -> None:
    """What was lent to it while its version was gone led everybody to the newest, or stayed when it was handed over."""
    keepers = Keepers(make_package, handover)
    shape = 0
    loop = keepers.core.changed() if kind == "changed" else keepers.core.same(lambda: (0,) * shape + (1,))

    def stays_on(version: str, seconds: float) -> None:
        for _ in range(2):
            assert next(loop) == {version}
        assert hotswap_clock.advance(seconds) > 0 or not seconds

    stays_on("1", 0)
    keepers.apply("2", 1)
    stays_on("1", look == "while it is gone")
    keepers.patcher.rollback()
    stays_on("1", look == "while it is back")
    rollout = keepers.apply("3", 2)
    stays_on("1", 1 if look == "when it has gone again" else 5)
    assert until(lambda: next(loop) == {"1"} and len(Junction.in_flight) == 1)
    if kind == "same" and handover is not None:
        shape = 2
        hotswap_clock.advance(handover)
        assert until(lambda: not Junction.in_flight)  # what it has kept is led on in a thread
        assert next(loop) == {"3"}
    for _ in range(3):
        hotswap_clock.advance(1200)
        assert next(loop) == {"3" if shape else "1"}
    loop.close()
    hotswap_clock.advance(1200)  # it is held here yet, and so is its code
    assert rollout.drained.wait(20)
    assert forks_go()


class Nested(Versions):
    source = """
def helper({more}n): return "{v}"
def made():
    def inner():
        while True:
            yield helper({pass_}1), "{v}"
    return inner()
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_suspended_goes_again_with_a_warm_version(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, frozen: bool
) -> None:
    """Nobody waited any more for what had come back: with the next flip it was taken for ended."""
    nested = Nested(make_package, 10.0)
    old = nested.core.made()
    assert next(old) == ("1", "1")
    rollout = nested.patcher.stage(nested.patch_of("2"))
    rollout.verify()
    rollout.arm()
    for _ in range(3):
        rollout.commit()
        assert next(old) == ("1", "1")
        hotswap_clock.advance(1)
        rollout.rollback()
        for _ in range(4):
            assert next(old) == ("1", "1")
            hotswap_clock.advance(5)
        assert until(lambda: not Junction.in_flight)
        rollout.arm()
    if frozen:
        gc.freeze()  # it can't be found any more, but is known
    try:
        rollout.commit()
    finally:
        gc.unfreeze()
    assert next(old) == ("1", "1")
    hotswap_clock.advance(20)
    assert not rollout.drained.wait(0.2)
    assert [call.function.rpartition(".")[2] for call in rollout.in_flight()] == ["inner"]
    assert next(old) == ("1", "1")
    old.close()
    del old
    hotswap_clock.advance(1200)
    assert rollout.drained.wait(20)
    assert forks_go()
