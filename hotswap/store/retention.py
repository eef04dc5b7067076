"""Retention: what the journal forgets, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.store.database import writing
from hotswap.store.entries import TRIAL, now
from hotswap.store.starts import hand_on

if TYPE_CHECKING:
    import sqlite3

__all__ = ["delete", "forget", "wanted"]

_EVER = 1e7
"""Days that are as good as for ever."""


def delete(connection: sqlite3.Connection, rollout: str) -> None:
    """Delete a rollout, by its id, with all that is known of it."""
    hand_on(connection, rollout)
    for table in ("step", "start"):
        connection.execute(f"DELETE FROM {table} WHERE rollout = ?", (rollout,))  # noqa: S608 - our own tables
    connection.execute("DELETE FROM rollout WHERE id = ?", (rollout,))


def _time(text: object) -> datetime | None:
    """Read a time; None for what is none, in a damaged journal."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def forget(path: Path, keep: int, days: float) -> None:
    """Forget what is over and old.

    Arguments:
        path: of the journal.
        keep: how many rollouts are kept, the newest.
        days: how old they may be. A pause between two of them counts as a tenth of that at most: so a clock that jumps
            ahead takes away no more than a tenth of what is known.

    What stands, what that lies over, and what is on trial is kept in any case. Raises StoreError.
    """
    with writing(path) as connection:
        needed = {row[0] for row in connection.execute("SELECT rollout FROM standing")}
        query = f"""
            SELECT id, below FROM rollout WHERE id IN (SELECT rollout FROM standing) OR state IN ({TRIAL})
        """  # noqa: S608 - our own words
        for row in connection.execute(query):
            needed |= {row["id"], *(row["below"] or "").split()}
        over = "SELECT id, changed FROM rollout ORDER BY number DESC"
        age, since, longest = timedelta(), datetime.fromisoformat(now()), timedelta(days=min(days / 10, _EVER))
        for place, row in enumerate(connection.execute(over).fetchall()):
            when = min(_time(row["changed"]) or since, since)
            age, since = age + min(since - when, longest), when
            if row["id"] not in needed and (place >= keep or age > 10 * longest):
                delete(connection, row["id"])
        connection.execute(
            "DELETE FROM incarnation WHERE how IS NOT NULL AND id NOT IN (SELECT incarnation FROM rollout) "
            "AND id NOT IN (SELECT incarnation FROM start)"
        )


@contextmanager
def wanted(path: Path) -> Iterator[set[str]]:
    """Give the digests of all patches that some rollout speaks of. No process writes of another one meanwhile.

    Arguments:
        path: of the journal.

    Raises StoreError.
    """
    with writing(path) as connection:
        rows = connection.execute("SELECT digest, generation FROM rollout").fetchall()
        yield {digest for row in rows for digest in row if digest is not None}
