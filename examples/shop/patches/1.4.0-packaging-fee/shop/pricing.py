"""What a quote costs."""

from __future__ import annotations

import asyncio

from shop import __version__, tax
from shop.cache import WarmCache
from shop.catalog import PRODUCTS
from shop.quotes import Quote

__all__ = ["ASKING", "PACKAGING", "net_price", "quote"]

ASKING = 0.003

PACKAGING = 25
"""Cents for packing each piece; taxed at the rate of what is packed."""


async def quote(cache: WarmCache, sku: str, quantity: int) -> Quote:
    """Price so many pieces of a product; raises KeyError for what is not sold."""
    net = net_price(cache, sku, quantity)
    await asyncio.sleep(ASKING)
    due = tax.apply((net, PRODUCTS[sku].kind), "DE")
    return Quote(sku=sku, quantity=quantity, net=net, tax=due, total=net + due, version=__version__)


def net_price(cache: WarmCache, sku: str, quantity: int) -> int:
    """The net price in cents, packing included, before any tax."""
    return cache.net(sku, quantity) + PACKAGING * quantity
