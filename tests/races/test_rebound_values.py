"""Values that calls in flight rebind after a swap, or a rollback, are carried to what is live once they have ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCE = """
hits = 0
def helper({more}n): return "{v}"
def count():
    global hits
    while True:
        hits += 1
        yield hits, helper({pass_}1)
def begins():
    yield
    yield count()
"""


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[tuple[str, Patcher]]:
    package = make_package({"core.py": text(1, 0)}).__name__
    __import__(f"{package}.core")
    yield f"{package}.core", Patcher([package], handover=None)
    assert forks_go()


def text(version: int, shape: int) -> str:
    return SOURCE.format(v=version, more="z, " * shape, pass_="0, " * shape)


def patch(name: str, version: int, shape: int) -> Patch:
    return Patch.from_sources({name: text(version, shape)}, version=str(version))


def hits_become(name: str, number: int) -> bool:
    return bool(until(lambda: sys.modules[name].hits == number))


def test_by_an_old_call(program: tuple[str, Patcher]) -> None:
    name, patcher = program
    flow: Any = sys.modules[name].count()
    assert next(flow) == (1, "1")
    patcher.apply(patch(name, 2, 1))
    assert [next(flow) for _ in range(2)] == [(2, "1"), (3, "1")]
    flow.close()
    del flow
    assert hits_become(name, 3)


def test_by_a_call_that_an_old_call_has_begun(program: tuple[str, Patcher]) -> None:
    name, patcher = program
    old: Any = sys.modules[name].begins()
    next(old)
    patcher.apply(patch(name, 2, 1))
    flow = next(old)
    assert next(flow) == (1, "1")
    old.close()
    del old
    time.sleep(0.2)
    assert next(flow) == (2, "1")
    flow.close()
    del flow
    assert hits_become(name, 2)


def test_by_a_call_of_what_was_taken_back(program: tuple[str, Patcher]) -> None:
    name, patcher = program
    patcher.apply(patch(name, 2, 1))
    flow: Any = sys.modules[name].count()
    assert next(flow) == (1, "2")
    patcher.rollback()
    assert sys.modules[name].hits == 1
    assert next(flow) == (2, "2")
    flow.close()
    del flow
    assert hits_become(name, 2)


def test_by_a_call_whose_version_comes_back(program: tuple[str, Patcher]) -> None:
    """What it has rebound between the swap and the rollback is of its own module, and that is live again."""
    name, patcher = program
    flow: Any = sys.modules[name].count()
    assert next(flow) == (1, "1")
    patcher.apply(patch(name, 2, 1))
    assert next(flow) == (2, "1")
    patcher.rollback()
    seen = next(flow)
    assert seen[1] == "1"
    assert sys.modules[name].hits == seen[0]
    patcher.apply(patch(name, 3, 1))
    assert sys.modules[name].hits == seen[0]
    assert next(flow) == (seen[0] + 1, "1")
    flow.close()
    del flow
    assert hits_become(name, seen[0] + 1)


def test_by_a_call_that_rebinds_all_the_time(program: tuple[str, Patcher]) -> None:
    """What it had rebound between the last look and the commit was taken for what new code has rebound."""
    name, patcher = program
    turns, goes_on = [0], [True]

    def run(flow: Iterator[Any]) -> None:
        while goes_on[0]:
            next(flow)
            turns[0] += 1
            time.sleep(0.0002)

    for version in (2, 3, 4):
        goes_on[0] = True
        thread = threading.Thread(target=run, args=(sys.modules[name].count(),))
        thread.start()
        patcher.apply(patch(name, version, version % 2))
        before = turns[0]
        assert until(lambda: turns[0] > before + 5)  # noqa: B023 - asked here
        goes_on[0] = False
        thread.join()
        del thread
        assert hits_become(name, turns[0])
