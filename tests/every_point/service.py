"""A request to the example service while a patch goes in: its application, called as a server would call it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from hotswap.demo.patches import example_folder, overlaid, package_sources
from tests.every_point.programs import Drive, Program

__all__ = ["PROGRAMS"]

OVERLAYS = ("1.3.0-rates-by-kind", "1.4.0-packaging-fee")
"""Both together change every module through which a request goes."""

QUERY = b"sku=atlas&quantity=2"


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The modules of the shop, which a throw-away package can hold: they import by relative names, and do not wait."""
    texts = {}
    for path, data in files.items():
        text = re.sub(r"^from shop(\.?)", r"from .", data.decode(), flags=re.MULTILINE)
        text = text.replace("ROUNDS = 5_000", "ROUNDS = 1").replace("ASKING = 0.003", "ASKING = 0")
        texts[path.removeprefix("shop/").removesuffix(".py")] = text
    return texts


def _versions() -> tuple[dict[str, str], dict[str, str]]:
    old = new = package_sources(example_folder())
    for name in OVERLAYS:
        new = overlaid(new, example_folder() / "patches" / name, name.partition("-")[0])
    return _texts(old), _texts(new)


async def _get(app: Any) -> tuple[int, Any]:
    """The status and the JSON that the application answers with."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
    scope |= {"scheme": "http", "path": "/quote", "raw_path": b"/quote", "query_string": QUERY, "root_path": ""}
    scope |= {"headers": [(b"host", b"shop")], "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80)}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def request(drive: Drive) -> None:
    from starlette.applications import Starlette  # not where nobody asks: staging looks at every module of a process
    from starlette.routing import Route

    cache = drive.cache.WarmCache()
    app = Starlette(routes=[Route("/quote", drive.web.answer_quote)])
    app.state.engine = drive.engine.QuoteEngine(cache)
    for product in drive.catalog.PRODUCTS.values():
        cache._net[product.sku, 2] = product.unit_price * 2  # what `load` does, which takes a thousand points
    drive("a quote", lambda: asyncio.run(_get(app)))


PROGRAMS = [Program("request", request, _versions(), forked=True)]
