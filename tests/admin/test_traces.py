"""What is asked for over HTTP is in the trace of its request, and in no session of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk")

import hotswap
from hotswap import wsgi
from hotswap.admin import Access, Tokens
from hotswap.asgi import admin
from hotswap.session import number_here
from tests.measuring import Priced, Sdk, instrumented_package, real_sdk  # noqa: F401 - fixtures

pytestmark = pytest.mark.threads

TOKENS = Tokens({"a-token-that-writes": Access("pipeline", write=True)})

QUOTE = b"def quote():\n    return PRICE\n"


async def posted(app: Any, path: str, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": "Bearer a-token-that-writes"}
    async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as client:
        return await client.post(path, params={"wait": 30}, **more)


def test_a_rollout_is_a_child_of_its_request(priced: Priced, sdk: Sdk) -> None:
    async def main() -> None:
        app = admin(priced.patcher, authorize=TOKENS)
        with sdk.tracer.start_as_current_span("POST /rollouts"):
            answer = await posted(
                app, "/rollouts", files={"patch": (f"{priced.name}.prices.py", b"PRICE = 2\n" + QUOTE)}
            )
        assert answer.status_code == 201, answer.text
        with sdk.tracer.start_as_current_span("POST /undo"):
            assert (await posted(app, "/undo")).status_code == 200

    asyncio.run(main())
    parents = dict(sdk.tree())
    assert parents["hotswap.rollout"] == "POST /rollouts"
    assert parents["hotswap.rollback"] == "POST /undo"


def test_so_it_is_where_wsgi_serves(priced: Priced, sdk: Sdk) -> None:
    app = wsgi.admin(priced.patcher, authorize=TOKENS)
    headers = {"Authorization": "Bearer a-token-that-writes"}
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://admin", headers=headers) as client:
        with sdk.tracer.start_as_current_span("POST /rollouts"):
            files = {"patch": (f"{priced.name}.prices.py", b"PRICE = 2\n" + QUOTE)}
            assert client.post("/rollouts", params={"wait": 30}, files=files).status_code == 201
    app.close()
    assert dict(sdk.tree())["hotswap.rollout"] == "POST /rollouts"


def test_it_keeps_no_session_of_its_caller(priced: Priced) -> None:
    seen: list[object] = []
    priced.patcher.hook("before_commit")(lambda _: seen.append(number_here()))

    async def main() -> weakref.ref[Any]:
        app = admin(priced.patcher, authorize=TOKENS)
        async with hotswap.session() as unit:
            answer = await posted(
                app, "/rollouts", files={"patch": (f"{priced.name}.prices.py", b"PRICE = 2\n" + QUOTE)}
            )
            assert answer.status_code == 201, answer.text
        return weakref.ref(unit)

    unit = asyncio.run(main())
    gc.collect()
    assert seen == [None]
    assert unit() is None
