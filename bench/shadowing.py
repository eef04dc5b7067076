"""What a live call costs while its function is shadowed, against the same call before."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import hotswap
from bench.measuring import Ratio, compare
from bench.programs import Program

__all__ = ["shadowing"]

CORE = """
import time
def function(a, b=1):
    return {n}
def working(a, b=1):
    until = time.perf_counter() + 100e-6
    while time.perf_counter() < until:
        pass
    return a
"""
OUTSIDE = """
from itertools import repeat
from PROGRAM.part1 import function, working
def calls_function(n):
    for _ in repeat(None, n):
        function(1)
def calls_working(n):
    for _ in repeat(None, n):
        working(1)
"""
_WAYS = {"function": ("an empty function", 1), "working": ("one that takes 100 µs", 50)}
"""What is called, and how many times fewer calls of it are made."""


class _Hold:
    """What keeps the first run of a shadow from ending, so that all others are dropped."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, old: object, new: object) -> bool:
        self.over.wait()
        return old == new


def shadowing(folder: Path, *, rounds: int, count: int) -> dict[str, dict[str, Ratio]]:
    """Return how long calls take, of functions that the patch does not change, by how they are shadowed.

    Arguments:
        folder: where programs are written.
        rounds: measurements of each.
        count: calls in a measurement.
    """
    hold = _Hold()
    options: dict[str, dict[str, Any] | None] = {
        "not shadowed": None,
        "not chosen": {"share": 1e-12},
        "dropped": {"share": 1.0, "pending": 1, "workers": 1, "timeout": 600.0, "compare": hold},
        "a tenth chosen": {"share": 0.1, "pending": 1000},
    }
    made: dict[str, Any] = {}
    rollouts = []
    for title, how in options.items():
        program = Program(folder, CORE, modules=2, outside=OUTSIDE)
        made[title] = program.outside("outside")
        patch = hotswap.Patch.from_sources({f"{program.name}.core": CORE.replace("{n}", "2")}, version="2")
        rollout = hotswap.Patcher([program.name]).stage(patch)
        rollout.verify()
        rollout.arm()
        rollouts.append(rollout)
        for way in _WAYS if how is not None else ():
            rollout.shadow(f"{program.name}.part1.{way}", **(how or {}))
    try:
        return {
            told: compare(
                {title: vars(module)[f"calls_{way}"] for title, module in made.items()},
                "not shadowed",
                rounds=rounds,
                calls=count // part,
            )
            for way, (told, part) in _WAYS.items()
        }
    finally:
        hold.over.set()
        for rollout in rollouts:
            rollout.abort()
