"""What each version of the example service must answer, computed apart from it.

The load judges every answer by the version that the answer itself claims: its price must be exactly what that version
charges, so that a price made half by old code and half by new is a failure. The three tariffs differ for every product
and quantity that the load asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["TARIFFS", "VERSIONS", "Price", "Product"]


@dataclass(frozen=True, slots=True)
class Product:
    """What the service sells; `unit_price` is in cents."""

    sku: str
    kind: str
    unit_price: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a quote must say, in cents."""

    net: int
    tax: int

    @property
    def total(self) -> int:
        """What the customer pays."""
        return self.net + self.tax


REDUCED = {"book": 7, "goods": 19}


def one_rate(product: Product, quantity: int) -> Price:
    """As 1.2.0 charges: 19 % on everything."""
    return taxed(product.unit_price * quantity, 19)


def rate_by_kind(product: Product, quantity: int) -> Price:
    """As 1.3.0 charges: 2 % off, and a lower rate for books."""
    return taxed(product.unit_price * quantity * 98 // 100, REDUCED[product.kind])


def packed(product: Product, quantity: int) -> Price:
    """As 1.4.0 charges: nothing off, 25 cents for packing each piece."""
    return taxed((product.unit_price + 25) * quantity, REDUCED[product.kind])


def taxed(net: int, rate: int) -> Price:
    """A net price and its tax at a rate in percent, rounded half up."""
    return Price(net, (net * rate + 50) // 100)


TARIFFS: Mapping[str, Callable[[Product, int], Price]] = {
    "one rate": one_rate,
    "rate by kind": rate_by_kind,
    "packed": packed,
}

VERSIONS = {"1.2.0": "one rate", "1.3.0": "rate by kind", "1.3.5": "rate by kind", "1.4.0": "packed"}
"""The versions that the demo makes live; an answer from any other is a failure."""
