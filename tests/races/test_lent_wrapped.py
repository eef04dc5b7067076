"""Caches and partial objects that old calls get of a module that stayed, and that a later patch changes."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import ModuleType

import pytest

import hotswap
from hotswap.testing import ManualClock
from tests.races.modules import Modules

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

SOURCES = {
    "deco": """
import functools

def plain(f):
    @functools.wraps(f)
    def wrapper(*args): return f(*args)
    return wrapper
""",
    "tags": "def tag(): return '{v}'\n",
    "low": """
import functools
from .deco import plain
from .tags import tag

def deep({more}n): return "{v}"
def helper({more}n): return deep({pass_}n)
@functools.lru_cache
def cached({more}n): return "{v}"
@functools.lru_cache(maxsize=None)
@plain
def both({more}n): return ("{v}", deep({pass_}n))[1]
@plain
def once({more}n): return ("{v}", deep({pass_}n))[1]
bound = functools.partial(helper, {pass_}1)
part = functools.partial(once, {pass_}1)

class Tool:
    @functools.cached_property
    def kept(self): return deep({pass_}1)
    @functools.lru_cache
    def held(self, {more}n): return deep({pass_}n)

def facts():
    tool = Tool()
    return {{
        "cached": cached({pass_}1), "both": both({pass_}1), "once": once({pass_}1), "bound": bound(), "part": part(),
        "kept": tool.kept, "held": tool.held({pass_}1),
    }}

def loop():
    while True:
        tag()
        yield facts()
""",
    "high": """
from . import low
from .tags import tag

def loop():
    while True:
        yield {{"high": "{v}", **low.facts()}}
""",
}


def others(seen: dict[str, str], version: str) -> dict[str, str]:
    """What is not of a version."""
    return {name: value for name, value in seen.items() if value != version}


@pytest.mark.parametrize("more", ["", "z"])
@pytest.mark.parametrize("name", ["low", "high"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_loop(make_package: Make, hotswap_clock: ManualClock, name: str, more: str, settled: bool) -> None:
    """That of the lower module was not changed, and goes over to the new; that of the upper one stays old."""
    package = Modules(make_package, hotswap_clock, SOURCES)
    loop = package.module(name).loop()
    assert not others(next(loop), "1")
    package.apply("high", "tags", version="2")
    if settled and name == "high":
        package.settle()
    assert not others(next(loop), "1")
    package.apply("low", version="3", more=more)
    assert not others(next(loop), "1")
    if settled:
        package.settle()
        assert not others(next(loop), "3" if name == "low" else "1")
    package.apply("low", version="4", more=more)
    package.settle()
    assert not others(next(loop), "4" if name == "low" else "1")
    assert not others(next(package.module("low").loop()), "4")
    loop.close()
    assert package.is_plain()


@pytest.mark.parametrize("more", ["", "z"])
def test_a_session(make_package: Make, hotswap_clock: ManualClock, more: str) -> None:
    package = Modules(make_package, hotswap_clock, SOURCES)
    session, inside = hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    package.apply("high", "tags", version="2")
    for version in ("3", "4"):
        package.apply("low", version=version, more=more)
        package.settle()
        assert not others(inside.run(package.module("low").facts), "1")
        assert not others(package.module("low").facts(), version)
    inside.run(session.__exit__, None, None, None)
    assert package.is_plain()
