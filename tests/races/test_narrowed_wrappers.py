"""What a changed loop comes to by decorators' wrappers, caches and partial objects, after its forks were narrowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

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

def bare(f):
    def call(*args): return f(*args)
    return call

class Each:
    def __init__(self, f): self.f = f
    def __call__(self, *args): return self.f(*args)
""",
    "low": """
import contextlib
import functools
from .deco import Each, bare, plain

def one(): return "{v}"
def two(): return "{v}"
def three(): return "{v}"
def four(): return "{v}"
def five(): return "{v}"
def six(): return "{v}"
def seven(): return "{v}"
def eight(): return "{v}"
def nine(): return "{v}"
def ten(): return "{v}"
def eleven(): return "{v}"
def twelve(): return "{v}"
def thirteen(): return "{v}"

@plain
def wrapped(): return one()
@bare
@plain
def twice(): return two()
@contextlib.contextmanager
def scope(): yield three()
def _four(): return four()
part = functools.partial(bare(_four))
free = functools.partial(bare(lambda: twelve()))
class Job:
    def __init__(self): self.made = "{v}"
made = functools.partial(Job)
def held_by(kept=plain(lambda: thirteen())): return kept()
@functools.lru_cache
@plain
def cached(): return ("{v}", five())[1]
def simple(): return eleven()
@Each
def each(): return eight()
class Tool:
    @plain
    def method(self): return six()
    @property
    @plain
    def shown(self): return seven()
    @bare
    def __len__(self): return int(nine())
    @bare
    def __enter__(self): return ten()
    def __exit__(self, *_): pass

def facts():
    with scope() as got, Tool() as entered: pass
    return {{
        "wrapped": wrapped(), "twice": twice(), "scope": got, "part": part(), "cached": cached(), "each": each(),
        "method": Tool().method(), "shown": Tool().shown, "len": str(len(Tool())), "entered": entered,
        "simple": simple(), "free": free(), "made": made().made, "default": held_by(),
    }}
def hold():
    while True: yield ("{v}", facts())[1]
""",
    "high": """
from .low import facts
def loop():
    while True: yield {{"high": "{v}", **facts()}}
def same():
    while True: yield facts()
""",
}


@dataclass
class Loop:
    """What goes on, and sees one version of the lower module at a time.

    Attributes:
        module: where its text is.
        body: the generator.
        sees: the version that it saw last.
        stays: its own text was changed.
    """

    module: str
    body: Any
    sees: str
    stays: bool = False


SEQUENCES = [
    "loop, high, settle, low, settle",
    "loop, high, low, settle, low",
    "low, loop, high, settle, low, settle",
    "hold, low, settle, low, settle",
    "hold, low, loop, high, settle, low, settle, low, settle",
    "hold, low, settle, loop, high, settle, low, settle, low, settle",
    "loop, high, hold, low, settle, low, settle",
    "loop, high, settle, low, hold, settle, low, settle",
    "loop, high, same, high, low, settle",
    "loop, high, loop, low, settle, high, low, settle",
]
"""Loops of either module, `same` with a text that no patch changes; and patches of one module each."""


@pytest.mark.parametrize("steps", SEQUENCES)
def test_sees_one_version(make_package: Make, hotswap_clock: ManualClock, steps: str) -> None:
    package = Modules(make_package, hotswap_clock, SOURCES)
    live, loops = "1", list[Loop]()
    for number, step in enumerate(steps.split(", "), 2):
        if step == "settle":
            package.settle()
        elif step in ("low", "high"):
            package.apply(step, version=str(number))
            live = str(number) if step == "low" else live
            for loop in loops:
                loop.stays |= loop.module == step
        else:
            module = package.module("low" if step == "hold" else "high")
            loops.append(Loop({"hold": "low", "loop": "high"}.get(step, ""), getattr(module, step)(), live))
        for loop in loops:
            seen = next(loop.body)
            seen.pop("high", None)
            assert len(set(seen.values())) == 1, (number, step, loop, seen)
            sees = set(seen.values()).pop()
            assert sees == loop.sees or (sees == live and not loop.stays), (number, step, loop, seen)
            loop.sees = sees
    for loop in loops:
        loop.body.close()
    assert package.is_plain()


def test_a_partial_object_that_is_kept(make_package: Make, hotswap_clock: ManualClock) -> None:
    """It leads on by the wrapper in it, the cell of which has what earlier calls get."""
    package = Modules(make_package, hotswap_clock, SOURCES)
    loop = package.module("high").same()
    next(loop)
    package.apply("low", version="2")
    rollout = package.apply("low", "high", version="3")
    rollout.rollback()
    assert set(next(loop).values()) <= {"1", "2"}
    package.settle()
    assert set(next(loop).values()) == {"2"}
    loop.close()
    assert package.is_plain()
