"""Callbacks that a loop registers: they are led on by later patches, whatever the loop has gone through."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

CORE = 'def helper(x): return "{v}"\n'
LOOP = """
from {package} import core
CALLBACKS = []
def loop():
    while True:
        CALLBACKS.append(lambda: ("{v}", core.helper(1)))
        yield core.helper(1)
"""


class Package:
    """A package with two modules, of which one registers callbacks that call the other."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.name = make({"core.py": CORE.format(v="1"), "jobs.py": ""}).__name__
        (Path(str(sys.modules[self.name].__file__)).parent / "jobs.py").write_text(self.texts("1")["jobs"])
        self.jobs: Any = importlib.import_module(f"{self.name}.jobs")
        self.patcher = Patcher([self.name], handover=1.0)

    def texts(self, version: str) -> dict[str, str]:
        return {"core": CORE.format(v=version), "jobs": LOOP.format(v=version, package=self.name)}

    def apply(self, **texts: str) -> hotswap.Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{name}": text for name, text in texts.items()}))

    def answers(self) -> set[Any]:
        return {callback() for callback in sys.modules[f"{self.name}.jobs"].CALLBACKS}


def test_of_a_module_that_stayed_while_it_ran(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock
) -> None:
    """Functions that run in modules that stay get a copy of their code: who was registered before has the other one."""
    package = Package(make_package)
    loop = package.jobs.loop()
    next(loop)
    package.apply(core=package.texts("2")["core"])
    hotswap_clock.advance(3)
    assert next(loop) == "2"
    loop.close()
    loop = None
    rollout = package.apply(jobs=package.texts("3")["jobs"])
    hotswap_clock.advance(3)
    assert until(lambda: rollout.settled is not None)
    assert package.answers() == {("3", "2")}
    assert forks_go()


def test_of_a_loop_that_was_handed_over(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    package = Package(make_package)
    loop = package.jobs.loop()
    next(loop)
    package.apply(core=package.texts("2")["core"], jobs=package.texts("1")["jobs"])
    hotswap_clock.advance(3)
    assert next(loop) == "2"
    hotswap_clock.advance(3)
    assert until(lambda: not walk.forked)
    assert next(loop) == "2"  # that callback is made by code of the first version, and belongs to the second
    loop.close()
    loop = None
    rollout = package.apply(**package.texts("3"))
    hotswap_clock.advance(3)
    assert until(lambda: rollout.settled is not None)
    assert package.answers() == {("3", "3")}
    assert forks_go()


DECORATOR = """
def helper(): return "core {v}"

def logged(f):
    def wrapper():
        return helper(), f()
    return wrapper
"""
DECORATED = """
from . import core

@core.logged
def page(): return "web {v}"
"""


def test_what_another_module_has_decorated_is_led_while_a_fork_stands_there(
    make_package: Callable[..., ModuleType],
) -> None:
    """When the session was over that the fork was for, calls died: what the closure leads to was gone with it."""
    sources = {"core": DECORATOR, "web": DECORATED}
    package = make_package({f"{name}.py": source.format(v=1) for name, source in sources.items()}).__name__
    importlib.import_module(f"{package}.web")
    patcher = Patcher([package])

    def apply(name: str, version: int) -> hotswap.Rollout:
        source = sources[name].format(v=version)
        return patcher.apply(Patch.from_sources({f"{package}.{name}": source}, version=str(version)))

    def page() -> Any:
        return sys.modules[f"{package}.web"].page()

    with hotswap.session():
        rollouts = [apply("core", 2), apply("web", 3)]
        assert page() == ("core 1", "web 1")
    assert all(rollout.drained.wait(20) for rollout in rollouts)
    assert forks_go()
    gc.collect()
    assert page() == ("core 2", "web 3")
    assert apply("core", 4).drained.wait(20)
    assert page() == ("core 4", "web 3")
    with hotswap.session():
        rollouts = [apply("core", 5), apply("web", 6)]
        assert page() == ("core 4", "web 3")
    assert all(rollout.drained.wait(20) for rollout in rollouts)
    assert forks_go()
    gc.collect()
    assert page() == ("core 5", "web 6")
    patcher.rollback()
    assert forks_go()
    assert page() == ("core 5", "web 3")
