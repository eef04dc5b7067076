"""From the first failing request after a bad commit to the completed rollback, and the requests that failed meanwhile.

A service answers requests on several threads, each request in a session, at a fixed load. A patch is committed whose
function raises, for all requests or for some of them; nobody but the bake takes it back.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import hotswap
from bench.measuring import Spread, spread
from bench.programs import Program

__all__ = ["Baked", "baking"]

GOOD = "def answer(n):\n    return n\n"
BAD = "def answer(n):\n    if n % {share} == 0:\n        raise ValueError(n)\n    return n\n"
THREADS = 8
BEFORE = 2_000
"""Sessions that were counted before, without an error."""

LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Baked:
    """One load: requests a second, one in how many fails, and what was measured."""

    load: int
    share: int
    signal: str
    seconds: Spread
    failed: Spread


class _Service:
    """Requests on several threads, at a fixed load; lives as long as its block."""

    def __init__(self, program: Program, load: int, *, unhandled: bool) -> None:
        self.program, self.pause, self.unhandled = program, THREADS / load, unhandled
        self.numbers = itertools.count(1)
        self.failures: list[float] = []
        self.going = True
        self.threads = [threading.Thread(target=self.serve, name=f"worker {n}") for n in range(THREADS)]

    def serve(self) -> None:
        due = time.perf_counter()
        while self.going:
            due += self.pause
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                with hotswap.session():
                    self.program.core.answer(next(self.numbers))
            except ValueError as error:
                self.failures.append(time.perf_counter())
                if self.unhandled:  # as a thread that dies of it tells
                    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))

    def __enter__(self) -> _Service:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()


def _once(folder: Path, load: int, share: int, *, unhandled: bool) -> tuple[float, int]:
    program = Program(folder, GOOD)
    patcher = hotswap.Patcher([program.name], bake=hotswap.Bake(LIMIT, exceptions=1 if unhandled else None))
    back = [0.0]

    @patcher.hook("after_rollback")
    def is_back(_: hotswap.Rollout) -> None:
        back[0] = time.perf_counter()

    for n in range(BEFORE):
        with hotswap.session():
            program.core.answer(n)
    before = threading.excepthook
    threading.excepthook = lambda _: None  # the numbers are to be seen, not the tracebacks
    try:
        with _Service(program, load, unhandled=unhandled) as service:
            patch = {f"{program.name}.core": BAD.replace("{share}", str(share))}
            rollout = patcher.apply(hotswap.Patch.from_sources(patch, "2.0"))
            if not rollout.wait_baked(LIMIT):
                raise TimeoutError("nobody took it back")
    finally:
        threading.excepthook = before
    if rollout.state != "rolled_back":
        raise AssertionError(rollout.bake)
    return back[0] - service.failures[0], len(service.failures)


def baking(folder: Path, *, repeat: int) -> list[Baked]:
    """Return what it takes at several loads.

    Arguments:
        folder: for the packages to measure on.
        repeat: rollouts of each.
    """
    rows = [(100, 1, False), (1_000, 1, False), (1_000, 10, False), (1_000, 30, False), (1_000, 1, True)]
    found = []
    for load, share, unhandled in rows:
        taken = [_once(folder, load, share, unhandled=unhandled) for _ in range(repeat)]
        signal = "an unhandled exception" if unhandled else "error rate of sessions"
        seconds, failed = spread([one[0] for one in taken]), spread([float(one[1]) for one in taken])
        found.append(Baked(load, share, signal, seconds, failed))
    return found
