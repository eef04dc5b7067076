"""The example service: what its customers and its operator see, over the network, with the real library inside."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hotswap.demo.clients import Admin, Feed, RefusedError
from hotswap.demo.patches import example_folder, overlaid, package_sources, write_folder, write_wheel
from hotswap.demo.scenario import Service, service_running

pytestmark = pytest.mark.threads

GOOD = "1.3.0-rates-by-kind"
WITHIN = 20.0


class Shop:
    """A running service, and both ways to talk to it."""

    def __init__(self, service: Service, admin: Admin, client: httpx.AsyncClient, folder: Path) -> None:
        self.service = service
        self.admin = admin
        self.client = client
        self.folder = folder

    async def quote(self, sku: str = "atlas", quantity: int = 2) -> dict[str, Any]:
        response = await self.client.get("/quote", params={"sku": sku, "quantity": quantity})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def patched(self, overlay: str, version: str) -> Path:
        """A folder with one of the demo's patches; the bad ones were written for 1.3.0."""
        sources = overlaid(package_sources(example_folder()), example_folder() / "patches" / GOOD, "1.3.0")
        sources = overlaid(sources, example_folder() / "patches" / overlay, version)
        return write_folder(sources, self.folder / f"shop-{version}")


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Shop]:
    with (folder / "log").open("wb") as log:
        async with (
            service_running(folder, log) as service,
            Admin.connected(service.url, service.token) as admin,
            httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=WITHIN) as client,
        ):
            yield Shop(service, admin, client, folder)


def with_shop(folder: Path, story: Callable[[Shop], Awaitable[None]]) -> None:
    async def told() -> None:
        async with opened(folder) as shop:
            await story(shop)

    asyncio.run(told())


