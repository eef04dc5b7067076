"""The admin app in FastAPI.

PARCELS_READER=... PARCELS_WRITER=... uvicorn --app-dir examples/admin fastapi_service:app
"""

from __future__ import annotations

from fastapi import FastAPI

import hotswap.asgi
from parcels.prices import price
from patching import patcher, tokens

app = FastAPI()
app.mount("/hotswap", hotswap.asgi.admin(patcher, authorize=tokens))
app.add_middleware(hotswap.asgi.SessionMiddleware)


@app.get("/price")
def ask(kilos: float) -> dict[str, int]:
    """What a parcel costs."""
    return {"cents": price(kilos)}
