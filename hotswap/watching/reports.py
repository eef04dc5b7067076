"""The event that tells what became of a drop. Its facts are those of the rollout, where the drop came to one."""

from __future__ import annotations

from hotswap.events import emit
from hotswap.watching.outcome import Outcome

__all__ = ["report"]


def report(outcome: Outcome, duration: float) -> None:
    """Tell it. Runs user code (log handlers), so no lock may be held.

    Arguments:
        outcome: what became of the drop.
        duration: seconds that it took.
    """
    facts: dict[str, object] = {
        "drop": outcome.drop,
        "rollout": outcome.rollout,
        "version": outcome.version,
        "digest": outcome.rolled_out or outcome.digest,
        "reason": outcome.reason,
        "duration": round(duration, 6),
    }
    if outcome.code is not None:
        facts["code"] = outcome.code
    if outcome.applied:
        emit("drop.applied", level="info", **facts)
    elif outcome.error is None:  # Who follows the log rolled it back before anybody knew of it.
        emit("drop.rolled_back", level="warning", **facts)
    elif outcome.traceback is None:
        emit("drop.failed", level="error", error=outcome.error, **facts)
    else:
        emit("drop.failed", level="error", error=outcome.error, traceback=outcome.traceback, **facts)
