"""Starts: the trial of a permanent version in the first processes that import it afresh.

A patch was loaded beside running code. In a fresh process its modules are imported in another order, and what runs only
at the start runs for the first time: so it may be permanent, and keep each later process from starting. Therefore a
process that comes up on a version of which no start is known to be good notes what it imports of it, in a file beside
its lock. The next one that looks at the store reads there how far a dead one came:

    the last note           and the process      the start
    importing               died                 failed: it was ended while it imported
    importing, for long     was stopped          failed: whoever waits for it to start waits no longer
    failed, or blamed       died soon after      failed: what it could not import, or what it died of
    imported                lives for a minute   is good, and no later one is on trial
    imported                ended in good order  takes back what the same program failed at before
    anything else                                says nothing

When a process has died is known if it has noted that it ends (`over`), or else by who looks. Two failed starts take the
version back, as two deaths within a trial do; several at once count once. It is what boot loaders that keep two systems
do: they count the tries of a new one until a boot was good (systemd's Automatic Boot Assessment, U-Boot's `bootcount`).

Guarantees: a version with a good start is never taken back by this; nothing is noted of one. A clock that is set says
of no start that it was good: `time.monotonic` is asked as well, which all processes of a host share until it reboots.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotswap.store.files import read_whole
from hotswap.store.incarnations import START

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "GOOD",
    "begin",
    "changed",
    "count_failed",
    "hand_on",
    "is_proved",
    "is_ripe",
    "judge",
    "note_of",
    "open_starts",
]

GOOD = timedelta(seconds=60)
"""How long a process lives after its last import, if its start was good."""

_SOON = timedelta(minutes=10)
"""How long before its end a process may have failed to import what it died of, or have begun to."""

_PATIENCE = timedelta(seconds=20)
"""How long an import takes that hangs, if SIGTERM ends it: supervisors wait longer for a start. Who restarts a service
does so seldom in the middle of a shorter one; and a program that serves from within an import lives longer than
`_SOON`."""


def note_of(locks: Path, incarnation: str) -> Path:
    """Return the file in which a process notes its start."""
    return locks / f"{incarnation}{START}"


def is_proved(connection: sqlite3.Connection, rollout: str) -> bool:
    """Return whether a start on a rollout, by its id, was good, or on the same code of another worker's rollout."""
    query = """
        SELECT 1 FROM start JOIN rollout AS other ON other.id = start.rollout
        JOIN rollout AS this ON this.generation = other.generation AND this.base = other.base
        WHERE this.id = ? AND outcome = 'good'
    """
    return connection.execute(query, (rollout,)).fetchone() is not None


def begin(connection: sqlite3.Connection, rollout: str, incarnation: str, at: str) -> None:
    """Write that a process starts on a rollout, both by their ids."""
    insert = "INSERT INTO start (rollout, incarnation, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    connection.execute(insert, (rollout, incarnation, at))


