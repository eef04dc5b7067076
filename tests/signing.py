"""Keys and signatures for tests, and the `minisign` command where it is there."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hotswap.trust import SUFFIX, Comment, SecretKey

__all__ = ["ALICE", "MALLORY", "minisign", "sign", "signature_of"]

ALICE = SecretKey(b"alicekey", bytes(range(32)))
"""Whom the tests trust."""

MALLORY = SecretKey(b"mallorys", bytes(range(1, 33)))
"""Whom nobody trusts."""


def signature_of(data: bytes, comment: Comment | str, key: SecretKey = ALICE, *, legacy: bool = False) -> bytes:
    """Return the contents of a `.minisig` file."""
    return str(key.sign(data, comment, legacy=legacy)).encode()


def sign(path: Path, key: SecretKey = ALICE, *, comment: Comment | str | None = None) -> Path:
    """Write the signature of a file beside it, and return its path."""
    comment = Comment(file=path.name) if comment is None else comment
    target = path.with_name(path.name + SUFFIX)
    target.write_bytes(signature_of(path.read_bytes(), comment, key))
    return target


@functools.cache
def _command() -> str:
    found = shutil.which("minisign")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the command minisign is missing: .ci/run installs it (apt-get install minisign)")
        pytest.skip("the command minisign is not installed (apt-get install minisign)")
    return found


def minisign(*arguments: str, cwd: Path, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run Debian's `minisign`; a missing one is a skip, and in CI a failure."""
    command = [_command(), *arguments]
    return subprocess.run(command, cwd=cwd, input=told, capture_output=True, text=True, check=False, timeout=120)
