"""How long it takes from the end of the last old call, or session, until a rollout has drained and is settled."""

from __future__ import annotations

import contextvars
import gc
import importlib
import time
from dataclasses import dataclass
from pathlib import Path

import hotswap
from bench.measuring import Spread, spread
from bench.programs import Program

__all__ = ["Draining", "draining"]

SOURCE = """
def waiting():
    yield {n}
class Class:
    def method(self):
        return {n}
"""
CLOSURES = """
def make(a):
    def closure():
        return a, {n}
    return closure
"""


@dataclass(frozen=True, slots=True)
class Draining:
    """Seconds until `drained` was set, by what ended last, with so many objects on the heap."""

    heap: int
    closures: bool
    call: Spread
    session: Spread


def draining(folder: Path, *, heaps: tuple[int, ...], repeat: int) -> list[Draining]:
    """Return the times for each size of the heap, for modules with closures in them and without."""
    found = []
    for heap in heaps:
        ballast = [[] for _ in range(heap)]  # type: ignore[var-annotated]
        found += [_measure(folder, len(ballast), closures, repeat) for closures in (False, True)]
        del ballast
        gc.collect()
    return found


def _measure(folder: Path, heap: int, closures: bool, repeat: int) -> Draining:
    program = Program(folder, SOURCE + CLOSURES * closures)
    patcher = hotswap.Patcher([program.name])
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repeat):
        for with_session in (False, True):
            session, generator = hotswap.session(), None
            if with_session:
                contextvars.Context().run(session.__enter__)
            else:
                generator = importlib.import_module(f"{program.name}.core").waiting()
                next(generator)
            rollout = patcher.apply(program.next_patch())
            assert not rollout.drained.is_set()
            began = time.perf_counter()
            session.end()
            generator = None  # a generator that nobody holds is closed
            assert rollout.drained.wait(60)
            times[with_session].append(time.perf_counter() - began)
            assert rollout.wait_settled(60)
    return Draining(heap, closures, spread(times[False]), spread(times[True]))
