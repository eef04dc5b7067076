"""Actors: who does something, where nobody says it."""

from __future__ import annotations

import getpass
import os
import socket
import sys

__all__ = ["whoever"]


def whoever() -> str:
    """Who acts, if nobody says it: account, host and process."""
    try:
        account = getpass.getuser()
    except (KeyError, ImportError, OSError):  # an account without a name, as in containers
        account = str(os.getuid()) if hasattr(os, "getuid") else "?"
    try:
        host = socket.gethostname()
    except OSError:  # WebAssembly has no hosts
        host = sys.platform
    return f"{account}@{host}, process {os.getpid()}"
