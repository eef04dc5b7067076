"""The way in through ASGI: middleware that gives each request, or message of a WebSocket, a session of its own.

`middleware` is the public face; `conversation` is one WebSocket, message by message; `outside` keeps the server out of
sessions; `protocol` names the types. The admin app is that of `hotswap.admin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.asgi.middleware import SessionMiddleware
from hotswap.asgi.protocol import Application

if TYPE_CHECKING:
    from hotswap.admin.access import Authorize
    from hotswap.patcher import Patcher

__all__ = ["SessionMiddleware", "admin"]


def admin(
    patcher: Patcher,
    *,
    authorize: Authorize | None,
    max_upload: int = 64 << 20,
    max_streams: int = 2000,
    heartbeat: float = 15.0,
) -> Application:
    """Return the admin app of a patcher: what is live, rollouts, uploads, events, and a page. Needs the extra `admin`.

    Mount it where you like: `Mount("/hotswap", hotswap.asgi.admin(patcher, authorize=...))`. Whoever may write here
    runs code in your service.

    Arguments:
        patcher: whose rollouts it shows and makes.
        authorize: who may do what: gets the request (Starlette's), and returns a `hotswap.admin.Access`, or None for
            who is not known; may be a coroutine function. `hotswap.admin.Tokens` is one for bearer tokens. None:
            everybody may read, and nobody may write.
        max_upload: bytes of a request, at most.
        max_streams: clients that follow events at the same time, at most.
        heartbeat: seconds of silence after which such a client is sent a comment.

    Raises TypeError or ValueError for arguments that make no sense, and ImportError without the extra.
    """
    if authorize is not None and not callable(authorize):
        raise TypeError(f"authorize: a {type(authorize).__qualname__} can't be called")
    for name, value in (("max_upload", max_upload), ("max_streams", max_streams), ("heartbeat", heartbeat)):
        if not value > 0:
            raise ValueError(f"{name}: more than 0 is needed, not {value!r}")
    try:
        from hotswap.admin import make_app
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "python_multipart", "multipart"):
            raise
        raise ImportError(f"the admin app needs {error.name}: pip install 'hotswap[admin]'", name=error.name) from error
    return make_app(patcher, authorize=authorize, max_upload=max_upload, max_streams=max_streams, heartbeat=heartbeat)
