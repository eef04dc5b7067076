"""Descriptors that a copy of the process has from the original: none of them leads anywhere any more.

    what it leads to             in the copy
    a regular file, to read      is opened anew: a position that is shared would move in the original, too
    a file, to write             nothing: what is written is thrown away
    a file, to read and write    the stub
    a socket                     the stub
    epoll, an eventfd, inotify   the stub: their lists belong to both processes
    a pipe, a terminal, a device  nothing, to read as to write
    /dev/null, /dev/urandom      stays
    a folder                     stays

The stub is one end of a pair of sockets whose other end nobody reads: what is read from it is at its end, and what is
written arrives at the other end, which tells that somebody has used a connection that is not there.

`dup2` closes what stood in the place before, in this process alone: a connection stays open as long as the original has
it, what waits in an epoll goes on waiting, a lock (`flock`) stays with the original. Nothing is shut down.

Assumes: no other thread, as is so right after a fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Collection, Iterable

__all__ = ["Stub", "guard"]

_STANDARD = (0, 1, 2)
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_MOST = 1 << 16
"""Descriptors that are tried where the system does not list them."""


class Stub:
    """What stands for connections. Lives as long as the copy.

    Raises OSError if the process has as many descriptors as it may have.
    """

    def __init__(self) -> None:
        self.for_files = False
        """Whether it stands for a file, which has positions."""
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._far.shutdown(socket.SHUT_WR)

    def fileno(self) -> int:
        """Return the descriptor that is put in the places of others."""
        return self._near.fileno()

    @property
    def own(self) -> tuple[int, int]:
        """The descriptors of the stub itself."""
        return self._near.fileno(), self._far.fileno()

    def was_used(self) -> bool:
        """Whether something was written since this was asked last."""
        used = False
        with contextlib.suppress(BlockingIOError):
            while self._far.recv(1 << 16):
                used = True
        return used


def guard(keep: Collection[int], stub: Stub) -> None:
    """Have no descriptor lead to anything that the original has, too.

    Arguments:
        keep: those that stay.
        stub: stands for connections.

    Raises OSError if that can't be done.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    reading, writing = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    harmless = {os.stat(path).st_rdev for path in _HARMLESS if os.path.exists(path)}  # noqa: PTH110, PTH116 - at a fork
    kept = {*keep, *stub.own, nothing, reading, writing}
    ways = {os.O_RDONLY: reading, os.O_WRONLY: writing, os.O_RDWR: nothing}
    try:
        for descriptor in _inherited():
            if descriptor in kept:
                continue
            try:
                facts = os.fstat(descriptor)
                way = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            except OSError:
                continue  # it was the one that listed the others
            kind = stat.S_IFMT(facts.st_mode)
            if kind == stat.S_IFDIR or way & getattr(os, "O_PATH", 0):
                continue
            if kind == stat.S_IFCHR and facts.st_rdev in harmless:
                continue
            access = way & os.O_ACCMODE
            plain = kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK) or descriptor in _STANDARD
            if kind == stat.S_IFREG and access == os.O_RDONLY:
                _reopen(descriptor, reading)
            elif plain or (kind == stat.S_IFREG and access == os.O_WRONLY):
                _replace(descriptor, ways.get(access, nothing))
            else:
                _replace(descriptor, stub.fileno())
                stub.for_files |= kind == stat.S_IFREG
    finally:
        for descriptor in (nothing, reading, writing):
            os.close(descriptor)


def _inherited() -> Iterable[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return sorted(int(name) for name in os.listdir(folder))  # noqa: PTH208 - no objects to make at a fork
        except (OSError, ValueError):
            continue
    return range(min(os.sysconf("SC_OPEN_MAX"), _MOST))


def _replace(descriptor: int, by: int) -> None:
    os.dup2(by, descriptor, inheritable=os.get_inheritable(descriptor))


def _reopen(descriptor: int, otherwise: int) -> None:
    """Have a descriptor of a file that is read be one of its own, at the same position."""
    try:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        fresh = os.open(_path_of(descriptor), os.O_RDONLY)
    except OSError:
        return _replace(descriptor, otherwise)  # it is gone, or nobody may open it any more
    try:
        os.lseek(fresh, position, os.SEEK_SET)
        _replace(descriptor, fresh)
    finally:
        os.close(fresh)
    return None


def _path_of(descriptor: int) -> str | bytes:
    """A way to open the same file once more: `/dev/fd` of macOS does not, it shares the position."""
    get_path = getattr(fcntl, "F_GETPATH", None)
    if get_path is None:
        return f"/proc/self/fd/{descriptor}"
    found: bytes = fcntl.fcntl(descriptor, get_path, bytes(1024))
    return found.rstrip(b"\0")
