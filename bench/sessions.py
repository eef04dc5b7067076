"""What a session costs the unit of work that has it, while nothing is patched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import repeat
from typing import Any

import hotswap
from bench.measuring import Ratio, compare
from hotswap import asgi, wsgi

__all__ = ["sessions"]

MESSAGE = {"type": "http"}


def _empty(n: int) -> None:
    nothing = contextlib.nullcontext
    for _ in repeat(None, n):
        with nothing():
            pass


def _session(n: int) -> None:
    session = hotswap.session
    for _ in repeat(None, n):
        with session():
            pass


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(scope)
    await send(MESSAGE)


async def _nothing(*_: Any) -> Any:
    return MESSAGE


def _asked(app: Any) -> Callable[[int], None]:
    async def ask(n: int) -> None:
        for _ in repeat(None, n):
            await app(MESSAGE, _nothing, _nothing)

    return lambda n: asyncio.run(ask(n))


def _called(app: Any) -> Callable[[int], None]:
    def call(n: int) -> None:
        environ: dict[str, Any] = {}
        for _ in repeat(None, n):
            app(environ, dict)

    return call


def _reply(environ: Any, start_response: Any) -> list[bytes]:
    start_response(environ)
    return [b"done"]


def sessions(*, rounds: int, count: int) -> dict[str, dict[str, Ratio]]:
    """Return what it costs with a session and without one.

    Arguments:
        rounds: measurements of each.
        count: units of work in a measurement.
    """
    pairs: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        "`with hotswap.session()` against an empty `with`": (_empty, _session),
        "ASGI: a request that is answered at once": (_asked(_answer), _asked(asgi.SessionMiddleware(_answer))),
        "WSGI: a request that is answered at once": (_called(_reply), _called(wsgi.SessionMiddleware(_reply))),
    }
    return {
        what: compare({"without": bare, "with": whole}, "without", rounds=rounds, calls=count)
        for what, (bare, whole) in pairs.items()
    }
