"""Generators that nobody will run, but that look like calls in flight: of context managers that decorate functions,
and those that only names of old modules lead to."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, collector
from hotswap.swap.calls import frame_of
from hotswap.swap.spares import Spares, has_begun
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

CORE = """
import contextlib

@contextlib.contextmanager
def timed(kind="{v}"):
    LOG.append(kind)
    yield kind
    LOG.append("end")

@contextlib.asynccontextmanager
async def waited(kind="{v}"):
    LOG.append(kind)
    yield kind

LOG = []

@timed()
def work(): return "{v}"

@waited()
async def waiting(): return "{v}"

class Tool:
    @timed()
    def use(self): return "{v}"
    @staticmethod
    @timed()
    def plain(): return "{v}"
"""
SHARED = """
shared = timed("shared {v}")

@shared
def guarded(): return "{v}"
"""
BESIDE = """
from .core import timed, waited
@timed()
def work(): return "beside"
@waited()
async def waiting(): return "beside"
"""


class Package:
    """A package of which one module is patched."""

    def __init__(self, make: Callable[..., ModuleType], source: str, **others: str) -> None:
        self.source = source
        texts = {"core.py": self.text("1"), **{f"{name}.py": text for name, text in others.items()}}
        self.package = make(texts).__name__
        for name in ("core", *others):
            __import__(f"{self.package}.{name}")
        self.patcher = Patcher([self.package], handover=1.0)

    def text(self, version: str) -> str:
        return self.source.format(v=version)

    def __getattr__(self, name: str) -> Any:
        return sys.modules[f"{self.package}.{name}"]

    def apply(self, version: str) -> Any:
        return self.patcher.apply(Patch.from_sources({f"{self.package}.core": self.text(version)}, version=version))


def spares_of(package: str) -> list[object]:
    """The generators of a package that somebody holds, and that have not begun."""
    found = [one for one in gc.get_objects() if type(one) in (GeneratorType, AsyncGeneratorType)]
    frames = [frame for one in found if (frame := frame_of(one)) is not None and not has_begun(frame)]
    return [frame for frame in frames if frame.f_globals["__name__"].startswith(f"{package}.")]


def manager_of(function: Any) -> Any:
    """The context manager that decorates a function."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    return cells["self"].cell_contents


@pytest.mark.usefixtures("hotswap_clock")  # who looks at times whether calls have ended unseen does not come
def test_of_decorators_are_no_calls_in_flight(make_package: Callable[..., ModuleType]) -> None:
    """Nothing ever drained, and each generation stayed in memory."""
    package = Package(make_package, CORE, beside=BESIDE)

    @package.core.timed()  # type: ignore[untyped-decorator]  # it is of a module that is made here
    def outside() -> str:
        return "outside"

    gone = []
    later: list[Any] = []
    for version in map(str, range(2, 8)):
        gone.append(weakref.ref(package.core))
        rollout = package.apply(version)
        assert spares_of(package.package) == []
        assert not rollout.in_flight()
        assert rollout.drained.wait(20)
        assert forks_go()
        if version == "4":
            later.append(package.core.timed()(lambda: "later"))
            package.patcher.rollback()
            assert rollout.drained.wait(20)
            assert forks_go()
            assert spares_of(package.package) == []
            rollout = package.apply(version)
        package.core.LOG.clear()
        tool = package.core.Tool()
        assert {package.core.work(), tool.use(), tool.plain(), asyncio.run(package.core.waiting())} == {version}
        assert (package.beside.work(), asyncio.run(package.beside.waiting()), outside()) == (
            "beside",
            "beside",
            "outside",
        )
        assert set(package.core.LOG) == {version, "end"}
        rollout.confirm()
    gc.collect()
    assert [reference() for reference in gone[:-1]] == [None] * 5


