"""Starts: the trial of a permanent version in the first processes that import it afresh.

A patch was loaded beside running code. In a fresh process its modules are imported in another order, and what runs only
at the start runs for the first time: so it may be permanent, and keep each later process from starting. Therefore a
process that comes up on a version of which no start is known to be good notes what it imports of it, in a file beside
its lock. The next one that looks at the store reads there how far a dead one came:

    the last note           and the process      the start
    importing               died                 failed: it was ended while it imported
    failed, or blamed       died, just now       failed: what it could not import, or what it died of
    imported                lives for a minute   is good, and no later one is on trial
    anything else                                says nothing

Two failed starts take the version back, as two deaths within a trial do; several at once count once. It is what boot
loaders that keep two systems do: they count the tries of a new one until a boot was good (systemd's Automatic Boot
Assessment, U-Boot's `bootcount`).

Guarantees: a version with a good start is never taken back by this; nothing is noted of one. Assumes: `os.write` of a
line to a file that was opened for appending is not mixed with another. One line is one call, under any interpreter.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.errors import StoreError
from hotswap.events import emit
from hotswap.store import exits
from hotswap.store.files import read_whole
from hotswap.store.incarnations import START

if TYPE_CHECKING:
    import sqlite3

    from hotswap.store.journal import Journal

__all__ = ["Watch", "begin", "changed", "count_failed", "is_proved", "judge", "note_of", "open_starts"]

_GOOD = timedelta(seconds=60)
"""How long a process lives after its last import, if its start was good."""

_SOON = timedelta(minutes=10)
"""How long ago a failed import may be that a process died of: longer than supervisors wait before they try again."""

_MISMATCHES = (ImportError, AttributeError, NameError, TypeError)
"""What code raises that does not fit to other code. Anything else may be for what a service lacks at its start."""


def note_of(locks: Path, incarnation: str) -> Path:
    """Return the file in which a process notes its start."""
    return locks / f"{incarnation}{START}"


class Watch:
    """Notes what this process, and each forked child, imports of a version for the first time.

    Arguments:
        journal: knows whether a start was good.
        rollout: the id of the rollout that made the version.
        packages: its packages.
    """

    def __init__(self, journal: Journal, rollout: str, packages: Collection[str]) -> None:
        self._journal, self._rollout, self._packages = journal, rollout, frozenset(packages)
        self._pid: int | None = None
        self._handle: int | None = None
        self._begun = self._last = 0.0
        self._resolved = True

    def watched(self, spec: ModuleSpec) -> ModuleSpec:
        """Have the import of a module noted; its loader is its own again before the module runs."""
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Watched(spec, self)
        return spec

    def load(self, loader: importlib.abc.Loader, module: ModuleType) -> None:
        """Run a module, and note it, unless that is a part of another import. Raises what the module raises."""
        if self in _here.watches or not self._is_on():
            loader.exec_module(module)
            return
        name, pid = module.__name__, os.getpid()
        _here.watches.append(self)
        try:
            self._tell("importing", name)
            loader.exec_module(module)
        except BaseException as error:
            if pid == os.getpid():  # else it is a child that was forked by the module, and has notes of its own
                self._raised(name, error)
            raise
        else:
            if pid == os.getpid():
                self._resolved = True
                self._tell("imported", name)
        finally:
            _here.watches.remove(self)
            if not _here.watches:
                _here.error = None

    def _raised(self, name: str, error: BaseException) -> None:
        # Where the packages of one version import those of another, it is the inner one that failed.
        ended = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)
        if ended or error is _here.error:
            self._tell("left", name)
            return
        _here.error, self._resolved = error, False
        self._tell("failed", name, f"{type(error).__name__}: {error}")

    def blame(self, error: BaseException | None) -> None:
        """Note that the process is about to end with a failure, if what it dies of is that other code does not fit.

        Arguments:
            error: what it dies of, as far as that is known.
        """
        late = time.monotonic() - self._begun > _GOOD.total_seconds()
        if self._handle is None or self._pid != os.getpid() or late or not self._resolved:
            return
        if error is not None and (name := _culprit(error, self._packages)) is not None:
            self._tell("blamed", name, f"{type(error).__name__}: {error}")

    def _is_on(self) -> bool:
        """Whether there is something to note."""
        if self._pid != os.getpid():
            with _one_at_a_time[0]:
                if self._pid != os.getpid():
                    self._begin()
        elif self._handle is not None and self._resolved and time.monotonic() - self._last > _GOOD.total_seconds():
            self._end()
        return self._handle is not None

    def _begin(self) -> None:
        self._handle, self._begun, self._resolved = None, time.monotonic(), True
        try:
            path = self._journal.begin_start(self._rollout)
            if path is not None:
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                exits.listen(self.blame)
        except (StoreError, OSError) as error:
            emit("store.troubled", level="warning", reason=error, running="what is permanent", advice=_UNNOTED)
        self._pid = os.getpid()

    def _end(self) -> None:
        """The start was good. If that can't be written, somebody else who looks sees it."""
        handle, self._handle = self._handle, None
        exits.ignore(self.blame)
        with suppress(StoreError):
            self._journal.end_start(self._rollout)
        if handle is not None:
            os.close(handle)

    def _tell(self, what: str, module: str, why: str = "") -> None:
        self._last = time.monotonic()
        facts = {"at": _now().isoformat(), "rollout": self._rollout, "what": what, "module": module, "why": why[:1000]}
        if self._handle is not None:
            with suppress(OSError):  # a full disk: then nothing is known of this start
                os.write(self._handle, json.dumps(facts).encode() + b"\n")


