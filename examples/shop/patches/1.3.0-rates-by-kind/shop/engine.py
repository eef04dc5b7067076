"""The engine: one object that lives as long as the service and answers every quote."""

from __future__ import annotations

from typing import Self

from shop import pricing
from shop.cache import MOST, WarmCache
from shop.catalog import PRODUCTS
from shop.quotes import Quote

__all__ = ["Engine", "QuoteEngine"]


class Engine:
    """What every engine has: its warm cache, and a count of what it answered."""

    def __init__(self, cache: WarmCache) -> None:
        self.cache = cache
        self.answered = 0

    @classmethod
    def warmed(cls) -> Self:
        """An engine with a cache that was loaded for it; slow, so done once, at the start."""
        cache = WarmCache()
        cache.load(PRODUCTS.values())
        return cls(cache)

    @property
    def label(self) -> str:
        """One line for people."""
        return f"{len(self.cache)} net prices"


class QuoteEngine(Engine):
    """Answers quotes out of the warm cache."""

    @property
    def label(self) -> str:
        """One line for people."""
        return f"a rate for each kind, {super().label}"

    @staticmethod
    def sells(sku: str, quantity: int) -> bool:
        """Whether a quote can be given."""
        return sku in PRODUCTS and 1 <= quantity <= MOST

    async def quote(self, sku: str, quantity: int) -> Quote:
        """Price so many pieces of a product, and count it."""
        answer = await pricing.quote(self.cache, sku, quantity)
        self.answered += 1
        return answer