def test_whose_context_manager_somebody_else_holds_stay(make_package: Callable[..., ModuleType]) -> None:
    package = Package(make_package, CORE + SHARED)
    before = package.core.shared
    package.apply("2")
    assert package.core.guarded() == "2"
    with before as given, package.core.shared as new:
        assert (given, new) == ("shared 1", "shared 2")


def test_are_found_in_frozen_modules(make_package: Callable[..., ModuleType]) -> None:
    package = Package(make_package, CORE)
    managers = [manager_of(package.core.work), manager_of(package.core.Tool.use)]
    gens = [weakref.ref(one.gen) for one in managers]
    managers.clear()
    gc.freeze()
    try:
        package.apply("2")
    finally:
        gc.unfreeze()
    assert [one() for one in gens] == [None, None]


def test_of_other_packages_are_left_alone(make_package: Callable[..., ModuleType]) -> None:
    mine = Package(make_package, CORE)
    other = make_package({"core.py": CORE.format(v="other")}).__name__
    __import__(f"{other}.core")
    manager = manager_of(sys.modules[f"{other}.core"].work)
    assert type(manager.gen).__name__ == "generator"
    del manager
    mine.apply("2")
    assert type(manager_of(sys.modules[f"{other}.core"].work).gen).__name__ == "generator"
    assert not hasattr(manager_of(mine.core.work), "gen")


def test_that_have_begun_are_none(make_package: Callable[..., ModuleType]) -> None:
    """Whoever holds its context manager in his decorated function alone may end it later."""
    package = Package(make_package, CORE)
    manager = package.core.timed("begun")
    manager.__enter__()
    kept = manager(len)
    del manager
    package.apply("2")
    with pytest.raises(StopIteration):
        next(manager_of(kept).gen)
    assert package.core.LOG[-2:] == ["begun", "end"]


def test_the_heap_is_not_asked_again_without_need(
    make_package: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package(make_package, CORE)
    asked: list[object] = []
    referrers = collector.referrers_of

    def referrers_of(*about: Any) -> list[Any]:
        asked.append(about)
        return referrers(*about)

    package.apply("2").confirm()
    spares = Spares()
    spares.let_go((package.package,), {})
    monkeypatch.setattr(collector, "referrers_of", referrers_of)
    spares.let_go((package.package,), {})
    assert asked == []

    @contextlib.contextmanager
    def once() -> Any:
        yield

    kept = once()(package.core.work)
    spares.let_go((package.package,), {})
    assert len(asked) == 1
    del kept


GENERATORS = """
def ticks(n={v}):
    while True:
        n += 1
        yield "{v}"

{statement}
def work(): return next(ticker)
"""


@pytest.mark.parametrize("begun", [True, False])
def test_that_only_old_names_lead_to_end(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, begun: bool
) -> None:
    """They were in flight for ever, and so was each generation."""
    package = Package(make_package, GENERATORS.replace("{statement}", "ticker = ticks({v})"))
    gone = []
    for version in map(str, range(2, 6)):
        if begun:
            assert package.core.work() == str(int(version) - 1)
        gone.append(weakref.ref(package.core))
        rollout = package.apply(version)
        assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())  # noqa: B023
        assert package.core.work() == version
        rollout.confirm()
    assert until(lambda: gc.collect() >= 0 and [one() for one in gone[:-1]] == [None] * 3)


def test_that_a_candidate_makes_in_vain_end(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """The living generator is kept, since its definition did not change; it is in flight."""
    package = Package(make_package, GENERATORS.replace("{statement}", "ticker = ticks()"))
    assert package.core.work() == "1"
    first = package.apply("2")
    assert package.core.work() == "1"
    assert [call.line for call in first.in_flight()] == [5]
    first.confirm()
    for version in ("3", "4", "5"):
        rollout = package.apply(version)
        assert until(lambda: hotswap_clock.advance(3) >= 0 and rollout.drained.is_set())  # noqa: B023
        assert package.core.work() == "1"
        rollout.confirm()
    package.core.ticker.close()
    assert until(lambda: hotswap_clock.advance(600) >= 0 and first.drained.is_set())
