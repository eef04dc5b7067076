"""What the state takes: one rate for everything."""

from __future__ import annotations

__all__ = ["STANDARD_RATE", "apply"]

STANDARD_RATE = 19


def apply(net: int, rate: int) -> int:
    """The tax in cents on a net price in cents, at a rate in percent, rounded half up."""
    return (net * rate + 50) // 100
