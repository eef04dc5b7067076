"""The HTTP endpoints that customers use."""

from __future__ import annotations

import os
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shop.catalog import PRODUCTS
from shop.engine import QuoteEngine

__all__ = ["answer_quote", "list_products"]


async def answer_quote(request: Request) -> Response:
    """`GET /quote?sku=&quantity=`: a price, and the facts that show who answered."""
    engine: QuoteEngine = request.app.state.engine
    sku = request.query_params.get("sku", "")
    quantity = request.query_params.get("quantity", "1")
    if not quantity.isdecimal() or not engine.sells(sku, int(quantity)):
        return JSONResponse({"error": f"no quote for {quantity} pieces of {sku!r}"}, status_code=404)
    answer = await engine.quote(sku, int(quantity))
    return JSONResponse({**answer, "currency": "EUR", **served_by(request, engine)})


async def list_products(request: Request) -> Response:
    """`GET /products`: everything that is sold."""
    return JSONResponse([asdict(product) for product in PRODUCTS.values()])


def served_by(request: Request, engine: QuoteEngine) -> dict[str, int]:
    """The process, the client's port and the cache's loads: none of them may change when a patch goes in."""
    port = request.client.port if request.client is not None else 0
    return {"pid": os.getpid(), "connection": port, "cache_loads": engine.cache.loads}
