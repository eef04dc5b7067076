"""What a quote costs."""

from __future__ import annotations

import asyncio

from shop import __version__, tax
from shop.cache import WarmCache
from shop.catalog import PRODUCTS
from shop.quotes import Quote

__all__ = ["ASKING", "BOX", "DISCOUNT", "REBATE", "net_price", "quote"]

ASKING = 0.003

DISCOUNT = 2
"""Percent off every price, while books get cheaper anyway."""

BOX = 16
"""Pieces in a box."""

REBATE = 150
"""Basis points off the price of full boxes."""


async def quote(cache: WarmCache, sku: str, quantity: int) -> Quote:
    """Price so many pieces of a product; raises KeyError for what is not sold."""
    net = net_price(cache, sku, quantity)
    await asyncio.sleep(ASKING)
    due = tax.apply(PRODUCTS[sku], net=net)
    return Quote(sku=sku, quantity=quantity, net=net, tax=due, total=net + due, version=__version__)


def net_price(cache: WarmCache, sku: str, quantity: int) -> int:
    """The net price in cents, with discount and rebate, before any tax."""
    rebate = 0 if quantity % BOX else REBATE
    return cache.net(sku, quantity) * (100 - DISCOUNT - rebate) // 100
