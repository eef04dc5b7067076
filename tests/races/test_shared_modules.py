"""Calls in flight of modules that the patch does not change: what they had begun on goes on for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from tests.races.threads import forks_go
from tests.waiting import until

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

    def test_call_that_names_nothing_is_waited_for(self, service: Service) -> None:
        rollouts = []

        def run() -> list[str]:
            rollouts.append(service.apply("2"))
            return [call.function for call in rollouts[0].in_flight()]

        assert service.api.main(run) == [f"{service.package}.api:main"]
        assert rollouts[0].in_flight() == ()
        assert rollouts[0].drained.wait(10)


LIB = """
def kind({more}): return "{v}"
"""

USER = """
from . import lib

class Thing:
    @property
    def price(self): return "{v}"
    def total(self): return quote({pass_}), lib.kind()

def quote({more}): return "{v}"
def loop():
    while True:
        yield lib.kind(), Thing().price, *Thing().total(), quote({pass_})
"""

ONE, TWO_AND_THREE = ("1",) * 5, ("2", "3", "3", "2", "3")


class Later:
    """The first patch leaves the module alone of which a call is in flight; the second changes that module.

    Arguments:
        make: makes packages.
        handover: that of the patcher.
        passed: what the second version of the loop passes more: so it has another body.
    """

    def __init__(self, make: Callable[..., ModuleType], handover: float | None, passed: str) -> None:
        files = {"lib.py": LIB.format(v="1", more=""), "user.py": USER.format(v="1", more="", pass_="")}
        self.name, self.passed = make(files).__name__, passed
        __import__(f"{self.name}.user")
        self.patcher = Patcher([self.name], handover=handover)

    def loop(self) -> Any:
        return sys.modules[f"{self.name}.user"].loop()

    def patch(self, name: str, version: str) -> Patch:
        source = {"lib": LIB, "user": USER}[name].format(v=version, more="z=0", pass_=self.passed)
        return Patch.from_sources({f"{self.name}.{name}": source}, version=version)


class TestModuleThatChangesLater:
    @pytest.mark.parametrize("armed", [False, True])
    @pytest.mark.parametrize("passed", ["", "0"])
    def test_its_call_goes_on_with_the_old(
        self, make_package: Callable[..., ModuleType], armed: bool, passed: str
    ) -> None:
        service = Later(make_package, None, passed)
        old = service.loop()
        assert next(old) == ONE
        rollouts = [service.patcher.apply(service.patch("lib", "2"))]
        assert next(old) == ONE
        rollouts.append(service.patcher.stage(service.patch("user", "3")))
        rollouts[1].verify()
        if armed:
            rollouts[1].arm()
            assert next(old) == ONE
        rollouts[1].commit()
        new = service.loop()
        assert (next(old), next(new)) == (ONE, TWO_AND_THREE)
        rollouts[1].rollback()
        assert (next(old), next(new)) == (ONE, TWO_AND_THREE)
        new.close()
        old.close()
        del old, new
        assert all(rollout.drained.wait(20) for rollout in rollouts)
        assert forks_go()
        assert next(service.loop()) == ("2", "1", "1", "2", "1")

    @pytest.mark.parametrize("passed", ["", "0"])
    def test_its_call_goes_on_over_many(self, make_package: Callable[..., ModuleType], passed: str) -> None:
        service = Later(make_package, None, passed)
        old = service.loop()
        assert next(old) == ONE
        rollouts = []
        for patch in (("lib", "2"), ("user", "3"), ("lib", "4"), ("user", "5"), ("lib", "6")):
            rollouts.append(service.patcher.apply(service.patch(*patch)))
            assert next(old) == ONE
        assert next(service.loop()) == ("6", "5", "5", "6", "5")
        old.close()
        del old
        assert all(rollout.drained.wait(20) for rollout in rollouts)
        assert forks_go()

    @pytest.mark.parametrize("passed", ["", "0"])
    def test_its_call_goes_on_where_the_later_one_was_taken_back(
        self, make_package: Callable[..., ModuleType], passed: str
    ) -> None:
        service = Later(make_package, None, passed)
        old = service.loop()
        assert next(old) == ONE
        rollouts = [service.patcher.apply(service.patch(*patch)) for patch in (("lib", "2"), ("user", "3"))]
        new = service.loop()
        next(new)  # as long as it goes on there are forks after the rollback
        rollouts[1].rollback()
        rollouts.append(service.patcher.apply(service.patch("lib", "4")))
        assert next(old) == ONE
        assert next(service.loop()) == ("4", "1", "1", "4", "1")
        old.close()
        new.close()
        del old, new
        assert all(rollout.drained.wait(20) for rollout in rollouts)
        assert forks_go()

    @pytest.mark.parametrize("handover", [0, 0.3])
    def test_its_call_is_handed_over(self, make_package: Callable[..., ModuleType], handover: float) -> None:
        service = Later(make_package, handover, "")
        old = service.loop()
        assert next(old) == ONE
        rollouts = [service.patcher.apply(service.patch(*what)) for what in (("lib", "2"), ("user", "3"))]
        assert until(lambda: next(old) == TWO_AND_THREE)
        assert all(rollout.drained.wait(20) for rollout in rollouts)
        assert forks_go()
        assert next(old) == TWO_AND_THREE
        old.close()
