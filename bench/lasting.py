"""What a session costs that stays open over many patches: calls of everybody else, and the patches."""

from __future__ import annotations

import contextvars
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotswap
from bench.measuring import Spread, compare, spread
from bench.programs import Program
from hotswap.testing import ManualClock

__all__ = ["Lasting", "lasting"]

SOURCE = "".join(
    [
        "def helper():\n    return {n}\n",
        "class Class:\n    def method(self):\n        return {n}\n",
        *(f"def function{number}():\n    return helper(), {{n}}\n" for number in range(100)),
    ]
)
_LAST = 5
"""How many patches are timed for one figure."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """How many times as long something takes after some patches as it did without a session.

    Attributes:
        patches: how many came while it was open.
        waiting: how many rollouts have not drained.
        call: of a method that they change.
        apply: of a patch; the last ones.
    """

    patches: int
    waiting: int
    call: Spread
    apply: Spread


def lasting(folder: Path, *, patches: Sequence[int], rounds: int, count: int) -> list[Lasting]:
    """Return what it costs after each of some numbers of patches."""
    found: list[Lasting] = []
    with ManualClock() as clock:
        program = Program(folder, SOURCE)
        same = Program(folder, SOURCE)  # is never patched
        patcher = hotswap.Patcher([program.name])

        def apply() -> tuple[hotswap.Rollout, float]:
            patch = program.next_patch()
            began = time.perf_counter()
            rollout = patcher.apply(patch)
            taken = time.perf_counter() - began
            clock.advance(120)
            time.sleep(0.05)  # what has drained is settled in a thread
            return rollout, taken

        before = spread([apply()[1] for _ in range(_LAST)]).median
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        rollouts: list[hotswap.Rollout] = []
        times: list[float] = []
        while len(rollouts) < max(patches):
            rollout, taken = apply()
            rollouts.append(rollout)
            times.append(taken / before)
            if len(rollouts) in patches:
                objects = {
                    "same": same.core.__dict__["Class"](),
                    "patched": importlib.import_module(f"{program.name}.core").__dict__["Class"](),
                }
                variants = {name: _calling(o) for name, o in objects.items()}
                ratio = compare(variants, "same", rounds=rounds, calls=count)["patched"].ratio
                waiting = sum(not one.drained.is_set() for one in rollouts)
                found.append(Lasting(len(rollouts), waiting, ratio, spread(times[-_LAST:])))
        context.run(session.__exit__, None, None, None)
        clock.advance(120)
        assert rollouts[0].drained.wait(60)
        assert rollouts[-1].drained.wait(60)
    return found


def _calling(o: Any) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            o.method()

    return run
