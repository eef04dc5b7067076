"""Entries: what the journal has of a rollout, as plain facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from packaging.version import Version

from hotswap.errors import StoreError

__all__ = [
    "COLUMNS",
    "LIVED",
    "ON_TRIAL",
    "STATES",
    "TRIAL",
    "Died",
    "Entry",
    "Lived",
    "label_of",
    "now",
    "storable",
    "versions_of",
]

ON_TRIAL = ("staged", "verified", "armed", "live")
"""The states in which a process may die of a rollout: its code is being loaded, is judged, or runs."""

TRIAL = ", ".join(f"'{state}'" for state in ON_TRIAL)
"""The same, as SQL has it."""

STATES = (*ON_TRIAL, "permanent", "rejected", "rolled_back", "died")
"""All states, as `hotswap.State` has them."""

LIVED = ("permanent", "rolled_back")
"""The states of which the patch is remembered for ever: it had its time, and does not come again unasked."""


def now() -> str:
    """The time, as the journal writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def label_of(name: str, version: str | None) -> str:
    """Name and version of a patch, for people."""
    return f"{name} {version or '(no version)'}"


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
        below: id of the permanent rollout that it lies over; several, the newest first and with spaces between them,
            where processes of their own have made some packages permanent; None over the code on disk.
        base: package -> what the code on disk was, over which all of it lies.
        brought: module, or path of another file -> the patch, as it was given, that has brought it as it is there.
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
    brought: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    report: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return label_of(self.name, self.version)

    @property
    def lies_over(self) -> tuple[str, ...]:
        """The ids of the permanent rollouts that it lies over, the newest first."""
        return tuple((self.below or "").split())

    def row(self) -> tuple[object, ...]:
        """The values of its columns."""
        return tuple(_value(name, getattr(self, name)) for name in COLUMNS)

    @classmethod
    def of(cls, row: Any) -> Entry:
        """Read a row. Raises StoreError for one that nobody has written so: a disk, or somebody, has changed it."""
        try:
            facts = {name: json.loads(row[name]) if name in _AS_JSON else row[name] for name in COLUMNS}
            _check(facts)
        except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"the journal is damaged: what it has of the rollout {row[0]!a} is not what was written ({error})",
                advice="restore the store from a backup, or move it away; the service starts on the code on disk",
            ) from error
        facts["packages"], facts["report"] = tuple(facts["packages"]), tuple(facts["report"])
        return cls(**facts)


def _value(name: str, value: object) -> object:
    if name in _AS_JSON:
        return json.dumps(value)
    return storable(value) if isinstance(value, str) else value


def storable(text: str) -> str:
    """Return a text as a database takes it: halves of surrogate pairs, of the name of a file say, are shown."""
    return text.encode("utf-8", "backslashreplace").decode()


COLUMNS = tuple(field.name for field in fields(Entry))
_AS_JSON = frozenset({"packages", "base", "brought", "before", "after", "report"})
_TEXTS = ("id", "name", "reason", "by", "why", "note", "actor", "given", "digest")
_TEXTS_OR_NONE = ("origin", "generation", "below")


def _check(facts: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for facts that are not what a row has."""
    for name in _TEXTS:
        _want(isinstance(facts[name], str), name)
    for name in _TEXTS_OR_NONE:
        _want(facts[name] is None or isinstance(facts[name], str), name)
    _want(facts["state"] in STATES, "state")
    _want(facts["pause"] is None or type(facts["pause"]) in (int, float), "pause")
    for name in ("started", "changed"):
        _want(datetime.fromisoformat(facts[name]).tzinfo is not None, name)
    if facts["version"] is not None:
        Version(facts["version"])
    for name in ("packages", "report"):
        kind = str if name == "packages" else dict
        _want(isinstance(facts[name], list) and all(isinstance(one, kind) for one in facts[name]), name)
    for name in ("base", "brought"):
        _want(_is_texts(facts[name]), name)
    for name in ("before", "after"):
        versions_of(facts[name], name)


def versions_of(found: Any, name: str) -> Mapping[str, str]:
    """Return what JSON says of versions, package -> version. Raises ValueError or TypeError for anything else."""
    _want(_is_texts(found), name)
    for text in found.values():
        Version(text)
    versions: Mapping[str, str] = found
    return versions


def _is_texts(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _want(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"its {name} makes no sense")


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

    @classmethod
    def of(cls, given: Any, digest: Any, versions: Any) -> Lived:
        """Return what a row says. Raises ValueError or TypeError for what nobody has written so."""
        _want(isinstance(given, str) and isinstance(digest, str), "digest")
        return cls((given, digest), versions_of(versions, "after"))
