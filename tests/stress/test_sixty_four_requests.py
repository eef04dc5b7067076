"""Sixty-four long requests at once, while signatures change back and forth five hundred times: each is of one version.

Once over the network, against the example service with its middleware; and once in this process, where tasks and as
many threads are driven, and what is left of the generations can be counted.

`HOTSWAP_STRESS_LONG_SWAPS` sets another number of swaps.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

import httpx
import pytest

from hotswap.demo import scenario
from hotswap.demo.clients import Admin
from hotswap.demo.load import one_connection
from hotswap.demo.patches import Sources, example_folder, overlaid, package_sources
from hotswap.demo.scenario import service_running
from hotswap.demo.tariffs import TARIFFS, Product
from tests.races.requests import Clients, Service
from tests.stress.test_thousand_swaps import Course, Ride, cycled, forks, rested, settled

pytestmark = [pytest.mark.stress, pytest.mark.threads, pytest.mark.timeout(3600)]

SWAPS = int(os.environ.get("HOTSWAP_STRESS_LONG_SWAPS", "500"))
CLIENTS = 64

LINES = 6
"""How many products there are in a basket, one priced after the other."""

PATIENCE = 60.0
"""Seconds that a basket may take."""

GROWTH = 6 * 1024 * 1024
"""How much resident memory may grow in the last four fifths of the swaps, in bytes.

