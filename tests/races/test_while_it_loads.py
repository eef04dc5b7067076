"""A candidate is loaded beside calls and sessions that are old, and beside what is done when these have ended."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.session import outside
from hotswap.testing import ManualClock
from tests.races.threads import forks_go, settles
from tests.waiting import until

CORE = """
def helper(): return "core {v}"

def logged(f):
    def wrapper():
        return helper(), f()
    return wrapper

def make():
    def register(f):
        def wrapper():
            return helper(), f()
        return wrapper
    return register

def waits():
    yield helper()
"""
DECORATED = """
from . import core

@core.logged
def page(): return "web {v}"
"""
REGISTERED = """
import {outside}

@{outside}.register
def page(): return "web {v}"

{outside}.pause()
"""


class Service:
    """A package of two modules that are patched one by one."""

    def __init__(self, make_package: Callable[..., ModuleType], web: str) -> None:
        self.outside: Any = make_package({"__init__.py": "def register(f): return f\ndef pause(): pass"})
        self._texts = {"core": CORE, "web": web}
        self.name = make_package({f"{name}.py": self._text(name, 1) for name in self._texts}).__name__
        for name in self._texts:
            importlib.import_module(f"{self.name}.{name}")
        self.patcher = Patcher([self.name])

    def _text(self, module: str, version: int) -> str:
        return self._texts[module].format(v=version, outside=self.outside.__name__)

    def apply(self, module: str, version: int) -> hotswap.Rollout:
        sources = {f"{self.name}.{module}": self._text(module, version)}
        return self.patcher.apply(Patch.from_sources(sources, version=str(version)))

    def module(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}"]

    def page(self) -> Any:
        return self.module("web").page()


def test_a_module_body_is_no_part_of_the_session_in_which_it_is_applied(
    make_package: Callable[..., ModuleType],
) -> None:
    """What old code had decorated was old for everybody, until it was found and led."""
    service = Service(make_package, DECORATED)
    with hotswap.session():
        service.apply("core", 2)
        service.apply("web", 3)
        assert service.page() == ("core 1", "web 1")
        with outside():
            assert service.page() == ("core 2", "web 3")
    assert forks_go()


@pytest.fixture
def registered(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    service = Service(make_package, REGISTERED)
    service.outside.register = service.module("core").make()
    yield service
    assert forks_go()
    assert service.page() == ("core 2", "web 3")


def test_closures_are_led_after_it(registered: Service, hotswap_clock: ManualClock) -> None:
    """The candidate was refused: it was said to leave something in a function that we had made."""
    waits = registered.module("core").waits()
    next(waits)
    registered.apply("core", 2)
    registered.outside.pause = lambda: hotswap_clock.advance(0.06)
    registered.apply("web", 3)
    assert until(lambda: registered.page() == ("core 2", "web 3"))
    waits.close()
    del waits
    assert settles(hotswap_clock)


def test_what_drains_meanwhile_is_settled_after_it(registered: Service, hotswap_clock: ManualClock) -> None:
    in_flight = [registered.module("core").waits()]
    next(in_flight[0])
    rollout = registered.apply("core", 2)

    def drains() -> None:
        in_flight.clear()
        code = registered.outside.register.__code__
        assert not until(lambda: registered.outside.register.__code__ is not code, 0.3)

    registered.outside.pause = drains
    registered.apply("web", 3)
    assert rollout.drained.wait(20)
    assert settles(hotswap_clock)
