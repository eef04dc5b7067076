"""What the shop sells."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRODUCTS", "Product"]


@dataclass(frozen=True, slots=True)
class Product:
    """One product; `unit_price` is in cents, before tax."""

    sku: str
    title: str
    kind: str
    unit_price: int


PRODUCTS = {
    product.sku: product
    for product in (
        Product("atlas", "World atlas", "book", 3_990),
        Product("novel", "Paperback novel", "book", 1_190),
        Product("manual", "Repair manual", "book", 2_450),
        Product("kettle", "Kettle", "goods", 4_599),
        Product("lamp", "Desk lamp", "goods", 6_250),
        Product("chair", "Chair", "goods", 12_900),
        Product("cable", "Cable", "goods", 799),
        Product("bicycle", "Bicycle", "goods", 89_900),
    )
}
