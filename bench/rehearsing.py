"""What a rehearsal costs the process: how long its threads stand still while it is copied, and what is copied later."""

from __future__ import annotations

import gc
import json
import logging
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hotswap
from bench.measuring import Spread, spread, watched_by_a_spinner
from bench.programs import Program, programs

__all__ = ["KINDS", "Rehearsing", "rehearsing"]

KINDS = ("plain data", "small objects")
"""What fills the memory: few large pieces, as of arrays and models; lists that hold a number each."""

_BYTES_OF_A_LIST = 120
"""A list with one element and its header, the number in it, and its place in the list that holds it."""

# The checkout comes last, as in `bench/__main__.py`: what is measured is the installed hotswap.
_PROGRAM = f"import sys; sys.path.append({str(Path(__file__).parent.parent)!r}); "
_PROGRAM += "from bench.rehearsing import main; main()"

_PAGES = 5_000
"""Pages that another thread writes to while the copy lives."""


@dataclass(frozen=True, slots=True)
class Rehearsing:
    """Seconds and bytes, for one size of the process.

    `gap` is the longest time for which another thread did not come to the clock during a whole rehearsal, and `fork`
    the call that copies the process. `whole` is the rehearsal, `unrehearsed` the same patch without. `copied` is how
    many bytes of the copy were its own at its end. `page` is what the first write to a page costs the process while
    the copy lives, and `page_before` what a write costs else.
    """

    resident: int
    kind: str
    gap: Spread
    fork: Spread
    whole: Spread
    unrehearsed: Spread
    copied: float
    page: float
    page_before: float


def rehearsing(sizes: Iterable[int], *, repeat: int) -> list[Rehearsing]:
    """Measure in a fresh process for each size, in bytes, and each kind of content.

    A size is left out where half of the memory that is free would not do, and where there is no fork.
    """
    found = []
    free = _status("/proc/meminfo", "MemAvailable") if hasattr(os, "fork") else 0
    for size in [size for size in sizes if size < free / 2]:
        for kind in KINDS:
            command = [sys.executable, "-c", _PROGRAM, str(size), kind, str(repeat)]
            told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for name in ("gap", "fork", "whole", "unrehearsed"):
                told[name] = Spread(**told[name])
            found.append(Rehearsing(**told))
    return found


def _ballast(size: int, kind: str) -> list[Any]:
    if kind == KINDS[0]:
        return [bytearray(b"x") * (1 << 20) for _ in range(size >> 20)]
    return [[number] for number in range(size // _BYTES_OF_A_LIST)]


def _status(path: str, name: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else ()
    for line in lines:
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def _touch(pages: mmap.mmap) -> float:
    began = time.perf_counter()
    for place in range(0, len(pages), mmap.PAGESIZE):
        pages[place] = 1
    return (time.perf_counter() - began) / _PAGES


def _measure(size: int, kind: str, repeat: int) -> Rehearsing:
    pages = mmap.mmap(-1, _PAGES * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _touch(pages)
    gc.disable()
    ballast = _ballast(max(0, size - _status("/proc/self/status", "VmRSS")), kind)
    gc.enable()
    gc.collect()  # or the first collection, seconds for millions of objects, is measured as a gap of a rehearsal
    taken: dict[str, list[float]] = {name: [] for name in ("gap", "fork", "whole", "unrehearsed", "page", "before")}
    copied = []
    with programs() as folder, tempfile.TemporaryDirectory() as notes:
        program = Program(folder, "def quote(n):\n    return {n} * n\n")
        patcher = hotswap.Patcher([program.name])
        patcher.apply(program.next_patch())
        note, go_on = Path(notes, "note"), Path(notes, "go on")

        def check(_: object) -> None:
            note.with_suffix(".part").write_text(str(_status("/proc/self/smaps_rollup", "Private_Dirty")))
            note.with_suffix(".part").rename(note)
            while not go_on.exists():
                time.sleep(0.001)

        def write() -> None:
            while not note.exists():
                time.sleep(0.001)
            copied.append(float(note.read_text()))
            taken["page"].append(_touch(pages))
            go_on.touch()

        for _ in range(repeat):
            began = time.perf_counter()
            patcher.apply(program.next_patch())
            taken["unrehearsed"].append(time.perf_counter() - began)
            rollout = patcher.stage(program.next_patch())
            with watched_by_a_spinner() as gaps:
                gaps.reset()
                found = rollout.rehearse(hotswap.Rehearsal(checks=[]))
                taken["gap"].append(gaps.longest)
            rollout.abort()
            rollout = patcher.stage(program.next_patch())
            found = rollout.rehearse(hotswap.Rehearsal(checks=[]))
            taken["fork"].append(found.pause)
            taken["whole"].append(found.duration)
            taken["before"].append(_touch(pages))
            writer = threading.Thread(target=write)
            writer.start()
            rollout.rehearse(hotswap.Rehearsal(checks=[check]))
            writer.join()
            note.unlink()
            go_on.unlink()
            rollout.abort()
    resident = _status("/proc/self/status", "VmRSS")
    del ballast
    return Rehearsing(
        resident,
        kind,
        **{name: spread(taken[name]) for name in ("gap", "fork", "whole", "unrehearsed")},
        copied=statistics.median(copied),
        page=statistics.median(taken["page"]),
        page_before=statistics.median(taken["before"]),
    )


def main() -> None:
    """Measure one size and one kind, and print it as JSON."""
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(asdict(_measure(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
