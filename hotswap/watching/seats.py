"""Under which name a process reports, where several watch one directory.

    the first seat is free   → take it: `NAME.live`, `NAME.failed`, `NAME.pending`
    it is taken              → a seat of one's own: `NAME.PROCESS.live` and so on; look again at each pass
    who has the first goes   → the next one that looks takes it, and moves its reports to the plain names

A seat is a hidden file that is locked (`flock`) for as long as it is taken: the kernel gives it back when its process
ends, however that happens. Whoever has the first seat clears up behind those that are gone: a seat that can be locked
is empty, so the reports under its name are of nobody. What failed there is kept (`failures`).

A lock is readable for its owner only (mode 0600): whoever may open a file may lock it, and anybody who can read the
directory could take the first seat. One that others may open (of somebody else's making, since we make none) may be
open already; so it is not tightened but replaced, and who had it has it no more. Where modes can't be set, as on FAT or
CIFS, it is taken as it is.

Guarantees: of the processes that watch a directory, at most one writes the plain names (two, until their next look,
where both replace a lock at the same moment that others might have opened). Assumes that `flock` works in
the directory (Linux passes it on to NFS and CIFS). Where it fails, nobody has the first seat, each process reports
under its own name, and nobody clears up; so it is where something else than a file has the name of a lock, which is
never waited for and never read. Where there is no `flock` at all (Windows), one process is assumed.
Concurrency: a lock of its own, held while files are opened and locked; no user code runs under it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hotswap.errors import HotswapError
from hotswap.events import emit
from hotswap.watching.failures import ENDED, retire
from hotswap.watching.outcome import FAILED, LIVE, PENDING, is_report_on

if sys.platform != "win32":
    import fcntl

__all__ = ["Seat", "checked_name", "own_name", "taken_seats"]

_FIRST = ".hotswap.lock"
_OTHER = re.compile(r"\.hotswap\.([A-Za-z0-9_-]+)\.lock")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TRIES, _PAUSE = 10, 0.01
_KINDS = (LIVE, FAILED, PENDING)
_ENDINGS = ("whl", "py", ENDED)


def own_name() -> str:
    """What a process is called that was given no name: its host and its id."""
    return f"{re.sub('[^A-Za-z0-9_-]', '-', socket.gethostname()) or 'host'}-{os.getpid()}"


def checked_name(name: object) -> str:
    """Return the name of a watch.

    Raises HotswapError for what can't be a part of the name of a file, and for what a drop's own name ends with: the
    report on a drop `shop` would have the name of another process's report on `shop.whl`, or of one that has ended.
    """
    if isinstance(name, str) and _NAME.fullmatch(name) and name not in _ENDINGS:
        return name
    raise HotswapError(f"a watch can't be named {name!r}", advice="give letters, digits, - and _, such as 'worker-1'")


class Seat:
    """The place of this process among those that watch a directory; lives as long as its ledger.

    Arguments:
        directory: which directory.

    `name` is what the process is called; None: by its host and its id. `infix` is what stands between the name of a
    drop and the kind of its marker: nothing, or a point and a name. `lock` is held by who reports, so that it does not
    move meanwhile.
    """

    def __init__(self, directory: Path) -> None:
        self.name: str | None = None
        self.infix = ""
        self._directory = directory
        self.lock = threading.RLock()  # A signal handler may roll back in the thread that holds it.
        self._taken: tuple[str, int] | None = None  # "" for the first, else the name; and its descriptor
        self._waits: int | None = None  # the first seat, opened and not locked: to open it would ring the doorbell
        self._deaf = sys.platform == "win32"
        self._users, self._kept = 0, False
        self._trouble: str | None = None
        self._told: str | None = None

    @property
    def called(self) -> str:
        """What this process is called, whichever seat it has."""
        with self.lock:
            return self.infix.removeprefix(".") or self.name or own_name()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have a seat for as long as the block lasts. The lock is not held while the block runs."""
        with self.lock:
            self._users += 1
            self.take()
        try:
            yield
        finally:
            with self.lock:
                self._users -= 1
                if not self._users and not self._kept:
                    self._leave()

    def keep(self) -> None:
        """Have a seat until `leave`."""
        with self.lock:
            self._kept = True
            self.take()

    def leave(self) -> None:
        """Give the seat back. What was reported stays; under another name than the plain one, until it is cleared."""
        with self.lock:
            self._kept = False
            if not self._users:
                self._leave()

    def take(self) -> None:
        """Take the best seat that is free. Never raises an OSError."""
        with self.lock:
            if self._deaf:
                return
            try:
                trouble = self._take_best()
            except FileNotFoundError:
                return  # there is no directory: who tends the doorbell tells that
            except OSError as error:
                self.infix, trouble = f".{self.name or own_name()}", error
            told = f"it can't be locked ({trouble}); each process reports under a name of its own"
            self._trouble = None if trouble is None else told
            if self._taken is not None:
                self.infix = f".{self._taken[0]}" if self._taken[0] else ""

    def forget(self) -> None:
        """Begin anew in a forked child: the descriptors are copies, and closing them unlocks nothing."""
        self.lock = threading.RLock()
        for descriptor in (self._taken[1] if self._taken else None, self._waits):
            if descriptor is not None:
                with contextlib.suppress(OSError):  # who forks may have closed everything
                    os.close(descriptor)
        self._taken = self._waits = None
        self._users, self._kept = 0, False

    def clear(self) -> None:
        """Remove the reports of those that are gone, if this is the first seat. Never raises an OSError."""
        with self.lock:
            if self._taken is not None and not self._taken[0]:
                with contextlib.suppress(OSError):  # it is tried again at the next pass
                    self._clear()

    def tell(self) -> None:
        """Say once in the log what keeps this process from having a seat. Runs user code."""
        trouble = self._trouble
        if trouble != self._told:
            self._told = trouble
            if trouble is not None:
                emit("watch.troubled", level="warning", directory=self._directory, reason=trouble)

    # --- under the lock ---

    def _leave(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            first = self._directory / _FIRST
            if not taken[0]:
                with contextlib.suppress(OSError):  # it is locked while it is removed, so nobody else has it
                    if _is(first, taken[1]):
                        first.unlink(missing_ok=True)
            os.close(taken[1])
        if self._waits is not None:
            os.close(self._waits)
            self._waits = None

    def _take_best(self) -> OSError | None:
        """Take the first seat, else one of one's own; return why the first can't be had by anybody."""
        if self._taken is not None and not _is(self._directory / self._file(self._taken[0]), self._taken[1]):
            os.close(self._taken[1])  # the directory is another one now, or somebody removed the file
            self._taken = None
        if self._taken is not None and not self._taken[0]:
            return None
        first, trouble = None, None
        try:
            first = self._first()
        except FileNotFoundError:
            raise
        except OSError as error:
            trouble = error
        if first is not None:
            own, self._taken = self._taken, ("", first)
            if own is not None:
                self._vacate(own)
            return None
        if self._taken is None:
            chosen = self.name or own_name()
            # Who clears up may be looking whether the seat is empty; else two were given the same name.
            for name in (*[chosen] * _TRIES, f"{chosen}-{os.getpid()}"):
                descriptor = _locked(self._directory / self._file(name))
                if descriptor is not None:
                    self._taken = (name, descriptor)
                    break
                time.sleep(_PAUSE)
        return trouble

    def _first(self) -> int | None:
        """The first seat, locked; None where somebody has it."""
        path = self._directory / _FIRST
        if self._waits is not None and not _is(path, self._waits):
            os.close(self._waits)
            self._waits = None
        descriptor = _opened(path) if self._waits is None else self._waits
        self._waits = descriptor
        if not _lock(descriptor, path) or not _is(path, descriptor):  # removed by who left it, between the two
            return None
        self._waits = None
        return descriptor

    def _clear(self) -> None:
        for entry in _names(self._directory):
            match = _OTHER.fullmatch(entry)
            if match is not None:
                with contextlib.suppress(OSError):  # no file, or somebody else's: the others are cleared
                    if (descriptor := _locked(self._directory / entry)) is not None:
                        self._vacate((match[1], descriptor))

    def _vacate(self, seat: tuple[str, int]) -> None:
        """Remove what was reported from a seat that this process has, but for what failed; then the seat."""
        name, descriptor = seat
        try:
            ends = tuple(f".{name}{kind}" for kind in _KINDS)
            for entry in _names(self._directory):
                drop = _drop(entry, ends) if entry.endswith(ends) else ""
                if drop and is_report_on(self._directory / entry, drop):
                    retire(self._directory / entry, drop)
            (self._directory / self._file(name)).unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _file(self, name: str) -> str:
        return f".hotswap.{name}.lock" if name else _FIRST


def _drop(entry: str, ends: tuple[str, ...]) -> str:
    """The drop that a marker is about, if it is of the process whose markers end so."""
    return next(entry.removesuffix(end) for end in ends if entry.endswith(end))


def taken_seats(directory: Path) -> list[str]:
    """The infixes of all processes that watch a directory now: `""` for the first, `".NAME"` for others.

    A lock that this user may not open counts as taken: the first clears away those that are not. Raises OSError where
    nothing can be known.
    """
    found = []
    for entry in _names(directory):
        match = _OTHER.fullmatch(entry)
        if (match is not None or entry == _FIRST) and sys.platform != "win32":
            infix = "" if match is None else f".{match[1]}"
            try:
                descriptor = _opened(directory / entry, os.O_RDONLY)
            except PermissionError:
                found.append(infix)
                continue
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
                continue  # it was given back between the two, or is no file and never was a seat
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(infix)
            finally:
                os.close(descriptor)
    return found


def _names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries)


