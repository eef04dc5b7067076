"""What `docs/explanation/comparison.md` says of each tool, scene by scene.

The scenes are those of the benchmarks, which are no part of the wheel: they are played by their script. The tools are
in the extra `bench`, which the session `tests` has on one interpreter.
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


@pytest.fixture(scope="module")
def installed() -> list[str]:
    found: list[str] = script()["installed"]
    return found


def test_the_page_has_all_that_is_measured() -> None:
    found = script()
    assert HEAD[1:] == found["tools"]
    assert [row[0] for row in ROWS] == found["asks"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("tool", HEAD[1:])
def test_what_holds(tool: str, row: list[str], installed: list[str]) -> None:
    if tool not in installed:
        pytest.skip(f"{tool} is not installed")
    assert script(tool, row[0])["holds"] == (row[HEAD.index(tool)] == "yes")