class TestCustomers:
    def test_quotes(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            answer = await shop.quote()
            assert {name: answer[name] for name in ("sku", "quantity", "net", "tax", "total", "version")} == {
                "sku": "atlas",
                "quantity": 2,
                "net": 7_980,
                "tax": 1_516,
                "total": 9_496,
                "version": "1.2.0",
            }
            assert answer["pid"] == shop.service.pid
            assert answer["cache_loads"] == 1
            for asked in ({"sku": "nothing"}, {"sku": "atlas", "quantity": "21"}, {"sku": "atlas", "quantity": "x"}):
                assert (await shop.client.get("/quote", params=asked)).status_code == 404

        with_shop(tmp_path, story)

    def test_a_basket_is_of_one_version_whatever_goes_live_meanwhile(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            wanted = {"line": ["atlas:2", "kettle:1"] * 100}
            begun = asyncio.create_task(shop.client.get("/basket", params=wanted))
            await asyncio.sleep(0)
            await shop.admin.apply(str(shop.patched(GOOD, "1.3.0")))
            baskets = [(await begun).json(), (await shop.client.get("/basket", params=wanted)).json()]
            for basket, version, total, words in zip(
                baskets, ["1.2.0", "1.3.0"], [9_496 + 5_473, 8_367 + 5_363], ["one tax rate", "a rate"], strict=True
            ):
                assert [line["sku"] for line in basket["lines"]] == ["atlas", "kettle"] * 100
                assert {line["version"] for line in basket["lines"]} == {version}
                assert basket["total"] == 100 * total
                assert basket["engine"].startswith(words)
            for line in ("nothing:1", "atlas:21", "atlas:x", "atlas"):
                assert (await shop.client.get("/basket", params={"line": line})).status_code == 404

        with_shop(tmp_path, story)


class TestOperator:
    def test_only_who_knows_the_token(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": shop.service.token}):
                for method, path in (
                    ("GET", "/admin/status"),
                    ("POST", "/admin/apply"),
                    ("POST", "/admin/rollback"),
                    ("POST", "/admin/confirm"),
                ):
                    response = await shop.client.request(method, path, headers=given)
                    assert response.status_code == 401, (method, path, given)

        with_shop(tmp_path, story)

    def test_apply_and_roll_back_reach_whoever_holds_old_code(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            feed = Feed()
            async with feed.following(shop.service.url):
                before = await shop.admin.status()
                applied = await shop.admin.apply(str(shop.patched(GOOD, "1.3.0")))
                assert (applied["version"], applied["state"]) == ("1.3.0", "live")
                assert (await shop.quote())["total"] == 8_367
                seen = await self.seen_everywhere(shop, feed, "1.3.0")
                assert seen["engine"]["label"].startswith("a rate for each kind")
                assert seen["refresher"]["thread"] == before["refresher"]["thread"]
                assert seen["engine"]["cache_loads"] == 1

                await shop.admin.roll_back("as was planned")
                assert (await shop.quote())["total"] == 9_496
                seen = await self.seen_everywhere(shop, feed, "1.2.0")
                assert seen["engine"]["label"].startswith("one tax rate")
                assert seen["history"][0]["reason"] == "as was planned"
            assert (feed.versions, feed.broken) == (["1.2.0", "1.3.0", "1.2.0"], None)

        with_shop(tmp_path, story)

    async def seen_everywhere(self, shop: Shop, feed: Feed, version: str) -> dict[str, Any]:
        """The status, as soon as the background thread and the WebSocket have come round to this version."""
        async with asyncio.timeout(WITHIN):
            while True:
                status = await shop.admin.status()
                assert status["versions"] == {"shop": version}
                if status["refresher"]["version"] == version and feed.versions[-1:] == [version]:
                    return status
                await asyncio.sleep(0.02)

    def test_an_uploaded_wheel(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            wheel = write_wheel(
                overlaid(package_sources(example_folder()), example_folder() / "patches" / GOOD, "1.3.0"),
                "1.3.0",
                tmp_path,
            )
            headers = {"Authorization": f"Bearer {shop.service.token}"}
            response = await shop.client.post("/admin/apply", headers=headers, content=wheel.read_bytes())
            assert response.status_code == 422
            assert "?name=" in response.json()["error"]
            response = await shop.client.post(
                "/admin/apply", headers=headers, params={"name": wheel.name}, content=wheel.read_bytes()
            )
            assert response.status_code == 200, response.text
            assert (await shop.quote())["version"] == "1.3.0"

        with_shop(tmp_path, story)

    def test_what_makes_no_sense_is_told(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            headers = {"Authorization": f"Bearer {shop.service.token}"}
            json_type = {**headers, "Content-Type": "application/json"}
            bodies = [b"{bad", b"\xff", b"[" * 100_000, b"{}", b"[]", b"5", b'{"path": 5}', b'{"path": ""}']
            bodies += [b'{"path": "a\\u0000b"}', b'{"path": "\\ud800"}', b'{"path": "/srv/shop", "version": 5}']
            bodies += [f'{{"path": "/{"a" * 5000}"}}'.encode(), b'{"path": "/nowhere", "version": "x y"}']
            for body in bodies:
                response = await shop.client.post("/admin/apply", headers=json_type, content=body)
                assert response.status_code in {400, 422}, (body[:40], response.text)
                assert len(response.json()["error"]) > 5, body[:40]
            names = ["..", ".", "/", "", "a\0b.py", "a" * 300 + ".py", "\u4fa1" * 90 + ".py", "a.txt", "no wheel.whl"]
            for name in names:
                response = await shop.client.post(
                    "/admin/apply", headers=headers, params={"name": name}, content=b"X = 1\n"
                )
                assert response.status_code in {400, 422}, (name, response.text)
                assert len(response.json()["error"]) > 5, name

            path = str(shop.patched(GOOD, "1.3.0"))
            response = await shop.client.post(
                "/admin/apply",
                headers={**headers, "Content-Type": "Application/JSON; charset=utf-8"},
                content=json.dumps({"path": path}),
            )
            assert (response.status_code, response.json().get("version")) == (200, "1.3.0"), response.text
            assert "Traceback" not in (tmp_path / "log").read_text()

        with_shop(tmp_path, story)

    def test_what_is_refused_is_told(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            with pytest.raises(RefusedError, match="NothingToRollBackError"):
                await shop.admin.roll_back("there is nothing")
            with pytest.raises(RefusedError, match="nothing is on trial"):
                await shop.admin.confirm()
            with pytest.raises(RefusedError, match="would cost -"):
                await shop.admin.apply(str(shop.patched("1.3.3-negative-price", "1.3.3")))
            with pytest.raises(RefusedError, match=r"pricing\.py:28"):
                await shop.admin.apply(str(shop.patched("1.3.1-syntax-error", "1.3.1")))
            answer = await shop.quote()
            assert (answer["version"], answer["total"]) == ("1.2.0", 9_496)

        with_shop(tmp_path, story)

    def test_a_confirmed_version_stays(self, tmp_path: Path) -> None:
        async def story(shop: Shop) -> None:
            await shop.admin.apply(str(shop.patched(GOOD, "1.3.0")))
            assert (await shop.admin.confirm())["state"] == "permanent"
            assert (await shop.admin.status())["history"][0]["state"] == "permanent"
            with pytest.raises(RefusedError):
                await shop.admin.confirm()
            assert (await shop.quote())["version"] == "1.3.0"

        with_shop(tmp_path, story)
