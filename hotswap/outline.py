"""What a patch would change, for who decides about it: plan and report as plain data, the sources as a diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from hotswap.errors import StateError
from hotswap.records import BEFORE_LIVE
from hotswap.rollout import Rollout
from hotswap.swap import Plan
from hotswap.verification import Report

__all__ = ["changes_of", "diff_of", "plan_of", "report_of"]

_LONGEST_DIFF = 1 << 20
"""Characters of a diff; what is beyond them is cut off."""


def plan_of(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, which can be written as JSON."""
    return {
        "text": str(plan),
        "modules": dict(plan.modules),
        "names": [
            {"module": one.module, "name": one.name, "fate": str(one.fate), "why": one.why} for one in plan.names
        ],
        "unsupported": changes_of(plan.unsupported),
        "effects": [
            {"kind": one.kind, "what": one.what, "outcome": str(one.outcome), "allowed": one.allowed}
            for one in plan.effects
        ],
        "warnings": list(plan.warnings),
    }


def changes_of(changes: Iterable[Any]) -> list[dict[str, str]]:
    """Return unsupported changes, of a plan or of the error that refuses it, as plain data."""
    return [{"code": one.code, "module": one.module, "name": one.name, "sentence": one.sentence} for one in changes]


def report_of(report: Report) -> dict[str, Any]:
    """Return what became of the checks as plain data."""
    return {
        "passed": report.passed,
        "running": list(report.running),
        "waiting": list(report.waiting),
        "results": [
            {
                "name": one.name,
                "verdict": str(one.verdict),
                "duration": one.duration,
                "message": one.message,
                "detail": one.detail,
                "tolerated": one.tolerated,
            }
            for one in report.results
        ],
    }


def diff_of(rollout: Rollout) -> str:
    """Return what the patch changes in the sources that are live, as a unified diff.

    Raises StateError where there is nothing to compare any more: it is live, or over.
    """
    candidate = rollout.candidate
    if rollout.state not in BEFORE_LIVE:
        raise StateError("what it changes can't be compared with what is live any more")
    old, new = candidate.live.sources, candidate.sources
    parts: list[str] = []
    length = 0
    for module in sorted({*old, *new}):
        before, after = old.get(module, ""), new.get(module, "")
        if before == after:
            continue
        lines = difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"live/{module}", f"patch/{module}", lineterm=""
        )
        for line in lines:
            length += len(line) + 1
            if length > _LONGEST_DIFF:
                return "\n".join([*parts, f"(cut off after {_LONGEST_DIFF} characters)", ""])
            parts.append(line)
    return "\n".join([*parts, ""]) if parts else ""
