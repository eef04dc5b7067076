"""What an old call gets of a module that stayed when its generation went, and that a later patch changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads

LOW = """
import contextlib
import functools

@functools.lru_cache(maxsize=None)
def cached({more}x): return "{v}"
def helper({more}x): return "{v}"
part = functools.partial(helper, {pass_}1)

class Base:
    def who(self): return "{v}"

@contextlib.contextmanager
def scope({more}x):
    yield helper({pass_}x)

def loop():
    while True:
        with scope({pass_}1) as entered:
            pass
        yield {{helper({pass_}1), cached({pass_}1), part(), Base().who(), entered}}
"""
HIGH = """
from {package} import low
from {package}.low import helper, part, scope

class Sub(low.Base):
    def who(self): return super().who() + "{v}"

def facts():
    with scope(1) as entered:
        pass
    return {{helper(1), part(), entered}}

def loop():
    while True:
        yield {{"{v}", *facts()}}
"""


class Package:
    """A package with two modules, of which one calls the other."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.name = make({"low.py": "", "high.py": ""}).__name__
        folder = Path(str(sys.modules[self.name].__file__)).parent
        for name in ("low", "high"):
            (folder / f"{name}.py").write_text(self.text(name, "1"))
        importlib.import_module(f"{self.name}.high")
        self.patcher = Patcher([self.name], handover=1.0)

    def text(self, name: str, version: str, count: int = 0) -> str:
        how = {"package": self.name, "more": "z, " * count, "pass_": "0, " * count}
        return (LOW if name == "low" else HIGH).format(v=version, **how)

    def loop(self, name: str) -> Any:
        loop = sys.modules[f"{self.name}.{name}"].loop()
        assert next(loop) == {"1"}
        return loop

    def apply(self, name: str, version: str, count: int = 0) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{name}": self.text(name, version, count)}))


@pytest.mark.parametrize("count", [0, 1], ids=["same-signature", "another"])
def test_caches_partial_objects_and_decorated_functions(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, count: int
) -> None:
    package = Package(make_package)
    loop = package.loop("low")
    package.apply("high", "2")
    package.apply("low", "3", count)
    assert next(loop) == {"1"}
    hotswap_clock.advance(0.5)
    assert next(loop) == {"1"}
    loop.close()
    del loop
    hotswap_clock.advance(100)
    assert forks_go()


def test_after_the_handover_of_a_loop_that_changed(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """The forks are narrowed then: what a decorator of another package has put there was not looked into."""
    package = Package(make_package)
    loop = package.loop("high")
    package.apply("high", "2")
    hotswap_clock.advance(3)
    package.apply("low", "3")
    assert next(loop) == {"1"}
    for _ in range(3):
        hotswap_clock.advance(3)
        assert next(loop) == {"1"}
    loop.close()
    del loop
    hotswap_clock.advance(100)
    assert forks_go()
