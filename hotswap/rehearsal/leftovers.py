"""What a copy of the process has started, and that is still there when the copy has ended.

The copy has a session of its own, and is killed with it. But what it starts may leave that: checks that run a program
give it a session, for it to be killed with all that it starts. So each is known by a variable of its environment.

Guarantees: what is found is killed. Assumes: Linux, where the environment of a process can be read; elsewhere nothing
is found, and what was started ends by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["MARK", "kill_leftovers"]

MARK = "HOTSWAP_REHEARSAL"


def kill_leftovers(mark: str) -> None:
    """Kill the processes that have a mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile, or belong to somebody else.
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
