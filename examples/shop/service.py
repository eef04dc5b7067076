"""A quote service that is patched while it runs: the main program, which holds what must outlive a patch.

    SHOP_ADMIN_TOKEN=secret python examples/shop/service.py --port 8000 --drops drops/
    curl 'http://127.0.0.1:8000/quote?sku=atlas&quantity=2'

The service's own code is the package `shop` beside this file; that is what patches replace. This file is not patched.
It holds what lives as long as the process: the patcher, the engine with its warm cache, the background thread, the
routes. It holds old functions and classes by from-imports and in Starlette's routes, as any main program does, and
needs to know nothing about it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from vitals import census, vitals

import hotswap
from hotswap.asgi import SessionMiddleware
from shop import QuoteEngine
from shop.catalog import PRODUCTS
from shop.live import tick
from shop.refresher import Refresher
from shop.web import answer_quote, list_products

BOX = 16
"""Pieces in a box."""
LARGEST_UPLOAD = 16 * 1024 * 1024
LONGEST_NAME = 255
CONFLICTS = (hotswap.BusyError, hotswap.StateError, hotswap.NothingToRollBackError)

BAKE = float(os.environ.get("SHOP_BAKE", "10"))
"""Seconds that a patch is on trial."""

patcher = hotswap.Patcher(packages=["shop"], bake=BAKE)
engine = QuoteEngine.warmed()
refresher = Refresher(engine.cache)
token = os.environ.get("SHOP_ADMIN_TOKEN", "")


@patcher.check(timeout=2.0)
async def quotes_are_positive(candidate: Any) -> None:
    """Ask the candidate for a price of everything that is sold, out of the cache that is warm already."""
    quote = candidate["shop.pricing"].quote
    for answer in await asyncio.gather(*(quote(engine.cache, sku, 1) for sku in PRODUCTS)):
        assert answer["total"] > 0, f"{answer['sku']} would cost {answer['total']} cents"


@patcher.probe(every=0.1, failures=2, timeout=2.0)
async def full_boxes_have_a_price() -> None:
    """Ask what is live for what no check has asked the candidate: a full box."""
    answer = await engine.quote("atlas", BOX)
    assert answer["total"] > 0, f"{BOX} of {answer['sku']} would cost {answer['total']} cents"


async def price_basket(request: Request) -> Response:
    """`GET /basket?line=atlas:2&line=novel:1`: every line is priced by itself, one after the other.

    These are many calls of the package, with waiting between them, and a patch may go live at any of them. The session
    of the request keeps it on one version to its end: nobody gets half a basket at the old rates, and half at the new.
    """
    asked = [line.partition(":")[::2] for line in request.query_params.getlist("line")]
    for sku, quantity in asked:
        if not quantity.isdecimal() or not engine.sells(sku, int(quantity)):
            return JSONResponse({"error": f"no quote for {quantity} pieces of {sku!r}"}, status_code=404)
    lines = [await engine.quote(sku, int(quantity)) for sku, quantity in asked]
    return JSONResponse({"lines": lines, "total": sum(line["total"] for line in lines), "engine": engine.label})


def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Admin endpoints answer only to who knows the token; and what hotswap refuses becomes a readable answer."""

    async def admin(request: Request) -> Response:
        if not token:
            return JSONResponse({"error": "set SHOP_ADMIN_TOKEN to use the admin endpoints"}, status_code=503)
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {token}".encode()):
            return JSONResponse({"error": "wrong token"}, status_code=401, headers={"www-authenticate": "Bearer"})
        try:
            return await endpoint(request)
        except hotswap.HotswapError as error:
            status = 409 if isinstance(error, CONFLICTS) else 422
            return JSONResponse({"error": type(error).__name__, "reason": str(error)}, status_code=status)

    return admin


@guarded
async def apply(request: Request) -> Response:
    """`POST /admin/apply`: a JSON body names a path here, any other body is the file itself, named by `?name=`.

    `"version"` in the one and `?version=` with the other give a version to a file that has none.
    """
    body = await limited_body(request)
    if body is None:
        return JSONResponse({"error": f"more than {LARGEST_UPLOAD} bytes"}, status_code=413)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            read = partial(hotswap.Patch.from_path, *asked_path(body))
        else:
            read = partial(uploaded_patch, *asked_upload(request, body))
    except BadRequestError as error:
        return JSONResponse({"error": str(error)}, status_code=error.status)
    patch = await asyncio.to_thread(read)
    rollout = await patcher.apply_async(patch, wait=10.0)
    return JSONResponse(described(rollout))


@guarded
async def roll_back(request: Request) -> Response:
    """`POST /admin/rollback`: back to the version before; `?reason=` goes into the history."""
    rollout = await asyncio.to_thread(patcher.rollback, reason=request.query_params.get("reason", "asked for"))
    return JSONResponse(described(rollout))


@guarded
async def confirm(request: Request) -> Response:
    """`POST /admin/confirm`: what is live has proved itself, the version before it may go."""
    rollout = patcher.current
    if rollout is None:
        return JSONResponse({"error": "nothing is on trial"}, status_code=409)
    await asyncio.to_thread(rollout.confirm)
    return JSONResponse(described(rollout))


