"""What booting from a store adds to the start of a program, against the same program that does not boot."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Spread, spread

__all__ = ["Booting", "booting"]

_SOURCE = "".join(
    f'''
class Thing{number}:
    """A class of the size that classes have."""

    def __init__(self, value):
        self.value = value

    def total(self, factor={{n}}):
        found = 0
        for one in range(self.value):
            if one % 2:
                found += one * factor
        return found
'''
    for number in range(10)
)
_APPLY = """
import hotswap, PROGRAM.core
from pathlib import Path
here = Path("PROGRAM")
if WHOLE:
    (Path("next") / "PROGRAM").mkdir(parents=True)
    for path in here.glob("*.py"):
        (Path("next") / path).write_text(path.read_text().replace("factor=1", "factor=2"))
    patch = hotswap.Patch.from_path("next/PROGRAM", "2.0")
else:
    patch = hotswap.Patch.from_sources({"PROGRAM.core": (here / "core.py").read_text().replace("factor=1", "factor=2")})
hotswap.Patcher(["PROGRAM"], store="STORE").apply(patch).confirm()
"""
_GOOD = """
import hotswap
from datetime import timedelta
from hotswap.store import starts
starts._GOOD = timedelta(seconds=-1)  # a start is good at once, and the later ones are not on trial any more
hotswap.boot({store!r})
import booted.core
"""
_START = (
    "import time, hotswap; began = time.perf_counter(); {boot}; import {modules}; print(time.perf_counter() - began)"
)


@dataclass(frozen=True, slots=True)
class Booting:
    """One way to start: seconds from the first line to the last import, and how many times that of a plain start."""

    what: str
    seconds: Spread
    ratio: Spread
    process: Spread
    """The same for the whole life of the process, importing hotswap included."""


def booting(root: Path, *, modules: int, repeat: int) -> list[Booting]:
    """Measure starts in turns, in fresh processes."""
    folder = root / "booting"
    (folder / "booted").mkdir(parents=True)
    names = ["core", *(f"part{number}" for number in range(1, modules))]
    (folder / "booted" / "__init__.py").write_text("")
    for name in names:
        (folder / "booted" / f"{name}.py").write_text(_SOURCE.replace("{n}", "1"))
    for store, whole in (("partial", "False"), ("whole", "True")):
        code = _APPLY.replace("PROGRAM", "booted").replace("STORE", store).replace("WHOLE", whole)
        _run(folder, code)
        shutil.copytree(folder / store, folder / f"{store}-first")
        _run(folder, _GOOD.format(store=store))
    ways = {
        "no boot": "pass",
        "no store": "hotswap.boot('none')",
        f"one of {modules} modules patched": "hotswap.boot('partial')",
        f"all {modules} modules patched": "hotswap.boot('whole')",
        "one module patched, on trial": "hotswap.boot('partial-first')",
        "all modules patched, on trial": "hotswap.boot('whole-first')",
    }
    wanted = ", ".join(f"booted.{name}" for name in names)
    inside: dict[str, list[float]] = {what: [] for what in ways}
    lives: dict[str, list[float]] = {what: [] for what in ways}
    order = list(ways)
    for _ in range(repeat + 1):  # the first writes the bytecode
        random.Random(1).shuffle(order)  # noqa: S311 - an order of measurements, not a secret
        for what in order:
            began = time.perf_counter()
            inside[what].append(float(_run(folder, _START.format(boot=ways[what], modules=wanted))))
            lives[what].append(time.perf_counter() - began)
    return [
        Booting(
            what,
            spread(inside[what][1:]),
            spread([own / base for own, base in zip(inside[what][1:], inside["no boot"][1:], strict=True)]),
            spread([own / base for own, base in zip(lives[what][1:], lives["no boot"][1:], strict=True)]),
        )
        for what in ways
    ]


def _run(folder: Path, code: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout
