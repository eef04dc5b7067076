"""Files and sockets that a module body opened and that the candidate's modules hold.

Descriptors can't be compared: other threads of a service open and close them all the time. So it counts what the
candidate's own objects lead to. A file in a global is an ordinary object: it is listed, closed when the candidate is
rejected, and closed when its definition did not change and the living one is kept in its place. A socket that listens
or is connected has been seen from outside: that can't be taken back.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable
from typing import Any

from hotswap.effects.facts import Deed, Outcome

__all__ = ["handles"]

_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedReader, io.BufferedRandom, io.BufferedRWPair, io.FileIO)


def handles(owned: Iterable[object]) -> list[Deed]:
    """Return the open files and sockets among the objects that the candidate owns."""
    found: list[Deed] = []
    layers: set[int] = set()
    objects = list(owned)
    for o in objects:
        if type(o) is io.TextIOWrapper and not o.closed:
            layers |= {id(o.buffer), id(getattr(o.buffer, "raw", None))}
        elif type(o) in (io.BufferedWriter, io.BufferedReader, io.BufferedRandom) and not o.closed:  # type: ignore[attr-defined]
            layers.add(id(o.raw))  # type: ignore[attr-defined]
    for o in objects:
        if type(o) in _FILES and id(o) not in layers and not o.closed:  # type: ignore[attr-defined]
            name, mode = getattr(o, "name", "?"), getattr(o, "mode", "")
            found.append(_Handle("files", f"opens {name!r}{f' ({mode})' if mode else ''}", o, Outcome.HELD))
        elif issubclass(type(o), socket.socket) and socket.socket.fileno(o) >= 0:  # type: ignore[arg-type]
            what, seen = _state(o)  # type: ignore[arg-type]
            found.append(_Handle("sockets", f"opens a socket{what}", o, Outcome.LEFT if seen else Outcome.HELD))
    return found


def _state(o: socket.socket) -> tuple[str, bool]:
    """What a socket does, and whether that is seen from outside."""
    try:
        return f" connected to {socket.socket.getpeername(o)}", True
    except OSError:
        try:
            own = socket.socket.getsockname(o)
            listens = socket.socket.getsockopt(o, socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            return "", False
    if listens:
        return f" that listens on {own}", True
    bound = isinstance(own, tuple) and len(own) > 1 and own[1] != 0
    return (f" bound to {own}", True) if bound else ("", False)


class _Handle(Deed):
    def __init__(self, kind: str, what: str, handle: Any, outcome: Outcome) -> None:
        super().__init__(kind, what, outcome)
        self._handle = handle
        self._dropped: Any = None

    def make(self, living: Callable[[Any], Any]) -> None:
        if living(self._handle) is not self._handle:
            self._dropped = self._handle  # closed once the swap is made: a rollback of the commit needs it no more

    def settle(self) -> None:
        """Close it if the living one was kept in its place."""
        if self._dropped is not None:
            self.drop()

    def drop(self) -> None:
        handle, self._handle, self._dropped = self._handle, None, None
        if handle is not None:
            handle.close()
