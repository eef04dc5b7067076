"""Where the files of a generation lie, and whether they stay there after it.

They are deleted with their generation, and at exit. Who reads them later, as ``coverage report`` does, needs them to
stay: so they do while coverage measures this process, and where the environment variable `VARIABLE` names a folder for
them. Set to nothing, the variable has them deleted in any case.
"""

from __future__ import annotations

import os
import sys
import tempfile

__all__ = ["VARIABLE", "new_directory", "stay"]

VARIABLE = "HOTSWAP_KEEP_SOURCES"


def new_directory() -> str:
    """Make a directory, readable for its owner only, and return its path."""
    folder = os.environ.get(VARIABLE)
    if folder:
        folder = os.path.abspath(folder)
        os.makedirs(folder, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"hotswap-{os.getpid()}-", dir=folder or None)


def stay() -> bool:
    """Return whether somebody will read the files of generations that are gone."""
    folder = os.environ.get(VARIABLE)
    if folder is not None:
        return bool(folder)
    measuring = getattr(sys.modules.get("coverage"), "Coverage", None)
    current = getattr(measuring, "current", None)
    return callable(current) and current() is not None