def open_starts(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return the starts of which the outcome is not known."""
    return connection.execute("SELECT * FROM start WHERE outcome IS NULL").fetchall()


def is_ripe(connection: sqlite3.Connection) -> bool:
    """Return whether it is time to judge a start of a process that may live."""
    long_ago = (_now() - GOOD).isoformat(timespec="milliseconds")
    return any(row["at"] <= long_ago for row in open_starts(connection))


def hand_on(connection: sqlite3.Connection, rollout: str) -> None:
    """Have known of the same code of another worker's rollout that its start was good, as this one is forgotten."""
    query = """
        UPDATE OR IGNORE start SET rollout = (
            SELECT other.id FROM rollout AS this
            JOIN rollout AS other ON other.generation = this.generation AND other.base = this.base
            WHERE this.id = start.rollout AND other.id != this.id ORDER BY other.number DESC LIMIT 1)
        WHERE rollout = ? AND outcome = 'good'
    """
    connection.execute(query, (rollout,))


def count_failed(
    connection: sqlite3.Connection, number: int, module: str, reason: str, since: str
) -> tuple[str, int | None]:
    """Write that a start failed.

    Arguments:
        connection: of the journal, in a transaction.
        number: of the start.
        module: what failed.
        reason: why.
        since: what was before is forgiven.

    Returns the id of the rollout, and how often one has failed there, one after another: those that began before the
    last failure was known count as that one. None if it does not count, since a start was good.
    """
    row = connection.execute("SELECT rollout, at FROM start WHERE number = ?", (number,)).fetchone()
    rollout = str(row["rollout"])
    query = "SELECT upto FROM start WHERE rollout = ? AND outcome = 'failed' AND upto IS NOT NULL AND at >= ?"
    before = [upto for (upto,) in connection.execute(query, (rollout, since))]
    counts = not is_proved(connection, rollout) and all(upto < number for upto in before)
    connection.execute(
        "UPDATE start SET outcome = 'failed', module = ?, reason = ?, "
        "upto = CASE WHEN ? THEN (SELECT max(number) FROM start) END WHERE number = ?",
        (module, reason, counts, number),
    )
    return rollout, len(before) + 1 if counts else None


def changed(path: Path) -> datetime | None:
    """Return when a file was written last; None where that can't be told."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def judge(
    connection: sqlite3.Connection, locks: Path, incarnation: str, how: str | None, until: datetime | None
) -> dict[int, tuple[str, str]]:
    """Judge the starts of a process, and write down the good ones.

    Arguments:
        connection: of the journal, in a transaction.
        locks: where the processes note their starts.
        incarnation: the process.
        how: `ended`, `stopped` or `died`; None while it lives.
        until: when it was alive for sure, as far as it has not noted its end.

    Returns the numbers of those that failed, each with the module that did, and why.
    """
    rows = [row for row in open_starts(connection) if row["incarnation"] == incarnation]
    failed: dict[int, tuple[str, str]] = {}
    notes = _notes(note_of(locks, incarnation)) if rows else []
    for row in rows:
        mine = [note for note in notes if note["rollout"] == row["rollout"]]
        end = mine.pop() if mine and mine[-1]["what"] == "over" else None
        mine = [note for note in mine if note["what"] != "over"]
        last = mine[-1] if mine else None
        cut = [note for note in mine if note["what"] == "importing"]
        for note in mine:
            if note["what"] != "importing":
                cut = [begun for begun in cut if begun["module"] != note["module"]]
        hung = how == "stopped" and bool(cut) and _PATIENCE <= _since(cut[-1], end, until) < _SOON
        if cut and (how == "died" or hung):
            failed[row["number"]] = cut[-1]["module"], f"while it imported {cut[-1]['module']} of it"
        elif how == "died" and last is not None and last["what"] in _ENDS and _since(last, end, _now()) < _SOON:
            why = f"{_ENDS[last['what']]} {last['module']} of it ({last['why']})"
            failed[row["number"]] = last["module"], why
        elif last is not None and last["what"] == "imported" and _since(last, end, until) >= GOOD:
            connection.execute("UPDATE start SET outcome = 'good' WHERE number = ?", (row["number"],))
        elif how is not None:
            if how == "ended" and last is not None and last["what"] == "imported":
                _take_back(connection, row, {note["module"] for note in mine if note["what"] == "imported"})
            connection.execute("DELETE FROM start WHERE number = ?", (row["number"],))
    return failed


def _since(note: dict[str, Any], end: dict[str, Any] | None, until: datetime | None) -> timedelta:
    """How long a process went on after a note, at least: to its end, if it has noted that, or to a time."""
    up, at = (time.monotonic(), until) if end is None else (end["up"], end["at"])
    return timedelta(0) if at is None else min(at - note["at"], timedelta(seconds=up - note["up"]))


def _take_back(connection: sqlite3.Connection, row: sqlite3.Row, modules: set[str]) -> None:
    """Have nothing held against a version of what a program failed at before, as it has done the same well."""
    forgive = """
        UPDATE start SET upto = NULL WHERE rollout = ? AND module = ? AND incarnation IN (
            SELECT id FROM incarnation WHERE program = (SELECT program FROM incarnation WHERE id = ?))
    """
    connection.executemany(forgive, [(row["rollout"], module, row["incarnation"]) for module in sorted(modules)])


_ENDS = {"failed": "when it could not import", "blamed": "when the program did not fit to"}


def _notes(path: Path) -> list[dict[str, Any]]:
    """What a process has noted; what is none of it is left out."""
    found = []
    with suppress(OSError):
        for line in read_whole(path).splitlines():
            with suppress(ValueError, TypeError, KeyError):
                note = json.loads(line)
                note["at"] = datetime.fromisoformat(note["at"]).astimezone(UTC)
                note["up"] = float(note["up"])
                found.append({name: note[name] for name in ("at", "up", "rollout", "what", "module", "why")})
    return found


def _now() -> datetime:
    return datetime.now(UTC)