Over the network 2.5 MB were seen in 400 swaps, the history among them, which is kept on purpose.
"""

# --- what the versions of the example look like ---

PRICING = '''
import asyncio

from shop import __version__, tax
from shop.cache import WarmCache
from shop.catalog import PRODUCTS
from shop.quotes import Quote

ASKING = 0.05


async def quote(cache: WarmCache, sku: str, quantity: int) -> Quote:
    """Price so many pieces, and look at it again and again, with waiting in between."""
    net = net_price(cache, sku, quantity)
    await asyncio.sleep(ASKING)
    due = tax.apply($due)
    await asyncio.sleep(ASKING)
    assessment = tax.Assessment($due)
    await asyncio.sleep(ASKING)
    assert assessment.cents == due == tax.Assessment.of($due).cents
    return Quote(sku=sku, quantity=quantity, net=net, tax=due, total=net + due, version=__version__)


def net_price(cache: WarmCache, sku: str, quantity: int) -> int:
    """The net price in cents."""
    return cache.net(sku, quantity)$less
'''
TAX = '''
RATES = {"book": 7, "goods": 19}


class Assessment:
    """One price, and its tax."""

    def __init__(self, $parameters) -> None:
        self.net, self.rate = net, $rate

    @classmethod
    def of(cls, $parameters):
        return cls($arguments)

    @property
    def cents(self) -> int:
        return self.rounded($parts)

    def rounded(self, $names) -> int:
        return (net * rate + 50) // 100


def apply($parameters) -> int:
    """The tax in cents."""
    return Assessment($arguments).cents
'''
EVEN = {
    "due": "net, 19",
    "parameters": "net, rate",
    "arguments": "net, rate",
    "rate": "rate",
    "parts": "self.net, self.rate",
    "names": "net, rate",
    "less": "",
}
ODD = {
    "due": "PRODUCTS[sku], net=net",
    "parameters": "product, *, net",
    "arguments": "product, net=net",
    "rate": "RATES[product.kind]",
    "parts": "rate=self.rate, net=self.net",
    "names": "*, rate, net",
    "less": " * 98 // 100",
}


def shapes() -> tuple[Sources, Sources]:
    """The two shapes of the example: everything that a quote calls has another signature, and other prices."""
    even = package_sources(example_folder())
    odd = overlaid(even, example_folder() / "patches" / "1.3.0-rates-by-kind", "0")
    return written(even, EVEN), written(odd, ODD)


def written(sources: Sources, words: dict[str, str]) -> Sources:
    """The sources with modules for pricing and tax that say these words."""
    texts = {"shop/pricing.py": PRICING, "shop/tax.py": TAX}
    return {**sources, **{name: Template(text).substitute(words).encode() for name, text in texts.items()}}


# --- over the network ---


@dataclass(slots=True)
class Baskets:
    """What sixty-four clients got, each over a connection of its own. `mixed` says what was wrong with an answer."""

    products: list[Product] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    tariffs: dict[str, str] = field(default_factory=lambda: Course.tariffs(4 * SWAPS + 100))
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def asked_for(self, url: str) -> AsyncIterator[None]:
        """Have the clients ask for one basket after the other until the block is left."""
        self.over.clear()
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(one_connection(url)) for _ in range(CLIENTS)]
            listed = (await clients[0].get("/products")).raise_for_status().json()
            self.products = [Product(one["sku"], one["kind"], one["unit_price"]) for one in listed]
            async with asyncio.TaskGroup() as group:
                for number, client in enumerate(clients):
                    group.create_task(self._ask(client, random.Random(number)))
                try:
                    yield
                finally:
                    self.over.set()

    async def _ask(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        while not self.over.is_set():
            wanted = [(chance.choice(self.products), chance.randint(1, 20)) for _ in range(LINES)]
            lines = [f"{product.sku}:{quantity}" for product, quantity in wanted]
            try:
                response = await client.get("/basket", params={"line": lines}, timeout=PATIENCE)
            except httpx.HTTPError as error:
                self.mixed.append(f"{type(error).__name__} {error}")
                continue
            if response.is_error:
                self.mixed.append(f"status {response.status_code}: {response.text[:200]}")
                continue
            self._judge(wanted, response.json())

    def _judge(self, wanted: list[tuple[Product, int]], basket: dict[str, Any]) -> None:
        versions = {line["version"] for line in basket["lines"]}
        if len(versions) != 1:
            self.mixed.append(f"a basket of {sorted(versions)}")
            return
        (version,) = versions
        self.versions[version] += 1
        tariff = self.tariffs[version]
        right = [
            (product.sku, quantity, price.net, price.tax, price.total)
            for product, quantity in wanted
            for price in [TARIFFS[tariff](product, quantity)]
        ]
        given = [tuple(line[key] for key in ("sku", "quantity", "net", "tax", "total")) for line in basket["lines"]]
        if given != right or basket["total"] != sum(line[-1] for line in right):
            self.mixed.append(f"version {version} answered {given}, right is {right}")
        words = {"one rate": "one tax rate", "rate by kind": "a rate for each kind"}[tariff]
        if not basket["engine"].startswith(words):
            self.mixed.append(f"a basket of {version} from {basket['engine']!r}")


async def ridden(folder: Path, swaps: int) -> tuple[Ride, Baskets]:
    """Swap and swap again under load; after the first cycle the load rests, and what there is then is noted."""
    ride, baskets, course = Ride(), Baskets(), Course(shapes())
    (folder / "drops").mkdir()
    with (folder / "log").open("wb") as log:
        async with (
            service_running(folder, log, drops=folder / "drops") as service,
            Admin.connected(service.url, service.token) as admin,
        ):
            async with baskets.asked_for(service.url):
                await cycled(admin, course, folder, ride)
            ride.before = await rested(admin)
            async with baskets.asked_for(service.url):
                while ride.swaps < swaps:
                    await cycled(admin, course, folder, ride)
                    if not ride.warm and ride.swaps >= swaps / 5:
                        ride.warm = await settled(admin)
                ride.loaded = await settled(admin)
            ride.after = await rested(admin)
    return ride, baskets


@pytest.fixture(scope="module")
def ridden_baskets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ride, Baskets]:
    return asyncio.run(ridden(tmp_path_factory.mktemp("ride"), SWAPS))


class TestExampleService:
    def test_no_request_fails_and_each_is_of_one_version(self, ridden_baskets: tuple[Ride, Baskets]) -> None:
        ride, baskets = ridden_baskets
        assert ride.swaps >= SWAPS
        assert baskets.mixed == []
        assert baskets.versions.total() > ride.swaps
        assert len(baskets.versions) > ride.swaps / 4

    def test_no_fork_and_no_generation_is_left(self, ridden_baskets: tuple[Ride, Baskets]) -> None:
        ride = ridden_baskets[0]
        before, after = ride.before["census"], ride.after["census"]
        assert forks(ride.after) == []
        assert after["modules"] == before["modules"]
        assert Counter(after["functions"]) <= Counter(before["functions"])

    def test_memory_does_not_grow(self, ridden_baskets: tuple[Ride, Baskets]) -> None:
        ride = ridden_baskets[0]
        grown = ride.loaded["resident_memory"] - ride.warm["resident_memory"]
        assert grown < GROWTH, f"{grown / 1024 / 1024:.1f} MB in {ride.swaps} swaps"

    def test_baskets_are_mixed_without_the_middleware(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The clients above would see it."""
        bare = tmp_path / "bare"
        shutil.copytree(example_folder(), bare)
        program = (bare / "service.py").read_text()
        assert "[Middleware(SessionMiddleware)]" in program
        (bare / "service.py").write_text(program.replace("[Middleware(SessionMiddleware)]", "[]"))
        monkeypatch.setattr(scenario, "example_folder", lambda: bare)
        _, baskets = asyncio.run(ridden(tmp_path, 20))
        assert baskets.mixed


# --- in this process ---


def resident() -> int:
    """The resident memory of this process in bytes, after a collection; 0 where the system does not tell."""
    gc.collect()
    facts = Path("/proc/self/statm")
    return int(facts.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if facts.exists() else 0


class TestTasksAndThreads:
    def test_are_of_one_version_each(self, make_package: Callable[..., ModuleType]) -> None:
        service = Service(make_package, turns=2, pause=0.02)
        with Clients(service, CLIENTS) as clients:
            service.swap(SWAPS // 5)
            warm = resident()
            service.swap(SWAPS - SWAPS // 5)
            grown = resident() - warm
        assert clients.mixed == []
        assert clients.stale == []
        assert {version for answer in clients.answers for version in answer.versions} == {*service.lives}
        assert service.settled()
        assert service.alive() <= 2  # what is live, and what it would be rolled back to
        assert grown < GROWTH, f"{grown / 1024 / 1024:.1f} MB in {service.swaps} swaps"

    def test_are_mixtures_without_the_middleware(self, make_package: Callable[..., ModuleType]) -> None:
        """The clients above would see it."""
        service = Service(make_package, turns=2, pause=0.02, sessions=False)
        with Clients(service, CLIENTS) as clients:
            service.swap(20)
        assert clients.mixed