_UNNOTED = "the service runs; if it can't be started on this version, nothing will take that back"


class _Watched(importlib.abc.Loader):
    """Takes the place of a loader until the module runs, as `importlib.util.LazyLoader` does."""

    def __init__(self, spec: ModuleSpec, watch: Watch) -> None:
        assert spec.loader is not None
        self._spec, self._loader, self._watch = spec, spec.loader, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own loader, and run it."""
        self._spec.loader = module.__loader__ = self._loader
        self._watch.load(self._loader, module)


class _Here(threading.local):
    """What this thread imports."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.error: BaseException | None = None
        """What has been held against a version already, on its way up."""


_here = _Here()
_one_at_a_time = [threading.Lock()]


def _forked() -> None:
    _one_at_a_time[0] = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _culprit(error: BaseException, packages: Collection[str]) -> str | None:
    """The module of these packages that an error speaks of, or that raised it, because code does not fit to code."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        if isinstance(current, _MISMATCHES):
            for name in _named(current):
                if name.partition(".")[0] in packages:
                    return name
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None


def _named(error: BaseException) -> list[str]:
    found = []
    if isinstance(error, ImportError) and isinstance(error.name, str):
        found.append(error.name)
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        found.append(str(vars(error.obj).get("__name__")))
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None:
        found.append(str(last.tb_frame.f_globals.get("__name__")))
    return found


# --- what the journal has of it ------------------------------------------------------------------------------------


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


def count_failed(connection: sqlite3.Connection, number: int, reason: str, since: str) -> tuple[str, int | None]:
    """Write that a start failed.

    Arguments:
        connection: of the journal, in a transaction.
        number: of the start.
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
        "UPDATE start SET outcome = 'failed', reason = ?, "
        "upto = CASE WHEN ? THEN (SELECT max(number) FROM start) END WHERE number = ?",
        (reason, counts, number),
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
) -> dict[int, str]:
    """Judge the starts of a process, and write down the good ones.

    Arguments:
        connection: of the journal, in a transaction.
        locks: where the processes note their starts.
        incarnation: the process.
        how: `ended`, `stopped` or `died`; None while it lives.
        until: when it was alive for sure.

    Returns the numbers of those that failed, each with why.
    """
    rows = [row for row in open_starts(connection) if row["incarnation"] == incarnation]
    failed: dict[int, str] = {}
    notes = _notes(note_of(locks, incarnation)) if rows else []
    for row in rows:
        mine = [note for note in notes if note["rollout"] == row["rollout"]]
        last = mine[-1] if mine else None
        cut = [note for note in mine if note["what"] == "importing"]
        for note in mine:
            if note["what"] != "importing":
                cut = [begun for begun in cut if begun["module"] != note["module"]]
        if how == "died" and cut:
            failed[row["number"]] = f"while it imported {cut[-1]['module']} of it"
        elif how == "died" and last is not None and last["what"] in _ENDS and _now() - last["at"] < _SOON:
            failed[row["number"]] = f"{_ENDS[last['what']]} {last['module']} of it ({last['why']})"
        elif last is not None and last["what"] == "imported" and until is not None and until - last["at"] >= _GOOD:
            connection.execute("UPDATE start SET outcome = 'good' WHERE number = ?", (row["number"],))
        elif how is not None:
            connection.execute("DELETE FROM start WHERE number = ?", (row["number"],))
    return failed


_ENDS = {"failed": "when it could not import", "blamed": "when the program did not fit to"}


def _notes(path: Path) -> list[dict[str, Any]]:
    """What a process has noted; what is none of it is left out."""
    found = []
    with suppress(OSError):
        for line in read_whole(path).splitlines():
            with suppress(ValueError, TypeError, KeyError):
                note = json.loads(line)
                note["at"] = datetime.fromisoformat(note["at"]).astimezone(UTC)
                found.append({name: note[name] for name in ("at", "rollout", "what", "module", "why")})
    return found


def _now() -> datetime:
    return datetime.now(UTC)
