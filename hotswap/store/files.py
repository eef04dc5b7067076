"""Files that are there as a whole, or not at all, also after a power cut."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["ASIDE", "is_file", "make_folder", "read_whole", "secure_folder", "write_whole"]

ASIDE = ".aside-"
"""What the names of files begin with that are not whole yet."""


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only, unless it is there, so that it lasts. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    secure_folder(folder.parent)


def secure_folder(folder: Path) -> None:
    """Have the names in a folder last. Raises OSError."""
    if os.name == "nt":  # there is no handle of a folder to be had, and NTFS keeps a journal of names
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_file(path: Path) -> bool:
    """Whether there is a file. Raises OSError where that can't be told, and for what is there and is no file."""
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    _refuse_odd(facts, path)
    return True


def read_whole(path: Path) -> bytes:
    """Return the bytes of a file. Raises OSError, for what is no file too: to open a pipe would wait for a writer."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        _refuse_odd(os.fstat(handle), path)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _refuse_odd(facts: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file aside, have it last, and give it its name. Raises OSError; nothing new stands there then."""
    aside = path.with_name(f"{ASIDE}{uuid.uuid4().hex}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):  # what is left aside is swept later
            aside.unlink()
        raise
    secure_folder(path.parent)
