"""Two patchers: what is in flight of the one's packages has nothing to do with the other's."""

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
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads

UPPER = """
import {lower}.parts
from {lower}.parts import Part, helper

def own({more}): return "{v}"
class Job:
    def step(self, {more}): return "{v}"
def facts():
    return [own({pass_}), Job().step({pass_}), "lower " + helper(), "lower " + {lower}.parts.helper(), Part().step()]
def loop():
    while True:
        yield facts()
"""
LOWER = """
def deep({more}): return "{v}"
def helper(): return deep({pass_})
class Part:
    def step(self): return "lower " + self._step({pass_})
    def _step(self, {more}): return "{v}"
"""


class Two:
    """A package that calls another one, each with its patcher."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.lower = make({"parts.py": ""}).__name__
        self.upper = make({"jobs.py": ""}).__name__
        self.modules = {"lower": f"{self.lower}.parts", "upper": f"{self.upper}.jobs"}
        for which, name in self.modules.items():
            package = sys.modules[name.partition(".")[0]]
            path = Path(str(package.__file__)).with_name(name.partition(".")[2] + ".py")
            path.write_text(self.text(which, "1", more=False))
        importlib.import_module(self.modules["upper"])
        self.patchers = {"lower": Patcher([self.lower], handover=None), "upper": Patcher([self.upper], handover=None)}

    def text(self, which: str, version: str, *, more: bool) -> str:
        how = {"v": version, "lower": self.lower, "more": "z" if more else "", "pass_": "0" if more else ""}
        return (UPPER if which == "upper" else LOWER).format(**how)

    def apply(self, which: str, version: str, *, more: bool) -> hotswap.Rollout:
        text = self.text(which, version, more=more)
        return self.patchers[which].apply(Patch.from_sources({self.modules[which]: text}, version=version))

    @property
    def jobs(self) -> Any:
        return sys.modules[self.modules["upper"]]


def told(upper: str, lower: str) -> list[str]:
    return [upper, upper, *[f"lower {lower}"] * 3]


def test_loop_that_stays_old_while_the_other_is_patched_twice(make_package: Callable[..., ModuleType]) -> None:
    two = Two(make_package)
    loop = two.jobs.loop()
    next(loop)
    two.apply("upper", "2", more=True)
    for version, more in (("2", True), ("3", False), ("4", True)):
        two.apply("lower", version, more=more)
        assert next(loop)[:2] == ["1", "1"]
        assert two.jobs.facts() == told("2", version)
    loop.close()
    del loop
    assert forks_go()


@pytest.mark.parametrize(
    "patches", ["lower more, upper more, lower more, upper", "lower, upper more, lower more, upper, lower more"]
)
def test_session_between_patches_of_both(make_package: Callable[..., ModuleType], patches: str) -> None:
    two = Two(make_package)
    live = {"upper": "1", "lower": "1"}
    with hotswap.session():
        for number, patch in enumerate(patches.split(", ")):
            which, *more = patch.split()
            live[which] = str(number + 2)
            two.apply(which, live[which], more=bool(more))
            assert two.jobs.facts() == told("1", "1")
    assert two.jobs.facts() == told(**live)
    assert forks_go()
