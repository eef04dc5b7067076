"""What became of a drop, and the marker file beside it that says so.

`NAME.live` stands beside a drop that is live, `NAME.failed` beside one that did not go live, was rolled back, or is
ignored; never both. `NAME.pending` says what a drop waits for (its signature, a patcher that is free), and goes when
that has come. Of several processes that watch one directory, one writes these; each other writes `NAME.PROCESS.live`
and so on (`seats`).
A marker is a report: removing one undoes nothing. Whoever removes `NAME.failed` asks for another try.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.errors import HotswapError, WrongPackageError

if TYPE_CHECKING:
    from hotswap.rollout import Record

__all__ = [
    "FAILED",
    "LIVE",
    "PENDING",
    "SUPERSEDED",
    "Failure",
    "Outcome",
    "is_report_on",
    "read_marker",
    "remove_unfinished",
    "write_marker",
]

LIVE = ".live"
FAILED = ".failed"
PENDING = ".pending"

SUPERSEDED = "superseded"
"""The code of a drop that went live, came again, and is not what runs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one drop: a fact, which lives as long as anybody holds it.

    Attributes:
        drop: the name of the file or folder in the directory.
        digest: SHA-256 of what was dropped, in hexadecimal: the patch's digest, or one over the raw bytes where they
            make no patch; empty for what is ignored, which is not read.
        version: the version that went live, or the one that was refused, where it is known.
        rollout: the id of the rollout, where it came to one.
        state: the state of the rollout: `live`, `permanent` once its trial is over, `rejected`, or
            `rolled_back`; where there was none, `ignored` or
            `pending`.
        reason: what was done, or what was refused and why, in one line.
        error: the type of the error, `None` where the drop went live or is ignored.
        process: the id of the process in which this happened.
        time: when, in UTC.
        code: why, as one word, where the error has several causes; `superseded` where it went live, came again, and is
            not what runs.
        rolled_out: the digest of what was rolled out, as the history has it, where it came to a rollout; not `digest`
            where the drop had no version, since the version that it got is part of it.
        name: what the process is called among those that watch the directory; where it is told, in the marker.
        traceback: for the log, where the error was none of hotswap's; not in the marker.
    """

    drop: str
    digest: str
    version: str | None
    rollout: str | None
    state: str
    reason: str
    error: str | None
    process: int
    time: datetime
    rolled_out: str | None = None
    code: str | None = None
    name: str | None = field(default=None, compare=False)
    traceback: str | None = field(default=None, compare=False, repr=False)

    @property
    def applied(self) -> bool:
        """Whether the drop went live, and was not rolled back."""
        return self.error is None and self.state not in (_ROLLED_BACK, _IGNORED, _PENDING)

    @property
    def waits(self) -> bool:
        """Whether it says what a drop waits for."""
        return self.state == _PENDING

    @property
    def failed(self) -> bool:
        """Whether it failed before it was live: the same bytes are tried again when somebody removes the marker."""
        return self.state == _REJECTED

    @property
    def holds_elsewhere(self) -> bool:
        """Whether a new process, too, does not try the same bytes.

        That they hold nothing of the packages of one process says nothing of others that watch the same directory.
        """
        return (self.failed and self.error != WrongPackageError.__name__) or self.state == _ROLLED_BACK

    def taken_back(self, reason: str) -> Outcome:
        """The outcome of the same drop once its rollout was rolled back, now."""
        what = f"{self.drop} {self.version} was rolled back: {reason}"
        return replace(self, state=_ROLLED_BACK, reason=" ".join(what.split()), time=datetime.now(UTC))

    def confirmed(self) -> Outcome:
        """The outcome of the same drop once its rollout is permanent, now."""
        what = f"{self.drop} {self.version} is permanent: its trial is over"
        return replace(self, state=_PERMANENT, reason=what, time=datetime.now(UTC))

    def superseded(self, over: str) -> Outcome:
        """What is to be said of the same drop that came again while something else is live over it, now.

        Whoever dropped it wants it live, and it is not.
        """
        what = (
            f"{self.drop} {self.version} went live before, and {over} is live over it by now: it is not applied again"
        )
        advice = "rollback() goes back by one, apply(patch, undo=True) to what was live here; or drop a newer version"
        return replace(self, code=SUPERSEDED, reason=f"{what}; what to do: {advice}", time=datetime.now(UTC))

    @classmethod
    def known(cls, name: str, digest: str, record: Record) -> Outcome:
        """The outcome of a drop that failed, or was rolled back, by what a store has of its rollout."""
        version, reason = None if record.version is None else str(record.version), " ".join(record.reason.split())
        error = HotswapError.__name__  # a store does not have the type
        facts = (name, digest, version, record.id, str(record.state), reason, error, os.getpid(), record.finished)
        made = cls(*facts, rolled_out=record.digest)
        if made.state != _ROLLED_BACK:
            return made
        return replace(made.taken_back(record.reason), error=None, time=record.finished)

    @classmethod
    def ignored(cls, name: str, reason: str) -> Outcome:
        """The outcome of a file that is no drop, now."""
        return cls(name, "", None, None, _IGNORED, reason, None, os.getpid(), datetime.now(UTC))

    @classmethod
    def pending(cls, name: str, reason: str, digest: str = "") -> Outcome:
        """What is to be said of a drop that waits for something, now."""
        return cls(name, digest, None, None, _PENDING, reason, None, os.getpid(), datetime.now(UTC))

    def same_as(self, other: Outcome | None) -> bool:
        """Whether both say the same, whenever it happened."""
        return other is not None and (self.digest, self.state, self.error, self.reason) == (
            other.digest,
            other.state,
            other.error,
            other.reason,
        )

    def to_json(self) -> str:
        """The content of the marker file."""
        # What a person looks for comes first.
        facts = {"drop": self.drop, "state": self.state, "reason": self.reason, **asdict(self)}
        facts["time"] = self.time.isoformat()
        del facts["traceback"]
        return json.dumps(facts, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Read what `to_json` wrote; raises ValueError, TypeError or KeyError for anything else."""
        try:
            facts = json.loads(text)
            facts["time"] = datetime.fromisoformat(facts["time"]).astimezone(UTC)
        except (RecursionError, OverflowError) as error:  # whoever may write to the directory may have written it
            raise ValueError("not the report of a drop") from error
        outcome = cls(**facts)
        if not all(isinstance(fact, str) for fact in (outcome.drop, outcome.digest, outcome.state, outcome.reason)):
            raise TypeError("not the report of a drop")
        return outcome


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a drop did not go live, as text: an exception would keep frames, and so the candidate, alive."""

    error: str
    reason: str
    traceback: str | None = None
    code: str | None = None

    @classmethod
    def of(cls, error: BaseException, traceback: str | None = None) -> Failure:
        """Put an exception into one line. Never raises, whatever the exception's own `__str__` does."""
        name = type(error).__name__
        try:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        except Exception:  # noqa: BLE001 - it is a stranger's `__str__`, and this is the place that reports errors
            lines = ["(its text could not be read)"]
        # "2 unsupported changes:" introduces what follows; everything else is a clause of its own.
        text = "".join(line + (" " if line.endswith(":") else "; ") for line in lines).rstrip("; ")
        if isinstance(error, HotswapError) and text:
            return cls(name, text, traceback, error.code)
        return cls(name, f"{name}: {text}" if text else f"{name}, without a message", traceback)


