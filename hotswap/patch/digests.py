"""The digest of a patch: SHA-256 over everything that makes it what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hotswap.patch.overrides import override_parts

if TYPE_CHECKING:
    from hotswap.patch.artifact import Patch

__all__ = ["digest_of"]


def digest_of(patch: Patch) -> str:
    """Hash a patch so that no two patches share their input: each part goes with its length before it."""
    whole = hashlib.sha256()
    for part in _parts(patch):
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.hexdigest()


def _parts(patch: Patch) -> Iterator[bytes]:
    also = [*(["overrides"] if patch.keep or patch.replace else []), *(["versions"] if patch.versions else [])]
    yield ", with ".join(["hotswap patch 1", *([" and ".join(also)] if also else [])]).encode()
    yield patch.name.encode(errors="surrogatepass")
    yield b"" if patch.version is None else str(patch.version).encode()
    yield b"%d" % len(patch.complete)
    for name in sorted(patch.complete):
        yield name.encode(errors="surrogatepass")
    yield from override_parts(patch.keep, patch.replace)
    if patch.versions:
        yield b"versions"
        yield b"%d" % len(patch.versions)
        yield from (f"{name} {version}".encode() for name, version in sorted(patch.versions.items()))
    for path, data in patch.files.items():
        # A file name that is not valid in the file system's encoding has surrogates in Python.
        yield path.encode(errors="surrogatepass")
        yield data
