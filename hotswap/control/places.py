"""A place for a Unix socket: nobody may connect before it has its mode, and only one process listens there.

Guarantees: the socket appears under its name with its mode, in one step: it is bound in a directory that is the
owner's alone, and renamed. The umask, which belongs to all threads, is not touched. A lock beside it, which the kernel
lets go with the process, tells a live server from what a dead one has left. Assumes: nobody else may rename files in
the directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

from hotswap.errors import HotswapError

__all__ = ["Place"]

_BACKLOG = 64
_ROOM = 108 if sys.platform == "linux" else 104
"""Bytes that the name of a socket has in the structure of the system, with a zero at its end."""


class Place:
    """A socket that listens under a name. Lives until `leave`, or as long as the process.

    Arguments:
        path: its name; missing folders are made, for the owner alone.
        mode: of the socket.

    Raises HotswapError if somebody listens there, or something else is there; OSError where that can't be written.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        if len(os.fsencode(path)) >= _ROOM:
            raise _too_long(path)
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        self.listening = socket.socket(socket.AF_UNIX)
        self._made: tuple[int, int] | None = None
        try:
            self._take(mode)
        except BaseException:
            self.close()
            raise

    def _take(self, mode: int) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(self.path) from None
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise HotswapError(f"{self.path} is there, and is no socket", advice="give the socket another name")
        if _answers(self.path):
            raise _taken(self.path)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".") as private:
            bound = Path(private, "s")
            try:
                self.listening.bind(str(bound))
            except OSError as error:
                raise (_too_long(self.path) if error.errno is None else error) from None  # Python counts, too
            bound.chmod(mode)
            self.listening.listen(_BACKLOG)
            found = bound.stat()
            bound.rename(self.path)
            self._made = found.st_dev, found.st_ino

    def remove(self) -> None:
        """Remove the name, if it is ours still."""
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._made:
                self.path.unlink()

    def close(self) -> None:
        """Close what this process holds of it, and leave the name. Calling it again does nothing."""
        self.listening.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def _answers(path: Path) -> bool:
    """Whether somebody listens at a socket, who does not know of our lock."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(str(path))
        except TimeoutError:
            return True  # somebody is there, and busy
        except OSError as error:
            return isinstance(error, (PermissionError, BlockingIOError))
    return True


def _taken(path: Path) -> HotswapError:
    return HotswapError(
        f"another process, or another socket of this one, is served at {path}",
        advice="give each process a name of its own, f'run/{os.getpid()}.sock' for example",
    )


def _too_long(path: Path) -> HotswapError:
    return HotswapError(
        f"{path} is too long for a socket: less than {_ROOM} bytes are what this system takes",
        advice="give it a shorter name",
    )
