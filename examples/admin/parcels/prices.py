"""Prices of parcels, in cents."""

from __future__ import annotations

__all__ = ["price"]

PER_KILO = 150


def price(kilos: float) -> int:
    """Return what a parcel costs."""
    return 350 + round(PER_KILO * kilos)
