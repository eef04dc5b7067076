"""Calls in flight of modules that the patch does not change: what they had begun on goes on for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

CORE = """
def quote({more}n): return "{v}"

class Cart:
    kind = "{v}"
    def __init__(self): self.made = "{v}"
    @property
    def price(self): return "{v}"
    def total(self, n): return "{v}", quote({pass_}n)

def order(n): return {{"{v}", quote({pass_}n), *Cart().total(n)}}

import functools
import json

@functools.total_ordering
class Ordered:
    def key(self{more_}): return "{v}"
    def __lt__(self, other): return self.key({zero}) < "2"
    def __eq__(self, other): return False
    __hash__ = None

class Encoder(json.JSONEncoder):
    def default(self, o): return o.key({zero})

def shared():
    from .api import tell
    cart = Cart()
    yield tell(cart), "{v}"
    yield tell(cart), "{v}"

def ordered():
    found = [Ordered(), Ordered()]
    yield sorted(found, key=lambda one: one.key({zero}))[0].key({zero}), "{v}"
    yield sorted(found, key=lambda one: one.key({zero}))[0].key({zero}), "{v}"

def encoded():
    encoder = Encoder()
    yield encoder.encode(Ordered()), "{v}"
    yield encoder.encode(Ordered()), "{v}"

def total():
    found = Ordered()
    yield found >= 1, "{v}"
    yield found >= 1, "{v}"

WAYS = {{"shared": shared, "sorted": ordered, "json": encoded, "total_ordering": total}}
"""

API = """
from . import core
from .core import Cart, order
from .core import order as ordered

ROUTES = {"order": core.order}

def handle(pause):
    cart, route = Cart(), ROUTES["order"]
    yield {*order(1), *core.order(1), *ordered(1), *route(1), cart.price, cart.made}
    pause()
    from .core import order as late
    yield {*order(1), *core.order(1), *ordered(1), *route(1), cart.price, Cart().made, *cart.total(1), *late(1)}

class View:
    def get(self, pause):
        first = order(1)
        pause()
        return {*first, *order(1), Cart.kind}

def serve(turns):
    for _ in turns:
        yield {*order(1), Cart.kind}

def main(run):
    return run()

def ask(n): return order(n)
def tell(cart): return cart.total(1) if hasattr(cart, "plain") else cart.price

def local(n):
    def inner():
        yield min(order(n))
        yield min(order(n))
    yield from inner()

def in_class(n):
    class Local:
        def rows(self):
            yield min(order(n))
            yield Cart().price
    yield from Local().rows()

def lazy(n):
    yield from (min(order(n)) for _ in range(2))

def factory():
    def handler(n):
        yield min(order(n))
        yield min(order(n))
    return handler

handler = factory()
NESTED = {"local": local, "in_class": in_class, "lazy": lazy, "closure": handler}
"""


def text(version: str) -> str:
    more, pass_ = ("z, ", "0, ") if int(version) % 2 == 0 else ("", "")
    more_, zero = (", z", "0") if more else ("", "")
    return CORE.format(v=version, more=more, pass_=pass_, more_=more_, zero=zero)


class Service:
    def __init__(self, package: str, handover: float | None = None) -> None:
        self.package = package
        self.patcher = Patcher([package], handover=handover)

    @property
    def api(self) -> Any:
        return sys.modules[f"{self.package}.api"]

    def apply(self, version: str) -> Any:
        return self.patcher.apply(Patch.from_sources({f"{self.package}.core": text(version)}, version=version))


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    package = make_package({"core.py": text("1"), "api.py": API}).__name__
    __import__(f"{package}.api")
    made = Service(package)
    yield made
    assert forks_go()


class TestUnchangedModule:
    def test_call_that_is_suspended_goes_on_with_the_old(self, service: Service) -> None:
        flight = service.api.handle(lambda: None)
        assert next(flight) == {"1"}
        service.apply("2")
        assert next(service.api.handle(lambda: None)) == {"2"}
        assert next(flight) == {"1"}

    def test_call_that_is_running_goes_on_with_the_old(self, service: Service) -> None:
        code = service.api.View.get.__code__
        assert service.api.View().get(lambda: service.apply("2")) == {"1"}
        assert service.api.View().get(lambda: None) == {"2"}
        assert service.api.View.get.__code__ == code

    def test_calls_of_several_generations_go_on_each_with_its_own(self, service: Service) -> None:
        flights = {"1": service.api.serve(range(3))}
        next(flights["1"])
        for version in ("2", "3"):
            service.apply(version)
            flights[version] = service.api.serve(range(3))
            next(flights[version])
        assert {version: next(flight) for version, flight in flights.items()} == {v: {v} for v in flights}
        service.patcher.rollback()
        assert {version: next(flight) for version, flight in flights.items()} == {v: {v} for v in flights}

    @pytest.mark.parametrize("name", ["local", "in_class", "lazy", "closure"])
    def test_nested_call_goes_on_with_the_old(self, service: Service, name: str) -> None:
        flight = service.api.NESTED[name](1)
        assert next(flight) == "1"
        service.apply("2")
        assert next(service.api.NESTED[name](1)) == "2"
        assert next(flight) == "1"

    @pytest.mark.parametrize("way", ["shared", "sorted", "json", "total_ordering"])
    def test_calls_on_behalf_of_old_code_get_the_old(self, service: Service, way: str) -> None:
        core = sys.modules[f"{service.package}.core"]
        flight = core.WAYS[way]()
        first = next(flight)
        service.apply("2")
        assert next(flight) == first
        assert next(sys.modules[f"{service.package}.core"].WAYS[way]()) != first

    def test_is_handed_over(self, service: Service) -> None:
        made = Service(service.package, handover=0)
        flight = made.api.serve(range(9))
        assert next(flight) == {"1"}
        rollout = made.apply("2")
        assert rollout.drained.wait(10)
        assert next(flight) == {"2"}

    def test_call_that_names_nothing_that_changes_is_not_waited_for(self, service: Service) -> None:
        rollout = service.api.main(lambda: service.apply("2"))
        assert rollout.in_flight() == ()
        assert rollout.drained.wait(1)
