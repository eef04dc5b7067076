"""The demo's own connections to the service: the admin endpoints, and the WebSocket that stays open."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect

__all__ = ["Admin", "Feed", "RefusedError"]


class RefusedError(Exception):
    """The service refused what an admin endpoint was asked for; the text is its reason. Nothing changed there."""


class Admin:
    """The admin endpoints of the service; lives as long as the client that it was given."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, url: str, token: str) -> AsyncIterator[Admin]:
        """A client with the token, closed when the block is left."""
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, trust_env=False) as client:
            yield cls(client)

    async def status(self, *, census: bool = False) -> dict[str, Any]:
        """What is live, what happened, and how the process does; with a census, also how much old code is alive."""
        return await self._answer("GET", "/admin/status", params={"census": "1"} if census else {})

    async def apply(self, path: str) -> dict[str, Any]:
        """Apply a patch that lies on the service's disk."""
        return await self._answer("POST", "/admin/apply", json={"path": path})

    async def roll_back(self, reason: str) -> dict[str, Any]:
        """Back to the version before."""
        return await self._answer("POST", "/admin/rollback", params={"reason": reason})

    async def confirm(self) -> dict[str, Any]:
        """Make what is live permanent."""
        return await self._answer("POST", "/admin/confirm")

    async def _answer(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = await self._client.request(method, path, **arguments)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError:
            raise RefusedError(f"{path}: status {response.status_code}: {response.text[:500]}") from None
        if response.is_error:
            raise RefusedError(f"{path}: {answer.get('error')}: {answer.get('reason', '')}")
        return answer


class Feed:
    """The WebSocket that stays open: notes who sends, what is missing, and which versions were seen, in this order.

    `broken` says what went wrong, None as long as nothing did.
    """

    def __init__(self) -> None:
        self.connection: str | None = None
        self.received = 0
        self.versions: list[str] = []
        self.broken: str | None = None

    @contextlib.asynccontextmanager
    async def following(self, url: str) -> AsyncIterator[None]:
        """Connect, and follow until the block is left. There is no second connection: a broken one stays broken."""
        async with connect(f"{url.replace('http', 'ws', 1)}/live", proxy=None) as socket:
            task = asyncio.create_task(self._follow(socket))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _follow(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self.note(json.loads(message))
        except websockets.ConnectionClosed as error:
            self.broken = self.broken or f"the WebSocket broke: {error}"
        else:
            self.broken = self.broken or "the WebSocket was closed"

    def note(self, tick: dict[str, Any]) -> None:
        """Take in one message."""
        self.connection = self.connection or tick["connection"]
        self.received += 1
        if tick["connection"] != self.connection:
            self.broken = self.broken or "the WebSocket is another one"
        elif tick["number"] != self.received:
            self.broken = self.broken or f"message {tick['number']} came where {self.received} was due"
        if not self.versions or self.versions[-1] != tick["version"]:
            self.versions.append(tick["version"])
