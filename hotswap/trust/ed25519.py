"""Ed25519 (RFC 8032), by the package `cryptography`, which is asked for only where keys are."""

from __future__ import annotations

from hotswap.errors import HotswapError

__all__ = ["public_of", "require", "sign", "verifies"]


def require() -> None:
    """Raise HotswapError, with what to do, where `cryptography` is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise HotswapError(
            f"keys and signatures need the package cryptography, which is missing ({error})",
            advice="pip install 'hotswap[trust]'",
        ) from error


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature of 64 bytes is that of a message by a key of 32 bytes."""
    require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the signature of a message by a secret key, whose seed has 32 bytes."""
    require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def public_of(seed: bytes) -> bytes:
    """Return the public key of a secret one."""
    require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
