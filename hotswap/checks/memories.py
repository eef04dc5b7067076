"""How much memory the candidate takes, measured in a process of its own.

`tracemalloc` in the service would slow down every thread of it, and count what all of them allocate. In a fresh
interpreter there is only the candidate. What C libraries allocate by themselves is not counted, but bounded: on Linux
the process may not grow by more than four times the limit and a gibibyte, whatever it allocates.
"""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

from hotswap.checks.generations import Call, Inputs
from hotswap.checks.kinds import Kind, staged
from hotswap.checks.overlays import overlaid
from hotswap.checks.processes import run, script
from hotswap.verification import Answer, Candidate, Inconclusive, Turn, Verdict

__all__ = ["Memory", "size", "told"]

_UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
_SPARE = 1024**3


class Memory(Kind):
    """The check that `hotswap.checks.memory` makes."""

    turn = Turn.PARALLEL

    def __init__(self, limit: int, call: Call | None, inputs: Inputs, kept: int | None, rounds: int) -> None:
        super().__init__(f"memory {call.name if call else 'of imports'}")
        self._limit, self._call, self._inputs, self._kept, self._rounds = limit, call, inputs, kept, rounds

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Measure."""
        new = staged(candidate)
        try:
            inputs = pickle.dumps([(one.args, dict(one.kwargs)) for one in self._inputs.of(new.live)])
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise Inconclusive(f"the inputs can't be handed to another process: {error}") from error
        with overlaid(candidate) as overlay:
            order, report = overlay.folder / "order.pickle", overlay.folder / "report.json"
            facts = {
                "modules": [name for name in new.patch.sources if not name.endswith("__main__")],
                "call": None if self._call is None else self._call.name,
                "inputs": inputs,
                "rounds": self._rounds,
                "allowance": 4 * self._limit + _SPARE,
                "report": str(report),
            }
            order.write_bytes(pickle.dumps(facts))
            ended = run([*script("measure"), str(order)], overlay.environment(overlay.new))
            if ended.late:
                return ended.timed_out("the memory was being measured")
            try:
                found = json.loads(report.read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):
                why = f"{ended.fate} before it was measured: {ended.last_line}"
                return Answer(Verdict.ERROR, why, ended.output)
        return self._judged(found)

    def _judged(self, found: dict[str, Any]) -> Answer:
        if "burst" in found:
            return Answer(Verdict.FAILED, f"it takes far more than {told(self._limit)}: there was none left for it")
        peak, kept = found["peak"], found["kept"]
        if peak > self._limit:
            return Answer(Verdict.FAILED, f"{told(peak)} at the peak (limit {told(self._limit)})")
        if self._kept is not None and kept > self._kept:
            what = f"{told(kept)} are kept after {self._rounds} rounds (limit {told(self._kept)})"
            return Answer(Verdict.FAILED, what)
        if found["raised"] is not None:
            raise Inconclusive(f"every call raised, so nothing was measured: {found['raised']}")
        return Answer(Verdict.PASSED, f"{told(peak)} at the peak, {told(kept)} kept")


def size(value: int | str) -> int:
    """Return a number of bytes: 5000000, ``"5 MB"``, ``"4.8 MiB"``. Raises TypeError or ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"a size is a number of bytes, or a text such as '50 MB', not {value!r}")
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
        unit = _UNITS.get(match[2].upper()) if match else None
        if match is None or unit is None:
            raise ValueError(f"{value!r} is no size: give a number of bytes, or a text such as '50 MB' or '64 MiB'")
        return int(float(match[1]) * unit)
    if value < 0:
        raise ValueError(f"a size is not less than 0: {value}")
    return value


def told(number: int) -> str:
    """Return a number of bytes for people."""
    for unit in ("GB", "MB", "KB"):
        if number >= _UNITS[unit]:
            return f"{number / _UNITS[unit]:.1f} {unit}"
    return f"{number} B"
