"""The server of a control socket: that of uvicorn, which is told nothing but who has connected."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hotswap.control.peers import peer_of

__all__ = ["server_of"]

_ENDING = 1


class _Protocol(H11Protocol):
    """HTTP for one who has connected: the application finds him in `scope["state"]["peer"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream, as uvicorn has it
        super().connection_made(transport)
        uid, gid, pid = peer_of(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "peer": (uid, gid, pid)}
        self.client = (f"pid {pid}" if pid is not None else f"uid {uid}", 0)
        self.access_log = False  # the audit entries of the admin app say more


def server_of(app: Any) -> uvicorn.Server:
    """Return a server that leaves logging and signals of the process alone."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_ENDING,
    )
    return uvicorn.Server(cast("Any", config))
