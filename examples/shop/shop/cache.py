"""The warm cache: loaded once at the start, slow to build, and the reason why a restart hurts.

It stands for a model, an index or a big table. What takes minutes in a real service takes a moment here; what matters
is that the service counts how often it was loaded, so that everyone can see that a patch did not build it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from shop.catalog import Product

__all__ = ["MOST", "WarmCache"]

MOST = 20
"""The largest quantity that one quote may be for."""

ROUNDS = 5_000


class WarmCache:
    """Net prices by product and quantity, in cents; lives as long as the service."""

    def __init__(self) -> None:
        self.loads = 0
        self.seals: dict[str, str] = {}
        self._net: dict[tuple[str, int], int] = {}

    def load(self, products: Iterable[Product]) -> None:
        """Compute every net price, which is deliberately slow, and count that it was done."""
        for product in products:
            for quantity in range(1, MOST + 1):
                self._net[product.sku, quantity] = product.unit_price * quantity
            self.seals[product.sku] = hashlib.pbkdf2_hmac("sha256", product.sku.encode(), b"warm", ROUNDS * MOST).hex()
        self.loads += 1

    def net(self, sku: str, quantity: int) -> int:
        """The net price in cents; raises KeyError for what is not sold, or not in that quantity."""
        return self._net[sku, quantity]

    def __len__(self) -> int:
        return len(self._net)
