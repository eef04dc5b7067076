"""Blobs: patches by their digest, each a file that is written once and verified whenever it is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hotswap.errors import StoreError
from hotswap.patch import Patch
from hotswap.store.files import ASIDE, make_folder, read_whole, write_whole

__all__ = ["Blobs", "packed", "unpacked"]

_TITLE = b"hotswap patch 1 "

_DIGEST = re.compile("[0-9a-f]{64}")

_UNDISTURBED = 3600.0
"""Seconds that a file which nobody speaks of stays: another process may be about to write of it in the journal."""


class Blobs:
    """The patches of a store. Lives as long as the store; any number of processes may use one folder.

    Arguments:
        folder: where they lie; it is made when the first one is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, patch: Patch) -> str:
        """Keep a patch, so that it lasts, and return its digest; for an hour nobody sweeps it away then.

        Raises StoreError; nothing was kept then.
        """
        path, data = self.folder / patch.digest, packed(patch)
        try:
            make_folder(self.folder)
            if not _renewed(path, data):
                write_whole(path, data)
        except OSError as error:
            raise StoreError(
                f"{patch.label} can't be kept in {self.folder}: {error.strerror or error}",
                patch=patch.label,
                advice="see to the disk; nothing goes live that is not durable",
            ) from error
        return patch.digest

    def has(self, digest: str) -> bool:
        """Return whether there is a file for the patch of that digest."""
        return (self.folder / digest).is_file()

    def get(self, digest: str) -> Patch:
        """Return the patch of that digest. Raises StoreError if it is not there, or not what it was."""
        if _DIGEST.fullmatch(digest) is None:
            raise StoreError(f"{digest!r} is no digest of a patch")
        path = self.folder / digest
        try:
            patch = unpacked(read_whole(path))
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is damaged: {error}", advice=_MOVE) from error
        if patch.digest != digest:
            raise StoreError(f"{path} holds something else: its digest is {patch.digest}", advice=_MOVE)
        return patch

    def sweep(self, wanted: Collection[str]) -> list[str]:
        """Delete what nobody speaks of, and what was left aside, once they are an hour old; return the digests.

        Raises StoreError if the folder can't be read; nothing was deleted then.
        """
        gone = []
        try:
            found = list(self.folder.iterdir()) if self.folder.is_dir() else []
        except OSError as error:
            raise StoreError(f"{self.folder} can't be read: {error.strerror or error}") from error
        for path in found:
            name = path.name
            with suppress(OSError):  # another process sweeps too, or it goes the next time
                if name not in wanted and path.stat().st_mtime < time.time() - _UNDISTURBED:
                    path.unlink()
                    gone += [name] * (not name.startswith(ASIDE))
        return gone


_MOVE = "move it away, and apply the patch again; the service starts on the code on disk"


def _renewed(path: Path, data: bytes) -> bool:
    """Whether a file has these bytes, and is as young as a new one; it was made to last before it got its name."""
    try:
        if read_whole(path) != data:
            return False
        os.utime(path)
    except OSError:  # it is not there, or another process has just swept it away
        return False
    return True


def packed(patch: Patch) -> bytes:
    """Return the bytes that a patch is kept as; the same for the same patch, wherever it came from."""
    head = {
        "name": patch.name,
        "version": None if patch.version is None else str(patch.version),
        "versions": {name: str(version) for name, version in patch.versions.items()},
        "complete": sorted(patch.complete),
        "keep": sorted(patch.keep),
        "replace": sorted(patch.replace),
        "requires_python": None if patch.requires_python is None else str(patch.requires_python),
        "requires": sorted(map(str, patch.requires)),
        "metadata": {key: value for key, value in sorted(patch.metadata.items()) if key != "origin"},
        "files": [[path, len(data)] for path, data in patch.files.items()],
    }
    # Names of files that are not valid in the file system's encoding have surrogates, which JSON writes as escapes.
    rest = json.dumps(head, sort_keys=True).encode() + b"\n" + b"".join(patch.files.values())
    return _TITLE + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def unpacked(data: bytes) -> Patch:
    """Return the patch that was packed. Raises ValueError, KeyError, TypeError or AttributeError for what is none."""
    title, _, rest = data.partition(b"\n")
    if title != _TITLE + hashlib.sha256(rest).hexdigest().encode():
        raise ValueError("its bytes are not those that were written")
    line, _, body = rest.partition(b"\n")
    head: Mapping[str, Any] = json.loads(line)
    files, start = {}, 0
    for path, size in head["files"]:
        files[path] = body[start : start + size]
        start += size
    return Patch(
        name=head["name"],
        version=None if head["version"] is None else Version(head["version"]),
        versions={name: Version(version) for name, version in head["versions"].items()},
        files=files,
        complete=frozenset(head["complete"]),
        keep=frozenset(head["keep"]),
        replace=frozenset(head["replace"]),
        requires_python=None if head["requires_python"] is None else SpecifierSet(head["requires_python"]),
        requires=tuple(map(Requirement, head["requires"])),
        metadata=head["metadata"],
    )
