"""Fields of dataclasses and attrs classes come and go: who has the constructor of one version has its fields, too."""

from __future__ import annotations

import contextvars
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap.plan import Fate
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
from dataclasses import asdict, astuple, dataclass, field, fields, is_dataclass, replace

@dataclass
class Order:
    net: int
    qty: int = 1
    {fields}

@dataclass
class Large(Order):
    size: int = 9

def facts(order):
    match order:
        case Order(): matched = tuple(getattr(order, name) for name in type(order).__match_args__)
    return (
        asdict(order), astuple(order), tuple(one.name for one in fields(order)), repr(order), matched,
        order == replace(order), replace(order, qty=3).qty, is_dataclass(order),
    )

def unchanged(orders):
    while True:
        yield [facts(one) for one in (Order(10), Large(10), *orders)]

def changed(orders):
    tag = "{fields}"
    while True:
        yield [facts(one) for one in (Order(10), Large(10), *orders)]
"""
VERSIONS = {
    "fewer": "",
    "default": "currency: str = 'EUR'",
    "factory": "tags: list = field(default_factory=list)",
    "both": "note: str = '-'; marks: set = field(default_factory=set)",
}
OUTSIDE = """
import dataclasses
from . import core

def copied(order): return dataclasses.replace(order, qty=7), dataclasses.asdict(order)

def derived():
    @dataclasses.dataclass
    class Derived(core.Order):
        more: int = 1
    return [one.name for one in dataclasses.fields(Derived)]
"""


class Service:
    def __init__(self, make: Callable[..., ModuleType], first: str, source: str = SOURCE) -> None:
        self.source = source
        package = make({"core.py": self.text(first), "outside.py": OUTSIDE}).__name__
        self.name = f"{package}.core"
        importlib.import_module(f"{package}.core")
        self.outside: Any = importlib.import_module(f"{package}.outside")
        self.patcher = Patcher([package], handover=None)

    def text(self, version: str) -> str:
        return self.source.format(fields=VERSIONS[version])

    @property
    def core(self) -> Any:
        return sys.modules[self.name]

    def patch(self, version: str) -> Patch:
        return Patch.from_sources({self.name: self.text(version)}, version=str(len(self.patcher.history()) + 1))

    def apply(self, version: str) -> hotswap.Rollout:
        return self.patcher.apply(self.patch(version))

    def pure(self, generator: str = "unchanged") -> list[Any]:
        """What a call says that meets one version only."""
        found: list[Any] = next(getattr(self.core, generator)([]))
        return found


@pytest.fixture
def make(make_package: Callable[..., ModuleType]) -> Iterator[Callable[..., Service]]:
    yield lambda first: Service(make_package, first)
    assert forks_go()


CHANGES = [("fewer", "default"), ("fewer", "factory"), ("factory", "fewer"), ("both", "factory")]


@pytest.mark.parametrize(("first", "then"), CHANGES)
class TestCalls:
    @pytest.mark.parametrize("name", ["unchanged", "changed"])
    def test_in_flight_have_the_old_fields(
        self, make: Callable[..., Service], first: str, then: str, name: str
    ) -> None:
        service = make(first)
        orders: list[Any] = []
        old, pure = getattr(service.core, name)(orders), service.pure(name)
        assert next(old) == pure
        rollout = service.apply(then)
        assert next(old) == pure
        new = service.pure(name)
        assert new != pure
        assert next(getattr(service.core, name)([service.core.Order(10)]))[2] == new[0]
        assert next(old) == pure
        old.close()
        assert rollout.drained.wait(20)
        assert service.pure(name) == new

    def test_read_objects_of_the_other_version(self, make: Callable[..., Service], first: str, then: str) -> None:
        """A field that an object was made without has its default."""
        service = make(first)
        orders: list[Any] = []
        old, pure = service.core.unchanged(orders), service.pure()
        kept = service.core.Order(10), service.core.Large(10)
        next(old)
        rollout = service.apply(then)
        orders += [service.core.Order(10), service.core.Large(10)]
        assert next(old) == [*pure, *pure]
        new = service.pure()
        assert next(service.core.unchanged(kept)) == [*new, *new]
        old.close()
        assert rollout.drained.wait(20)

    def test_are_new_after_a_rollback(self, make: Callable[..., Service], first: str, then: str) -> None:
        service = make(first)
        pure = service.pure()
        service.apply(then)
        made = service.core.Order(10), service.core.Large(10)
        orders: list[Any] = []
        flight, new = service.core.unchanged(orders), service.pure()
        next(flight)
        service.patcher.rollback()
        orders += [service.core.Order(10), service.core.Large(10)]
        assert next(flight) == [*new, *new]
        # The other way round, too: what the version that went has made is whole to the one that is back.
        assert next(service.core.unchanged(made)) == [*pure, *pure]
        flight.close()

    def test_in_a_session_and_in_a_preview(self, make: Callable[..., Service], first: str, then: str) -> None:
        service = make(first)
        pure, session, inside = service.pure(), hotswap.session(), contextvars.Context()
        inside.run(session.__enter__)
        rollout = service.patcher.stage(service.patch(then))
        rollout.verify()
        rollout.arm()
        with rollout.preview():
            previewed = service.pure()
            assert dataclasses.asdict(service.core.Order(10)) == previewed[0][0]
        assert service.pure() == pure
        rollout.commit()
        assert service.pure() == previewed != pure
        assert inside.run(service.pure) == pure
        order = inside.run(service.core.Order, 10)
        assert inside.run(dataclasses.asdict, order) == pure[0][0]
        assert inside.run(repr, inside.run(service.outside.copied, order)[0]) == pure[0][3].replace("qty=1", "qty=7")
        inside.run(session.__exit__, None, None, None)
        assert rollout.drained.wait(20)


def test_a_class_below_has_the_fields_of_who_makes_it(make: Callable[..., Service]) -> None:
    service = make("fewer")
    old = service.core.unchanged([])
    next(old)
    session, inside = hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    service.apply("factory")
    assert inside.run(service.outside.derived) == ["net", "qty", "more"]
    assert service.outside.derived() == ["net", "qty", "tags", "more"]
    inside.run(session.__exit__, None, None, None)
    old.close()


def test_a_rollback_lasts_until_the_next_patch(make: Callable[..., Service]) -> None:
    """What serves objects of the version that was taken back goes on to serve them, and stands in nobody's way."""
    service = make("factory")
    pure = service.pure()
    service.apply("fewer")
    made = service.core.Order(10)
    service.patcher.rollback()
    assert not hasattr(service.core.Order, "tags")
    rollout = service.apply("both")
    removed = {change.name for change in rollout.plan.names if change.fate is Fate.REMOVED}
    assert removed == {"Order.tags"}
    assert made.marks == set()
    service.patcher.rollback()
    assert dataclasses.asdict(made) == pure[0][0]
