"""The answer of the service, as a type."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["Quote"]


class Quote(TypedDict):
    """One answer; money is in cents, and `version` is the version of the code that computed it."""

    sku: str
    quantity: int
    net: int
    tax: int
    total: int
    version: str
