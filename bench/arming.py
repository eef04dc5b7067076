"""What it takes to arm a candidate, to disarm it, and to flip it, against a plain commit of the same patch."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import hotswap
from bench.measuring import Spread, spread
from bench.programs import Program

__all__ = ["Arming", "Warm", "arming", "warm"]

SOURCE = """
def function(a, b=1):
    return a, {n}
def other(a, *, b=1):
    return a, {n}
class Class:
    def __init__(self, a):
        self.a = a, {n}
    def method(self, a, b=1):
        return a, {n}
    @property
    def price(self):
        return {n}
"""


@dataclass(frozen=True, slots=True)
class Arming:
    """Seconds, for a package of so many modules, all of which change; each has two functions, and a class of three.

    `flip` is the one C call of the commit of an armed candidate, `plain` that of one that was not armed. `commit` and
    `plain_commit` are all of `commit()`, most of which other threads run beside.
    """

    modules: int
    arm: Spread
    disarm: Spread
    flip: Spread
    plain: Spread
    commit: Spread
    plain_commit: Spread


@dataclass(frozen=True, slots=True)
class Warm:
    """Seconds, for the same package, of a rollout that is flipped back and forth; and as parts of a cold `apply`.

    `commit` and `rollback` are all of the call, `there` and `back` the pauses in it; `busy_commit` and `busy_rollback`
    are all of the call beside three threads that never rest.
    """

    modules: int
    apply: Spread
    commit: Spread
    rollback: Spread
    there: Spread
    back: Spread
    busy_commit: Spread
    busy_rollback: Spread
    commit_to_apply: float
    rollback_to_apply: float


def warm(folder: Path, *, modules: tuple[int, ...], repeat: int) -> list[Warm]:
    """Return the times for each number of modules: a cold `apply` and warm flips in turns."""
    return [_flipped(folder, count, repeat) for count in modules]


def _flipped(folder: Path, modules: int, repeat: int) -> Warm:
    program = Program(folder, SOURCE, modules=modules)
    patcher = hotswap.Patcher([program.name])
    patcher.apply(program.next_patch())
    found: dict[str, list[float]] = {field.name: [] for field in fields(Warm)[1:8]}
    for _ in range(repeat):
        gc.collect()
        patch = program.next_patch()
        found["apply"].append(_timed(partial(patcher.apply, patch)))
        rollout = patcher.stage(program.next_patch())
        rollout.verify()
        rollout.arm()
        rollout.commit()
        rollout.rollback()
        for call, pause in ((rollout.commit, "there"), (rollout.rollback, "back")):
            assert rollout.wait_settled(60)
            found[call.__name__].append(_timed(call))
            found[pause].append(rollout.pause or 0.0)
        assert rollout.wait_settled(60)
        with _busy(3):
            found["busy_commit"].append(_timed(rollout.commit))
            found["busy_rollback"].append(_timed(rollout.rollback))
        assert rollout.wait_settled(60)
    taken = {name: spread(times) for name, times in found.items()}
    cold = taken["apply"].median
    there, back = (taken[name].median / cold for name in ("commit", "rollback"))
    return Warm(modules, **taken, commit_to_apply=there, rollback_to_apply=back)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Have some threads that never rest in this block."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(100))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def arming(folder: Path, *, modules: tuple[int, ...], repeat: int) -> list[Arming]:
    """Return the times for each number of modules: a plain commit and an armed one in turns."""
    return [_measure(folder, count, repeat if count < 500 else 3) for count in modules]


def _timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _measure(folder: Path, modules: int, repeat: int) -> Arming:
    program = Program(folder, SOURCE, modules=modules)
    patcher = hotswap.Patcher([program.name])
    patcher.apply(program.next_patch())
    found: dict[str, list[float]] = {field.name: [] for field in fields(Arming)[1:]}
    for _ in range(repeat):
        for is_armed in (False, True):
            gc.collect()  # retired generations are garbage in circles
            rollout = patcher.stage(program.next_patch())
            rollout.verify()
            if is_armed:
                found["arm"].append(_timed(rollout.arm))
                found["disarm"].append(_timed(rollout.disarm))
                rollout.arm()
            found["commit" if is_armed else "plain_commit"].append(_timed(rollout.commit))
            found["flip" if is_armed else "plain"].append(rollout.pause or 0.0)
            assert rollout.drained.wait(60)
    return Arming(modules, **{name: spread(taken) for name, taken in found.items()})
