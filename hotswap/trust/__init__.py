"""Whom to trust: detached Ed25519 signatures in minisign's format, and the policy for what is dropped.

`policy` has `Trust`, what a user decides; `delivery` goes from a name in a directory to verified bytes, by `reading`
(one open descriptor for check and use), `links` (those that are allowed), `ownership` (who could have written it) and
`memory` (what was live before). `public_keys`, `secret_keys` and `signatures` are the three files of minisign,
`comments` what a trusted comment says, `encoding` how all of them are written, `ed25519` the arithmetic, by the package
`cryptography`.
"""

from __future__ import annotations

from hotswap.trust.comments import Comment
from hotswap.trust.delivery import Delivery, Waiting, receive
from hotswap.trust.memory import Memory
from hotswap.trust.ownership import open_to_everybody
from hotswap.trust.policy import Trust, checked_trust
from hotswap.trust.public_keys import PublicKey
from hotswap.trust.secret_keys import SecretKey
from hotswap.trust.signatures import SUFFIX, Signature

__all__ = [
    "SUFFIX",
    "Comment",
    "Delivery",
    "Memory",
    "PublicKey",
    "SecretKey",
    "Signature",
    "Trust",
    "Waiting",
    "checked_trust",
    "open_to_everybody",
    "receive",
]
