"""Modules that were imported only after a swap: to what is old then, their first version is that of its generation."""

from __future__ import annotations

import contextvars
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import minute, settles

pytestmark = pytest.mark.threads

CORE = """
def own(): return "core {v}"
def call(n):
    from . import lazy
    return {{own(), lazy.answer({pass_}n), *lazy.Job({pass_}n).run({pass_}n)}}
def loop():
    tag = "core {v}"
    yield
    while True:
        yield {{tag, *call(1)}}
"""
LAZY = """
from . import core
def helper({more}n): return "lazy {v}"
def answer({more}n): return helper({pass_}n)
class Job:
    def __init__(self, {more}n): self.told = helper({pass_}n)
    def run(self, {more}n): return self.told, helper({pass_}n), core.own()
"""
TEXTS = {"core": CORE, "lazy": LAZY}


class Service:
    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock, handover: float | None) -> None:
        self._clock = clock
        self.name = make({f"{name}.py": self._text(name, 1, 0) for name in TEXTS}).__name__
        self.patcher = Patcher([self.name], handover=handover)
        self.core: Any = importlib.import_module(f"{self.name}.core")
        self.live = {"core 1", "lazy 1"}
        self.unit, self.context = hotswap.session(), contextvars.Context()
        self.context.run(self.unit.__enter__)
        self.loop = self.core.loop()
        next(self.loop)

    @staticmethod
    def _text(name: str, version: int, shape: int) -> str:
        return TEXTS[name].format(v=version, more="z, " * shape, pass_="0, " * shape)

    def apply(self, version: int, shape: int, *names: str) -> None:
        sources = {f"{self.name}.{name}": self._text(name, version, shape) for name in names}
        self.patcher.apply(Patch.from_sources(sources, version=str(version)))
        self.live = {one for one in self.live if one.split()[0] not in names} | {f"{name} {version}" for name in names}

    def look(self) -> None:
        for _ in range(3):
            assert self.context.run(sys.modules[f"{self.name}.core"].call, 1) == {"core 1", "lazy 1"}
            assert next(self.loop) == {"core 1", "lazy 1"}
            assert sys.modules[f"{self.name}.core"].call(1) == self.live
            minute(self._clock)

    def end(self) -> None:
        self.context.run(self.unit.__exit__, None, None, None)
        self.loop.close()
        del self.loop
        assert settles(self._clock)
        assert sys.modules[f"{self.name}.core"].call(1) == self.live


@pytest.mark.parametrize("handover", [None, 1.0])
@pytest.mark.parametrize("importer", ["loop", "session", "live"])
def test_and_changed_with_others(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, importer: str, handover: float | None
) -> None:
    """A call in flight got the new one, or went round in a circle, once the session was over."""
    service = Service(make_package, hotswap_clock, handover)
    service.apply(2, 0, "core")
    assert f"{service.name}.lazy" not in sys.modules
    if importer == "loop":
        next(service.loop)
    elif importer == "session":
        service.context.run(sys.modules[f"{service.name}.core"].call, 1)
    service.look()
    for version, shape in ((3, 1), (4, 0), (5, 1)):
        service.apply(version, shape, "core", "lazy")
        service.look()
    service.end()


@pytest.mark.parametrize("handover", [None, 1.0])
def test_and_changed_alone(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    service = Service(make_package, hotswap_clock, handover)
    service.apply(2, 0, "core")
    service.look()
    for version in (3, 4):
        service.apply(version, 0, "lazy")
        service.look()
    service.apply(5, 1, "core", "lazy")
    service.look()
    service.end()


@pytest.mark.parametrize("handover", [None, 1.0])
def test_and_changed_before_anybody_old_has_come_there(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    service = Service(make_package, hotswap_clock, handover)
    service.apply(2, 0, "core")
    importlib.import_module(f"{service.name}.lazy")
    service.apply(3, 1, "core", "lazy")
    service.look()
    service.apply(4, 0, "core", "lazy")
    service.look()
    service.end()
