"""What a drop looks like from outside, without reading it; and a digest of what makes no patch.

Looks are made again and again for as long as a drop lies there, so they are cheap and have bounds. Concurrency: these
functions keep nothing, and may be called by anybody.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hotswap.patch.contents import MAX_SIZE
from hotswap.trust import SUFFIX as SIGNATURE
from hotswap.watching.bounds import OPEN, Bounds

__all__ = ["GO", "Look", "digest_of", "look_at"]

GO = ".go"
"""What a name ends with that says that the folder beside it is complete."""

_BESIDE = (SIGNATURE, ".toml", f".toml{SIGNATURE}")
_ORDINARY = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_PIECE = 1024 * 1024
"""Bytes of it in memory at a time."""


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

    A folder without its `NAME.go` is not entered: it may be a link to the whole disk, and nobody says that it is meant.

    Arguments:
        path: the drop.
        bounds: how far to look.
        names: what lies in the directory, where that is known: nothing else is looked for then.
    """
    hashed = hashlib.sha256()
    newest, odd, identity = 0.0, None, (0, 0)
    folder, entered, changed = False, False, 0
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
            entered = folder and _is_there(path.with_name(f"{path.name}{GO}"), names)
        if odd is None and stat.S_IFMT(facts.st_mode) not in _ORDINARY:
            odd = f"{inside.lstrip('/') or path.name} is neither a file nor a folder"
        elif not inside and stat.S_ISLNK(facts.st_mode):
            odd = f"{path.name} is a link that leads back to where it lies"
        if folder and not entered:
            break
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


def _is_there(path: Path, names: Container[str] | None) -> bool:
    return os.path.lexists(path) if names is None else path.name in names


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


def digest_of(path: Path) -> str | None:
    """SHA-256 over the listing and the bytes of a drop that makes no patch, as hexadecimal.

    It is read piece by piece. None for what has more bytes than any patch may have, or grows beyond that while it is
    read: to tell whether those are the same is not worth reading a whole disk. Raises OSError.
    """
    hashed, left = hashlib.sha256(), MAX_SIZE
    for inside, here, facts in _entries(path, strict=True):
        own, size = hashlib.sha256(), 0
        if stat.S_ISREG(facts.st_mode):
            if facts.st_size > left:
                return None
            with here.open("rb", buffering=0) as file:
                while size <= left and (piece := file.read(_PIECE)):
                    own.update(piece)
                    size += len(piece)
            if size > left:
                return None
        hashed.update(repr((inside, stat.S_IFMT(facts.st_mode), size, own.hexdigest())).encode())
        left -= size
    return hashed.hexdigest()
