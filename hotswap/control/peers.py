"""Who is at the other end of a Unix socket: the kernel knows, and nobody can say otherwise."""

from __future__ import annotations

import inspect
import os
import pwd
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from starlette.requests import Request

from hotswap.admin import Access
from hotswap.admin.apart import apart

__all__ = ["Admits", "Peer", "admits", "by_peer", "peer_of"]

_LINUX = struct.Struct("3i")
_XUCRED = struct.Struct("2Ih2x16I")
_LOCAL_PEERCRED = 1
"""`getsockopt` of macOS and FreeBSD, which Python does not name; the level is 0. `getpeereid` is made of it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A process that has connected. A fact: as it was when it did.

    Attributes:
        uid, gid: its effective user and group.
        pid: its id, or None where the system does not tell.
        account: the name of the user, or the number where there is none.
    """

    uid: int
    gid: int
    pid: int | None
    account: str


Admits: TypeAlias = Callable[[Peer], "Access | Awaitable[Access | None] | None"]


def peer_of(connected: socket.socket) -> tuple[int, int, int | None]:
    """Return user, group and process of who has connected."""
    if sys.platform == "linux":
        told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX.size)
        pid, uid, gid = _LINUX.unpack(told)
        return uid, gid, pid
    else:  # noqa: RET505 - mypy knows of platforms by their blocks
        told = connected.getsockopt(0, _LOCAL_PEERCRED, _XUCRED.size)
        _, uid, count, *groups = _XUCRED.unpack(told)
        return uid, groups[0] if count else -1, None


def by_peer(authorize: Admits) -> Callable[[Request], Awaitable[Access | None]]:
    """Return what the admin app asks, for who is let in by what the kernel knows of him."""

    async def admitted(request: Request) -> Access | None:
        uid, gid, pid = cast("tuple[int, int, int | None]", request.scope["state"]["peer"])
        # In a thread: accounts may be kept in a directory on the network.
        answer: Any = authorize(Peer(uid, gid, pid, await apart(_account, uid)))
        return cast("Access | None", await answer if inspect.isawaitable(answer) else answer)

    return admitted


def admits(peer: Peer) -> Access:
    """Let in the user of this process, and root; others may neither read nor write."""
    own = peer.uid in (os.geteuid(), 0)
    return Access(peer.account, read=own, write=own)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
