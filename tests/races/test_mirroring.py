"""Values that are rebound while calls go on after the handover: they run in the globals in which they have begun."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go, settles
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Service(Versions):
    source = """
stopped = False
hits = 0
limit = "{v}"
later = "{later}"
mode = "first"
def helper({more}n): return "{v}"
def args(): return ({pass_}1,)
def stop():
    global stopped
    stopped = True
def hit():
    global hits
    hits += 1
def same():
    global hits
    while not stopped:
        hits += 1
        yield helper(*args()), limit, mode, later
def changed():
    global hits
    text = "{v}"
    while not stopped:
        hits += 1
        yield text, limit, mode, later
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """Return the source of a version. `later` is what only the third one, and those after it, change."""
        later = "1" if int(str(version)) < 3 else version
        return cls.source.format(v=version, later=later, more="z, " * shape, pass_="0, " * shape)


@pytest.fixture
def service(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> Service:
    return Service(make_package, 1.0)


@pytest.mark.parametrize("name", ["same", "changed"])
@pytest.mark.parametrize("patches", [1, 3])
def test_a_flag_ends_a_loop(service: Service, hotswap_clock: ManualClock, name: str, patches: int) -> None:
    """It is set in the live module, by a signal handler say: the loop went on for as long as the process."""
    loop = getattr(service.core, name)()
    next(loop)
    for number in range(2, 2 + patches):
        service.apply(str(number), number % 2)
        hotswap_clock.advance(5)
        assert next(loop)
    service.core.stop()
    hotswap_clock.advance(1)
    assert next(loop, "has ended") == "has ended"
    del loop
    assert settles(hotswap_clock)


def test_a_flag_that_is_set_before_the_handover(service: Service, hotswap_clock: ManualClock) -> None:
    loop = service.core.same()
    next(loop)
    service.apply("2", 1)
    service.core.stop()
    assert next(loop)[0] == "1"
    hotswap_clock.advance(5)
    assert next(loop, "has ended") == "has ended"
    del loop
    assert settles(hotswap_clock)


def test_what_is_rebound_at_once_after_a_later_swap(service: Service, hotswap_clock: ManualClock) -> None:
    """It was taken for what the patch has changed, and lost to the loop for as long as that went on."""
    loop = service.core.same()
    next(loop)
    for number in (2, 3, 4):
        service.apply(str(number), number % 2)
        service.core.mode = f"mode {number}"
        hotswap_clock.advance(5)
        assert next(loop)[2] == f"mode {number}"
    service.apply("5", 0)
    service.apply("6", 1)
    service.core.stop()
    hotswap_clock.advance(5)
    assert next(loop, "has ended") == "has ended"
    del loop
    assert settles(hotswap_clock)


def test_a_counter_goes_on_in_both(service: Service, hotswap_clock: ManualClock) -> None:
    loop = service.core.same()
    next(loop)
    for number in (2, 3, 4):
        service.apply(str(number), number % 2)
        hotswap_clock.advance(5)
        before = service.core.hits
        next(loop)
        hotswap_clock.advance(1)
        assert service.core.hits == before + 1
        service.core.hit()
        hotswap_clock.advance(1)
        next(loop)
        hotswap_clock.advance(1)
        assert service.core.hits == before + 3
    service.patcher.rollback()
    hotswap_clock.advance(5)
    assert service.core.hits == 10
    next(loop)
    hotswap_clock.advance(1)
    assert service.core.hits == 11
    loop.close()
    del loop
    assert settles(hotswap_clock)


def test_what_a_patch_changes_is_left_as_it_is(service: Service, hotswap_clock: ManualClock) -> None:
    loop = service.core.same()
    assert next(loop) == ("1", "1", "first", "1")
    for version in ("2", "3"):
        service.apply(version, 0)
        hotswap_clock.advance(5)
        assert next(loop) == (version, "1", "first", "1")
    service.core.mode = ["second"]
    hotswap_clock.advance(1)
    assert next(loop) == ("3", "1", ["second"], "1")
    assert service.core.limit == service.core.later == "3"
    loop.close()
    del loop
    assert settles(hotswap_clock)


def test_what_stays_old_meets_no_values_of_another_kind(service: Service, hotswap_clock: ManualClock) -> None:
    loops = [service.core.changed(), service.core.same()]
    assert [next(loop)[2] for loop in loops] == ["first", "first"]
    service.apply("2", 0)
    hotswap_clock.advance(5)
    service.core.mode = ["second"]
    hotswap_clock.advance(1)
    assert [next(loop)[2] for loop in loops] == ["first", "first"]
    service.core.mode = "third"
    hotswap_clock.advance(1)
    assert [next(loop)[2] for loop in loops] == ["third", "third"]
    loops.clear()
    assert settles(hotswap_clock)


def test_ends_with_the_loop(service: Service, hotswap_clock: ManualClock) -> None:
    loop = service.core.same()
    next(loop)
    gone: list[weakref.ref[Any]] = []
    for number in range(2, 8):
        gone.append(weakref.ref(sys.modules[service.name]))
        service.apply(str(number), 0).confirm()
        hotswap_clock.advance(5)
    mirrors: list[Any] = list(service.patcher._succession._settlement._mirroring._mirrors)
    assert [mirror._facts["mode"] for mirror in mirrors] == ["first"]
    loop.close()
    del loop
    assert [mirror._facts for mirror in mirrors] == [{}]  # and not with the next look

    def left() -> list[Any]:
        hotswap_clock.advance(60)
        gc.collect()
        return [known for known in gone if known() is not None]

    assert until(lambda: len(left()) <= 1)
    mirroring: Any = service.patcher._succession._settlement._mirroring
    assert until(lambda: hotswap_clock.advance(60) >= 0 and not mirroring._mirrors)
    assert forks_go()


def test_what_stays_old_rebinds_in_other_modules(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """Its helpers are old, and run in the globals of their own modules."""
    config = "number = 0\ndef reload():\n    global number\n    number += 1\n"
    core = "from . import config\ndef loop():\n    while True:\n        config.reload()\n        yield\n"
    package = make_package({"core.py": core, "config.py": config}).__name__
    __import__(f"{package}.core")
    loop = sys.modules[f"{package}.core"].loop()
    next(loop)
    patched = {f"{package}.core": core.replace("yield", "yield 2"), f"{package}.config": config.replace("1", "10")}
    Patcher([package], handover=1.0).apply(Patch.from_sources(patched, version="2"))
    hotswap_clock.advance(5)
    next(loop)
    hotswap_clock.advance(1)
    assert sys.modules[f"{package}.config"].number == 2
    loop.close()
    del loop
    assert settles(hotswap_clock)
