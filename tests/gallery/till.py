"""The service that is patched: a till, with prices, baskets, a stock, and requests, some of them asynchronous."""

from __future__ import annotations

__all__ = ["SOURCES"]

PRICES = '''
"""Prices, in cents."""

RATES = {"food": 7, "books": 7, "other": 19}


def rate(kind):
    return RATES.get(kind, RATES["other"])


def quote(net, kind="other", *, count=1):
    tax = net * rate(kind) // 100
    return (net + tax) * count


def discount(total, percent=0):
    return total - total * percent // 100


def unique(names):
    seen, found = set(), []
    for name in names:
        if name not in seen:
            seen.add(name)
            found.append(name)
    return found


def pages(total, size=20):
    return -(-total // size)
'''

BASKET = '''
"""Baskets."""

from . import prices


class Basket:
    def __init__(self, owner):
        self.owner = owner
        self.lines = []

    def add(self, net, kind="other", count=1):
        self.lines.append((net, kind, count))

    def total(self, percent=0):
        net = sum(prices.quote(net, kind, count=count) for net, kind, count in self.lines)
        return prices.discount(net, percent)


def checkout(owner, lines, percent=0):
    basket = Basket(owner)
    for line in lines:
        basket.add(*line)
    kinds = prices.unique([kind for _, kind, _ in basket.lines])
    return {"owner": owner, "total": basket.total(percent), "kinds": kinds}
'''

STOCK = '''
"""What is there."""

import threading

_lock = threading.Lock()
_left = {"tea": 10**9, "soap": 10**9}


def left(name):
    with _lock:
        return _left[name]


def take(name, count=1):
    with _lock:
        if _left[name] < count:
            raise LookupError(name)
        _left[name] -= count
        return _left[name]
'''

API = '''
"""Requests."""

import asyncio

from . import basket, prices, stock


def handle(request):
    answer = basket.checkout(request["owner"], request["lines"], request["percent"])
    answer["left"] = stock.take("tea")
    return answer


async def answer(request):
    await asyncio.sleep(0)
    return {"pages": prices.pages(request["total"]), "left": stock.left("soap")}
'''

SOURCES = {"prices": PRICES, "basket": BASKET, "stock": STOCK, "api": API}
