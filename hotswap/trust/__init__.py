"""Whom to trust: detached Ed25519 signatures in minisign's format.

`public_keys`, `secret_keys` and `signatures` are the three files of minisign, `comments` what a trusted comment says,
`encoding` how all of them are written, `ed25519` the arithmetic, by the package `cryptography`.
"""

from __future__ import annotations

from hotswap.trust.comments import Comment
from hotswap.trust.public_keys import PublicKey
from hotswap.trust.secret_keys import SecretKey
from hotswap.trust.signatures import SUFFIX, Signature

__all__ = ["SUFFIX", "Comment", "PublicKey", "SecretKey", "Signature"]
