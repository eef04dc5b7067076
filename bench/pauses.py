"""How long the other threads stand still: in the commit, and over the whole of `apply`."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, fields
from pathlib import Path

import hotswap
from bench.measuring import Spread, spread, watched_by_a_spinner
from bench.programs import Program

__all__ = ["Pause", "pauses"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds, for one number of names and one size of the heap.

    `call` is the one C call of the commit, as `rollout.pause` says, and `back` that of the rollback. `committing` is
    the longest gap that another thread saw in `rollout.commit()`, and `staging` in `stage` and `verify`; a collection
    of the garbage collector is such a gap, and the longest one is told beside it. `whole` is what it took in all.
    """

    names: int
    heap: int
    what: str
    call: Spread
    back: Spread
    committing: Spread
    collecting_in_commit: Spread
    staging: Spread
    collecting_in_staging: Spread
    whole: Spread


NAMES_IN_A_MODULE = 100


METHODS_OF_A_CLASS = 5


def _source(names: int) -> str:
    """Half of the names are functions, half are methods, in classes of five."""
    half = names // 2
    functions = "".join(f"def function{number}(a, b=1):\n    return a, {{n}}\n" for number in range(names - half))
    methods = [f"    def method{number}(self, a, b=1):\n        return a, {{n}}\n" for number in range(half)]
    starts = range(0, half, METHODS_OF_A_CLASS)
    classes = (f"class Class{start}:\n{''.join(methods[start : start + METHODS_OF_A_CLASS])}" for start in starts)
    return functions + "".join(classes)


def pauses(folder: Path, *, names: tuple[int, ...], heaps: tuple[int, ...], repeat: int) -> list[Pause]:
    """Return the pauses for each number of names with each size of the heap, in objects that the collector knows."""
    found: list[Pause] = []
    for heap in heaps:
        ballast = [[] for _ in range(heap)]  # type: ignore[var-annotated]
        found += [_measure(folder, count, len(ballast), "lists", repeat if count < 10_000 else 3) for count in names]
        del ballast
        gc.collect()
    found.append(_measure(folder, min(names), max(heaps), OF_THE_CLASS, repeat))
    return found


OF_THE_CLASS = "instances of a class that changes"


def _measure(folder: Path, names: int, heap: int, what: str, repeat: int) -> Pause:
    modules = max(1, names // NAMES_IN_A_MODULE)
    program = Program(folder, _source(names // modules), modules=modules)
    patcher = hotswap.Patcher([program.name])
    patcher.apply(program.next_patch())
    instances = [program.core.Class0() for _ in range(heap)] if what == OF_THE_CLASS else []
    found: dict[str, list[float]] = {field.name: [] for field in fields(Pause)[3:]}
    gc.collect()
    for _ in range(repeat):
        patch = program.next_patch()
        with watched_by_a_spinner() as gaps:
            gaps.reset()
            began = time.perf_counter()
            rollout = patcher.stage(patch)
            rollout.verify()
            found["staging"].append(gaps.longest)
            found["collecting_in_staging"].append(gaps.collecting)
            gaps.reset()
            rollout.commit()
            found["committing"].append(gaps.longest)
            found["collecting_in_commit"].append(gaps.collecting)
            found["whole"].append(time.perf_counter() - began)
            found["call"].append(rollout.pause or 0.0)
            patcher.rollback()
            found["back"].append(rollout.pause or 0.0)
    assert all(type(instance).method0(instance, 1) == (1, 2) for instance in instances[:1])  # rolled back to it
    return Pause(names, heap, what, **{name: spread(taken) for name, taken in found.items()})
