"""What a patch would change, for who decides about it: plan, report, refusals as plain data, sources as a diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from hotswap.errors import (
    BusyError,
    CheckFailedError,
    HotswapError,
    NothingToRollBackError,
    RehearsalError,
    StateError,
    StoreError,
    UnsupportedChangeError,
)
from hotswap.records import BEFORE_LIVE
from hotswap.rollout import Rollout
from hotswap.swap import Plan
from hotswap.verification import Report

__all__ = ["changes_of", "diff_of", "plan_of", "problem_body", "refusal_of", "report_of"]

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


def refusal_of(error: HotswapError) -> tuple[int, str, dict[str, Any]]:
    """Return what a problem (RFC 9457) says of an error: the status, the word of its type, and further members.

    409 is for what another moment may allow, 422 for what this patch will never get, 503 for a store that can't be
    written.
    """
    code = "".join("-" + letter.lower() if letter.isupper() else letter for letter in type(error).__name__)
    code = code.strip("-").removesuffix("-error")
    more: dict[str, Any] = {}
    if error.code:
        more["code"] = error.code
    if error.advice:
        more["advice"] = error.advice
    if isinstance(error, CheckFailedError) and isinstance(error.report, Report):
        more["failed_checks"] = [
            {"name": one.name, "verdict": str(one.verdict), "message": one.message, "detail": one.detail}
            for one in error.report.failures
        ]
    if isinstance(error, UnsupportedChangeError):
        more["changes"] = changes_of(error.changes)
    if isinstance(error, RehearsalError):
        more |= {"step": error.step, "signal": error.signal, "stack": error.stack}
    if isinstance(error, (BusyError, StateError, NothingToRollBackError)):
        return 409, code, more
    return 503 if isinstance(error, StoreError) else 422, code, more


def problem_body(status: int, code: str, detail: str, more: Mapping[str, object]) -> dict[str, Any]:
    """Return a problem as it is written: https://www.rfc-editor.org/rfc/rfc9457."""
    return {
        "type": f"urn:hotswap:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
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
