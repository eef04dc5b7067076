"""Incarnations: the processes that write into a store, each with a lock that the system takes away when it dies.

An id of a process says nothing: it is used again, and in a container it is always 1. So each holds a lock on a file of
its own. Guarantees: a process that has died, however, has no lock; a forked child does not hold that of its parent.
Assumes: a file system with locks, and `os.register_at_fork` where processes are forked.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hotswap.store import exits
from hotswap.store.files import make_folder, read_whole

__all__ = ["START", "Incarnation", "alive", "clear", "ending", "incarnation", "is_name"]

START = ".start"
"""What the name of the file ends with in which an incarnation notes its start, beside its lock."""

_NAME = re.compile(r"[0-9a-f]{12}")


class Incarnation:
    """This process, as a store knows it. Lives as long as the process.

    Arguments:
        folder: where the locks lie.

    Raises OSError if there can be no lock.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.id = uuid.uuid4().hex[:12]
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.program = " ".join(getattr(sys, "orig_argv", sys.argv))[:500]
        self.known = False
        """Whether the journal knows it."""
        self._path = folder / self.id
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(self._handle):
            raise OSError(f"{self._path} can't be locked")

    def on_trial(self, rollout: str, *, holds: bool) -> None:
        """Watch how this process ends as long as a rollout is on trial in it.

        Arguments:
            rollout: its id.
            holds: whether it is on trial, or over.
        """
        if holds:
            exits.begin(rollout, self._handle)
        else:
            exits.over(rollout)

    def hold(self) -> None:
        """Have the lock stand where others look for it: the folder may have been moved away. Raises OSError."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._handle)):
                return
        make_folder(self._path.parent)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _lock(handle):
                raise OSError(f"{self._path} can't be locked")
            os.dup2(handle, self._handle, inheritable=False)  # how this process ends is noted by this number
        finally:
            os.close(handle)

    def end(self) -> None:
        """Let go of the lock."""
        exits.forget()
        self.drop()
        with suppress(OSError):  # the next look at the store takes them away
            self._path.unlink()
            self._path.with_suffix(START).unlink(missing_ok=True)

    def drop(self) -> None:
        """Close the file, which a forked child has as well: the lock stays with the parent."""
        with suppress(OSError):  # closed already, by a daemon that closes all there is
            os.close(self._handle)


_here: dict[Path, Incarnation] = {}
"""This process in each of the stores that it writes into."""

_one_at_a_time = [threading.Lock()]


def incarnation(folder: Path, ended: Callable[[Incarnation], None]) -> Incarnation:
    """Return this process, as a store knows it.

    Arguments:
        folder: where the locks of the store lie.
        ended: called when the process comes to its end in good order. Raises nothing.

    Raises OSError if there can be no lock.
    """
    with _one_at_a_time[0]:
        found = _here.get(folder)
        if found is None:
            found = _here[folder] = Incarnation(folder)
            atexit.register(_end, found, ended)
        else:
            found.hold()
        return found


def _end(incarnation: Incarnation, ended: Callable[[Incarnation], None]) -> None:
    if incarnation.pid != os.getpid():
        return
    if exits.end_in_good_order():
        ended(incarnation)
        incarnation.end()
    else:
        exits.tell_failure(getattr(sys, "last_value", None), over=True)


def is_name(name: object) -> bool:
    """Whether something is the id of an incarnation, and so the name of its lock."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def alive(folder: Path, name: str) -> bool:
    """Return whether an incarnation lives: whether its lock is held. Raises OSError if that can't be told."""
    mine = _here.get(folder)
    if mine is not None and mine.id == name:
        return True
    try:
        handle = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def ending(folder: Path, name: str) -> str | None:
    """Return what an incarnation that has died has noted of its end: `ended`, `stopped`, or None for nothing."""
    try:
        return exits.told_by(read_whole(folder / name))
    except OSError:  # the file is gone, or is none: then nothing is known
        return None


def clear(folder: Path, name: str) -> None:
    """Take away what an incarnation that has died has left; what can't be taken away says nothing any more."""
    if is_name(name):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)
            (folder / f"{name}{START}").unlink(missing_ok=True)


def _lock(handle: int) -> bool:
    """Lock a file, if nobody else has. Raises OSError where there are no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forked() -> None:
    _one_at_a_time[0] = threading.Lock()  # another thread of the parent may have held it
    # What `exits` has registered ran before this: nothing is noted into these files any more.
    for inherited in _here.values():
        inherited.drop()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
