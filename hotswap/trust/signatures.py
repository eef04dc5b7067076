"""Detached signatures in minisign's format: four lines in `NAME.minisig`.

    untrusted comment: anything
    base64(algorithm, key id, signature)                 over the bytes, or over their BLAKE2b-512
    trusted comment: timestamp:1795717979<tab>file:NAME
    base64(signature)                                    over the first signature and the trusted comment

Source: https://jedisct1.github.io/minisign/. The untrusted comment is not signed, and nobody here reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from hotswap.errors import SignatureError
from hotswap.trust import ed25519
from hotswap.trust.comments import Comment
from hotswap.trust.encoding import comment_of, damaged, decoded, encoded, lines_of
from hotswap.trust.public_keys import ALGORITHM, PublicKey, name_of

__all__ = ["HASHED", "SUFFIX", "Signature", "message_of"]

SUFFIX = ".minisig"
"""What follows the name of a file in that of its signature."""

HASHED = b"ED"
"""The name of signatures over the BLAKE2b-512 of the bytes: what minisign writes unless it is asked for the old way."""

_WHAT = "the signature"


def message_of(algorithm: bytes, data: bytes) -> bytes:
    """Return what is signed for some bytes."""
    return hashlib.blake2b(data).digest() if algorithm == HASHED else data


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it was read: nothing of it is proved before `verify`. A fact.

    Attributes:
        algorithm: ``b"Ed"`` over the bytes, ``b"ED"`` over their BLAKE2b-512.
        key_id: says which key to try.
        value: over the bytes, 64 bytes.
        trusted: the trusted comment.
        whole: over `value` and the trusted comment, 64 bytes.
        untrusted: the untrusted comment.
    """

    algorithm: bytes
    key_id: bytes
    value: bytes
    trusted: str
    whole: bytes
    untrusted: str = "signature from hotswap secret key"

    @classmethod
    def parse(cls, text: bytes) -> Signature:
        """Read a `.minisig` file. Raises SignatureError for everything that minisign would not write."""
        lines = lines_of(text, 4, _WHAT)
        untrusted = comment_of(lines[0], "untrusted comment", _WHAT)
        raw = decoded(lines[1], 2 + 8 + 64, _WHAT)
        if raw[:2] not in (ALGORITHM, HASHED):
            raise damaged(f"{_WHAT} is of the algorithm {raw[:2]!r}, which is not known here")
        trusted = comment_of(lines[2], "trusted comment", _WHAT)
        whole = decoded(lines[3], 64, f"{_WHAT} of the trusted comment")
        return cls(raw[:2], raw[2:10], raw[10:], trusted, whole, untrusted)

    def __str__(self) -> str:
        first = encoded(self.algorithm + self.key_id + self.value)
        second = encoded(self.whole)
        return f"untrusted comment: {self.untrusted}\n{first}\ntrusted comment: {self.trusted}\n{second}\n"

    @property
    def key_name(self) -> str:
        """The id of the key, as minisign shows it."""
        return name_of(self.key_id)

    def verify(self, data: bytes, keys: Iterable[PublicKey]) -> Comment:
        """Return what the trusted comment says, once both signatures are those of one of the keys.

        Arguments:
            data: what was signed.
            keys: who is trusted.

        Raises SignatureError: no such key, other bytes, another comment.
        """
        key = next((key for key in keys if key.key_id == self.key_id), None)
        if key is None:
            raise SignatureError(
                f"it is signed with the key {self.key_name}, which is not trusted here",
                code="key-unknown",
                advice="sign it with a key that Trust(keys=...) names",
            )
        if not ed25519.verifies(key.point, self.value, message_of(self.algorithm, data)):
            raise SignatureError(
                f"it is not what was signed with the key {self.key_name}: bytes or signature were changed",
                code="bytes-tampered",
                advice="copy file and signature anew; find out who changed them",
            )
        if not ed25519.verifies(key.point, self.whole, self.value + self.trusted.encode()):
            raise SignatureError(
                f"the trusted comment is not the one that was signed with the key {self.key_name}",
                code="comment-tampered",
                advice="copy the signature anew; find out who changed it",
            )
        return Comment.parse(self.trusted)
