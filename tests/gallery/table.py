"""The table of the gallery in the documentation: `python -m tests.gallery.table` runs everything and writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.gallery.gates import GATES
from tests.gallery.patches import BAD, GOOD, Piece

__all__ = ["Row", "met", "read"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "gallery.md"

STOPS, DIES = "stops", "dies"
"""The gate stops the patch; the process is lost before it can."""

_LIMIT = 120
"""Seconds that one run may take."""

_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('tests.gallery.gates', run_name='__main__', alter_sys=True)"
)
"""The checkout comes last on the path: what is tried is the hotswap that is installed."""

_HEAD = ("patch", *GATES, "with all of them")


class Row(NamedTuple):
    """What becomes of a patch: before each gate alone, and before all."""

    alone: tuple[str, ...]
    together: str


def met(piece: Piece, gate: str) -> str:
    """Return what becomes of a patch: the gate that stops it, and where; `dies`; or "" if nothing stops it."""
    command = [sys.executable, "-c", _START, str(ROOT), piece.name, gate]
    variables = {**os.environ, "HOTSWAP_KEEP_SOURCES": ""}
    try:
        ended = subprocess.run(
            command,
            cwd=tempfile.gettempdir(),
            env=variables,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return DIES
    lines = ended.stdout.splitlines()
    if ended.returncode or not lines:
        if "Traceback" in ended.stderr and "tests/gallery/gates.py" in ended.stderr and ended.returncode == 1:
            raise AssertionError(ended.stderr)
        return DIES
    told = json.loads(lines[-1])
    return f"{told['gate']}, {told['step']}" if told["gate"] == "rehearsal" else str(told["gate"])


def measured(piece: Piece) -> Row:
    """Try a patch at each gate, and at all of them."""
    alone = []
    for gate in GATES:
        stopped = met(piece, gate).partition(",")[0]
        alone.append(STOPS if stopped == gate else DIES if stopped == DIES else "")
        if stopped == "plan":  # no other gate is ever reached without it
            alone += [""] * (len(GATES) - 1)
            break
    return Row(tuple(alone), met(piece, "all"))


def read() -> dict[str, Row]:
    """What the documentation says, by the name of the patch."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: Row(tuple(rest[:-1]), rest[-1]) for name, *rest in cells}


def _write() -> None:
    with ThreadPoolExecutor(2) as pool:
        rows = dict(zip(BAD, pool.map(measured, BAD), strict=True))
    lines = [f"| {' | '.join(_HEAD)} |", f"| {' | '.join(['---'] * len(_HEAD))} |"]
    lines += [f"| {piece.name} | {' | '.join(row.alone)} | {row.together} |" for piece, row in rows.items()]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end -->\n")
    table = "\n".join(lines)
    PAGE.write_text(f"{before}<!-- table -->\n\n{table}\n\n<!-- end -->\n{after}", encoding="utf-8")
    refused = {piece.name: found for piece in GOOD if (found := met(piece, "all"))}
    print("good patches that were refused:", refused or "none")


if __name__ == "__main__":
    _write()
