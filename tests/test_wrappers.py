"""Decorators of one module, and what they have made for others that stay: a patch of the decorators leads it on."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap import Reference
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.waiting import until

Make = Callable[..., ModuleType]

DECO = """
import functools

def note({more}text): return text + ":{v}"

def noted(function):
    calls = 0
    @functools.wraps(function)
    def wrapper(*args):
        nonlocal calls
        calls += 1
        wrapper.called = calls
        return note({pass_}function(*args))
    return wrapper
"""

LOW = """
import functools
from .deco import noted

@noted
def helper(): return "helper"

@noted
@noted
def twice(): return "twice"

@functools.lru_cache
@noted
def cached(x): return f"cached {x}"

part = functools.partial(helper)

class Tool:
    @noted
    def method(self): return "method"
    @staticmethod
    @noted
    def static(): return "static"
    @classmethod
    @noted
    def of_class(cls): return "of_class"
    @property
    @noted
    def shown(self): return "shown"
"""

HIGH = """
from . import low
from .low import Tool, helper, twice

def facts(x=0):
    tool = Tool()
    return [
        helper(), low.helper(), twice(), low.part(), tool.method(), tool.static(), Tool.of_class(), tool.shown,
        low.cached(x), *(function() for function in KEPT),
    ]

KEPT = (helper, Tool.static)
"""


class _Service:
    def __init__(self, make: Make) -> None:
        self.name = make({"deco.py": self.text("1", 0), "low.py": LOW, "high.py": HIGH}).__name__
        importlib.import_module(f"{self.name}.high")
        self.patcher = Patcher([self.name])

    @staticmethod
    def text(version: str, more: int) -> str:
        return DECO.format(v=version, more="z, " * more, pass_="0, " * more)

    def patch(self, version: str, more: int) -> Patch:
        return Patch.from_sources({f"{self.name}.deco": self.text(version, more)}, version=version)

    def module(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}"]

    def versions(self, x: int = 0) -> set[str]:
        """Whose decorators answer."""
        return {one for told in self.module("high").facts(x) for one in told.split(":")[1:]}


def test_all_at_once(make_package: Make) -> None:
    service = _Service(make_package)
    low = service.module("low")
    held = low.helper, low.Tool.__dict__["method"]
    assert service.versions() == {"1"}
    for version, more in (("2", 0), ("3", 1), ("4", 0)):
        rollout = service.patcher.apply(service.patch(version, more))
        assert service.versions(int(version)) == {version}, "the very next call"
        assert (low.helper, low.Tool.__dict__["method"]) == held, "names stand for what they stood for"
    rollout.rollback()
    assert service.versions(5) == {"3"}


def test_what_a_wrapper_remembers_goes_on(make_package: Make) -> None:
    service = _Service(make_package)
    helper = service.module("low").helper
    helper()
    rollout = service.patcher.apply(service.patch("2", 1))
    assert (helper(), helper.called) == ("helper:2", 2)
    rollout.rollback()
    assert (helper(), helper.called) == ("helper:1", 3)


def test_a_preview(make_package: Make) -> None:
    service = _Service(make_package)
    rollout = service.patcher.stage(service.patch("2", 1))
    rollout.verify()
    rollout.arm()
    with rollout.preview():
        assert service.module("low").helper() == "helper:2"
        assert service.module("low").Tool().method() == "method:2"
    assert service.versions() == {"1"}
    rollout.disarm()
    assert service.versions() == {"1"}
    rollout.arm()
    rollout.commit()
    assert service.versions(1) == {"2"}


@pytest.mark.threads
def test_a_session(make_package: Make, hotswap_clock: ManualClock) -> None:
    service = _Service(make_package)
    with hotswap.session():
        first = service.patcher.apply(service.patch("2", 1))
        service.patcher.apply(service.patch("3", 0))
        assert service.versions() == {"1"}
    hotswap_clock.advance(10)
    assert first.drained.wait(10)
    assert service.versions(1) == {"3"}


def test_one_that_lacks_something(make_package: Make) -> None:
    service = _Service(make_package)
    text = service.text("2", 1).replace("def noted(function):", "def noted(function, more='!'):")
    text = text.replace("note(0, function(*args))", "note(0, function(*args) + more)")
    patch = Patch.from_sources({f"{service.name}.deco": text}, version="2")
    rollout = service.patcher.apply(patch)
    assert service.versions() == {"1"}, "it goes on with its own helpers"
    assert any("was made without more" in warning for warning in rollout.plan.warnings)
    assert service.module("deco").noted(lambda: "new")() == "new!:2"


@pytest.mark.threads
def test_one_whose_function_is_removed(make_package: Make, hotswap_clock: ManualClock) -> None:
    """It leads to what runs in its place, and that has its cells: a circle through code, which nobody collects."""
    texts = [
        "from .deco import noted\n@noted\ndef helper(): return 'helper'\n@noted\ndef other(): return 'other'\n",
        "from .deco import noted\n@noted\ndef other(): return 'other'\n",
    ]
    name = make_package({"deco.py": _Service.text("1", 0), "low.py": texts[0]}).__name__
    low: Any = importlib.import_module(f"{name}.low")
    inner = Reference(low.helper.__wrapped__)
    patcher = Patcher([name])
    patcher.apply(Patch.from_sources({f"{name}.deco": _Service.text("2", 1)}, version="2")).confirm()
    assert low.helper() == "helper:2"
    del low
    for version, text in (("3", texts[1]), ("4", texts[1] + "# 4"), ("5", texts[1] + "# 5")):
        hotswap_clock.advance(10)
        patcher.apply(Patch.from_sources({f"{name}.low": text}, version=version)).confirm()
        assert sys.modules[f"{name}.low"].other() == "other:2"

    def gone() -> bool:
        hotswap_clock.advance(10)
        gc.collect()
        return inner() is None

    assert until(gone, 10)


@pytest.mark.threads
def test_a_closure_that_stays_old(make_package: Make, hotswap_clock: ManualClock) -> None:
    """Its own module gave it the wrapper by its name, which leads to the new one: it goes on with what that was."""
    text = """
from .deco import noted

@noted
def helper({more}): return "helper {v}"

def make({extra}):
    def inner(): return helper({pass_}), {inner}
    return inner
"""
    old = text.format(v="1", more="", pass_="", extra="", inner="0")
    new = text.format(v="3", more="x", pass_="0", extra="extra=1", inner="extra")
    name = make_package({"deco.py": _Service.text("1", 0), "low.py": old}).__name__
    inner = importlib.import_module(f"{name}.low").make()
    patcher = Patcher([name])
    patcher.apply(Patch.from_sources({f"{name}.deco": _Service.text("2", 1)}, version="2")).confirm()
    hotswap_clock.advance(10)
    assert forks_go()
    assert inner() == ("helper 1:2", 0)
    rollout = patcher.apply(Patch.from_sources({f"{name}.low": new}, version="3"))
    assert until(lambda: rollout.settled is not None and forks_go(), 10)
    assert inner() == ("helper 1:2", 0)
    assert importlib.import_module(f"{name}.low").make()() == ("helper 3:2", 1)
