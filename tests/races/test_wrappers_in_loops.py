"""Decorators whose wrapper is the loop, and calls what they decorate by its cell: `@every`, `@retry`, `@forever`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import settles
from tests.races.versions import stays_old
from tests.waiting import until

pytestmark = pytest.mark.threads

DECORATORS = """
import functools
import hotswap
def every(function):
    @functools.wraps(function)
    def loop(*arguments):
        while True: yield function(*arguments)
    return loop
def in_units(function):
    @functools.wraps(function)
    def loop(*arguments):
        while True:
            with hotswap.session(): answer = function(*arguments)
            yield answer
    return loop
def retry(function):
    @functools.wraps(function)
    def attempt(*arguments):
        while True:
            try: return function(*arguments)
            except ConnectionError as error: error.args[0]()
    return attempt
def every_async(function):
    @functools.wraps(function)
    async def loop(*arguments):
        while True: yield await function(*arguments)
    return loop
def retry_async(function):
    @functools.wraps(function)
    async def attempt(*arguments): return await function(*arguments)
    return attempt
"""

CORE = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
{decorators}
def helper({more}n): return "{v}"
@every
def plain(self): return {{"{v}", helper({pass_}1)}}
@in_units
def units(self): return {{"{v}", helper({pass_}1)}}
@every_async
async def task(self): return {{"{v}", helper({pass_}1)}}
@every
@every
def twice(self): return {{"{v}", helper({pass_}1)}}
@retry
def send(problem, times):
    if times: raise ConnectionError(times.pop())
    return {{"{v}", helper({pass_}1)}}
class Tool:
    def helper(self, {more}n): return "{v}"
    @every
    def method(self): return {{"{v}", helper({pass_}1), self.helper({pass_}1)}}
    @retry
    def send(self, times):
        if times: raise ConnectionError(times.pop())
        return {{"{v}", helper({pass_}1), self.helper({pass_}1)}}
@retry_async
async def job({more}n): return helper({pass_}n)
@retry
def work({more}n): return helper({pass_}n)
def gives():
    text = "{v}"
    with ThreadPoolExecutor(1) as pool:
        while True:
            done = asyncio.run(asyncio.wait_for(job({pass_}1), 20)), pool.submit(work, {pass_}1).result(20)
            yield {{text, asyncio.run(job({pass_}1)), *done}}
def main():
    text = "{v}"
    loop = plain(None)
    while True: yield {{text, *next(loop), *next(plain(None))}}
"""


class Decorated:
    """A package with decorators in the same module, in another one, or outside of it, and loops that they have made."""

    def __init__(self, make: Callable[..., ModuleType], where: str, outside: Path) -> None:
        self.where, self.outside = where, f"decorators_{outside.name}"
        (outside / f"{self.outside}.py").write_text(DECORATORS)
        sys.path.insert(0, str(outside))
        try:
            package = make({"core.py": self.text("1", 0), "decorators.py": DECORATORS}).__name__
            self.name = f"{package}.core"
            __import__(self.name)
        finally:
            sys.path.remove(str(outside))
        self.patcher = Patcher([package], handover=1.0)

    def text(self, version: str, shape: int) -> str:
        names = "every, every_async, in_units, retry, retry_async"
        room = ".decorators" if self.where == "beside" else self.outside
        decorators = DECORATORS if self.where == "inside" else f"from {room} import {names}"
        return CORE.format(decorators=decorators, v=version, more="z, " * shape, pass_="0, " * shape)

    @property
    def core(self) -> Any:
        return sys.modules[self.name]

    def stage(self, version: str, shape: int) -> hotswap.Rollout:
        return self.patcher.stage(Patch.from_sources({self.name: self.text(version, shape)}, version=version))

    def apply(self, version: str, shape: int) -> hotswap.Rollout:
        rollout = self.stage(version, shape)
        rollout.verify()
        rollout.commit()
        return rollout

    @functools.cached_property
    def runner(self) -> asyncio.Runner:
        return asyncio.Runner()

    def begin(self, name: str) -> Callable[[], Any]:
        """Begin a loop. Returns what gives its next answer; the loop ends with that."""
        if name == "task":
            turns = self.core.task(None)
            return lambda: self.runner.run(anext(turns))
        if name == "twice":
            outer = self.core.twice(None)
            return lambda: next(next(outer))
        loop = self.core.Tool().method() if name == "method" else getattr(self.core, name)(None)
        return lambda: next(loop)