# To read: who closes a file that was open for writing rings the doorbells of all others.
_OPEN = os.O_RDONLY | os.O_CREAT

_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _opened(path: Path, flags: int = _OPEN) -> int:
    """Open a lock, and make it anew where others may open it, too. Raises OSError."""
    descriptor = _opened_as_it_is(path, flags)
    if flags & os.O_CREAT and _tightened(descriptor):
        try:
            if _is(path, descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        descriptor = _opened_as_it_is(path, flags)
    return descriptor


def _tightened(descriptor: int) -> bool:
    """Whether others could open a lock, and can't any more."""
    if sys.platform == "win32" or not os.fstat(descriptor).st_mode & _OTHERS:
        return False
    with contextlib.suppress(OSError):  # somebody else's, or a file system without modes: then it is taken as it is
        os.fchmod(descriptor, _MODE)
    return not os.fstat(descriptor).st_mode & _OTHERS


def _opened_as_it_is(path: Path, flags: int) -> int:
    """Open a lock. Raises OSError where it can't be opened, or is no file: whoever may write here may have put a pipe.

    It is looked at before, since some devices act when they are opened, and after that, since that is what counts.
    """
    with contextlib.suppress(FileNotFoundError):
        _require_file(path, path.lstat())
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, _MODE)
    try:
        _require_file(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_file(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no file", str(path))


def _locked(path: Path) -> int | None:
    """Open and lock a file; None where somebody has it. Raises OSError where it can't be opened or locked."""
    descriptor = _opened(path)
    try:
        if _lock(descriptor, path) and _is(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int, path: Path) -> bool:
    if sys.platform == "win32":
        return True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            _to_write(descriptor, path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _to_write(descriptor: int, path: Path) -> None:
    """Open a file for writing under the same descriptor: NFS locks no other."""
    other = _opened(path, os.O_RDWR)
    try:
        os.dup2(other, descriptor, inheritable=False)
    finally:
        os.close(other)


def _is(path: Path, descriptor: int) -> bool:
    """Whether a descriptor is of the file that has this path now."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
