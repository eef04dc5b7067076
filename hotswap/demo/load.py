"""The load: a process of its own that asks for quotes over keep-alive connections, and judges every answer.

    python -m hotswap.demo.load --url http://127.0.0.1:8000 --connections 16 --versions versions.json

It writes one line of JSON four times a second, and a last one with `"final": true` after its standard input was closed:
so it also ends when the process that started it is killed. A request fails if the connection breaks, the status is not
200, or the answer is not exactly what the version that it claims would give, from the same process and the same cache.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from hotswap.demo.latency import Latencies
from hotswap.demo.tariffs import TARIFFS, Price, Product

__all__ = ["Judge", "Load", "main"]

EVERY = 0.25
PATIENCE = 10.0
QUANTITIES = (1, 2, 3, 7, 12, 20)
NAMED_PROBLEMS = 20

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used, as all is plain HTTP; without it each client would read all certificates of the system."""


class Judge:
    """Says what is wrong with an answer; lives as long as the load.

    Arguments:
        products: what the service sells.
        versions: the versions that may answer, each with the name of its tariff.
    """

    def __init__(self, products: Sequence[Product], versions: Mapping[str, str]) -> None:
        self._products = {product.sku: product for product in products}
        self._versions = versions
        self._pid: int | None = None

    def problem(self, sku: str, quantity: int, answer: Mapping[str, Any]) -> str | None:
        """What is wrong with this answer, None if nothing is."""
        tariff = self._versions.get(answer["version"])
        if tariff is None:
            return f"answered by version {answer['version']}, which was never live"
        price: Price = TARIFFS[tariff](self._products[sku], quantity)
        given = (answer["sku"], answer["quantity"], answer["net"], answer["tax"], answer["total"])
        right = (sku, quantity, price.net, price.tax, price.total)
        if given != right:
            return f"version {answer['version']} answered {given}, right is {right}"
        if answer["cache_loads"] != 1:
            return f"the cache was loaded {answer['cache_loads']} times"
        self._pid = self._pid or answer["pid"]
        if answer["pid"] != self._pid:
            return f"answered by process {answer['pid']}, not {self._pid}"
        return None


class Load:
    """Requests over so many connections at once, counted; lives from the first request to the last."""

    def __init__(self, judge: Judge, products: Sequence[Product]) -> None:
        self.stopping = asyncio.Event()
        self._judge = judge
        self._asked = itertools.cycle(list(itertools.product([product.sku for product in products], QUANTITIES)))
        self._all = Latencies()
        self._window = Latencies()
        self._window_began = time.perf_counter()
        self._failed = 0
        self._problems: list[str] = []
        self._versions: Counter[str] = Counter()
        self._connections: set[int] = set()

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Ask one question after the other until told to stop; the last one is waited for."""
        while not self.stopping.is_set():
            sku, quantity = next(self._asked)
            began = time.perf_counter()
            problem = await self._one(client, sku, quantity)
            seconds = time.perf_counter() - began
            self._all.add(seconds)
            self._window.add(seconds)
            if problem is not None:
                self._failed += 1
                if len(self._problems) < NAMED_PROBLEMS:
                    self._problems.append(f"{sku} x {quantity}: {problem}")
                await asyncio.sleep(EVERY)  # A service that is gone would be asked a thousand times a second.

    async def _one(self, client: httpx.AsyncClient, sku: str, quantity: int) -> str | None:
        try:
            response = await client.get(f"/quote?sku={sku}&quantity={quantity}")
        except httpx.HTTPError as error:
            return f"{type(error).__name__} {error}"
        if response.status_code != httpx.codes.OK:
            return f"status {response.status_code}: {response.text[:200]}"
        try:
            answer = response.json()
            problem = self._judge.problem(sku, quantity, answer)
            self._versions[answer["version"]] += 1
            self._connections.add(answer["connection"])
        except (ValueError, KeyError, TypeError) as error:
            return f"not a quote ({error!r}): {response.text[:200]}"
        return problem

    def report(self, *, final: bool = False) -> str:
        """One line of JSON: the totals so far, and what the time since the last report was like."""
        now = time.perf_counter()
        window, self._window = self._window, Latencies()
        seconds, self._window_began = now - self._window_began, now
        measured = self._all if final else window
        return json.dumps(
            {
                "final": final,
                "requests": self._all.count,
                "failed": self._failed,
                "per_second": round(window.count / seconds, 1),
                "p50_ms": round(measured.percentile(0.50) * 1000, 2),
                "p99_ms": round(measured.percentile(0.99) * 1000, 2),
                "longest_ms": round(self._all.longest * 1000, 2),
                "versions": dict(self._versions),
                "connections": len(self._connections),
                "problems": self._problems,
            }
        )


async def run(url: str, connections: int, versions: Mapping[str, str]) -> None:
    """Load the service until standard input is closed."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(one_connection(url)) for _ in range(connections)]
        listed = (await clients[0].get("/products")).raise_for_status().json()
        products = [Product(one["sku"], one["kind"], one["unit_price"]) for one in listed]
        load = Load(Judge(products, versions), products)
        loop = asyncio.get_running_loop()
        threading.Thread(target=stop_with_stdin, args=(loop, load.stopping), name="stdin", daemon=True).start()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(load.ask(client))
            while not load.stopping.is_set():
                try:
                    await asyncio.wait_for(load.stopping.wait(), EVERY)
                except TimeoutError:
                    print(load.report(), flush=True)
        print(load.report(final=True), flush=True)


def one_connection(url: str) -> httpx.AsyncClient:
    """A client with a single connection, never given up by itself.

    One client with a pool of many is not fair: now and then it lets a request wait for hundreds of milliseconds, and a
    connection rest for so long that the service closes it.
    """
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE, trust_env=False, verify=PLAIN)


def stop_with_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Wait for the end of standard input; read without a buffer, whose lock would be held when the process ends."""
    while os.read(0, 1):
        pass
    loop.call_soon_threadsafe(stopping.set)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments and put the load on."""
    parser = argparse.ArgumentParser(prog="python -m hotswap.demo.load", description="Load on the example service.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--versions", type=Path, required=True, help="JSON: each version with the name of its tariff")
    options = parser.parse_args(argv)
    versions = json.loads(options.versions.read_text(encoding="utf-8"))
    asyncio.run(run(options.url, options.connections, versions))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
