"""Finding what is dropped, and waiting until it is whole.

What it takes: every `*.py` file, every `*.whl` and every folder directly in the directory; a folder only once
`NAME.go` stands beside it, made after the last change in it. What it passes by: names that begin with `.` or `_`, names
that end as half-made files do (`~`, `.tmp`, `.part`, `.swp`, `.crdownload`), our own markers, and everything else, such
as the `4913` that an editor writes to try a directory. Of what may have been meant as a drop (not of hidden, half-made
or own files), `ignored` tells once that it is passed by.

A drop that is still being written must not be taken. Nothing tells from outside when a writer has finished, so a drop
is taken when two successive looks at it, at least `SETTLE` seconds apart, see the same. A writer that pauses longer
than that is taken for finished, unless it is seen that the file is still open (`writers`); only a rename into its place
is safe (write `.shop.tmp` beside, then rename it).

Concurrency: a `Scanner` belongs to whoever has the turn (see `watch`); the functions may be called by anybody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field
from pathlib import Path

from hotswap.trust import SUFFIX as SIGNATURE
from hotswap.watching.bounds import OPEN, Bounds
from hotswap.watching.looks import GO, Look, look_at
from hotswap.watching.outcome import FAILED, LIVE, PENDING

__all__ = ["SETTLE", "Drop", "Ignored", "Scanner", "is_passed_by"]

SETTLE = 0.2
"""Seconds between two looks that must agree before a drop is taken."""

_COARSE = 2.0
"""Seconds within which some file systems (FAT, NFS) can't tell two writes apart by their time."""

_UNFINISHED = ("~", ".tmp", ".part", ".swp", ".crdownload")
_FILES = (".py", ".whl")
_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip", ".egg", ".pyc", ".pyz", ".so", ".pyd")
_OURS = (LIVE, FAILED, PENDING, SIGNATURE, GO)


def is_passed_by(name: str) -> bool:
    """Whether a file or folder of this name is never a drop, whatever it holds."""
    return name.startswith((".", "_")) or name.endswith((*_UNFINISHED, *_OURS))


