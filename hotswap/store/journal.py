"""The journal: what became of every rollout, and what comes up after a restart.

    a row says     a dead process leaves it as    what comes up
    staged, ...    died                           what was permanent
    live           died                           what was permanent
    permanent      permanent                      it, or what a later one has put above it
                   died, if two starts failed     what it lay over
    rejected       rejected                       what was permanent
    rolled_back    rolled_back                    what it lay over

A row says `live` before the swap is made: what is about to become live is durable before it is live. Each change is one
transaction, in which what comes up changes with the row.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.errors import StoreError
from hotswap.store.database import exists, reading, writing
from hotswap.store.entries import COLUMNS, LIVED, ON_TRIAL, TRIAL, Died, Entry, Lived, label_of, now, storable
from hotswap.store.incarnations import Incarnation, alive, clear, ending, incarnation, is_name
from hotswap.store.retention import delete
from hotswap.store.starts import begin, changed, count_failed, is_proved, is_ripe, judge, note_of, open_starts

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Journal"]

_TRIES = 2
"""Deaths within the trial of a patch after which it is quarantined."""

_FORGIVEN = timedelta(days=7)
"""Time after which a death counts no more: a service that dies that seldom is in no loop."""

_COLUMNS = ", ".join(f'"{name}"' for name in COLUMNS)
_OF_ROLLOUT = ", ".join(f'rollout."{name}" AS "{name}"' for name in COLUMNS)
_UPSERT = f"""
    INSERT INTO rollout (incarnation, {_COLUMNS}) VALUES (?, {", ".join("?" * len(COLUMNS))})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS if name != "id")}
