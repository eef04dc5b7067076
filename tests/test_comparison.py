"""What `docs/explanation/comparison.md` says of hotswap and of `importlib.reload`, scene by scene.

The scenes are those of the benchmarks, which are no part of the wheel: they are played by their script.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.threads

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "explanation" / "comparison.md").read_text(encoding="utf-8")


def table() -> list[list[str]]:
    """The cells of the table, its head first."""
    lines = PAGE[PAGE.index("| what holds after an update") :].partition("\n\n")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if not line.startswith("| ---")]


HEAD, *ROWS = table()


def script(*arguments: str) -> Any:
    command = [sys.executable, str(ROOT / "bench" / "updating.py"), *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_the_page_has_all_that_is_measured() -> None:
    found = script()
    assert HEAD[1:] == found["tools"]
    assert [row[0] for row in ROWS] == found["asks"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("tool", ["hotswap", "`importlib.reload`"])
def test_what_holds(tool: str, row: list[str]) -> None:
    assert script(tool, row[0])["holds"] == (row[HEAD.index(tool)] == "yes")
