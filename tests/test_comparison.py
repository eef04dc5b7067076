"""What `docs/explanation/comparison.md` says of hotswap and of `importlib.reload`, scene by scene."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.scenes import SCENES
from bench.updating import TOOLS, play

pytestmark = pytest.mark.threads

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "comparison.md"
HEAD = f"| what holds after an update | {' | '.join(TOOLS)} |"


def said(tool: str, asks: str) -> str:
    """The cell of the page."""
    (row,) = re.findall(rf"^\| {re.escape(asks)} \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(row).split(" | ")[list(TOOLS).index(tool)]


def test_the_page_has_the_tools_that_are_measured() -> None:
    assert HEAD in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("tool", ["hotswap", "`importlib.reload`"])
def test_what_holds(tool: str, scene: str) -> None:
    assert play(tool, scene)["holds"] == (said(tool, SCENES[scene].asks) == "yes")
