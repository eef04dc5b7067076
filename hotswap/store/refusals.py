"""Refusals: drops that came to no rollout, since a policy, or what they were, forbade it.

They have a table of their own, with a cap of its own: whoever floods a directory pushes no rollout out of the history.
Their names and reasons are a stranger's words, so they are cut, and have nothing in them that could pass for a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from hotswap.errors import StoreError
from hotswap.store.database import reading, writing

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Refusal", "Refusals", "Remembered"]

_MOST = 1000
"""Refusals that are kept, the newest."""

_REMEMBERED = 10_000
"""Drops of which is remembered why they were refused last."""

_LONGEST = 1000
"""Characters of a name or a reason that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A drop that came to no rollout. A fact.

    Attributes:
        directory, drop: where it lay, and under which name.
        version: that it states, where that is known.
        digest: of its bytes, or of its looks where they were not read.
        error, code: the type of the error, and which of its causes.
        reason: why, as a sentence.
        first, last: when it was refused first, and last; ISO 8601, in UTC.
        count: how often.
    """

    directory: str
    drop: str
    version: str | None
    digest: str
    error: str
    code: str | None
    reason: str
    first: str
    last: str
    count: int = 1


class Remembered:
    """Why drops were refused last, so that it is written once. Lives as long as a patcher; any thread may use it."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[str, str]] = {}

    def fresh(self, refusals: Iterable[Refusal]) -> list[Refusal]:
        """Return those that are news, and remember them."""
        found = []
        for one in refusals:
            said = (one.digest, one.reason)
            if self._last.get((one.directory, one.drop)) != said:
                found.append(one)
                self._last[one.directory, one.drop] = said
        while len(self._last) > _REMEMBERED:
            self._last.pop(next(iter(self._last)), None)
        return found


class Refusals:
    """The refusals of a store. Lives as long as the store; any number of threads and processes may use it.

    Arguments:
        path: of the journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, refusals: Sequence[Refusal]) -> None:
        """Write down what was refused, in one transaction. Raises StoreError; nothing was written then.

        The same drop that is refused for the same reason again is counted, and is the newest then.
        """
        with writing(self._path) as connection:
            for one in refusals[-_MOST:]:
                _put(connection, one)
            newest = "SELECT number FROM refusal ORDER BY number DESC LIMIT ?"
            connection.execute(f"DELETE FROM refusal WHERE number NOT IN ({newest})", (_MOST,))  # noqa: S608 - our words

    def newest(self, troubles: list[Exception]) -> list[Refusal]:
        """Return what was refused, newest first. What is damaged is left out, and told to `troubles`.

        Raises StoreError.
        """
        found = []
        with reading(self._path) as connection:
            query = "SELECT * FROM refusal ORDER BY number DESC"
            for row in connection.execute(query) if connection else ():
                facts = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118 - a row is no dict
                try:
                    found.append(_checked(Refusal(**facts)))
                except (TypeError, ValueError) as error:
                    troubles.append(StoreError(f"the journal is damaged: a refusal can't be read ({error})"))
        return found


def _put(connection: sqlite3.Connection, one: Refusal) -> None:
    key = (one.directory, _plain(one.drop), one.digest, _plain(one.reason))
    where = 'WHERE directory = ? AND "drop" = ? AND digest = ? AND reason = ?'
    known = connection.execute(f"SELECT first, count FROM refusal {where}", key).fetchone()  # noqa: S608 - our words
    connection.execute(f"DELETE FROM refusal {where}", key)  # noqa: S608 - as above
    first, count = (one.first, one.count) if known is None else (known["first"], known["count"] + one.count)
    connection.execute(
        'INSERT INTO refusal (directory, "drop", digest, reason, version, error, code, first, last, count) '
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, one.version, one.error, one.code, first, one.last, count),
    )


def _checked(one: Refusal) -> Refusal:
    if not all(isinstance(text, str) for text in (one.drop, one.directory, one.digest, one.reason)):
        raise TypeError("a text is none")
    for text in (one.first, one.last):
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time has no zone")
    if one.version is not None:
        Version(one.version)
    return one


def _plain(text: str) -> str:
    """Return a text in one line, and without bytes of names that are no text."""
    cut = text[:_LONGEST]
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in cut)
