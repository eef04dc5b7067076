"""What is known of a rollout, as JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from hotswap.bake import Figures
from hotswap.outline import plan_of, report_of
from hotswap.records import Record, State
from hotswap.rehearsal import Rehearsed
from hotswap.rollout import Rollout

__all__ = ["of_record", "of_rollout"]

_LOOK = 1.0
"""Seconds for which an answer holds that takes a pass over the heap."""


def of_record(record: Record) -> dict[str, Any]:
    """Return the facts of the history."""
    return {
        "id": record.id,
        "name": record.name,
        "version": None if record.version is None else str(record.version),
        "digest": record.digest,
        "state": str(record.state),
        "reason": record.reason,
        "started": _time(record.started),
        "changed": _time(record.finished),
        "pause": record.pause,
        "by": record.by,
        "why": record.why,
        "note": record.note,
        "report": report_of(record.report),
        "bake": None if record.bake is None else _bake(record.bake),
    }


def of_rollout(rollout: Rollout) -> dict[str, Any]:
    """Return what is known of a rollout with which something may be done still."""
    return {
        **of_record(rollout.record),
        "plan": plan_of(rollout.plan),
        "rehearsal": None if rollout.rehearsal is None else _rehearsal(rollout.rehearsal),
        "drained": rollout.drained.is_set(),
        "in_flight": _in_flight(rollout),
        "actions": _actions(rollout),
    }


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def _bake(figures: Figures) -> dict[str, Any]:
    sides = {
        side: {
            "sessions": found.count,
            "errors": found.errors,
            "error_rate": found.error_rate,
            "median": found.median,
            "p90": found.p90,
            "p99": found.p99,
        }
        for side, found in (("old", figures.old), ("new", figures.new))
    }
    return {
        "verdict": str(figures.verdict),
        "reason": figures.reason,
        "seconds": figures.seconds,
        "remaining": figures.remaining,
        **sides,
        "exceptions": figures.exceptions,
        "exception": figures.exception,
        "probes": [
            {
                "name": one.name,
                "passed": one.passed,
                "failed": one.failed,
                "errors": one.errors,
                "in_a_row": one.in_a_row,
                "last": None if one.last is None else str(one.last),
                "message": one.message,
            }
            for one in figures.probes
        ],
    }


def _rehearsal(found: Rehearsed) -> dict[str, Any]:
    return {
        "verdict": str(found.verdict),
        "step": found.step,
        "reason": found.reason,
        "code": found.code,
        "duration": found.duration,
        "pause": found.pause,
        "peak": found.peak,
        "cpu": found.cpu,
        "signal": found.signal,
        "stack": found.stack,
        "remarks": list(found.remarks),
    }


def _actions(rollout: Rollout) -> list[str]:
    """What may be asked for in this state; it may have changed by then."""
    actions: Mapping[State, list[str]] = {
        State.STAGED: ["verify", "commit", "abort"],
        State.VERIFIED: ["commit", "abort"],
        State.ARMED: ["commit", "abort"],
        State.LIVE: ["confirm", "rollback"],
        State.PERMANENT: ["rollback"],
    }
    return actions.get(rollout.state, [])


_looks: WeakKeyDictionary[Rollout, tuple[float, list[dict[str, Any]]]] = WeakKeyDictionary()
_looking = threading.Lock()


def _in_flight(rollout: Rollout) -> list[dict[str, Any]]:
    """The calls that go on with code that has gone: each look passes over the heap, so it holds for a second."""
    if rollout.drained.is_set():
        return []
    with _looking:
        when, found = _looks.get(rollout, (0.0, []))
        if not when or time.monotonic() - when > _LOOK:
            found = [
                {
                    "function": one.function,
                    "file": one.file,
                    "line": one.line,
                    "thread": one.thread,
                    "task": one.task,
                    "since": _time(one.since),
                }
                for one in rollout.in_flight()
            ]
            _looks[rollout] = time.monotonic(), found
    return found