_REJECTED = "rejected"
_ROLLED_BACK = "rolled_back"
_PERMANENT = "permanent"
_IGNORED = "ignored"
_LONGEST = 256 * 1024
"""Bytes of a marker that is read; a reason may list many problems."""
_PENDING = "pending"
_UNFINISHED = re.compile(r"\.hotswap-[0-9a-f]{32}\.tmp")
_ABANDONED = 3600.0
"""Seconds after which nobody is writing a marker any more."""


def write_marker(directory: Path, outcome: Outcome, infix: str = "") -> None:
    """Put the outcome beside its drop, as `NAME.live`, `NAME.failed` or `NAME.pending`, and remove what is over.

    `infix` stands behind the name, for who reports under another. What waits may be live in other bytes: then that
    marker stays.

    A reader sees the old marker or the new one, never a part of one. Raises OSError; then the markers are as they were,
    or both are there.
    """
    if outcome.state == _PENDING:
        chosen, others = PENDING, [FAILED]
    else:
        chosen, others = (LIVE, [FAILED, PENDING]) if outcome.applied else (FAILED, [LIVE, PENDING])
    temporary = directory / f".hotswap-{uuid.uuid4().hex}.tmp"
    try:
        # "x": nobody's file is overwritten. Not `tempfile`: its files are private, and operators read markers.
        with temporary.open("x", encoding="ascii") as file:
            file.write(outcome.to_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / f"{outcome.drop}{infix}{chosen}")
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    for other in others:
        over = directory / f"{outcome.drop}{infix}{other}"
        if is_report_on(over, outcome.drop, unknown=True):
            over.unlink(missing_ok=True)


def remove_unfinished(directory: Path) -> None:
    """Remove the markers that processes were writing when they were killed: those that are older than an hour."""
    with contextlib.suppress(OSError):  # the directory is missing for now, or another watch was faster
        for path in directory.iterdir():
            if _UNFINISHED.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _ABANDONED:
                path.unlink(missing_ok=True)


def read_marker(directory: Path, drop: str, suffix: str) -> Outcome | None:
    """The outcome that a marker tells, or None where there is no marker, or none of ours."""
    try:
        return Outcome.from_json(_text(directory / f"{drop}{suffix}"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # Missing, half a file, or somebody else's: then nothing is known, and the drop is tried.


def is_report_on(path: Path, drop: str, *, unknown: bool = False) -> bool:
    """Whether a marker is the report on a drop: the name does not tell whose it is where drops have points in theirs.

    Arguments:
        path: of the marker.
        drop: the name of the drop.
        unknown: what is to be said of a marker that can't be read, or is none of ours.
    """
    try:
        return Outcome.from_json(_text(path)).drop == drop
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return unknown


def _text(path: Path) -> str:
    """Read a marker.

    Whoever may write to the directory may have put a pipe there, which would be waited for for ever, or a link to
    something endless; so it is opened without waiting or following, and is read if it is a small file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LONGEST:
            raise ValueError("not a marker of ours")
        return os.read(descriptor, _LONGEST).decode("ascii")
    finally:
        os.close(descriptor)
