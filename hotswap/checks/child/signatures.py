"""Compares the public signatures of two versions with griffe, and writes what breaks who uses them.

Called with a JSON file that has `packages`, `old` and `new` (the folders), and `report` (the path to write).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
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
    return [*found, *called_otherwise(before, after, set())]


CALLS = {
    "async": ("it is asynchronous now", "it is not asynchronous any more"),
    "staticmethod": ("it is a static method now", "it is no static method any more"),
    "classmethod": ("it is a class method now", "it is no class method any more"),
}
"""Labels of functions that say how they are called, and which griffe does not compare: what is told of each."""


def called_otherwise(before: Any, after: Any, seen: set[str]) -> Iterator[dict[str, str]]:
    """Yield the public functions that have to be called in another way, whatever their parameters are."""
    for name, one in before.members.items():
        try:
            if not one.is_public or name not in after.members:
                continue
            old, new = (each.final_target if each.is_alias else each for each in (one, after.members[name]))
        except griffe.GriffeError:  # it comes from another package
            continue
        if old.path in seen or old.kind is not new.kind:
            continue
        seen.add(old.path)
        if old.is_module or old.is_class:
            yield from called_otherwise(old, new, seen)
        elif old.is_function:
            place, name_there = old.module.path, old.path.removeprefix(f"{old.module.path}.")
            for label, (came, went) in CALLS.items():
                if (label in old.labels) != (label in new.labels):
                    what = f"{place}: {name_there}: {came if label in new.labels else went}"
                    yield {"kind": "object-changed-kind", "path": old.path, "what": what}


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
