"""Finding what is dropped, and waiting until it is whole.

What it takes: every `*.py` file, every `*.whl` and every folder directly in the directory; a folder only once
`NAME.go` stands beside it, made after the last change in it. What it passes by: names that begin with `.` or `_`, names
that end as half-made files do (`~`, `.tmp`, `.part`, `.swp`, `.crdownload`), our own markers, and everything else, such
as the `4913` that an editor writes to try a directory. Of what may have been meant as a drop (not of hidden, half-made
or own files), `ignored` tells once that it is passed by.

A drop that is still being written must not be taken. Nothing tells from outside when a writer has finished, so a drop
is taken when two successive looks at it, at least `SETTLE` seconds apart, see the same. A writer that pauses longer
than that is taken for finished; only a rename into its place is safe (write `.shop.tmp` beside, then rename it).

Concurrency: a `Scanner` belongs to whoever has the turn (see `watch`); the functions may be called by anybody.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hotswap.trust import SUFFIX as SIGNATURE
from hotswap.watching.bounds import OPEN, Bounds
from hotswap.watching.outcome import FAILED, LIVE, PENDING

__all__ = [
    "GO",
    "SETTLE",
    "Drop",
    "Ignored",
    "Look",
    "Scanner",
    "digest_of",
    "is_passed_by",
    "look_at",
]

SETTLE = 0.2
"""Seconds between two looks that must agree before a drop is taken."""

_COARSE = 2.0
"""Seconds within which some file systems (FAT, NFS) can't tell two writes apart by their time."""

_UNFINISHED = ("~", ".tmp", ".part", ".swp", ".crdownload")
_FILES = (".py", ".whl")
_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip", ".egg", ".pyc", ".pyz", ".so", ".pyd")
GO = ".go"
"""What a name ends with that says that the folder beside it is complete."""

_OURS = (LIVE, FAILED, PENDING, SIGNATURE, GO)
_BESIDE = (SIGNATURE, ".toml", f".toml{SIGNATURE}")
_ORDINARY = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def is_passed_by(name: str) -> bool:
    """Whether a file or folder of this name is never a drop, whatever it holds."""
    return name.startswith((".", "_")) or name.endswith((*_UNFINISHED, *_OURS))


@dataclass(frozen=True, slots=True)
class Look:
    """What a drop looks like from outside, without reading it.

    `stamp` changes when any path, size, time or inode in it does; `newest` is the latest time in it, in seconds since
    the epoch; `odd` says what in it can't be read: a pipe could block for ever, and a link to the directory of the
    drops would be read with our own markers in it. `many` says that there is too much in
    it. `identity` is that of the file or folder itself, (st_dev, st_ino):
    another one means that somebody dropped it again. `lacks` says what a folder waits for: its `NAME.go`.
    """

    stamp: str
    newest: float
    odd: str | None
    identity: tuple[int, int]
    many: bool = False
    lacks: str | None = None


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