@dataclass(frozen=True, slots=True)
class Drop:
    """A drop that has settled: its bytes are to be read. `certain` says that an unseen later write is impossible."""

    name: str
    path: Path
    look: Look
    certain: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file or folder that is passed by, and why; `meant` says that it looks as if it was meant as a drop."""

    name: str
    reason: str
    meant: bool


@dataclass(slots=True)
class _Seen:
    """What is known of one name: how it looks, since when, and whether these bytes have been dealt with."""

    look: Look
    since: float
    handled: bool = field(default=False)


class Scanner:
    """Looks at a directory again and again, and says which drops have settled and are not dealt with.

    Arguments:
        directory: where to look; it may be missing, then nothing is found.
        settle: seconds between two looks that must agree.
        clock: seconds that only rise.
        bounds: how far looks may go.

    `present` are the names of the drops that were there at the last look, None where the directory could not be read.
    `plain` says whether it could, and none of them was a link.
    """

    def __init__(
        self,
        directory: Path,
        settle: float,
        clock: Callable[[], float] = time.monotonic,
        bounds: Bounds = OPEN,
    ) -> None:
        self._bounds = bounds
        self._directory = directory
        self._settle = settle
        self._clock = clock
        self.present: frozenset[str] | None = None
        self.plain = False
        self._seen: dict[str, _Seen] = {}
        self._passed: dict[str, float | None] = {}  # name -> since when it is seen, None once it was told
        self._untold: list[Ignored] = []

    def scan(
        self, *, everything: bool = False, asked: Callable[[Collection[str]], Container[str]] = lambda _: ()
    ) -> tuple[list[Drop], float | None]:
        """Look at every drop once.

        Arguments:
            everything: also give drops that were dealt with and look as they did then.
            asked: tells which drops somebody wants to be dealt with again, from all names in the directory.

        Returns the settled drops by name, and in how many seconds the next waiting one may have settled, or None.
        """
        now, wall = self._clock(), time.time()
        drops: list[Drop] = []
        due: float | None = None
        seen: dict[str, _Seen] = {}
        names, others, everything_there = self._listing()
        gone: set[str] = set()
        again = () if names is None else asked(everything_there)
        for name in names or ():
            path = self._directory / name
            try:
                look = look_at(path, self._bounds, everything_there)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    gone.add(name)
                continue  # It went away between the listing and the look, or is a link that leads nowhere (yet).
            known = self._seen.get(name)
            if known is None or known.look != look:
                seen[name] = _Seen(look, now)
                due = self._settle if due is None else min(due, self._settle)
                continue
            seen[name] = known
            known.handled = known.handled and name not in again
            left = known.since + self._settle - now
            if left > 0:
                due = left if due is None else min(due, left)
            elif everything or not known.handled:
                # A time that lies in the future tells nothing; that it has been the same for so long does.
                certain = wall - look.newest > _COARSE or now - known.since > _COARSE
                drops.append(Drop(name, path, look, certain))
        self._seen = seen
        self.present = None if names is None else frozenset(names) - gone
        if self._notice(others, now):
            due = self._settle if due is None else min(due, self._settle)
        return drops, due

    def ignored(self) -> list[Ignored]:
        """What is passed by and was not told before; an editor's file that goes away at once is not told."""
        untold, self._untold = self._untold, []
        return untold

    def _notice(self, others: list[Ignored], now: float) -> bool:
        """Keep account of what is passed by; say whether something of it waits to be told."""
        passed: dict[str, float | None] = {}
        for other in others:
            since = self._passed.get(other.name, now)
            if other.name in self._passed and since is not None and now - since >= self._settle:
                self._untold.append(other)
                since = None
            passed[other.name] = since
        self._passed = passed
        return any(since is not None for since in passed.values())

    def handled(self, drop: Drop) -> None:
        """These bytes are dealt with: the drop need not be read again while it looks the same.

        What was written so lately that a later write might bear the same time is read once more, later.
        """
        known = self._seen.get(drop.name)
        if known is not None and known.look == drop.look and drop.certain:
            known.handled = True

    def _listing(self) -> tuple[list[str] | None, list[Ignored], Collection[str]]:
        """The names of the drops, what is passed by without being hidden, half-made or ours, and all names.

        No names at all, None, where the directory could not be read: that says nothing about what lies in it.
        """
        try:
            with os.scandir(self._directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            self.plain = False
            return [], [], ()  # The directory is missing for now; whoever tends the doorbell reports that.
        except OSError:
            self.plain = False
            return None, [], ()
        self.plain = True
        names: list[str] = []
        others: list[Ignored] = []
        for entry in entries:
            if _is_drop(entry):
                names.append(entry.name)
                self.plain = self.plain and not entry.is_symlink()
            elif (other := _passed_by(entry)) is not None:
                others.append(other)
        return names, others, {entry.name for entry in entries}


def _is_drop(entry: os.DirEntry[str]) -> bool:
    return not is_passed_by(entry.name) and (entry.name.endswith(_FILES) or _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _passed_by(entry: os.DirEntry[str]) -> Ignored | None:
    """Why an entry is no drop, or None where nobody would think that it is one."""
    name, small = entry.name, entry.name.lower()
    if name.startswith(".") or name.endswith((*_UNFINISHED, *_OURS)) or name == "__pycache__":
        return None
    if name.endswith(".whl.toml"):
        return None  # the manifest of a wheel
    if name.startswith("_"):
        meant = small.endswith((*_FILES, *_ARCHIVES)) or _is_folder(entry)
        return Ignored(name, "names that begin with _ are passed by; rename it", meant)
    if small.endswith(_FILES):
        return Ignored(name, "endings are written in small letters: .py, .whl; rename it", meant=True)
    reason = "only .py files, .whl files and folders are taken"
    if small.endswith(_ARCHIVES):
        return Ignored(name, f"{reason}; drop a wheel, or the folder with the sources", meant=True)
    return Ignored(name, reason, meant=False)
