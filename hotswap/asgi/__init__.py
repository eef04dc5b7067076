"""The way in through ASGI: middleware that gives each request, or message of a WebSocket, a session of its own.

`middleware` is the public face; `conversation` is one WebSocket, message by message; `outside` keeps the server out of
sessions; `protocol` names the types.
"""

from __future__ import annotations

from hotswap.asgi.middleware import SessionMiddleware

__all__ = ["SessionMiddleware"]