@guarded
async def status(request: Request) -> Response:
    """`GET /admin/status`: what is live, what happened, how the process does; `?census=1` also counts old code."""
    facts: dict[str, object] = {
        **vitals(),
        "versions": {name: str(version) for name, version in patcher.versions.items()},
        "engine": {"label": engine.label, "answered": engine.answered, "cache_loads": engine.cache.loads},
        "refresher": {"thread": refresher.ident, "rounds": refresher.rounds, "version": refresher.version},
        "history": [described(record) for record in patcher.history()],
    }
    if request.query_params.get("census"):
        watch = request.app.state.watch
        kept = [*patcher.history(), *(watch.outcomes.values() if watch is not None else ())]
        facts["census"] = await asyncio.to_thread(census, "shop", kept)
    return JSONResponse(facts)


async def limited_body(request: Request) -> bytes | None:
    """The body, or None as soon as it is larger than an upload may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_UPLOAD:
            return None
    return bytes(body)


class BadRequestError(Exception):
    """What was asked for makes no sense; the text says what does, and `status` is 400 or 422."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def asked_path(body: bytes) -> tuple[str, str | None]:
    """Path and version out of a JSON body. Raises BadRequestError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not JSON: {error}") from error
    path, version = (asked.get("path"), asked.get("version")) if isinstance(asked, dict) else (None, None)
    if not (isinstance(path, str) and is_path(path) and isinstance(version, str | None)):
        raise BadRequestError(422, 'say where the patch lies: {"path": "/srv/shop-1.3.0", "version": "1.3.0"}')
    return path, version


def is_path(text: str) -> bool:
    """Whether an operating system can be asked for a file of this name at all."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def asked_upload(request: Request, body: bytes) -> tuple[str, bytes, str | None]:
    """Name, bytes and version of an uploaded file. Raises BadRequestError."""
    name = Path(request.query_params.get("name", "")).name
    if name in ("", ".", ".."):
        raise BadRequestError(422, "say what the body is: ?name=shop-1.3.0-py3-none-any.whl")
    if not is_path(name) or len(os.fsencode(name)) > LONGEST_NAME:
        raise BadRequestError(422, f"a name has no null bytes, and at most {LONGEST_NAME} bytes")
    return name, body, request.query_params.get("version")


def uploaded_patch(name: str, body: bytes, version: str | None) -> hotswap.Patch:
    """Read a patch out of an uploaded file; a patch keeps the bytes, so the file can go at once."""
    with tempfile.TemporaryDirectory(prefix="shop-upload-") as folder:
        path = Path(folder) / name
        path.write_bytes(body)
        return hotswap.Patch.from_path(path, version)


def described(rollout: hotswap.Rollout | hotswap.Record) -> dict[str, object]:
    """A rollout, or its record in the history, as JSON."""
    return {
        "id": rollout.id,
        "version": str(rollout.version),
        "state": str(rollout.state),
        "pause": rollout.pause,
        "reason": getattr(rollout, "reason", ""),
    }


def create_app(drops: Path | None, ready: Callable[[], None]) -> Starlette:
    """The application; `ready` is called when everything that a request needs is there."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        refresher.start()
        try:
            with patcher.watch(drops) if drops is not None else contextlib.nullcontext() as app.state.watch:
                ready()
                yield
        finally:
            refresher.end()

    # What a customer asks for is of one version; what the operator asks for changes it, and `/live` never ends.
    of_one_version = [Middleware(SessionMiddleware)]
    app = Starlette(
        routes=[
            Route("/quote", answer_quote, middleware=of_one_version),
            Route("/basket", price_basket, middleware=of_one_version),
            Route("/products", list_products, middleware=of_one_version),
            WebSocketRoute("/live", tick),
            Route("/admin/apply", apply, methods=["POST"]),
            Route("/admin/rollback", roll_back, methods=["POST"]),
            Route("/admin/confirm", confirm, methods=["POST"]),
            Route("/admin/status", status),
        ],
        lifespan=lifespan,
    )
    app.state.engine = engine
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop by a signal, or until standard input closes where that was asked for."""
    parser = argparse.ArgumentParser(description="A quote service that is patched while it runs.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--drops", type=Path, help="apply what is dropped into this directory")
    parser.add_argument("--ready-file", type=Path, help="write port and PID here, as JSON, when the service is up")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started this one")
    options = parser.parse_args(argv)

    listening = listen(options.host, options.port)
    port = listening.getsockname()[1]

    def ready() -> None:
        if options.ready_file is not None:
            aside = options.ready_file.with_name(f".{options.ready_file.name}.part")
            aside.write_text(json.dumps({"port": port, "pid": os.getpid()}), encoding="utf-8")
            aside.replace(options.ready_file)
        else:
            sys.stderr.write(f"quotes on http://{options.host}:{port}/quote?sku=atlas&quantity=2\n")

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(options.drops, ready),
            ws="websockets-sansio",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    if options.until_stdin_closes:
        threading.Thread(target=end_with_stdin, args=(server,), name="stdin", daemon=True).start()
    with listening:
        server.run(sockets=[listening])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections from now on; requests wait in it until the application is up.

    It says that it speaks TCP: only then does asyncio turn off the 40 ms for which small answers may be held back.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen()
    return listening


def end_with_stdin(server: uvicorn.Server) -> None:
    """Wait for the end of standard input, which comes even when the process at its other end is killed."""
    while os.read(0, 1):
        pass
    server.should_exit = True


if __name__ == "__main__":
    raise SystemExit(main())
