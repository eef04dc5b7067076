"""Entries: what the journal has of a rollout, as plain facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["COLUMNS", "LIVED", "ON_TRIAL", "Died", "Entry", "Lived"]

ON_TRIAL = ("staged", "verified", "armed", "live")
"""The states in which a process may die of a rollout: its code is being loaded, is judged, or runs."""

LIVED = ("permanent", "rolled_back")
"""The states of which the patch is remembered for ever: it had its time, and does not come again unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the table `rollout`, without its number.

    Attributes:
        id: of the rollout.
        name, version: of the patch.
        state, reason: as those of the rollout.
        by, why: who made it, and what for.
        note: what the patch's manifest says for the history.
        actor: who did the last thing with it.
        started, changed: ISO 8601, in UTC.
        pause: seconds that other threads waited for its last swap.
        origin: where the patch came from.
        given, digest: of the patch as it was given, and with the names and the version that it got here.
        generation: digest of all that is patched once it is live, itself and what it lies over.
        packages: those that the generation speaks of.
        below: id of the permanent rollout that it lies over; None over the code on disk.
        base: package -> what the code on disk was, over which all of it lies.
        before, after: versions of its packages without it and with it.
        report: what the checks found.
    """

    id: str
    name: str
    version: str | None
    state: str
    reason: str
    by: str
    why: str
    note: str = ""
    actor: str
    started: str
    changed: str
    pause: float | None = None
    origin: str | None = None
    given: str
    digest: str
    generation: str | None = None
    packages: tuple[str, ...] = ()
    below: str | None = None
    base: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    report: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"{self.name} {self.version or '(no version)'}"

    def row(self) -> tuple[object, ...]:
        """The values of its columns."""
        return tuple(
            json.dumps(value) if name in _AS_JSON else value for name in COLUMNS for value in (getattr(self, name),)
        )

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Entry:
        """Read a row."""
        facts = {name: json.loads(row[name]) if name in _AS_JSON else row[name] for name in COLUMNS}
        facts["packages"], facts["report"] = tuple(facts["packages"]), tuple(facts["report"])
        return cls(**facts)


COLUMNS = tuple(field.name for field in fields(Entry))
_AS_JSON = frozenset({"packages", "base", "before", "after", "report"})


@dataclass(frozen=True, slots=True)
class Died:
    """A rollout that was on trial when its process ended, how that was told, and whether its patch is quarantined."""

    label: str
    digest: str
    reason: str
    quarantined: bool


@dataclass(frozen=True, slots=True)
class Lived:
    """What is remembered of a patch that had its time: its digests, as given and as rolled out, and its versions."""

    digests: tuple[str, str]
    versions: Mapping[str, str]
