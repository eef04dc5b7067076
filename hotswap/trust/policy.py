"""`Trust`: the policy that says what may run of what is dropped into a directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from hotswap.errors import SignatureError, TrustError
from hotswap.trust import ed25519
from hotswap.trust.comments import Comment
from hotswap.trust.memory import Memory
from hotswap.trust.ownership import Owners, Writers, owners_of, require_support
from hotswap.trust.public_keys import PublicKey
from hotswap.trust.reading import Limits
from hotswap.trust.signatures import Signature

__all__ = ["KINDS", "Artifact", "Trust", "checked_trust"]

KINDS = ("wheel", "file", "folder")
"""What may be dropped: a wheel, a single `.py` file, a folder."""

_LATEST = 253_402_300_799
"""Seconds since the epoch at the end of the year 9999, after which there are no dates."""

_KEY_ID = re.compile(r"[0-9A-Fa-f]{16}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")


class Artifact(Protocol):
    """What the policy asks of a patch."""

    @property
    def label(self) -> str:
        """Name and version."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything that it is."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Path -> bytes."""

    @property
    def sources(self) -> Mapping[str, object]:
        """Module -> source."""

    @property
    def extensions(self) -> Mapping[str, object]:
        """Module -> path of a compiled module."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Where it came from; with `signed`, when that was signed, in seconds since the epoch."""

    def version_of(self, package: str, /) -> Version | None:
        """The version that it gives to a top-level package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """What may run of what is dropped into a directory. Immutable; lives as long as the service.

    It holds for what comes from a watched directory. What code of the process hands to `Patcher.apply` is as trusted as
    that code; `check` asks the same of it.

    Raises TypeError or ValueError for what is no policy (no keys, and nothing unsigned either), SignatureError for what
    is no key, HotswapError for a key file that can't be read, and where keys are given and `cryptography` is missing.
    """

    keys: Collection[PublicKey | str | os.PathLike[str]] = ()
    """Public keys of minisign: base64, the text of a ``.pub`` file, or a `Path` of one. Any of them is enough."""
    revoked: Collection[str] = ()
    """Ids of keys (16 hexadecimal digits) and SHA-256 digests (64), of dropped files or of patches."""
    unsigned: bool = False
    """Whether a drop needs no signature. One that has a signature has to have a right one, where there are keys."""
    packages: Mapping[str, str | SpecifierSet] | None = None
    """Top-level package -> versions that it may get, such as ``">=1.2,<2"``; ``""`` for any, also none. None: all."""
    kinds: Collection[str] = ("wheel",)
    """What may be dropped: ``"wheel"``, ``"file"`` (a single ``.py``), ``"folder"`` (which can't be signed)."""
    downgrade: bool = False
    """Whether older versions, and what was live here before, may be dropped too."""
    max_bytes: int = 64 * 1024 * 1024
    """The most bytes of a drop, packed and unpacked."""
    max_files: int = 5_000
    """The most files of a drop, in a wheel or in a folder."""
    links: bool = False
    """Whether a file may be a symbolic link that stays within the directory; what it leads to is judged like a file."""
    owners: Collection[int] | None = ()
    """Users that drops and the directory may belong to, besides root and that of this process. None: nobody asks."""
    writers: Writers = "owner"
    """Who may have the right to write to them: ``"owner"``, ``"group"``, or ``"everybody"``."""
    seen: Callable[[str], bool] | None = None
    """Tells of a patch's digest whether it was live here before, in an earlier process."""
    _owners: Owners | None = field(init=False, repr=False, compare=False)
    _specifiers: Mapping[str, SpecifierSet] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = _several(self.keys, "keys")
        made = {
            "keys": tuple(PublicKey.of(key) for key in keys),  # type: ignore[arg-type]  # whatever it is, it says so
            "revoked": frozenset(map(_revoked, _several(self.revoked, "revoked"))),
            "kinds": frozenset(_several(self.kinds, "kinds")),
            "_owners": owners_of(self.owners, self.writers),
            "_specifiers": None if self.packages is None else _specifiers(self.packages),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        ids = [key.key_id for key in self._keys]
        if len(set(ids)) < len(ids):
            raise ValueError("two of the keys have the same id")
        if keys:
            ed25519.require()
        elif not self.unsigned:
            raise ValueError("a policy without keys takes nothing: give keys, or unsigned=True")
        if strangers := sorted(set(self.kinds) - {*KINDS}):
            raise ValueError(f"kinds: there is no {', '.join(map(repr, strangers))}; there are {', '.join(KINDS)}")
        if not isinstance(self.links, bool):
            raise TypeError(f"links has to be True or False, not {self.links!r}")
        for name in ("max_bytes", "max_files"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} has to be a positive number, not {value!r}")

    # --- the place ---------------------------------------------------------------------------------------------------

    def limits(self) -> Limits:
        """Return what may be read of one drop."""
        return Limits(self.max_bytes, self.max_files, self._owners)

    def check_directory(self, directory: os.PathLike[str]) -> None:
        """Raise TrustError for a directory that others can write to, or could put another one in the place of.

        Raises HotswapError where owners are asked for and the platform has none, OSError where it can't be reached.
        """
        if self._owners is not None:
            require_support()
            self._owners.check_way(Path(directory))

    # --- signatures --------------------------------------------------------------------------------------------------

    @property
    def needs_signatures(self) -> bool:
        """Whether nothing runs without a signature."""
        return not self.unsigned

    def read_signature(self, data: bytes, name: str, signature: bytes, *, named: bool = False) -> tuple[str, Comment]:
        """Return the id of the key that some bytes are signed with, and the trusted comment.

        Arguments:
            data: the bytes.
            name: under which they were dropped.
            signature: the bytes of `NAME.minisig`.
            named: whether the signature has to name the file, because the name says what the bytes are.

        Raises SignatureError: damaged, a stranger's, revoked, not of these bytes, of another file, expired.
        """
        parsed = Signature.parse(signature)
        if parsed.key_name in self.revoked:
            raise SignatureError(
                f"it is signed with the key {parsed.key_name}, which is revoked",
                code="key-revoked",
                advice="sign it with another key; find out who still uses this one",
            )
        comment = parsed.verify(data, self._keys)
        if comment.file is None and named:
            raise SignatureError(
                f"the signature does not name the file, and the name {name} says which module it is",
                code="file-unnamed",
                advice=f"sign it with the trusted comment file:{name}, as minisign does by itself",
            )
        if comment.file not in (None, name):
            raise SignatureError(
                f"the signature is for a file named {comment.file!r}, and this one is {name!r}",
                code="file-misnamed",
                advice="drop it under the name under which it was signed",
            )
        if comment.expires is not None and comment.expires <= datetime.now(UTC):
            raise SignatureError(
                f"the signature expired at {comment.expires:%Y-%m-%d %H:%M:%S} UTC",
                code="expired",
                advice="sign it again, if it may still run; and look at the clock of this machine",
            )
        return parsed.key_name, comment

    def check_bytes(self, digest: str, name: str) -> None:
        """Raise TrustError for dropped bytes, known by their SHA-256, that are revoked."""
        if digest in self.revoked:
            raise TrustError(
                f"{name} is revoked (SHA-256 {digest})",
                code="patch-revoked",
                advice="take it away; build a patch that may run",
            )

    # --- the patch ---------------------------------------------------------------------------------------------------

    def check(self, patch: Artifact) -> None:
        """Raise TrustError for a patch that is revoked, too large, or of packages or versions that may not be patched.

        Arguments:
            patch: a `hotswap.Patch`.
        """
        if patch.digest in self.revoked:
            self.check_bytes(patch.digest, patch.label)
        limits = Limits(self.max_bytes, self.max_files, None)
        for path, data in patch.files.items():
            limits.add(path, len(data))
        if self._specifiers is None:
            return
        for name in _packages(patch):
            specifier = self._specifiers.get(name)
            version = patch.version_of(name)
            if specifier is None:
                raise TrustError(
                    f"the package {name} may not be patched here; {_listed(self._specifiers)} may",
                    code="package-refused",
                    patch=patch.label,
                    advice="leave it out, or name it in Trust(packages=...)",
                )
            if version is None and specifier:
                raise TrustError(
                    f"{name} may be patched by versions {specifier}, and this patch states none",
                    code="version-missing",
                    patch=patch.label,
                    advice="give it a version: drop a wheel, or a folder with a hotswap.toml",
                )
            if version is not None and not specifier.contains(version, prereleases=True):
                raise TrustError(
                    f"{name} may be patched by versions {specifier}, not by {version}",
                    code="version-refused",
                    patch=patch.label,
                    advice="drop another version, or change Trust(packages=...)",
                )

    def check_succession(self, patch: Artifact, memory: Memory, running: Mapping[str, Version]) -> None:
        """Raise TrustError for what was live here before, and for what is older than that.

        What states no version is as old as its signature, where that says when it was made.

        Arguments:
            patch: the patch, as it was dropped.
            memory: what was live here.
            running: what is live now: being older than that is for the patcher to refuse.
        """
        if self.downgrade:
            return
        undo = "patcher.rollback() goes back; patcher.apply(patch, undo=True) goes back further"
        if memory.seen(patch.digest) or (self.seen is not None and self.seen(patch.digest)):
            raise TrustError(
                "the same patch was live here before, and is not taken a second time",
                code="replayed",
                patch=patch.label,
                advice=f"give it a newer version; {undo}",
            )
        for name in _packages(patch):
            version, highest = patch.version_of(name), memory.highest(name)
            older = version is not None and (version < running.get(name, version))
            if version is not None and (older or (highest is not None and version <= highest)):
                if version == highest == running.get(name):
                    continue  # one of several packages may be what is live, byte for byte: the patcher looks at them
                known = running[name] if older else highest
                since = "is live" if known == running.get(name) else "was live here before"
                raise TrustError(
                    f"{name} {version} is not newer than {known}, which {since}",
                    code="downgraded",
                    patch=patch.label,
                    advice=f"give it a newer version; {undo}",
                )
        if (signed := patch.metadata.get("signed")) is None:
            return
        for module in sorted({*patch.sources, *patch.extensions}):
            if patch.version_of(module.partition(".")[0]) is not None:
                continue
            newest = memory.signed(module)  # it may have to look through all that has ever been live here
            if newest is not None and int(signed) < newest:
                raise TrustError(
                    f"{module} was signed at {_moment(int(signed))}, before what was live here, at {_moment(newest)}",
                    code="downgraded",
                    patch=patch.label,
                    advice=f"sign it again, if it may still run; {undo}",
                )

    @property
    def _keys(self) -> tuple[PublicKey, ...]:
        return self.keys  # type: ignore[return-value]  # parsed when the policy was made


def checked_trust(trust: object) -> Trust | None:
    """Return a policy, or None where there is none. Raises TypeError for anything else."""
    if trust is None or isinstance(trust, Trust):
        return trust
    raise TypeError(f"trust has to be a hotswap.Trust, not a {type(trust).__qualname__}")


def _packages(patch: Artifact) -> list[str]:
    return sorted({module.partition(".")[0] for module in (*patch.sources, *patch.extensions)})


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _several(value: object, name: str) -> list[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise TypeError(f"{name} has to be a list, not {value!r}")
    return list(value)


def _revoked(text: object) -> str:
    if isinstance(text, str) and _KEY_ID.fullmatch(text):
        return text.upper()
    if isinstance(text, str) and _DIGEST.fullmatch(text):
        return text.lower()
    raise ValueError(f"revoked: {text!r} is neither the id of a key (16 hexadecimal digits) nor a SHA-256 digest (64)")


def _specifiers(packages: object) -> Mapping[str, SpecifierSet]:
    if not isinstance(packages, Mapping):
        raise TypeError(f"packages has to be a mapping such as {{'shop': '>=1.2,<2'}}, not {packages!r}")
    found = {}
    for name, text in packages.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"packages: {name!r} is not the name of a top-level package")
        try:
            found[name] = text if isinstance(text, SpecifierSet) else SpecifierSet(text)
        except (InvalidSpecifier, TypeError, AttributeError):
            raise ValueError(f"packages: {text!r} is not a range of versions, such as '>=1.2,<2'") from None
    return MappingProxyType(found)
