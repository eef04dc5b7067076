"""`RECORD`, the list of a wheel's files and their hashes, held against the files."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
from collections.abc import Mapping

__all__ = ["check_record"]

_ALGORITHMS = frozenset(
    {"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s"},
)
"""Those of `hashlib` that are as strong as SHA-256; the specification of wheels refuses weaker ones."""

_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""RECORD cannot hold its own hash, and its signatures are made after it."""


def check_record(folder: str, files: Mapping[str, bytes], broken: frozenset[str]) -> list[str]:
    """Return what is wrong between RECORD and the files, a sentence each; empty if every byte is vouched for.

    Arguments:
        folder: the wheel's ``*.dist-info``.
        files: path in the archive -> bytes, of every file in it that could be read.
        broken: paths of files that could not be read; what is wrong with them has been said.
    """
    unhashed = {f"{folder}/{name}" for name in _UNHASHED}
    try:
        rows = list(csv.reader(io.StringIO(files[f"{folder}/RECORD"].decode()), strict=True))
    except KeyError:
        return [f"has no {folder}/RECORD, so nothing vouches for its files"]
    except (UnicodeDecodeError, csv.Error) as error:
        return [f"{folder}/RECORD cannot be read: {error}"]
    issues = []
    seen = set()
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if len(row) != 3:
            issues.append(f"RECORD, row {number}: {len(row)} fields instead of 3")
            continue
        path, written, size = row
        if path in seen:
            issues.append(f"{path} is listed twice in RECORD")
        seen.add(path)
        if path in unhashed or path in broken:
            continue
        if path not in files:
            issues.append(f"{path} is listed in RECORD, but is not in the wheel")
        elif issue := _mismatch(files[path], written, size):
            issues.append(f"{path} {issue}")
    issues += [f"{path} is not listed in RECORD" for path in files if path not in seen and path not in unhashed]
    return issues


def _mismatch(data: bytes, written: str, size: str) -> str | None:
    algorithm, equals, value = written.partition("=")
    if not equals:
        return "has no hash in RECORD"
    if algorithm not in _ALGORITHMS:
        return f"is hashed with {algorithm!r} in RECORD; it has to be sha256 or stronger"
    if size != str(len(data)):
        return f"has {len(data)} bytes, and RECORD gives its size as {size!r}"
    try:
        hashed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return f"has a hash in RECORD that cannot be read: {written!r}"
    if hashed != hashlib.new(algorithm, data).digest():
        return f"does not have the {algorithm} hash that RECORD says"
    return None
