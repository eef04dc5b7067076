"""Secret keys as minisign writes them, to sign with: with a password (scrypt), or without (`minisign -W`)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import time
from dataclasses import dataclass, field, replace

from hotswap.errors import HotswapError
from hotswap.trust import ed25519
from hotswap.trust.comments import Comment
from hotswap.trust.encoding import comment_of, damaged, decoded, encoded, lines_of
from hotswap.trust.public_keys import ALGORITHM, PublicKey, name_of
from hotswap.trust.signatures import HASHED, Signature, message_of

__all__ = ["SecretKey"]

_FORMAT = struct.Struct("<2s2s2s32sQQ104s")
_SCRYPT, _PLAIN, _CHECKSUM = b"Sc", b"\0\0", b"B2"
_WHAT = "the secret key"
_MOST_MEMORY = 2 * 1024**3
"""Bytes that a key file may ask for; minisign's own ask for one GiB."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Who signs. Lives as long as somebody holds it; its repr does not show the secret."""

    key_id: bytes
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> SecretKey:
        """Make a new key, by the system's source of randomness. Raises HotswapError without `cryptography`."""
        ed25519.require()
        return cls(secrets.token_bytes(8), secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str | bytes, password: str | None = None) -> SecretKey:
        """Read a secret key file.

        Arguments:
            text: its two lines.
            password: for a key that is kept under one; minisign's take a GiB of memory and some seconds.

        Raises SignatureError for what is no secret key, HotswapError for a password that is missing or wrong.
        """
        lines = lines_of(text.encode() if isinstance(text, str) else text, 2, _WHAT)
        comment_of(lines[0], "untrusted comment", _WHAT)
        raw = decoded(lines[1], _FORMAT.size, _WHAT)
        algorithm, kdf, checksum, salt, operations, memory, secret = _FORMAT.unpack(raw)
        if algorithm != ALGORITHM or checksum != _CHECKSUM or kdf not in (_SCRYPT, _PLAIN):
            raise damaged(f"{_WHAT} is of a kind that is not known here: {raw[:6]!r}")
        if kdf == _SCRYPT:
            if password is None:
                raise HotswapError("the secret key is kept under a password", advice="give the password")
            pad = _scrypt(password, salt, operations, memory)
            secret = bytes(a ^ b for a, b in zip(secret, pad, strict=True))
        key_id, seed, point, said = secret[:8], secret[8:40], secret[40:72], secret[72:]
        sound = kdf == _PLAIN or hmac.compare_digest(_checksum(secret), said)
        if not sound:
            raise HotswapError("the password is wrong, or the secret key is damaged", advice="give the right password")
        if ed25519.public_of(seed) != point:
            raise damaged(f"{_WHAT} does not fit the public key that lies in it")
        return cls(key_id, seed)

    @property
    def public(self) -> PublicKey:
        """The key that others are given, to trust what this one signs."""
        return PublicKey(self.key_id, ed25519.public_of(self.seed))

    def text(self, password: str | None = None, *, operations: int = 33_554_432, memory: int = 1024**3) -> str:
        """Return the contents of a secret key file.

        Arguments:
            password: the key is kept under it; without one, whoever reads the file can sign.
            operations, memory: how hard a password is to guess, as libsodium counts; those of minisign by default.
        """
        secret = self.key_id + self.seed + self.public.point
        if password is None:
            raw = _FORMAT.pack(ALGORITHM, _PLAIN, _CHECKSUM, bytes(32), 0, 0, secret + bytes(32))
            return f"untrusted comment: minisign secret key {name_of(self.key_id)}\n{encoded(raw)}\n"
        salt = secrets.token_bytes(32)
        pad = _scrypt(password, salt, operations, memory)
        hidden = bytes(a ^ b for a, b in zip(secret + _checksum(secret), pad, strict=True))
        raw = _FORMAT.pack(ALGORITHM, _SCRYPT, _CHECKSUM, salt, operations, memory, hidden)
        return f"untrusted comment: minisign encrypted secret key\n{encoded(raw)}\n"

    def sign(self, data: bytes, comment: Comment | str, *, legacy: bool = False) -> Signature:
        """Sign some bytes.

        Arguments:
            data: what is signed.
            comment: the trusted comment; a `Comment` without one gets the `timestamp:` of this moment, as those of
                minisign have it.
            legacy: sign the bytes themselves and not their hash, for readers that know nothing else.

        Raises SignatureError for a comment that a signature file can't hold, or that no one would understand.
        """
        if isinstance(comment, Comment):
            comment = str(comment if comment.timestamp is not None else replace(comment, timestamp=int(time.time())))
        Comment.parse(comment)
        algorithm = ALGORITHM if legacy else HASHED
        value = ed25519.sign(self.seed, message_of(algorithm, data))
        whole = ed25519.sign(self.seed, value + comment.encode(errors="surrogatepass"))
        signature = Signature(algorithm, self.key_id, value, comment, whole)
        # What could not be read again is not written: more than one line, control characters, half a character.
        Signature.parse(str(signature).encode(errors="surrogatepass"))
        return signature


def _checksum(secret: bytes) -> bytes:
    return hashlib.blake2b(ALGORITHM + secret[:72], digest_size=32).digest()


def _scrypt(password: str, salt: bytes, operations: int, memory: int) -> bytes:
    """Return what hides the secret, by scrypt with the parameters that libsodium derives from two limits.

    Source: `pickparams` of libsodium's crypto_pwhash_scryptsalsa208sha256.
    """
    operations, block, parallel = max(operations, 32768), 8, 1
    scarce = operations < memory // 32  # time, that is, and not memory
    most = operations // (block * 4) if scarce else memory // (block * 128)
    rounds = next((log for log in range(1, 63) if 1 << log > most // 2), 63)
    if not scarce:
        parallel = max(min(operations // 4 // (1 << rounds), 0x3FFFFFFF) // block, 1)
    needed = 128 * block * ((1 << rounds) + parallel + 2)
    if needed > _MOST_MEMORY:
        raise damaged(f"{_WHAT} asks for {needed:,} bytes of memory")
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << rounds, r=block, p=parallel, maxmem=needed + 1024**2, dklen=104
    )
