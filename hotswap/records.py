"""Records: what is known of a rollout once it is over, and the names of its states."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from hotswap.bake import Figures
from hotswap.verification import Report

__all__ = ["BEFORE_LIVE", "Record", "State"]


class State(enum.StrEnum):
    """Where a rollout stands; the table at the top of `hotswap.rollout` says how it gets there."""

    STAGED = "staged"
    VERIFIED = "verified"
    ARMED = "armed"
    LIVE = "live"
    PERMANENT = "permanent"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    DIED = "died"
    """In the history only: it was on trial, or on its way there, when an earlier process ended."""


BEFORE_LIVE = (State.STAGED, State.VERIFIED, State.ARMED)
"""The states of a rollout that is in progress."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the history keeps of a rollout: facts, and nothing that keeps code alive.

    `version` is None for a patch that had none and was refused before it got one. `started` and `finished` are times
    in UTC, `finished` being when the state was reached. `pause` is how long, in seconds, the other threads waited for
    the swap (of a rolled back rollout: for the way back), or None if nothing was swapped. `note` is what the patch's
    manifest says for the history; `by` and `why` say who made it, and what for.
    `bake` has the figures of its bake, if it had one in this process; `reason` says them in words, in a store too.
    With a store, a drop that was refused before it came to a rollout has a record too, with its name and without an id.
    """

    id: str
    name: str
    version: Version | None
    digest: str
    state: State
    reason: str
    started: datetime
    finished: datetime
    report: Report
    pause: float | None
    note: str = ""
    by: str = ""
    why: str = ""
    bake: Figures | None = None
