"""What a copy of the process may take: processor time, memory, and nothing after the original has ended."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["lift", "limit", "memory_now", "peak", "stay_behind"]

_SLACK = 1 << 30
"""Bytes of addresses, beyond twice the memory, that shared pieces and the reserves of the allocator may take."""

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG"""

_NEVER = 1 << 30
"""So many collections of the young generations that no automatic one of the whole heap is made."""


def stay_behind(library: Any, original: int) -> None:
    """Have this process be the first that the system ends, and leave with the original.

    Arguments:
        library: that of the system, or None.
        original: the id of the process that it is a copy of.

    A session of its own keeps signals of a terminal away, and lets all that it starts be ended together.
    """
    with suppress(OSError):
        os.setsid()
    if library is not None and sys.platform == "linux":
        # When the thread that made the copy ends, to be exact: that thread waits for us.
        library.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != original:
        os._exit(1)
    with suppress(OSError):  # there is none but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Linux writes no core file for a limit of 1, and asks no program for one, as it would for a limit of 0.
    _set(resource.RLIMIT_CORE, 1 if sys.platform == "linux" else 0)
    # Automatic collections of the whole heap would write into each page of it, and so copy it. `gc.freeze` would keep
    # them from that as well, but what is frozen can't be found by who looks for it: a rehearsal would not be one.
    first, second, *_ = gc.get_threshold()
    gc.set_threshold(first, second, _NEVER)


def limit(cpu: int | None, memory: int | None) -> None:
    """Set the limits. They hold for what this process starts, too, for each one alone.

    Arguments:
        cpu: seconds of processor time.
        memory: bytes beyond what the process has now. The system keeps it on Linux; elsewhere somebody has to look.
    """
    if cpu is not None:
        _set(resource.RLIMIT_CPU, cpu)
    if memory is not None and sys.platform == "linux":
        had = _status()
        if "VmData" in had:
            _set(resource.RLIMIT_DATA, had["VmData"] + memory)
        if "VmSize" in had:
            _set(resource.RLIMIT_AS, had["VmSize"] + 2 * memory + _SLACK)


def lift() -> None:
    """Take the limits of memory off again: to tell what has happened takes some."""
    for which in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        with suppress(ValueError, OSError):
            resource.setrlimit(which, (resource.getrlimit(which)[1],) * 2)


def _set(which: int, value: int) -> None:
    """Lower a soft limit; the hard one stays, so that it can be lifted."""
    soft, hard = resource.getrlimit(which)
    bounds = [value, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (min(bounds), hard))


def _status() -> dict[str, int]:
    """What Linux says of the memory of this process, in bytes."""
    found = {}
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[name] = int(value.split()[0]) * 1024
    return found


def memory_now() -> int:
    """Return how many bytes of this process are in memory: right after a fork, what it has from the original."""
    return _status().get("VmRSS") or peak()


def peak() -> int:
    """Return how many bytes of this process were in memory at the most."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