def _entries(path: Path, *, strict: bool) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Every file, folder and oddity of a drop, with its path inside the drop, in a fixed order.

    Raises OSError where the drop itself is not there; and, where `strict`, for whatever in it can't be reached.
    """
    waiting = [("", path)]
    while waiting:
        inside, here = waiting.pop()
        try:
            # A link that leads nowhere (editors lock files with one) is itself what is there.
            link = here.is_symlink() if inside else _leads_back(here)
            facts = here.lstat() if link and not (inside and here.exists()) else here.stat()
        except OSError:
            if strict or not inside:
                raise
            continue
        yield inside, here, facts
        # A link to a folder inside a folder may lead round in a circle: it is seen, and not entered.
        if link or not stat.S_ISDIR(facts.st_mode):
            continue
        try:
            names = sorted(child.name for child in here.iterdir() if child.name != "__pycache__")
        except OSError:
            if strict:
                raise
            continue
        waiting.extend((f"{inside}/{name}", here / name) for name in reversed(names))


def _leads_back(path: Path) -> bool:
    """Whether this is a link to itself, to the directory in which it lies, or to one above.

    Such a drop would hold the marker beside it, so that to write the marker would change the drop.
    """
    if not path.is_symlink():
        return False
    try:
        target = path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    here = path.parent.resolve()
    return any(os.path.samestat(target, above.stat()) for above in (here, *here.parents))


def look_at(path: Path, bounds: Bounds = OPEN, names: Container[str] | None = None) -> Look:
    """Look at a drop, and at what lies beside it, from outside. Raises OSError where there is nothing.

    Arguments:
        path: the drop.
        bounds: how far to look.
        names: what lies in the directory, where that is known: nothing else is looked for then.
    """
    hashed = hashlib.sha256()
    newest, odd, identity = 0.0, None, (0, 0)
    folder, changed = False, 0
    for number, (inside, _, facts) in enumerate(_within(path, bounds)):
        if bounds.most is not None and number > bounds.most:
            odd = f"it has more than {bounds.most:,} files and folders"
            return Look(hashed.hexdigest(), newest, odd, identity, many=True)
        # The inode and the change time catch what size and time of modification alone would miss: another file renamed
        # into its place, and a time that was set back.
        seen = (inside, stat.S_IFMT(facts.st_mode), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        hashed.update(repr(seen).encode())
        newest = max(newest, facts.st_mtime, facts.st_ctime)
        changed = max(changed, _changed(facts))
        if not inside:
            identity, folder = (facts.st_dev, facts.st_ino), stat.S_ISDIR(facts.st_mode)
        if odd is None and stat.S_IFMT(facts.st_mode) not in _ORDINARY:
            odd = f"{inside.lstrip('/') or path.name} is neither a file nor a folder"
        elif not inside and stat.S_ISLNK(facts.st_mode):
            odd = f"{path.name} is a link that leads back to where it lies"
    go: int | None = None
    for suffix in (*_BESIDE, *((GO,) if folder else ())):
        if names is not None and f"{path.name}{suffix}" not in names:
            continue
        with contextlib.suppress(OSError):  # it is not there: what comes later changes the look
            facts = path.with_name(f"{path.name}{suffix}").lstat()
            led = _led(path.with_name(f"{path.name}{suffix}")) if bounds.within else None
            for one in filter(None, (facts, led)):
                hashed.update(repr((suffix, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino)).encode())
                newest = max(newest, one.st_mtime, one.st_ctime)
            go = _changed(facts) if suffix == GO else None
    return Look(hashed.hexdigest(), newest, odd, identity, lacks=_lacking(path.name, changed, go) if folder else None)


def _changed(facts: os.stat_result) -> int:
    """When something last changed, in a time that nobody can set: copies bear the old time of modification."""
    return facts.st_ctime_ns if os.name == "posix" else facts.st_mtime_ns


def _lacking(name: str, changed: int, go: int | None) -> str | None:
    """What a folder waits for that was changed then, and whose `NAME.go` is of that time, if there is one."""
    if go is None:
        return f"{name} is a folder: waiting for an empty file {name}{GO} beside it, which says that it is complete"
    if go < changed:
        return f"{name} was changed after {name}{GO} was made: touch {name}{GO} when the folder is complete again"
    return None


def _within(path: Path, bounds: Bounds) -> Iterable[tuple[str, Path, os.stat_result]]:
    facts = path.lstat()
    if stat.S_ISREG(facts.st_mode) or (not bounds.links and stat.S_ISLNK(facts.st_mode)):
        found = [("", path, facts)]  # most drops are one file; and what a link leads to may be nobody's business
        if bounds.within and (led := _led(path)) is not None:
            found.append(("/", path, led))
        return found
    return _entries(path, strict=False)


def _led(path: Path) -> os.stat_result | None:
    """What a link leads to, if it leads to a file: who follows it finds out whether that is within the directory."""
    try:
        facts = path.stat() if path.is_symlink() else None
    except OSError:
        return None  # it leads nowhere (yet): what it is later is another look
    return facts if facts is not None and stat.S_ISREG(facts.st_mode) else None


def digest_of(path: Path) -> str:
    """SHA-256 over the listing and the bytes of a drop that makes no patch, as hexadecimal. Raises OSError."""
    hashed = hashlib.sha256()
    for inside, here, facts in _entries(path, strict=True):
        regular = stat.S_ISREG(facts.st_mode)
        data = here.read_bytes() if regular else b""
        hashed.update(repr((inside, stat.S_IFMT(facts.st_mode), len(data))).encode())
        hashed.update(data)
    return hashed.hexdigest()


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
        self._seen: dict[str, _Seen] = {}
        self._passed: dict[str, float | None] = {}  # name -> since when it is seen, None once it was told
        self._untold: list[Ignored] = []

    def scan(
        self, *, everything: bool = False, asked: Callable[[Container[str]], Container[str]] = lambda _: ()
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
                drops.append(Drop(name, path, look, certain=wall - look.newest > _COARSE))
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

    def _listing(self) -> tuple[list[str] | None, list[Ignored], Container[str]]:
        """The names of the drops, what is passed by without being hidden, half-made or ours, and all names.

        No names at all, None, where the directory could not be read: that says nothing about what lies in it.
        """
        try:
            with os.scandir(self._directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return [], [], ()  # The directory is missing for now; whoever tends the doorbell reports that.
        except OSError:
            return None, [], ()
        names: list[str] = []
        others: list[Ignored] = []
        for entry in entries:
            if _is_drop(entry):
                names.append(entry.name)
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
