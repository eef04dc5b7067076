"""Directories of processes that were killed: nobody is left to delete them, so the next process does.

    a directory is made        → a file in it is locked, and mapped into memory
    a process is forked        → the child has the lock, too: the directory is there as long as one of them lives
    the last of them has died  → the system has taken the lock away; the next process that makes a directory sees that

Guarantees: what a living process uses is left alone, also by a process in another container that shares the folder for
temporary files. An id of a process would not tell, since it is used again and is 1 in each container; a lock does.
It is proof only within one running system: on a network file system another host may not see it. So the file says
which system holds it, and what another one made is left alone, as is what was made before the last start of this one.
Nothing is followed that is a link, and what others own or may write to is left alone, too.

Assumes: `flock` and `mmap`. Where there is none of them (Windows), or a file system has no locks, nothing is deleted.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["SUFFIX", "Hold", "remove_directory", "sweep"]

SUFFIX = ".tree"
"""What the names of such directories end with."""

_NAME = re.compile(r"hotswap-[^/]+" + re.escape(SUFFIX))
_LOCK = ".hotswap-lock"
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LOST: list[object] = []
"""Mappings that can't be given back."""


class Hold:
    """Says that a directory is in use. Lives as long as somebody uses it.

    A daemon closes all descriptors that it has inherited, and a lock is gone with its last descriptor, but for one that
    is mapped into memory.

    Arguments:
        directory: it was just made, and is empty.

    Raises OSError where there can be no lock; nothing is left in the directory then.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _LOCK)
        self._handle: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            import fcntl
            import mmap

            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Once it is locked: who reads that knows that there was an owner.
            os.write(self._handle, _system())
            self._facts = os.fstat(self._handle)
            how = {"flags": mmap.MAP_PRIVATE, "prot": mmap.PROT_READ}
            if sys.version_info >= (3, 13):  # else it keeps a descriptor of its own
                how["trackfd"] = False
            self._memory = mmap.mmap(self._handle, 1, **how)
        except BaseException as error:
            os.close(self._handle)
            os.unlink(self._path)
            if isinstance(error, ImportError | AttributeError):
                raise OSError("there are no locks here") from error
            raise
        if sys.version_info >= (3, 13):
            os.close(self._handle)
            self._handle = None

    def give_up(self) -> None:
        """Have nobody delete the directory."""
        with suppress(OSError):
            os.unlink(self._path)

    def end(self) -> None:
        """Let go. A forked child goes on to hold it."""
        if self._handle is None:
            self._memory.close()
            return
        with suppress(OSError):
            if os.path.samestat(self._facts, os.fstat(self._handle)):
                os.close(self._handle)
                self._memory.close()
                return
        # A daemon has closed all there was, and the numbers may be somebody else's: nothing is closed a second time.
        _LOST.append(self._memory)


def sweep(folder: str) -> None:
    """Delete the directories whose owners have died.

    Arguments:
        folder: where they lie.

    Raises nothing: what can't be deleted is left.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if _NAME.fullmatch(entry.name)]:
            with suppress(OSError):
                _delete(os.path.join(folder, name))


def remove_directory(directory: str) -> None:
    """Delete a directory of this process, folders first: who is killed meanwhile leaves the lock. Raises nothing."""
    with suppress(OSError), os.scandir(directory) as entries:
        for path in [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def _delete(directory: str) -> None:
    """Delete a directory if its owner has died. Raises OSError where that can't be told, or done."""
    import fcntl

    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    lock = None
    try:
        if not _is_private(os.fstat(handle)):
            return
        lock = os.open(_LOCK, os.O_RDONLY | os.O_NONBLOCK | _FLAGS, dir_fd=handle)
        facts = os.fstat(lock)
        if not stat.S_ISREG(facts.st_mode) or not _is_private(facts) or os.read(lock, 100) != _system():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody holds it
        if os.path.samestat(os.stat(_LOCK, dir_fd=handle, follow_symlinks=False), facts):
            _empty(handle)
            os.rmdir(directory)
    finally:
        if lock is not None:
            os.close(lock)
        os.close(handle)


def _is_private(facts: os.stat_result) -> bool:
    return facts.st_uid == os.geteuid() and not facts.st_mode & _OTHERS


def _empty(handle: int) -> None:
    """Delete what is in a directory, its lock last. Raises OSError."""
    with os.scandir(handle) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, folder in sorted(names, key=lambda one: one[0] == _LOCK):
        if folder:
            shutil.rmtree(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)


def _system() -> bytes:
    """Which running system this is: one kernel, from its start to its end."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip() + b"\n"
    return f"{os.uname().nodename}\n".encode()
