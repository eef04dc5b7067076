"""What a call costs: managed code before any patch, after one, ten and thousands, against code never managed."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import hotswap
from bench.measuring import Ratio, compare
from bench.programs import Program

__all__ = ["CORE", "calls"]

CORE = """
VERSION = {n}
def function(a, b=1):
    return a
class Class:
    kind = {n}
    def __init__(self, a):
        self.a = a
    def method(self, a, b=1):
        return a
    def again(self):
        return {n}
"""
CALLER = """
from itertools import repeat
from PROGRAM.core import function, Class
import PROGRAM.core
import PROGRAM.core as core
instance = Class(1)
others = [Class(number) for number in range(10_000)]
del others[::2]  # room beside them for the one that is made and dropped: the allocator needs no new page for it
# In a cell, where nobody leads it: a tuple under a name is made anew in the swap.
held = (lambda *objects: lambda: objects)(function, Class.method, Class, instance.method, core)

def from_import(n):
    for _ in repeat(None, n // 10):
        function(1); function(1); function(1); function(1); function(1)
        function(1); function(1); function(1); function(1); function(1)

def module_attribute(n):
    for _ in repeat(None, n // 10):
        core.function(1); core.function(1); core.function(1); core.function(1); core.function(1)
        core.function(1); core.function(1); core.function(1); core.function(1); core.function(1)

def method(n):
    o = instance
    for _ in repeat(None, n // 10):
        o.method(1); o.method(1); o.method(1); o.method(1); o.method(1)
        o.method(1); o.method(1); o.method(1); o.method(1); o.method(1)

def constructor(n):
    for _ in repeat(None, n // 10):
        Class(1); Class(1); Class(1); Class(1); Class(1)
        Class(1); Class(1); Class(1); Class(1); Class(1)

def held_function(n):
    f = held()[0]
    for _ in repeat(None, n // 10):
        f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1)

def held_unbound_method(n):
    f, o = held()[1], instance
    for _ in repeat(None, n // 10):
        f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1); f(o, 1)

def held_bound_method(n):
    f = held()[3]
    for _ in repeat(None, n // 10):
        f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1)

def held_class(n):
    f = held()[2]
    for _ in repeat(None, n // 10):
        f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1); f(1)

def held_module(n):
    m = held()[4]
    for _ in repeat(None, n // 10):
        m.function(1); m.function(1); m.function(1); m.function(1); m.function(1)
        m.function(1); m.function(1); m.function(1); m.function(1); m.function(1)
"""
WAYS = (
    ("from_import", "function, from-imported"),
    ("module_attribute", "function, as an attribute of its module"),
    ("method", "method of an instance"),
    ("constructor", "constructor, from-imported"),
    ("held_function", "function, held since before"),
    ("held_unbound_method", "unbound method, held since before"),
    ("held_bound_method", "bound method, held since before"),
    ("held_class", "class, held since before"),
    ("held_module", "function, through a module held since before"),
)


def _patched(folder: Path, patches: int) -> tuple[Any, Any]:
    """Two callers of a program that is managed and has had so many patches, each of a module of its own.

    The first calls nothing between the patches, the second does. One patch changes both modules: most of the time of
    thousands of patches is the same for one module and for two.
    """
    program = Program(folder, CORE, modules=2, caller=CALLER, other=CALLER.replace("core", "part1"))
    callers: tuple[Any, Any] = program.outside("caller"), program.outside("other")
    patcher = hotswap.Patcher([program.name])
    for number in range(patches):
        patcher.apply(program.next_patch())
        if number % 50 == 0:
            gc.collect()  # retired generations are garbage in circles
        callers[1].method(10)
        callers[1].constructor(10)
    for caller in callers:
        if patches:
            assert caller.instance.again() == program.version
        caller.kept = patcher
    return callers


def calls(folder: Path, *, rounds: int, count: int, many: int) -> dict[str, dict[str, Ratio]]:
    """Return how long calls take, way by way and state by state.

    Arguments:
        folder: where programs are written.
        rounds: measurements of each.
        count: calls in a measurement.
        many: patches of one class, in the last two states; CPython 3.13 shows what they cost from 1,000 on.
    """
    unmanaged = [Program(folder, CORE, caller=CALLER).outside("caller") for _ in range(2)]
    without, between = _patched(folder, many)
    states = {
        "never managed": unmanaged[0],
        "never managed, again": unmanaged[1],
        "managed": _patched(folder, 0)[1],
        "1 patch": _patched(folder, 1)[1],
        "10 patches": _patched(folder, 10)[1],
        f"{many} patches": without,
        f"{many} patches, calls between": between,
    }
    return {
        title: compare(
            {state: getattr(caller, way) for state, caller in states.items()},
            "never managed",
            rounds=rounds,
            calls=count,
        )
        for way, title in WAYS
    }
