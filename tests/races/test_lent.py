"""What an old call gets of a module that stayed when its generation went, and that a later patch changes."""

from __future__ import annotations

import importlib
import sys
import time
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

def helper(): return "{v}"

@contextlib.contextmanager
def scope():
    yield helper()
"""
HIGH = """
from .low import helper, scope

def own(): return "{v}"

def facts():
    with scope() as got:
        pass
    return [own(), helper(), got]

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
        return (LOW if name == "low" else HIGH).format(v=version)

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
    time.sleep(0.05)
    hotswap_clock.advance()
    package.apply("low", "3")
    assert next(loop) == {"1"}
    assert next(sys.modules[f"{package.name}.high"].loop()) == {"2", "3"}
    for _ in range(3):
        hotswap_clock.advance(3)
        time.sleep(0.05)  # what has drained is settled in a thread
        assert next(loop) == {"1"}
    loop.close()
    del loop
    hotswap_clock.advance(100)
    assert forks_go()


DECORATORS = """
import functools

def helper(): return "{v}"

def logged(f):
    @functools.wraps(f)
    def wrapper():
        helper()
        return f()
    return wrapper

class Handler:
    def __init__(self): pass
"""
BESIDE = """
from . import core

@core.logged
def quote(): return "{v}"
"""
PAGES = """
from . import core

@core.logged
def page(): return "{v}"

class Handler:
    def __init__(self): pass

def rows():
    while True:
        Handler()
        yield page()
"""


def test_each_generation_has_what_it_is_lent_for_itself(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """One that ended sooner led on what an older one had of it: the loop of that died of a `RecursionError`."""
    sources = {"core": DECORATORS, "service": BESIDE, "web": PAGES}
    package = make_package({f"{name}.py": source.format(v="0") for name, source in sources.items()}).__name__
    for name in sources:
        importlib.import_module(f"{package}.{name}")
    patcher = Patcher([package], handover=None)
    loop = sys.modules[f"{package}.web"].rows()
    assert next(loop) == "0"
    for number, name in enumerate(["core", "service", "web", "core", "service", "web", "core"], 1):
        source = sources[name].format(v=str(number))
        rollout = patcher.apply(Patch.from_sources({f"{package}.{name}": source}, version=str(number)))
        assert next(loop) == "0"
        if name == "web":
            for _ in range(4):  # those of which nothing is in flight any more end
                hotswap_clock.advance(3)
                time.sleep(0.05)
            assert next(loop) == "0"
            assert next(sys.modules[f"{package}.web"].rows()) == str(number)
    loop.close()
    del loop
    hotswap_clock.advance(100)
    assert rollout.drained.wait(20)
    assert forks_go()
