"""The control socket: the admin app of a patcher on a Unix socket, for who is on the same machine.

    with ControlSocket(patcher, "run/hotswap.sock"):
        serve()

Who may connect is a matter of file permissions, who has connected is known from the kernel: there is no token, and no
port. `places` is the socket in the file system, `peers` who is at the other end.

It is served by uvicorn, in a thread of its own, and not by `wsgiref` with the WSGI twin: clients that follow events
cost no thread, one that hangs up is seen at once, and `asyncio` lets us ask the kernel who it is.

Guarantees: a daemon thread, which keeps no process from ending; the name goes when it ends in order, and what a killed
process leaves is replaced by the next. A child that is forked holds nothing of it, and may have one of its own.
Assumes: a system with Unix sockets that tell who connects: Linux, macOS, FreeBSD.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hotswap.asgi import admin
from hotswap.errors import HotswapError
from hotswap.events import emit
from hotswap.process_copy import in_children

if TYPE_CHECKING:
    from typing import Self

    import uvicorn

    from hotswap.control.peers import Admits
    from hotswap.control.places import Place
    from hotswap.patcher import Patcher

__all__ = ["ControlSocket"]

_ENDING = 5.0
"""Seconds to wait for the thread when it is stopped; requests get one of them to end."""


class ControlSocket:
    """Serves the admin app on a Unix socket. Lives as long as the service, or its `with` block.

    Needs the extra `admin`.

    Arguments:
        patcher: whose rollouts it shows and makes.
        path: the name of the socket; missing folders are made, for the owner alone.
        mode: its permissions; who may write to it may connect.
        authorize: who of them may do what: gets a `hotswap.control.peers.Peer`, and returns a `hotswap.admin.Access`,
            or None; may be a coroutine function. Without it: the user of this process, and root, may do everything,
            and others nothing. `Access.who` is what the history has as `by`.

    Raises TypeError or ValueError for arguments that make no sense, and ImportError without the extra.
    """

    def __init__(
        self,
        patcher: Patcher,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o600,
        authorize: Admits | None = None,
    ) -> None:
        if not 0 <= mode <= 0o777:
            raise ValueError(f"mode: {mode:#o} is none")
        if authorize is not None and not callable(authorize):
            raise TypeError(f"authorize: a {type(authorize).__qualname__} can't be called")
        try:
            from hotswap.control.peers import admits, by_peer
            from hotswap.control.serving import server_of
        except ModuleNotFoundError as error:
            if error.name not in ("fcntl", "pwd"):
                raise ImportError(f"the control socket needs {error.name}: pip install 'hotswap[admin]'") from error
            raise HotswapError(
                "this system has no Unix sockets that tell who connects",
                advice="mount hotswap.asgi.admin(patcher, authorize=...) in the application",
            ) from error
        self.path = Path(path)
        self._mode, self._make = mode, server_of
        self._app = admin(patcher, authorize=by_peer(admits if authorize is None else authorize))
        self._served: tuple[Place, uvicorn.Server, threading.Thread] | None = None
        in_children(self.let_go)

    def start(self) -> Self:
        """Listen, and answer in a thread of its own.

        Raises HotswapError if somebody listens there already, or something else is there; OSError where the socket
        can't be made. Nothing has begun then.
        """
        from hotswap.control.places import Place

        if self._served is not None:
            raise HotswapError(f"it is served at {self.path} already", advice="stop it first")
        server = self._make(self._app)
        place = Place(self.path.absolute(), self._mode)
        # A daemon: a service that is told to end does not wait for who follows events.
        thread = threading.Thread(target=_serve, args=(server, place), name="hotswap control", daemon=True)
        self._served = place, server, thread
        atexit.register(place.remove)
        thread.start()
        return self

    def stop(self) -> None:
        """Remove the socket, and wait until its thread has ended: a second, for who is being answered."""
        if self._served is None:
            return
        (place, server, thread), self._served = self._served, None
        atexit.unregister(place.remove)
        place.remove()
        server.should_exit = True
        thread.join(_ENDING)
        place.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def let_go(self) -> None:
        """Close what a process that was forked has inherited: it answers nobody, and removes nothing."""
        if self._served is None:
            return
        (place, _, _), self._served = self._served, None
        atexit.unregister(place.remove)
        place.close()


def _serve(server: uvicorn.Server, place: Place) -> None:
    try:
        asyncio.run(server.serve(sockets=[place.listening]))
    except Exception as error:  # noqa: BLE001 - nobody waits for this thread
        emit("admin.failed", level="error", reason=error, work=f"serving {place.path}")
        place.remove()
