"""Calls that are long, in many threads, while versions with other signatures come and go: each is of one version."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap.forks import Forks
from hotswap.swap.junctions import Junction
from tests.races.threads import EAGERLY, Crowd, forks_go, switching

pytestmark = pytest.mark.threads

THREADS = 6
SWAPS = 20
"""How many swaps and rollbacks there are; a few are in the way of some hundred calls each."""

SOURCE = """
def helper({more}a): return "{v}"

class Shop:
    kind = "{v}"
    def __init__(self, {more}n): self.made = "{v}"
    @property
    def price(self): return "{v}"
    def step(self, {more}a): return "{v}", helper({pass_}a)
    def __len__(self): return {len}

def inner(n):
    function = helper
    return function({pass_}n), helper({pass_}n)

def run(pause):
    found = []
    shop, function = Shop({pass_}1), helper
    step = shop.step
    for n in range(3):
        found += [*shop.step({pass_}n), *step({pass_}n), shop.price, Shop.kind, Shop({pass_}2).made]
        found += ["{v}" if len(shop) == {len} else "another", function({pass_}n), *inner(n)]
        pause()
    return {{*found}}
"""


def text(version: int) -> str:
    more, pass_ = ("z, ", "0, ") if version % 2 else ("", "")
    return SOURCE.format(v="odd" if version % 2 else "even", more=more, pass_=pass_, len=1 + version % 2)


class Callers(Crowd):
    """Threads that call again and again. `mixed` are calls that saw two versions, or failed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = dict.fromkeys(("odd", "even"), 0)
        self.mixed: list[Any] = []
        super().__init__(partial(self._call, number) for number in range(THREADS))

    def _call(self, number: int) -> None:
        pause = (lambda: time.sleep(0.005)) if number % 2 else (lambda: None)
        while not self.over.is_set():
            try:
                found = sys.modules[self.name].run(pause)
            except (TypeError, AttributeError) as error:
                self.mixed.append(error)
                continue
            if len(found) == 1:
                self.calls[found.pop()] += 1
            else:
                self.mixed.append(found)


Race = Callable[[Callable[[Callers], bool]], Callers]


@pytest.fixture
def race(make_package: Callable[..., ModuleType]) -> Race:
    """Swap under callers, until enough is seen of them."""
    name = make_package({"core.py": text(0)}).__name__
    __import__(f"{name}.core")
    patcher = hotswap.Patcher([name])

    def run(enough: Callable[[Callers], bool]) -> Callers:
        with switching(EAGERLY), Callers(f"{name}.core") as callers:
            for version in range(1, SWAPS):
                if version % 5:
                    patcher.apply(hotswap.Patch.from_sources({f"{name}.core": text(version)}, version=str(version)))
                else:
                    patcher.rollback()
                if enough(callers):
                    break
        return callers

    return run


@pytest.mark.slow
class TestLongCalls:
    def test_are_of_one_version_each(self, race: Race) -> None:
        callers = race(lambda _: False)
        assert callers.mixed == []
        assert all(callers.calls.values())

    def test_are_mixtures_if_there_are_no_forks(self, race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
        """The callers above would see it."""
        monkeypatch.setattr(Forks, "needed", lambda _: False)
        monkeypatch.setattr(Forks, "probe", lambda _: iter(()))
        assert race(lambda callers: bool(callers.mixed)).mixed


def test_an_attribute_that_changes_every_other_time(make_package: Callable[..., ModuleType]) -> None:
    """A swap that leaves it as it is makes no fork of it: its calls are known to the next one all the same."""
    source = 'class Class:\n    kind = "{kind}"\ndef call():\n    tag = "{v}"\n    while True: yield tag + Class.kind\n'
    package = make_package({"core.py": source.format(kind="a", v=0)}).__name__
    name = f"{package}.core"
    calls = [importlib.import_module(name).call()]
    next(calls[0])
    patcher = Patcher([package], handover=None)
    said = ["0a"]
    for version, kind in enumerate("bbccd", 1):
        patcher.apply(Patch.from_sources({name: source.format(kind=kind, v=version)}, version=str(version)))
        calls.append(sys.modules[name].call())
        said.append(f"{version}{kind}")
        assert [next(call) for call in calls] == said
    for call in calls:
        call.close()
    assert forks_go()
    assert Junction.in_flight == set()
