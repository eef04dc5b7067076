"""The quote service's own code: what it sells, what it costs, what the state takes.

This package is what the patches replace; `service.py` beside it is not patched.
"""

from __future__ import annotations

__version__ = "1.2.0"

from shop.engine import QuoteEngine
from shop.pricing import net_price, quote

__all__ = ["QuoteEngine", "__version__", "net_price", "quote"]
