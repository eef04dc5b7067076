"""What the readers of files, folders and wheels find, and the limits that they keep."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hotswap.errors import PatchError

if TYPE_CHECKING:
    from hotswap.patch.manifest import Manifest

__all__ = ["MAX_SIZE", "Contents", "as_version", "listed", "read_file"]

MAX_SIZE = 512 * 1024 * 1024
"""Bytes that a patch may hold altogether, unpacked: all of them are kept in memory."""

SHOWN = 25
"""Problems that an error lists; a wheel of thousands of files may have one in each."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read from one place: a fact, checked as far as its kind can be checked."""

    kind: str
    """``"file"``, ``"package"``, ``"folder"`` or ``"wheel"``."""
    name: str
    version: Version | None
    files: Mapping[str, bytes]
    complete: frozenset[str]
    requires_python: SpecifierSet | None = None
    requires: tuple[Requirement, ...] = ()
    versions: Mapping[str, Version] = field(default_factory=dict)
    """Top-level name -> what it says of itself, where not all that was read has one version."""
    manifest: Manifest | None = None
    """What its `hotswap.toml` says, where it has one."""


def listed(subject: str, issues: Sequence[str]) -> str:
    """Return one text that names all issues of a subject, one a line where there are several."""
    if len(issues) == 1:
        return f"{subject}: {issues[0]}"
    lines = [f"{subject}: {len(issues)} problems", *(f"  - {issue}" for issue in issues[:SHOWN])]
    if len(issues) > SHOWN:
        lines.append(f"  - and {len(issues) - SHOWN} more")
    return "\n".join(lines)


def as_version(version: str | Version) -> Version:
    """Return a PEP 440 version; raise `PatchError` for a text that is none."""
    if isinstance(version, Version):
        return version
    try:
        return Version(version)
    except (ValueError, TypeError):  # InvalidVersion is a ValueError
        raise PatchError(
            f"{version!r} is not a version", advice="give a PEP 440 version, such as '1.2.1' or '1.2.1+hot.1'"
        ) from None


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file, read once.

    Arguments:
        path: the file; a symbolic link is followed.
        limit: the most bytes that it may have.

    Raises `PatchError` if it cannot be read, is larger, is still being written, or is not a regular file (opening a
    pipe would wait for ever).
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise PatchError(f"{path} is not a regular file")
        if facts.st_size > limit:
            raise PatchError(f"{path} is too large: with it the patch holds more than {MAX_SIZE:,} bytes")
        with path.open("rb") as handle:
            data = handle.read(facts.st_size + 1)
    except (OSError, ValueError) as error:
        raise PatchError(f"{path} cannot be read: {reason_of(error)}") from error
    if len(data) != facts.st_size:
        raise PatchError(
            f"{path} changed while it was read", advice="write it elsewhere, then rename it into its place"
        )
    return data


def reason_of(error: Exception) -> str:
    """Return what went wrong with a file, without the path that the sentence names already."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error)
