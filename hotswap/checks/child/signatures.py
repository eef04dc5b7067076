"""Compares the public signatures of two versions with griffe, and writes what breaks who uses them.

Called with a JSON file that has `packages`, `old` and `new` (the folders), and `report` (the path to write).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import griffe

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def broken(package: str, old: str, new: str) -> list[dict[str, str]]:
    """Return what breaks, each as `kind`, `path` and `what`. A package that one side lacks is told as a whole."""
    sides: list[Any] = []
    for folder in (old, new):
        try:
            sides.append(griffe.load(package, search_paths=[folder], try_relative_path=False, allow_inspection=False))
        except ImportError:  # it is not there
            sides.append(None)
    before, after = sides
    if before is None:
        return []
    if after is None:
        return [{"kind": "object-removed", "path": package, "what": f"{package}: Public object was removed"}]
    found = []
    for breakage in griffe.find_breaking_changes(before, after):
        told = COLOURS.sub("", breakage.explain(griffe.ExplanationStyle.ONE_LINE))
        what = re.sub(r"^.*?:\d+: ", "", told)
        name = breakage.obj.path.removeprefix(f"{breakage.obj.module.path}.")
        what = f"{breakage.obj.module.path}: {what}" if what.startswith(name) else f"{breakage.obj.path}: {what}"
        found.append({"kind": kind(breakage.kind), "path": breakage.obj.path, "what": what})
    return found


def kind(member: griffe.BreakageKind) -> str:
    """How a kind is called: ``parameter-removed``."""
    return str(member.name).lower().replace("_", "-")


if __name__ == "__main__":
    facts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    told = {
        "kinds": [kind(member) for member in griffe.BreakageKind],
        "found": [one for name in facts["packages"] for one in broken(name, facts["old"], facts["new"])],
    }
    Path(facts["report"]).write_text(json.dumps(told), encoding="utf-8")