@pytest.fixture(params=["inside", "beside", "outside"])
def decorated(make_package: Callable[..., ModuleType], request: Any, tmp_path: Path) -> Iterator[Decorated]:
    made = Decorated(make_package, request.param, tmp_path)
    yield made
    made.runner.close()


LOOPS = ["plain", "units", "task", "twice", "method"]


def _handed_over(clock: ManualClock, turn: Callable[[], Any], version: str) -> bool:
    return bool(until(lambda: clock.advance(3) >= 0 and turn() == {version}))


@pytest.mark.parametrize("name", LOOPS)
def test_calls_the_new_from_the_handover_on(decorated: Decorated, hotswap_clock: ManualClock, name: str) -> None:
    """It called the old for ever, with new helpers: a `TypeError`, or a mixture, while nothing was in flight."""
    turns = [decorated.begin(name)]
    assert turns[0]() == {"1"}
    for before, version, shape in (("1", "2", 1), ("2", "3", 0)):
        decorated.apply(version, shape)
        assert turns[0]() in ({before}, {version})
        assert _handed_over(hotswap_clock, turns[0], version)
        assert decorated.begin(name)() == {version}
    decorated.patcher.rollback()
    assert turns[0]() in ({"3"}, {"2"})
    assert _handed_over(hotswap_clock, turns[0], "2")
    turns.clear()
    decorated.runner.close()
    gc.collect()
    assert settles(hotswap_clock)


@pytest.mark.parametrize("name", LOOPS)
def test_calls_one_version_over_flips(decorated: Decorated, hotswap_clock: ManualClock, name: str) -> None:
    turns = [decorated.begin(name)]
    assert turns[0]() == {"1"}
    rollout = decorated.stage("2", 1)
    rollout.verify()
    rollout.arm()
    assert turns[0]() == {"1"}
    for version in ("2", "1", "2"):
        rollout.rollback() if version == "1" else rollout.commit()
        assert turns[0]() in ({"1"}, {"2"})
        assert _handed_over(hotswap_clock, turns[0], version)
        if version == "1":
            rollout.arm()
            assert turns[0]() == {"1"}
    turns.clear()
    decorated.runner.close()
    gc.collect()
    assert settles(hotswap_clock)


@pytest.mark.parametrize("method", [False, True])
def test_one_attempt_is_of_one_version(decorated: Decorated, hotswap_clock: ManualClock, method: bool) -> None:
    """The handover falls between two attempts: the second one called the old function, and that new helpers."""
    times = [lambda: hotswap_clock.advance(20), lambda: decorated.apply("2", 1)]
    if method:
        assert decorated.core.Tool().send(times) in ({"1"}, {"2"})
    else:
        assert decorated.core.send(None, times) in ({"1"}, {"2"})
    assert settles(hotswap_clock)


@pytest.mark.parametrize("name", ["main", "gives"])
def test_for_changed_code_it_calls_the_old(decorated: Decorated, hotswap_clock: ManualClock, name: str) -> None:
    """By a call of its own that goes on, by those that it begins, and by those that others begin for it."""
    stays_old(decorated, name, hotswap_clock)


def test_keeps_no_generation(decorated: Decorated, hotswap_clock: ManualClock) -> None:
    turns = [decorated.begin(name) for name in ("plain", "method")]
    gone: list[weakref.ref[Any]] = []
    for number in range(2, 14):
        gone.append(weakref.ref(decorated.core))
        decorated.apply(str(number), number % 2).confirm()
        for turn in turns:
            assert _handed_over(hotswap_clock, turn, str(number))
    with contextlib.suppress(UnboundLocalError):
        del turn

    def left() -> int:
        hotswap_clock.advance(60)
        gc.collect()
        return sum(known() is not None for known in gone)

    assert until(lambda: left() <= 3), left()
    turns.clear()
    assert settles(hotswap_clock)


