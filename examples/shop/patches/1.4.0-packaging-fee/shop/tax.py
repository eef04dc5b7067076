"""What the state takes: a rate for each kind of product, in each country."""

from __future__ import annotations

__all__ = ["RATES", "apply"]

RATES = {"DE": {"book": 7, "goods": 19}, "FR": {"book": 5, "goods": 20}}


def apply(item: tuple[int, str], country: str) -> int:
    """The tax in cents on an item (its net price in cents, and its kind), rounded half up."""
    net, kind = item
    return (net * RATES[country][kind] + 50) // 100
