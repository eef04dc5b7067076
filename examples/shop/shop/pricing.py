"""What a quote costs."""

from __future__ import annotations

import asyncio

from shop import __version__, tax
from shop.cache import WarmCache
from shop.quotes import Quote

__all__ = ["ASKING", "net_price", "quote"]

ASKING = 0.003


async def quote(cache: WarmCache, sku: str, quantity: int) -> Quote:
    """Price so many pieces of a product; raises KeyError for what is not sold.

    Between the net price and the tax it waits for `ASKING` seconds, as it would for a stock service. So at any instant
    some quotes are half done: those that a patch meets there must finish with the tax that they began with.
    """
    net = net_price(cache, sku, quantity)
    await asyncio.sleep(ASKING)
    due = tax.apply(net, tax.STANDARD_RATE)
    return Quote(sku=sku, quantity=quantity, net=net, tax=due, total=net + due, version=__version__)


def net_price(cache: WarmCache, sku: str, quantity: int) -> int:
    """The net price in cents, before any tax."""
    return cache.net(sku, quantity)
