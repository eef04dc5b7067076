"""The examples, each as a program of its own: priced, patched under a session middleware, taken back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "admin"

pytestmark = pytest.mark.threads

JOURNEY = """
    import asyncio, sys
    import httpx

    reads, writes = {"authorization": "Bearer a-token-that-reads"}, {"authorization": "Bearer a-token-that-writes"}
    dearer = open("parcels/prices.py").read().replace("150", "160").encode()


    async def journey(http):
        async def cents():
            return (await http.get("/price", params={"kilos": 2})).json()["cents"]

        assert await cents() == 650
        upload = {"files": {"patch": ("parcels.prices.py", dearer)}, "data": {"version": "1.1"}, "params": {"wait": 30}}
        assert (await http.post("/hotswap/rollouts", headers=reads, **upload)).status_code == 403
        answer = await http.post("/hotswap/rollouts", headers=writes, **upload)
        assert answer.status_code == 201, answer.text
        assert await cents() == 670
        upload["files"]["patch"] = ("parcels.prices.py", dearer.replace(b"160", b"-160"))
        answer = await http.post("/hotswap/rollouts", headers=writes, **{**upload, "data": {"version": "1.2"}})
        assert answer.status_code == 422
        assert answer.json()["failed_checks"][0]["name"] == "heavier_costs_more", answer.text
        assert (await http.get("/hotswap/versions", headers=reads)).json()["versions"] == {"parcels": "1.1"}
        assert (await http.post("/hotswap/undo", headers=writes, params={"wait": 30})).status_code == 200
        assert await cents() == 650
"""

ASGI = """
    from fastapi_service import app


    async def main():
        within = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=within, base_url="http://127.0.0.1", timeout=60) as http:
            await journey(http)


    asyncio.run(main())
"""

WSGI = """
    import threading
    from werkzeug.serving import make_server
    from {service} import {name} as app, ops

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


    async def main():
        address = f"http://127.0.0.1:{{server.port}}"
        async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as http:
            await journey(http)


    asyncio.run(main())
    server.shutdown()
    ops.close()
"""


@pytest.mark.parametrize(
    ("needs", "served"),
    [
        ("fastapi", ASGI),
        ("flask", WSGI.format(service="flask_service", name="app")),
        ("django", WSGI.format(service="django_service", name="application")),
    ],
    ids=["fastapi", "flask", "django"],
)
def test_it_is_patched(needs: str, served: str) -> None:
    pytest.importorskip(needs, reason="the example needs it")
    environment = {
        **os.environ,
        "PARCELS_READER": "a-token-that-reads",
        "PARCELS_WRITER": "a-token-that-writes",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parents[1]), str(EXAMPLES)]),
    }
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(JOURNEY) + textwrap.dedent(served)],
        cwd=EXAMPLES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
