"""From an edit to live code: a drop in a watched directory, `apply`, `importlib.reload`, and jurigged."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hotswap
from bench.calls import CORE
from bench.measuring import Spread, spread
from bench.programs import Program
from hotswap.watching import Watch

__all__ = ["EDITED", "USER", "Edit", "Idle", "answers", "delivery", "idle", "seconds_until", "write_next"]

USER = """
from PROGRAM.core import function, Class, VERSION
import PROGRAM.core as core
instance = Class(1)
held = (function, instance.again)
"""
EDITED = CORE.replace("return a\nclass", "return {n}\nclass")
LIMIT = 60.0


def _jurigged_says(repeat: int) -> dict[str, Any] | None:
    """Ask jurigged in a process of its own: it installs an audit hook for good, and then nothing can be swapped."""
    if importlib.util.find_spec("jurigged") is None:
        return None
    program = Path(__file__).with_name("rival.py")
    done = subprocess.run([sys.executable, program, str(repeat)], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def seconds_until(is_live: Callable[[], bool]) -> float:
    """Wait until something is live; return the seconds that it took. Raises TimeoutError."""
    began = time.perf_counter()
    while not is_live():
        if time.perf_counter() - began > LIMIT:
            raise TimeoutError("it did not become live")
        time.sleep(0.0005)
    return time.perf_counter() - began


def delivery(folder: Path, *, repeat: int) -> tuple[dict[str, Spread | None], dict[str, dict[str, bool | None]]]:
    """Return seconds from a change to live code for each way to make it, and what one edit reaches with each tool.

    None stands where a tool is missing.
    """
    jurigged = _jurigged_says(repeat)
    times: dict[str, Spread | None] = {
        "hotswap, `patcher.apply`": spread(_apply(folder, repeat)),
        "hotswap, drop in a watched directory": spread(_drop(folder, repeat)),
        "`importlib.reload`": spread(_reload(folder, repeat)),
        "jurigged, file saved": spread(jurigged["times"]) if jurigged else None,
    }
    tools: dict[str, dict[str, bool | None]] = {
        "hotswap": {**answers(_edit_by_hotswap, folder)},
        "`importlib.reload`": {**answers(_edit_by_reload, folder)},
    }
    tools["jurigged"] = dict(jurigged["reached"]) if jurigged else dict.fromkeys(tools["hotswap"])
    return times, tools


def _apply(folder: Path, repeat: int) -> list[float]:
    program = Program(folder, EDITED)
    patcher = hotswap.Patcher([program.name])
    taken = []
    for _ in range(repeat):
        patch = program.next_patch()
        began = time.perf_counter()
        patcher.apply(patch)
        taken.append(time.perf_counter() - began)
    return taken


def _drop(folder: Path, repeat: int) -> list[float]:
    """A module is written beside the directory and renamed into it, as whoever deploys would do."""
    program = Program(folder, EDITED)
    function = vars(program.core)["function"]
    patcher = hotswap.Patcher([program.name])
    drops = folder / f"{program.name}-drops"
    taken = []
    with patcher.watch(drops, single_files=True):
        for number in range(2, repeat + 2):
            ready = folder / "ready.py"
            ready.write_text(program.source(number))
            ready.replace(drops / "core.py")
            taken.append(seconds_until(lambda number=number: function(0) == number))  # type: ignore[misc]
    return taken


@dataclass(frozen=True, slots=True)
class Idle:
    """What a watch costs while nothing happens: seconds of a core in each second, and what it would cost to list alone.

    `listings` says as how much as that: a rescan takes as long as so many bare listings with the facts of each entry.
    """

    drops: int
    share: float
    rescan: float
    listings: float


def idle(folder: Path, *, counts: Sequence[int], seconds: float, interval: float = 2.0) -> list[Idle]:
    """Measure a watch whose directory holds drops that are all dealt with, at the usual interval."""

    def apply(patch: hotswap.Patch) -> Any:
        return SimpleNamespace(id="r1", patch=patch, version="1.0", state="live")

    found = []
    for count in counts:
        drops = folder / f"idle-{count}"
        drops.mkdir()
        for number in range(count):
            (drops / f"module_{number}.py").write_text(f"X = {number}\n")
            os.utime(drops / f"module_{number}.py", (0, 0))
        with Watch(apply, drops, interval, settle=0.0, single_files=True) as watch:
            seconds_until(lambda count=count: len(watch.outcomes) == count)  # type: ignore[misc]
            time.sleep(2 * interval + 2.0)  # what was written a moment ago is read once more
            began, used = time.perf_counter(), time.process_time()
            time.sleep(seconds)
            share = (time.process_time() - used) / (time.perf_counter() - began)
            began = time.process_time()
            for _ in range(10):
                for entry in os.scandir(drops):
                    entry.stat()
            listing = (time.process_time() - began) / 10
        rescan = share * interval
        found.append(Idle(count, share, rescan, rescan / max(listing, 1e-6)))
    return found


def write_next(program: Program, number: int) -> Path:
    """Save the next version of a module in place, with another time, so that no cached bytecode is taken for it."""
    path = program.folder / "core.py"
    path.write_text(program.source(number))
    later = time.time() + number
    os.utime(path, (later, later))
    return path


def _reload(folder: Path, repeat: int) -> list[float]:
    program = Program(folder, EDITED)
    taken = []
    for number in range(2, repeat + 2):
        write_next(program, number)
        began = time.perf_counter()
        importlib.reload(program.core)
        taken.append(time.perf_counter() - began)
        assert vars(program.core)["function"](0) == number
    return taken


Edit = Callable[[Path, str], tuple[Any, Any]]
"""Brings a program of a template to its second version; gives the user module and the core."""


def reach() -> list[tuple[str, Callable[[Any, Any], bool]]]:
    """What is asked after an edit from version 1 to version 2: (what, question to the user module and the core)."""
    return [
        ("the module's own name", lambda _, core: core.function(0) == 2),
        ("a from-imported function", lambda user, _: user.function(0) == 2),
        ("a function held in a tuple", lambda user, _: user.held[0](0) == 2),
        ("a method of an existing instance", lambda user, _: user.instance.again() == 2),
        ("a bound method held in a tuple", lambda user, _: user.held[1]() == 2),
        ("a constant of the module", lambda _, core: core.VERSION == 2),
        ("a from-imported constant", lambda user, _: user.VERSION == 2),
        ("a class attribute", lambda user, _: user.Class.kind == 2),
        ("`isinstance` of an existing instance", lambda user, core: isinstance(user.instance, core.Class)),
    ]


def answers(edit: Edit, folder: Path) -> dict[str, bool]:
    """Make one edit with a tool, and one that raises in its last line; return what held afterwards."""
    user, core = edit(folder, EDITED)
    found = {what: question(user, core) for what, question in reach()}
    user, core = edit(folder, EDITED + "if {n} > 1:\n    raise RuntimeError('half way')\n")
    found["all of the old, if the new raises in its last line"] = (
        core.function(0) != 2 and core.VERSION == 1 and user.instance.again() == 1
    )
    return found


def _edit_by_hotswap(folder: Path, template: str) -> tuple[Any, Any]:
    program = Program(folder, template, user=USER)
    user = program.outside("user")
    user.patcher = hotswap.Patcher([program.name])  # type: ignore[attr-defined]
    with contextlib.suppress(hotswap.HotswapError):  # one edit raises on purpose: what is asked is what is left
        user.patcher.apply(program.next_patch())
    return user, importlib.import_module(f"{program.name}.core")


def _edit_by_reload(folder: Path, template: str) -> tuple[Any, Any]:
    program = Program(folder, template, user=USER)
    user = program.outside("user")
    write_next(program, 2)
    with contextlib.suppress(RuntimeError):  # as above
        importlib.reload(program.core)
    return user, program.core
