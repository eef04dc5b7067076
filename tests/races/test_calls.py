"""Threads that call through everything they hold, while forty swaps go by.

Whoever calls gets the version that was live at some moment of the call: not older than what was live before it began,
not newer than what was live when it had ended. And no call fails.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from tests.races.threads import Repeaters

pytestmark = pytest.mark.threads

SWAPS = 40
SOURCE = """
import functools

def helper(a{pad}): return {n}
def function(a=0, *, b=1): return helper(0{zeros})
def generator(): yield helper(0{zeros})
def through(inner):
    @functools.wraps(inner)
    def wrapper(*args): return inner(*args)
    return wrapper
@through
def decorated(): return helper(0{zeros})
class Base:
    def method(self): return helper(0{zeros})
class Class(Base):
    def method(self): return super().method()
    @property
    def prop(self): return helper(0{zeros})
    @staticmethod
    def static(): return helper(0{zeros})
"""


def source(version: int) -> str:
    """The helper takes one argument more in every other version: a caller of one that meets the other's fails."""
    extra = version % 2
    return (
        SOURCE.replace("{n}", str(version)).replace("{pad}", ", c" * extra).replace("{zeros}", ", 0" * extra)
    )  # fmt: skip


def ways(core: Any) -> dict[str, Callable[[], int]]:
    """Ways to reach the code, each taken from the first version."""
    function, generator, decorated, cls, instance = (
        core.function,
        core.generator,
        core.decorated,
        core.Class,
        core.Class(),
    )
    return {
        "function": function,
        "function with arguments": lambda: function(1, b=2),
        "generator": lambda: next(generator()),
        "decorated": decorated,
        "bound method": instance.method,
        "method": lambda: instance.method(),
        "property": lambda: instance.prop,
        "static": cls.static,
        "new instance": lambda: cls().method(),
        "module": lambda: core.function(),
    }


class Callers(Repeaters):
    """Threads that go through all ways; each compares what it got with what was live meanwhile."""

    def __init__(self, ways: dict[str, Callable[[], int]]) -> None:
        super().__init__(self._call)
        self.before = self.after = 0
        """The version that is live at least, and at most."""
        self.rounds = 0
        self.wrong: list[str] = []
        self._ways = ways

    def _call(self, _: int) -> bool:
        for name, way in self._ways.items():
            least = self.before
            try:
                given = way()
            except Exception as error:
                self.wrong.append(f"{name}: {type(error).__name__}: {error}")
            else:
                if not least <= given <= self.after:
                    self.wrong.append(f"{name}: {given}, where {least} to {self.after} was live")
        self.rounds += 1
        return not self.wrong


class TestCalls:
    @pytest.mark.slow
    def test_reach_what_is_live(self, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"core.py": source(0)}).__name__
        patcher = hotswap.Patcher([package])
        with Callers(ways(importlib.import_module(f"{package}.core"))) as callers, callers.racing_with_commits():
            for version in range(1, SWAPS + 1):
                callers.after = version
                patcher.apply(hotswap.Patch.from_sources({f"{package}.core": source(version)}, version=str(version)))
                callers.before = version
                if callers.wrong:
                    break
        assert callers.wrong == []
        assert callers.rounds > 100

    def test_never_fail_while_swaps_are_taken_back(self, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"core.py": source(0)}).__name__
        patcher = hotswap.Patcher([package])
        with Callers(ways(importlib.import_module(f"{package}.core"))) as callers, callers.racing_with_commits():
            callers.after = 1_000_000
            for version in itertools.islice(itertools.count(1), 20):
                patcher.apply(hotswap.Patch.from_sources({f"{package}.core": source(version)}, version=str(version)))
                patcher.rollback()
                if callers.wrong:
                    break
        assert callers.wrong == []
        assert callers.rounds > 100
