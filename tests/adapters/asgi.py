"""Requests to ASGI applications, without a server between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx


def answers(app: Any, requests: Iterable[tuple[str, str, Any]]) -> list[Any]:
    """What an application answers: for each (method, path, JSON body) the status, the text and two headers."""

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            told = []
            for method, path, body in requests:
                response = await client.request(method, path, json=body)
                told.append((method, path, response.status_code, response.text, response.headers.get("x-by")))
            return told

    return asyncio.run(ask())


def received(app: Any, path: str) -> list[Any]:
    """What an application sends over a websocket to somebody who says nothing."""

    async def talk() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("text", message["type"]))

        scope = {
            "type": "websocket",
            "path": path,
            "root_path": "",
            "headers": [],
            "query_string": b"",
            "extensions": {},
        }
        await app(scope, receive, send)
        return sent

    return asyncio.run(talk())
