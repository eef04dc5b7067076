"""The database of the journal: opened for one short transaction at a time.

Nothing stays open between two of them. So there is nothing that a fork could duplicate, and the write-ahead log is
folded into the one file as soon as nobody is at work.

Guarantees: a transaction is made as a whole and lasts, or is not made (`synchronous=FULL`). Assumes: locks, as SQLite
needs them.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.errors import HotswapError, StoreError
from hotswap.store.files import is_file, make_folder, secure_folder
from hotswap.store.schema import APPLICATION, SCHEMA, VERSION

if TYPE_CHECKING:
    import sqlite3

__all__ = ["exists", "reading", "writing"]

_BUSY = 5.0
"""Seconds to wait for other processes that write."""

_PAUSE = 0.01

_COPIES = 5
"""Times that a database is copied, if others write into it meanwhile."""

_AWAY = "move the folder away, or name another one; the service starts on the code on disk"


def exists(path: Path) -> bool:
    """Return whether there is a database. Raises StoreError where that can't be told, and for what is no file."""
    try:
        return is_file(path)
    except OSError as error:
        raise _unusable(path, error) from error


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Make one transaction; the database is made if it is missing. Raises StoreError; nothing was written then."""
    import sqlite3 as sqlite

    with _told(path):
        make_folder(path.parent)
        new = not is_file(path)
        if new:  # for its owner only, and so are the files that SQLite puts beside it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = _connected(path)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            _make(connection, path)
            if new:
                secure_folder(path.parent)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        finally:
            try:
                connection.close()
            except sqlite.Error:
                # What was committed is in the log already; folding it in is left to the next one.
                del connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Read a database; None if there is none. Raises StoreError if it can't be read or is somebody else's.

    On a read-only or full file system, where SQLite can't share memory with others, a copy is read.
    """
    if not exists(path):
        yield None
        return
    with _told(path), ExitStack() as stack:
        connection = _shared(path)
        if connection is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hotswap-store-"))
            connection = _connected(_copied(path, Path(folder)))
        stack.enter_context(closing(connection))
        yield connection if _is_ours(connection, path) else None


def _shared(path: Path) -> sqlite3.Connection | None:
    """Open a database for reading, beside those who write; None where there is no room for the memory that they share.

    That is a file of some pages beside it, which the last one takes away.
    """
    import sqlite3 as sqlite

    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return None
    connection = _connected(path)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite.Error as error:
        connection.close()
        no_room = (sqlite.SQLITE_IOERR, sqlite.SQLITE_FULL, sqlite.SQLITE_CANTOPEN)  # the last: for one more file
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in no_room:
            raise
        return None
    return connection


def _copied(path: Path, folder: Path) -> Path:
    """Copy a database and its log. Raises OSError, also if others write into it again and again meanwhile."""
    for number in range(_COPIES):
        (there := folder / str(number)).mkdir()
        before = _looks(path)
        with suppress(FileNotFoundError):  # the log has been folded in meanwhile
            for name in before:
                shutil.copyfile(path.with_name(name), there / name)
        if _looks(path) == before:
            return there / path.name
    raise OSError(errno.EAGAIN, "it is written while it is copied", str(path))


def _looks(path: Path) -> dict[str, tuple[int, int]]:
    """How a database and its log look from outside, as far as they are there."""
    found = {}
    for file in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            facts = file.stat()
            found[file.name] = facts.st_size, facts.st_mtime_ns
    return found


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Have whatever SQLite and the system raise say what to do."""
    try:
        import sqlite3 as sqlite
    except ImportError as error:
        raise StoreError("this Python has no sqlite3, which a store needs", advice="leave store= out") from error
    try:
        yield
    except sqlite.DatabaseError as error:
        wrong = type(error) is sqlite.DatabaseError  # a subclass says that something did not work this time
        advice = _AWAY if wrong else "see to the disk, and to who else has it open; then try again"
        raise StoreError(f"the journal {path} can't be used: {error}", advice=advice) from error
    except sqlite.Error as error:
        raise StoreError(f"the journal {path} can't be used: {error}") from error
    except OSError as error:
        raise _unusable(path, error) from error
    except (HotswapError, ImportError):
        raise
    except Exception as error:
        # Whatever a damaged file can lead to: a column that is gone, a text that is none, a number that is too large.
        what = f"the journal {path} is damaged: {type(error).__name__}: {error}"
        raise StoreError(what, advice=_AWAY) from error


def _unusable(path: Path, error: OSError) -> StoreError:
    advice = "see to the disk, and to who owns the folder and those above it; the service starts on the code on disk"
    return StoreError(f"the store {path.parent} can't be used: {error}", advice=advice)


def _connected(path: Path) -> sqlite3.Connection:
    import sqlite3 as sqlite

    connection = sqlite.connect(path, timeout=_BUSY, isolation_level=None)
    connection.row_factory = sqlite.Row
    return connection


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a database has our schema; not if it is empty. Raises StoreError for that of somebody else."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION:
        if version != VERSION:
            other = "a newer" if version > VERSION else "an older"
            raise StoreError(
                f"the journal {path} was written by {other} hotswap (schema {version}; this one knows {VERSION})",
                advice="install that hotswap, or move the store away",
            )
        return True
    if application or version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(f"{path} is a database of something else", advice=_AWAY)
    return False


def _make(connection: sqlite3.Connection, path: Path) -> None:
    """Make the schema, unless it is there."""
    import sqlite3 as sqlite

    if _is_ours(connection, path):
        return
    until = time.monotonic() + _BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite.OperationalError as error:
            if error.sqlite_errorcode != sqlite.SQLITE_BUSY or time.monotonic() > until:
                raise
            # SQLite does not wait for others here.
            time.sleep(_PAUSE)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ours(connection, path):
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
