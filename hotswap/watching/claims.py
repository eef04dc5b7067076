"""The right to watch a directory: it can be read, and nobody else in this process watches it.

There is one marker for each drop, so there is one watch for each directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from hotswap.errors import HotswapError

__all__ = ["claim", "inherit", "release"]

_claims: dict[Path, tuple[object, int]] = {}
"""Who watches a directory, and in which process: a forked child may watch what its parent does."""


def claim(watch: object, directory: Path) -> None:
    """Take a directory, and make it if it is missing.

    Raises HotswapError where it can't be made or read, or is watched already in this process. Nothing is left behind.
    """
    _prepare(directory)
    if _claims.get(directory, (None, 0))[1] == os.getpid():
        raise HotswapError(f"{directory} is watched already in this process", advice="stop the other watch first")
    _claims[directory] = (watch, os.getpid())


def inherit(watch: object, directory: Path) -> None:
    """Keep a directory in a forked child, where the same watch goes on."""
    _claims[directory] = (watch, os.getpid())


def release(watch: object, directory: Path) -> None:
    """Give a directory back, if it is this watch that has it."""
    if _claims.get(directory, (None, 0))[0] is watch:
        del _claims[directory]


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with os.scandir(directory):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise HotswapError(
            f"{directory} can't be watched: it, or what it is in, is not a directory",
            advice="give the path of a directory, or move the file away",
        ) from error
    except OSError as error:
        raise HotswapError(
            f"{directory} can't be watched: it can't be made or read ({error})",
            advice="give this process the right to make and read it, or give another path",
        ) from error