TAGGED = """
import functools
def tag(): return "decorators {v}"
def every(function):
    @functools.wraps(function)
    def loop():
        while True: yield {{*function(), tag()}}
    return loop
"""
NEIGHBOURS = """
from .decorators import every, tag
def own(): return "core {v}"
@every
def same(): return own(), tag()
def changed():
    text = "core {v}"
    while True: yield {{text, *next(same())}}
"""


@pytest.mark.parametrize("steps", ["core decorators", "core settle decorators", "decorators core"])
def test_beside_a_changed_loop_that_names_it(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, steps: str
) -> None:
    """It called the old function for as long as the other loop went on, with another version of the decorators."""
    texts = {"core": NEIGHBOURS, "decorators": TAGGED}
    package = make_package({f"{name}.py": text.format(v=1) for name, text in texts.items()}).__name__
    core: Any = importlib.import_module(f"{package}.core")
    patcher = Patcher([package], handover=1.0)
    changed, same = [core.changed()], [core.same()]
    assert next(changed[0]) == next(same[0]) == {"core 1", "decorators 1"}
    for step in steps.split():
        if step == "settle":
            hotswap_clock.advance(20)
        else:
            patcher.apply(Patch.from_sources({f"{package}.{step}": texts[step].format(v=2)}))
    assert until(lambda: hotswap_clock.advance(3) >= 0 and next(same[0]) == {"core 2", "decorators 2"})
    assert next(changed[0]) == {"core 1", "decorators 1"}
    changed.clear()
    same.clear()
    assert settles(hotswap_clock)


@pytest.mark.parametrize(
    "patches",
    [["both"], ["decorators", "both"], ["decorators", "both", "core"], ["both", "decorators", "both", "core"]],
)
def test_over_patches_of_its_decorator_before_the_handover(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, patches: list[str]
) -> None:
    """Nobody was on the generation of the second, and the loop got what is left to nobody: the old, for ever."""
    texts = {"core": NEIGHBOURS, "decorators": TAGGED}
    package = make_package({f"{name}.py": text.format(v=1) for name, text in texts.items()}).__name__
    core: Any = importlib.import_module(f"{package}.core")
    patcher = Patcher([package], handover=1.0)
    same = [core.same()]
    assert next(same[0]) == {"core 1", "decorators 1"}
    live = dict.fromkeys(texts, 1)
    for version, names in enumerate(patches, 2):
        changed = texts if names == "both" else [names]
        patcher.apply(Patch.from_sources({f"{package}.{name}": texts[name].format(v=version) for name in changed}))
        live |= dict.fromkeys(changed, version)
        assert next(same[0]) == {"core 1", "decorators 1"}
    wanted = {f"{name} {version}" for name, version in live.items()}
    assert until(lambda: hotswap_clock.advance(3) >= 0 and next(same[0]) == wanted)
    same.clear()
    assert settles(hotswap_clock)


def test_that_began_between_two_patches_is_handed_over(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """What it was known by went with the forks of the first patch, and it stayed old for ever."""
    texts = {"core": NEIGHBOURS, "decorators": TAGGED, "lower": "def name(): return 'lower {v}'"}
    texts["core"] = (
        texts["core"]
        .replace("from .deco", "from . import lower\nfrom .deco")
        .replace("return own(), tag()", "return own(), tag(), lower.name()")
    )
    package = make_package({f"{name}.py": text.format(v=1) for name, text in texts.items()}).__name__
    core: Any = importlib.import_module(f"{package}.core")
    patcher = Patcher([package], handover=1.0)

    def apply(name: str) -> hotswap.Rollout:
        return patcher.apply(Patch.from_sources({f"{package}.{name}": texts[name].format(v=2)}))

    loops = [core.same()]
    assert next(loops[0]) == {"core 1", "decorators 1", "lower 1"}
    apply("decorators")
    loops.append(core.same())
    assert next(loops[1]) == {"core 1", "decorators 2", "lower 1"}
    rollout = apply("lower")
    wanted = {"core 1", "decorators 2", "lower 2"}
    assert until(lambda: hotswap_clock.advance(3) >= 0 and next(loops[0]) == next(loops[1]) == wanted)
    assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())
    loops.clear()
    assert settles(hotswap_clock)
