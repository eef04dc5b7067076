"""The WebSocket that stays open. Its loop never ends, so this module is one that patches leave alone."""

from __future__ import annotations

import asyncio
import uuid

from starlette.websockets import WebSocket, WebSocketDisconnect

from shop import __version__, pricing
from shop.engine import QuoteEngine

__all__ = ["EVERY", "tick"]

EVERY = 0.1


async def tick(websocket: WebSocket) -> None:
    """`/live`: every `EVERY` seconds the connection's own id, a running number, the version, and a price."""
    await websocket.accept()
    engine: QuoteEngine = websocket.app.state.engine
    connection = uuid.uuid4().hex
    number = 0
    try:
        while True:
            number += 1
            await websocket.send_json(
                {
                    "connection": connection,
                    "number": number,
                    "version": __version__,
                    "featured": pricing.net_price(engine.cache, "atlas", 1),
                }
            )
            await asyncio.sleep(EVERY)
    except WebSocketDisconnect:
        return
