"""From a name in a directory to bytes that may be used: read once, verified as they are in memory."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hotswap.errors import SignatureError, TrustError
from hotswap.trust.encoding import MAX_TEXT
from hotswap.trust.policy import Trust
from hotswap.trust.reading import Folder, Limits, opened
from hotswap.trust.signatures import SUFFIX

__all__ = ["Delivery", "Waiting", "receive"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
"""Letters that look alike, or that some file system takes for the same, are how one file passes for another."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was dropped, verified. Lives until a patch is made of it.

    Attributes:
        name: of the drop.
        data: the bytes of a file; None for a folder.
        files: path -> bytes of what is in a folder; empty for a file.
        manifest: the bytes of `NAME.toml` beside a wheel, or None.
        key: the id of the key that it is signed with, or None.
        signed: when, in seconds since the epoch, where the signature says so.
    """

    name: str
    data: bytes | None
    files: Mapping[str, bytes]
    manifest: bytes | None
    key: str | None
    signed: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What was dropped lacks something that may still come. `reason` says what."""

    reason: str


def receive(trust: Trust, directory: Path, name: str, *, signed: bool = True) -> Delivery | Waiting:
    """Read and verify one drop.

    Arguments:
        trust: the policy.
        directory: where it was dropped.
        name: under which name.
        signed: whether signatures are looked at; not to find out which bytes they are. Nothing that is read without may
            be run.

    Raises TrustError for what may not run, OSError where it can't be read.
    """
    check_name(name)
    with opened(directory, trust.limits().owners, links=trust.links) as folder:
        kind = _kind(name)
        if kind not in trust.kinds:
            raise TrustError(
                f"{name} is a {kind}; only {' and '.join(sorted(trust.kinds))} may be dropped here",
                code="kind-refused",
                advice="build a wheel, or allow it with Trust(kinds=...)",
            )
        if kind == "folder":
            return _folder(trust, folder, name)
        beside = f"{name}.toml" if kind == "wheel" and folder.has(f"{name}.toml") else None
        for file in filter(None, (name, beside)):
            folder.probe(file, trust.limits())
            if signed and trust.needs_signatures and not folder.has(f"{file}{SUFFIX}"):
                return Waiting(f"{file} is not signed: waiting for {file}{SUFFIX}")
        limits = trust.limits()
        verified = partial(_verified, trust, folder, limits=limits, signed=signed)
        data, key, when = verified(name, named=kind == "file")
        manifest = None if beside is None else verified(beside, named=True)[0]
        if kind == "wheel":
            _weigh(data, limits)
        return Delivery(name, data, {}, manifest, key, when)


def check_name(name: str) -> None:
    """Raise TrustError for a name that could pass for another, or break the lines of whoever lists it."""
    if _NAME.fullmatch(name):
        return
    control = any(ord(character) < 32 or ord(character) == 127 for character in name)
    strange = (
        "control characters, such as the end of a line," if control else "other characters than A-Z a-z 0-9 . _ + ! -"
    )
    raise TrustError(
        f"the name {name!a} has {strange} in it", code="name-unclear", advice="rename it; sign it under its new name"
    )


def _kind(name: str) -> str:
    if name.endswith(".whl"):
        return "wheel"
    return "file" if name.endswith(".py") else "folder"


def _folder(trust: Trust, folder: Folder, name: str) -> Delivery:
    if trust.needs_signatures:
        raise SignatureError(
            f"{name} is a folder, which can't be signed", code="unsigned", advice="build a wheel of it, and sign that"
        )
    return Delivery(name, None, folder.walk(name, trust.limits()), None, None)


def _verified(
    trust: Trust, folder: Folder, name: str, limits: Limits, *, named: bool, signed: bool
) -> tuple[bytes, str | None, int | None]:
    data = folder.read(name, limits)
    trust.check_bytes(hashlib.sha256(data).hexdigest(), name)
    if not signed or not trust.keys or not (trust.needs_signatures or folder.has(f"{name}{SUFFIX}")):
        return data, None, None
    signature = folder.read(f"{name}{SUFFIX}", Limits(MAX_TEXT, 1, limits.owners))
    key, comment = trust.read_signature(data, name, signature, named=named)
    return data, key, comment.timestamp


def _weigh(data: bytes, limits: Limits) -> None:
    """Refuse a wheel that says itself that it unpacks to too much. That it lies, the reader of wheels finds out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = [(entry.filename, entry.file_size) for entry in archive.infolist()]
    except Exception:  # noqa: BLE001 - a damaged archive raises many things, and the reader of wheels names them all
        return
    unpacked = Limits(limits.most, limits.many, None)
    for name, size in sizes:
        unpacked.add(os.fsdecode(name), size)
