"""What a call costs while two generations are reachable, against the same call before: forks ask who calls."""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hotswap
from bench.measuring import Ratio, compare
from bench.programs import Program
from hotswap import walk

__all__ = ["states"]

_WAYS = {
    "function": ("function", "function(1)"),
    "method": ("method of an instance", "o.method(1)"),
    "attribute": ("property", "o.price"),
    "constructor": ("constructor", "Class(1)"),
}


def _loops(prefix: str, last: str) -> str:
    """A function for each way, which makes so many calls."""
    return "".join(
        f"def {prefix}_{way}(n):\n    o = Class(1)\n    for _ in repeat(None, n // 10):\n"
        f"        {'; '.join([call] * 10)}\n{last}"
        for way, (_, call) in _WAYS.items()
    )


CORE = f"""
from itertools import repeat
def function(a, b=1):
    return {{n}}
class Class:
    def __init__(self, a):
        self.a = {{n}}
    def method(self, a, b=1):
        return {{n}}
    @property
    def price(self):
        return {{n}}
def waiting():
    yield {{n}}
{_loops("own", "    return {n}" + chr(10))}
"""
OUTSIDE = f"""
from itertools import repeat
from PROGRAM.core import function, Class
{_loops("outside", "")}
"""


class _State:
    """A copy of the program, and what brings it into a state and keeps it there."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(folder, CORE, outside=OUTSIDE)
        self.outside = self.program.outside("outside")
        # What goes on after the handover keeps only the forks that it may come to: all of them are to be measured.
        self.patcher = hotswap.Patcher([self.program.name], handover=3_600)
        self.held: list[Any] = []

    def before(self) -> None:
        """It is managed, and nothing has happened."""

    def drained(self) -> None:
        """It was patched while a call was in flight, and that has ended."""
        self.in_flight()
        rollout, generator = self.held
        generator.close()
        del generator
        self.held.clear()
        assert rollout.drained.wait(20)

    def in_flight(self) -> None:
        """A generator of the old version is suspended."""
        generator = vars(self.program.core)["waiting"]()
        next(generator)
        self.held = [self.patcher.apply(self.program.next_patch()), generator]

    def in_session(self) -> None:
        """A session of the old version is open, somewhere else."""
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        self.held = [self.patcher.apply(self.program.next_patch()), session]

    def armed(self) -> None:
        """The candidate is armed, and everybody is on the old version."""
        rollout = self.patcher.stage(self.program.next_patch())
        rollout.verify()
        rollout.arm()
        self.held = [rollout]

    def end(self) -> None:
        """Leave no rollout and no session behind."""
        for held in self.held:
            if isinstance(held, hotswap.Rollout) and held.state is hotswap.State.ARMED:
                held.abort()
            elif isinstance(held, hotswap.Session):
                held.end()
        self.held.clear()

    def check(self, title: str) -> None:
        """Make sure that forks stand where they are measured, and nowhere else."""
        assert (id(self.program.core.Class) in walk.forked) == (title not in ("before", "drained")), title

    def calls(self, where: str, way: str) -> Callable[[int], None]:
        """The function that makes so many calls, from outside code or from the program's own."""
        module = self.outside if where == "outside" else importlib.import_module(f"{self.program.name}.core")
        found: Callable[[int], None] = getattr(module, f"{where}_{way}")
        return found


def states(folder: Path, *, rounds: int, count: int) -> dict[str, dict[str, Ratio]]:
    """Return how long calls take, way by way and state by state.

    Arguments:
        folder: where programs are written.
        rounds: measurements of each.
        count: calls in a measurement.
    """
    made: dict[str, _State] = {}
    for title, bring in (  # a session that is open would keep any later swap from draining, so it begins last
        ("before", _State.before),
        ("drained", _State.drained),
        ("armed", _State.armed),
        ("an old call in flight", _State.in_flight),
        ("an old session open", _State.in_session),
    ):
        made[title] = _State(folder)
        bring(made[title])
        made[title].check(title)
    try:
        found = {
            f"{told}, from {place}": compare(
                {title: state.calls(where, way) for title, state in made.items()},
                "before",
                rounds=rounds,
                calls=count,
            )
            for where, place in (("outside", "outside"), ("own", "code of the package"))
            for way, (told, _) in _WAYS.items()
        }
        for title, state in made.items():
            state.check(title)
        return found
    finally:
        for state in made.values():
            state.end()
