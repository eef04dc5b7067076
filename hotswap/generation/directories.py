"""Where the files of a generation lie, and whether they stay there after it.

They are deleted with their generation, and at exit. Who reads them later, as ``coverage report`` does, needs them to
stay: so they do while coverage measures this process, and where the environment variable `VARIABLE` names a folder for
them. Set to nothing, the variable has them deleted in any case.
"""

from __future__ import annotations

import os
import sys
import tempfile

from hotswap.generation.abandoned import SUFFIX, Hold, sweep

__all__ = ["VARIABLE", "new_directory", "passing_directory", "stay"]

VARIABLE = "HOTSWAP_KEEP_SOURCES"


_swept: set[str] = set()
"""The folders for temporary files in which this process has looked for what killed ones have left."""


def new_directory() -> tuple[str, Hold | None]:
    """Make a directory, readable for its owner only; return its path, and what says that it is in use.

    The first one takes away what processes have left that were killed. Raises OSError.
    """
    folder = os.environ.get(VARIABLE)
    if folder:
        folder = os.path.abspath(folder)
        os.makedirs(folder, exist_ok=True)
    if stay():  # nobody takes it away, also later
        return tempfile.mkdtemp(prefix=f"hotswap-{os.getpid()}-", dir=folder or None), None
    return passing_directory(f"hotswap-{os.getpid()}-")


def passing_directory(prefix: str) -> tuple[str, Hold | None]:
    """Make a directory that is of no use once this process and its children are gone; as `new_directory`.

    Arguments:
        prefix: what its name begins with, `hotswap-` first.
    """
    temporary = tempfile.gettempdir()
    if temporary not in _swept:
        _swept.add(temporary)
        sweep(temporary)
    path = tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX)
    try:
        return path, Hold(path)
    except OSError:  # no locks here
        return path, None


def stay() -> bool:
    """Return whether somebody will read the files of generations that are gone."""
    folder = os.environ.get(VARIABLE)
    if folder is not None:
        return bool(folder)
    measuring = getattr(sys.modules.get("coverage"), "Coverage", None)
    current = getattr(measuring, "current", None)
    return callable(current) and current() is not None
