"""Public keys as minisign writes them: 42 bytes in base64, alone or below a comment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hotswap.errors import HotswapError, SignatureError
from hotswap.trust.encoding import MAX_TEXT, comment_of, damaged, decoded, encoded, lines_of

__all__ = ["ALGORITHM", "PublicKey", "name_of"]

ALGORITHM = b"Ed"
"""The name of Ed25519 in keys, and of signatures over the bytes themselves."""

_LENGTH = len(ALGORITHM) + 8 + 32


def name_of(key_id: bytes) -> str:
    """Return a key's id as minisign shows it: 16 hexadecimal digits."""
    return key_id[::-1].hex().upper()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who is trusted. A fact; lives as long as the policy that holds it.

    Attributes:
        key_id: eight bytes that signatures carry, so that one knows which key to try. They prove nothing.
        point: the key itself, 32 bytes.
    """

    key_id: bytes
    point: bytes

    @property
    def name(self) -> str:
        """The id as minisign shows it, such as ``F4453EB87116A8D3``; this is what a policy revokes."""
        return name_of(self.key_id)

    @property
    def text(self) -> str:
        """The key in base64, as ``minisign -P`` takes it."""
        return encoded(ALGORITHM + self.key_id + self.point)

    def __str__(self) -> str:
        return f"untrusted comment: minisign public key {self.name}\n{self.text}\n"

    @classmethod
    def parse(cls, text: str | bytes) -> PublicKey:
        """Read a key: base64 alone, or the two lines of a ``.pub`` file.

        Raises SignatureError for anything else; nothing may follow the key.
        """
        data, what = text.encode() if isinstance(text, str) else text, "the public key"
        whole = b"\n" in data.removesuffix(b"\n")
        lines = lines_of(data, 2 if whole else 1, what)
        if whole:
            comment_of(lines[0], "untrusted comment", what)
        raw = decoded(lines[-1], _LENGTH, what)
        if not raw.startswith(ALGORITHM):
            raise damaged(f"{what} is for the algorithm {raw[:2]!r}, not for Ed25519")
        return cls(raw[2:10], raw[10:])

    @classmethod
    def of(cls, key: PublicKey | str | os.PathLike[str]) -> PublicKey:
        """Return a key that is given as such, as text, or as the path of a file (a `Path`, not a text).

        Raises HotswapError for a file that can't be read, SignatureError for what is no key.
        """
        if isinstance(key, PublicKey):
            return key
        if isinstance(key, str):
            return cls.parse(key)
        path = Path(key)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_TEXT + 1)
        except OSError as error:
            raise HotswapError(f"the public key {path} can't be read ({error})") from error
        try:
            return cls.parse(data)
        except SignatureError as error:
            raise damaged(f"{path}: {error.reason}") from None
