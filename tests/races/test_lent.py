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

def helper(x): return "{v}"

class Base:
    def who(self): return "{v}"

@contextlib.contextmanager
def scope(x):
    yield helper(x)
"""
HIGH = """
from {package} import low
from {package}.low import helper, scope

class Sub(low.Base):
    def who(self): return super().who() + "{v}"

def facts():
    with scope(1) as entered:
        pass
    return {{helper(1), entered}}

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

    def text(self, name: str, version: str) -> str:
        return (LOW if name == "low" else HIGH).format(v=version, package=self.name)

    def loop(self, name: str) -> Any:
        loop = sys.modules[f"{self.name}.{name}"].loop()
        assert next(loop) == {"1"}
        return loop

    def apply(self, name: str, version: str) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{name}": self.text(name, version)}))


def test_after_the_handover_of_a_loop_that_changed(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """What a decorator of another package has put there is lent, too: it died of a `RecursionError`."""
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
