"""Whether somebody still has a file open to write it: on Linux that can be seen, so a slow writer is waited for.

A lease for reading (fcntl(2), `F_SETLEASE`) is refused with EAGAIN while anybody has the file open for writing, this
process included. It is given back at once. Whoever opens the file to write in that moment waits until it is, and the
kernel tells us by a signal: SIGURG instead of SIGIO, which would end the process; SIGURG is ignored unless somebody
handles it, and then nothing is asked.

Guarantees: says yes only where that is certain. Where it can't be known, it says no: on other systems, for files of
other users (without CAP_LEASE), where a network file system refuses leases for reasons of its own, for what is no file.
Concurrency: keeps nothing, may be called by anybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
from pathlib import Path

from hotswap.watching.mounts import remote_kind

if sys.platform == "linux":
    import fcntl

__all__ = ["is_open_for_writing"]


def is_open_for_writing(path: Path) -> bool:
    """Whether a file is certainly open for writing, anywhere on this machine. Raises nothing."""
    if sys.platform != "linux" or signal.getsignal(signal.SIGURG) not in (signal.SIG_DFL, signal.SIG_IGN):
        return False
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        # Without waiting: somebody else may have a lease of his own on it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN and remote_kind(path) is None
    finally:
        # Not by closing alone: a child that was forked in this moment has the same descriptor.
        with contextlib.suppress(OSError):  # there is none
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(descriptor)
    return False