"""  # noqa: S608 - made of the names of our own columns


def _long_ago() -> str:
    return (datetime.fromisoformat(now()) - _FORGIVEN).isoformat(timespec="milliseconds")


class Journal:
    """The journal of a store. Lives as long as the store; any number of threads and processes may use it.

    Arguments:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self._locks = folder / "running"

    # --- what is known -----------------------------------------------------------------------------------------------

    def entries(self, limit: int, troubles: list[Exception] | None = None) -> list[Entry]:
        """Return the newest rollouts, newest first.

        Arguments:
            limit: how many.
            troubles: gets why some of them are left out; without it they are not.

        Raises StoreError.
        """
        return self._select("ORDER BY number DESC LIMIT ?", limit, troubles=troubles)

    def entry(self, name: str) -> Entry | None:
        """Return what is known of one rollout. Raises StoreError."""
        return next(iter(self._select("WHERE id = ?", name)), None)

    def newest(self, digest: str, origin: str) -> Entry | None:
        """Return the newest rollout of a patch that came from a place; None if there is none.

        What was rejected without a check counts for none: it may be a patch of another service, or in quarantine.

        Arguments:
            digest: of the patch, as it was given or as it was rolled out.
            origin: the path.

        Raises StoreError.
        """
        judged = "(state != 'rejected' OR report != '[]')"
        how = f"WHERE ? IN (given, digest) AND origin = ? AND {judged} ORDER BY number DESC LIMIT 1"
        return next(iter(self._select(how, digest, origin)), None)

    def standing(self) -> dict[str, Entry]:
        """Return what comes up after a restart: package -> its permanent rollout, the newest word first.

        Raises StoreError, also if any of it is not what was written: what comes up comes up as a whole.
        """
        with reading(self.path) as connection:
            # One query is one moment: another process may take a rollout back meanwhile.
            query = f"""
                SELECT {_OF_ROLLOUT}, package, standing.rollout AS name FROM standing
                LEFT JOIN rollout ON rollout.id = standing.rollout ORDER BY since DESC, number DESC
            """  # noqa: S608 - our own columns
            rows = connection.execute(query).fetchall() if connection else []
        found = {}
        for row in rows:
            package, name = row["package"], row["name"]
            entry = None if row["id"] is None else Entry.of(row)
            if entry is None or entry.state != "permanent" or package not in entry.packages:
                raise StoreError(
                    f"the journal is damaged: {package!a} stands on {name!a}, which is no permanent rollout of it",
                    advice="restore the store from a backup, or move it away; the service starts on the code on disk",
                )
            found[package] = entry
        return found

    def below(self, entry: Entry, package: str) -> Entry | None:
        """Return to what a package goes back from a rollout; None for the code on disk. Raises StoreError."""
        with reading(self.path) as connection:
            return None if connection is None else self._below(connection, entry, package)

    def quarantined(self) -> dict[str, str]:
        """Return the digests of patches that are quarantined, each with why. Raises StoreError."""
        query = "SELECT digest, quarantined FROM death WHERE quarantined IS NOT NULL ORDER BY last"
        with reading(self.path) as connection:
            rows = connection.execute(query).fetchall() if connection else []
        return {str(digest): str(why) for digest, why in rows}

    def lived(self) -> list[Lived]:
        """Return what was permanent, or was taken back, ever: retention forgets nothing of it. Raises StoreError."""
        with reading(self.path) as connection:
            rows = connection.execute("SELECT given, digest, after FROM lived") if connection else ()
            try:
                return [Lived.of(row["given"], row["digest"], json.loads(row["after"])) for row in rows]
            except (ValueError, TypeError, RecursionError) as error:
                raise StoreError(f"the journal is damaged: what has lived can't be read ({error})") from error

    def _select(self, how: str, *values: object, troubles: list[Exception] | None = None) -> list[Entry]:
        found: list[Entry] = []
        with reading(self.path) as connection:
            query = f"SELECT {_COLUMNS} FROM rollout {how}"  # noqa: S608 - our own columns and clauses
            for row in connection.execute(query, values) if connection else ():
                try:
                    found.append(Entry.of(row))
                except StoreError as error:
                    if troubles is None:
                        raise
                    troubles.append(error)
        return found

    # --- what happens ------------------------------------------------------------------------------------------------

    def write(self, *entries: Entry) -> None:
        """Write what has become of some rollouts, in one transaction. Raises StoreError; nothing was written then."""
        with writing(self.path) as connection:
            here = self._here(connection)
            for entry in entries:
                self._put(connection, entry, here.id)
        for entry in entries:
            here.on_trial(entry.id, holds=entry.state in ON_TRIAL)

    def withdraw(self, names: Collection[str]) -> None:
        """Have nothing known any more of rollouts of this process, by their ids. Raises StoreError."""
        with writing(self.path) as connection:
            here = self._here(connection)
            for name in names:
                delete(connection, name)
        for name in names:
            here.on_trial(name, holds=False)

    def _here(self, connection: sqlite3.Connection) -> Incarnation:
        """Return this process, and have the journal know it."""
        here = incarnation(self._locks, self._ended)
        # Not by what is remembered: the transaction that wrote it may have been taken back.
        connection.execute(
            "INSERT INTO incarnation (id, pid, host, program, started) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (here.id, here.pid, here.host, here.program, now()),
        )
        return here

    def _put(self, connection: sqlite3.Connection, entry: Entry, mine: str) -> None:
        was = connection.execute("SELECT state FROM rollout WHERE id = ?", (entry.id,)).fetchone()
        connection.execute(_UPSERT, (mine, *entry.row()))
        if was is None or was["state"] != entry.state:
            self._step(connection, entry.id, entry.state, entry.changed, entry.actor, entry.reason)
        if entry.state in LIVED:
            connection.execute(
                "INSERT INTO lived (given, digest, name, since, after) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (entry.given, entry.digest, entry.label, entry.changed, json.dumps(entry.after)),
            )
        if entry.state == "permanent" and not self._is_quarantined(connection, entry):
            for package in entry.packages:
                self._stand(connection, package, entry.id)
            connection.execute("DELETE FROM death WHERE digest = ?", (entry.given,))
        elif entry.state == "rolled_back":
            self._give_back(connection, entry)

    def _give_back(self, connection: sqlite3.Connection, entry: Entry) -> None:
        """Have what a rollout lay over come up, where it stands, or the same code as another process has made live."""
        query = "SELECT package FROM standing JOIN rollout ON rollout.id = rollout WHERE generation IS ? OR id = ?"
        stood = [row["package"] for row in connection.execute(query, (entry.generation, entry.id))]
        for package in stood:
            below = self._below(connection, entry, package)
            if below is not None:
                self._stand(connection, package, below.id)
            else:
                connection.execute("DELETE FROM standing WHERE package = ?", (package,))

    def _below(self, connection: sqlite3.Connection, entry: Entry, package: str) -> Entry | None:
        """What a package goes back to: the newest that is permanent below; what was taken back meanwhile is none."""
        left, seen = list(entry.lies_over), {entry.id}
        while left:
            name = left.pop(0)
            found = None if name in seen else self._row(connection, name)
            seen.add(name)  # in a damaged journal it may go round
            if found is not None and package in found.packages:
                if found.state == "permanent" and not self._is_quarantined(connection, found):
                    return found
                left = list(found.lies_over)
        return None

    def _row(self, connection: sqlite3.Connection, name: str | None) -> Entry | None:
        row = connection.execute(f"SELECT {_COLUMNS} FROM rollout WHERE id = ?", (name,)).fetchone()  # noqa: S608
        try:
            return None if row is None else Entry.of(row)
        except StoreError:
            # A damaged row is none: a rollback is made all the same, and what it leads to is the code on disk.
            return None

    def _stand(self, connection: sqlite3.Connection, package: str, name: str) -> None:
        connection.execute(
            "INSERT INTO standing VALUES (?, ?, ?) ON CONFLICT (package) DO UPDATE SET rollout = excluded.rollout, "
            "since = excluded.since WHERE rollout != excluded.rollout",
            (package, name, now()),
        )

    def _step(self, connection: sqlite3.Connection, name: str, state: str, at: str, by: str, reason: str) -> None:
        connection.execute(
            'INSERT INTO step (rollout, state, at, "by", reason) VALUES (?, ?, ?, ?, ?)',
            (name, state, at, storable(by), storable(reason)),
        )

    def proved(self, names: Collection[str]) -> set[str]:
        """Return those of some rollouts, by their ids, on which a start was good. Raises StoreError."""
        with reading(self.path) if names else nullcontext() as connection:
            return set() if connection is None else {name for name in names if is_proved(connection, name)}

    def begin_start(self, name: str) -> Path | None:
        """Note that this process comes up on a rollout.

        Arguments:
            name: its id.

        Returns the file in which to note how that goes on; None if another start was good meanwhile. Raises StoreError.
        """
        with writing(self.path) as connection:
            if is_proved(connection, name):
                return None
            here = self._here(connection)
            begin(connection, name, here.id, now())
        here.on_trial(f"start {name}", holds=True)
        return note_of(self._locks, here.id)

    def end_start(self, name: str) -> None:
        """Note that the start of this process was good. Raises StoreError; somebody who looks sees it then."""
        with writing(self.path) as connection:
            here = self._here(connection)
            judge(connection, self._locks, here.id, None, datetime.now(UTC))
        here.on_trial(f"start {name}", holds=False)

    # --- who has died ------------------------------------------------------------------------------------------------

    def bury(self) -> list[Died]:
        """Look which processes have died; what they had on trial has died with them, and counts once for each look.

        Returns what has died. Raises StoreError; nothing was written then.
        """
        with reading(self.path) as connection:
            if connection is None or not (self._dead(connection) or is_ripe(connection)):
                return []
        with writing(self.path) as connection:
            found: dict[str, Died] = {}
            dead = self._dead(connection)
            for name in {row["incarnation"] for row in open_starts(connection)} - {row["id"] for row in dead}:
                judge(connection, self._locks, name, None, datetime.now(UTC))
            for row in dead:
                self._bury(connection, row, found)
        for row in dead:
            # Not before what they tell lasts: who looks may die, or the disk be full.
            clear(self._locks, row["id"])
        return list(found.values())

    def _dead(self, connection: sqlite3.Connection) -> Sequence[sqlite3.Row]:
        query = f"""
            SELECT * FROM incarnation WHERE how IS NULL
            OR (how = 'ended' AND id IN (SELECT incarnation FROM rollout WHERE state IN ({TRIAL})))
        """  # noqa: S608 - our own words
        rows = connection.execute(query).fetchall()
        return [row for row in rows if not is_name(row["id"]) or not alive(self._locks, row["id"])]

    def _bury(self, connection: sqlite3.Connection, row: sqlite3.Row, found: dict[str, Died]) -> None:
        how = row["how"] or (ending(self._locks, row["id"]) if is_name(row["id"]) else None) or "died"
        what = "was stopped by SIGTERM" if how == "stopped" else how
        reason = f"the process {row['pid']} on {row['host']} {what} within its trial"
        connection.execute("UPDATE incarnation SET how = ? WHERE id = ?", (how, row["id"]))
        # By its columns, and not as an entry: what is damaged has died as well.
        query = f"""
            SELECT id, number, state, name, version, given FROM rollout
            WHERE incarnation = ? AND state IN ({TRIAL}) ORDER BY number
        """  # noqa: S608 - our own words
        trials = connection.execute(query, (row["id"],)).fetchall()
        # What was loaded or judged is more likely to have killed it than what had been live for a while.
        accused = [trial["id"] for trial in trials if trial["state"] != "live"] or [trial["id"] for trial in trials]
        for trial in trials:
            given, label = str(trial["given"]), label_of(trial["name"], trial["version"])
            self._die(connection, trial["id"], reason)
            counts = how == "died" and trial["id"] in accused
            quarantined = counts and self._count(connection, given, label, trial["number"])
            if given not in found or quarantined:
                found[given] = Died(label, given, reason, quarantined)
        if is_name(row["id"]):
            until = None if how == "died" else changed(self._locks / row["id"])
            for start, (module, why) in judge(connection, self._locks, row["id"], how, until).items():
                reason = f"the process {row['pid']} on {row['host']} died at its start, {why}"
                self._failed(connection, start, module, reason, found)

    def _failed(
        self, connection: sqlite3.Connection, start: int, module: str, reason: str, found: dict[str, Died]
    ) -> None:
        """Count a start that failed; what fails again, and never was good, is quarantined and does not come up."""
        name, tries = count_failed(connection, start, module, reason, _long_ago())
        entry = self._row(connection, name)
        if tries is None or entry is None or entry.state != "permanent":
            return
        if tries >= _TRIES:
            why = f"{tries} processes that came up on it could not start; the last time, {reason}"
            connection.execute(
                "INSERT INTO death (digest, label, count, last, upto, quarantined) "
                "VALUES (?, ?, ?, ?, (SELECT max(number) FROM rollout), ?) "
                "ON CONFLICT (digest) DO UPDATE SET quarantined = excluded.quarantined",
                (entry.given, entry.label, tries, now(), why),
            )
            self._die(connection, entry.id, why)
            self._give_back(connection, entry)
        found[entry.given] = Died(entry.label, entry.given, reason, tries >= _TRIES)

    def _die(self, connection: sqlite3.Connection, name: str, reason: str) -> None:
        update = "UPDATE rollout SET state = 'died', reason = ?, changed = ? WHERE id = ?"
        connection.execute(update, (reason, now(), name))
        self._step(connection, name, "died", now(), "", reason)

    def _count(self, connection: sqlite3.Connection, given: str, label: str, number: int) -> bool:
        """Count a death; return whether the patch is quarantined.

        It counts only if that trial began after the last death was known: only then was it another try. Workers that
        end one after another, as in a rolling restart, had all begun before. One that is long ago is forgotten.
        """
        forgiven = (given, _long_ago())
        connection.execute("DELETE FROM death WHERE digest = ? AND last < ? AND quarantined IS NULL", forgiven)
        connection.execute(
            "INSERT INTO death (digest, label, count, last, upto) "
            "VALUES (?, ?, 1, ?, (SELECT max(number) FROM rollout)) "
            "ON CONFLICT (digest) DO UPDATE SET count = count + 1, last = excluded.last, upto = excluded.upto "
            "WHERE upto < ?",
            (given, label, now(), number),
        )
        count, why = connection.execute("SELECT count, quarantined FROM death WHERE digest = ?", (given,)).fetchone()
        if count >= _TRIES and why is None:
            why = f"the process died {count} times within its trial, last at {now()}"
            connection.execute("UPDATE death SET quarantined = ? WHERE digest = ?", (why, given))
        return why is not None

    def _is_quarantined(self, connection: sqlite3.Connection, entry: Entry) -> bool:
        """Whether a generation has code that has killed other processes: the end of its trial brings it up nowhere."""
        rows = connection.execute("SELECT digest FROM death WHERE quarantined IS NOT NULL")
        return not {entry.given, *entry.brought.values()}.isdisjoint(digest for (digest,) in rows)

    def release(self, digest: str) -> bool:
        """Let a patch be applied again; return whether it had died. Raises StoreError."""
        with writing(self.path) as connection:
            return connection.execute("DELETE FROM death WHERE digest = ?", (digest,)).rowcount > 0

    def _ended(self, here: Incarnation) -> None:
        """Note that this process ends in good order; there is nobody left to tell if that can't be written."""
        try:
            if exists(self.path):
                with writing(self.path) as connection:
                    judge(connection, self._locks, here.id, "ended", datetime.now(UTC))
                    query = "UPDATE incarnation SET ended = ?, how = 'ended' WHERE id = ?"
                    connection.execute(query, (now(), here.id))
        except StoreError:
            # The process looks as if it had died, which is the careful way to look at it.
            return
