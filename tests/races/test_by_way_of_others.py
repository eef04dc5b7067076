"""Calls in flight of modules that stay come to what changes by way of other functions, and go on with the old.

`web` calls `service`, which calls `core`. The patch changes `core` alone: what its `begin` gives, only its own `finish`
can take.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap.swap.writes
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads  # what has drained is settled in one

CORE = """
def begin(): return "begun {v}"
def finish(token):
    if token != "begun {v}":
        raise ValueError(f"{{token}}, and not of {v}")
    return "{v}"
"""

SERVICE = """
from . import core

def start(): return core.begin()
def end(token): return core.finish(token)

class Work:
    def __enter__(self):
        self.token = core.begin()
        return self
    def __exit__(self, *_): self.seen = core.finish(self.token)
    def __add__(self, token): return core.finish(token)
    def __call__(self): return core.begin()
"""

WEB = """
from . import service
from .service import Work

ROUTES = {"start": service.start, "end": service.end}
HANDLERS = {}

def route(function):
    HANDLERS[function.__name__] = function

def by_name():
    token = service.start()
    yield
    yield service.end(token)

def by_registry():
    token = ROUTES["start"]()
    yield
    yield ROUTES["end"](token)

def by_text():
    token = getattr(service, "".join(("st", "art")))()
    yield
    yield getattr(service, "".join(("e", "nd")))(token)

def by_operators():
    token = Work()()
    yield
    yield Work() + token

def by_with():
    with Work() as work:
        yield
    yield work.seen

def by_argument(start, end):
    token = start()
    yield
    yield end(token)

@route
def by_no_name():
    token = service.start()
    yield
    yield service.end(token)

def app():
    def handler():
        token = service.start()
        yield
        yield service.end(token)
    def plain(pause):
        token = service.start()
        pause()
        return service.end(token)
    async def task(pause):
        token = service.start()
        await pause()
        return service.end(token)
    class View:
        def get(self):
            yield from handler()
    return handler, plain, task, View

def maker():
    def inner(): return service.start()
    yield inner
    yield inner

def lazily():
    return (service.end(token) if token else service.start() for token in TOKENS)

TOKENS = []

MADE = app()
named = app()[0]
WAYS = {
    "name": by_name,
    "registry": by_registry,
    "text": by_text,
    "operators": by_operators,
    "with": by_with,
    "argument": lambda: by_argument(service.start, service.end),
    "no name": HANDLERS["by_no_name"],
    "closure": MADE[0],
    "local class": MADE[3]().get,
    "named closure": named,
}
"""


class Shop:
    """A package of three modules, one above the other."""

    def __init__(self, make: Callable[..., ModuleType], handover: float | None = 1.0) -> None:
        self.name = make({"core.py": CORE.format(v="1"), "service.py": SERVICE, "web.py": WEB}).__name__
        importlib.import_module(f"{self.name}.web")
        self.patcher = Patcher([self.name], handover=handover)

    @property
    def web(self) -> Any:
        return sys.modules[f"{self.name}.web"]

    def apply(self, version: str, module: str = "core") -> hotswap.Rollout:
        text = {"core": CORE.format(v=version), "service": SERVICE, "web": WEB}[module] + f"\nversion = {version}\n"
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{module}": text}, version=version))


@pytest.fixture
def shop(make_package: Callable[..., ModuleType]) -> Iterator[Shop]:
    shop = Shop(make_package)
    yield shop
    assert forks_go()


WAYS = [
    "name",
    "registry",
    "text",
    "operators",
    "with",
    "argument",
    "no name",
    "closure",
    "local class",
    "named closure",
]


def whole(way: Callable[[], Iterator[Any]]) -> Any:
    """Return what a call answers that begins now."""
    return list(way())[-1]


def handed_over(make: Callable[..., ModuleType], way: str, clock: ManualClock) -> tuple[Shop, Iterator[Any]]:
    """Return a service on its second version, and a call that began on the first and was handed over."""
    shop = Shop(make)
    old: Iterator[Any] = shop.web.WAYS[way]()
    next(old)
    rollout = shop.apply("2")
    clock.advance(2)
    assert until(rollout.drained.is_set)
    return shop, old


class TestCallInFlight:
    @pytest.mark.parametrize("way", WAYS)
    def test_goes_on_with_the_old(self, shop: Shop, way: str) -> None:
        old = shop.web.WAYS[way]()
        next(old)
        rollout = shop.apply("2")
        assert whole(shop.web.WAYS[way]) == "2"
        assert not rollout.drained.is_set()
        assert next(old) == "1"
        assert whole(shop.web.WAYS[way]) == "2"
        old.close()
        del old
        assert rollout.drained.wait(20)

    @pytest.mark.parametrize("way", WAYS)
    def test_goes_on_with_the_old_over_several(self, shop: Shop, way: str) -> None:
        flights = {}
        for version in ("1", "2", "3", "4"):
            if version != "1":
                shop.apply(version)
            flights[version] = shop.web.WAYS[way]()
            next(flights[version])
        shop.patcher.rollback()
        assert whole(shop.web.WAYS[way]) == "3"
        assert {version: next(flight) for version, flight in flights.items()} == {v: v for v in flights}

    @pytest.mark.parametrize("way", WAYS)
    def test_is_handed_over(
        self, make_package: Callable[..., ModuleType], way: str, hotswap_clock: ManualClock
    ) -> None:
        _, old = handed_over(make_package, way, hotswap_clock)
        assert forks_go()
        with pytest.raises(ValueError, match="begun 1, and not of 2"):
            next(old)

    @pytest.mark.parametrize("way", WAYS)
    def test_is_old_once_more_after_it_was_handed_over(
        self, make_package: Callable[..., ModuleType], way: str, hotswap_clock: ManualClock
    ) -> None:
        shop, old = handed_over(make_package, way, hotswap_clock)
        new = shop.web.WAYS[way]()
        next(new)
        shop.apply("3")
        assert next(new) == "2"
        with pytest.raises(ValueError, match="begun 1, and not of 2"):
            next(old)
        new.close()
        del new, old
        assert forks_go()

    @pytest.mark.parametrize("changed", ["service", "web"])
    @pytest.mark.parametrize("way", WAYS)
    def test_of_a_module_that_changed_while_another_went_on(self, shop: Shop, changed: str, way: str) -> None:
        first = shop.web.WAYS[way]()
        next(first)
        shop.apply("2", changed)  # as long as the first goes on there are forks
        second = shop.web.WAYS[way]()
        next(second)
        shop.apply("3")
        assert whole(shop.web.WAYS[way]) == "3"
        assert [next(first), next(second)] == ["1", "1"]

    def test_plain_call_of_a_closure(self, shop: Shop) -> None:
        plain = shop.web.MADE[1]
        for version in ("2", "3"):
            assert plain(lambda version=version: shop.apply(version)) == str(int(version) - 1)
            assert plain(lambda: None) == version

    def test_plain_call_in_another_thread(self, shop: Shop) -> None:
        begun, go_on = threading.Event(), threading.Event()
        seen: list[str] = []

        def pause() -> None:
            begun.set()
            go_on.wait(20)

        thread = threading.Thread(target=lambda: seen.append(shop.web.MADE[1](pause)))
        thread.start()
        assert begun.wait(20)
        rollout = shop.apply("2")
        assert shop.web.MADE[1](lambda: None) == "2"
        assert [call.function for call in rollout.in_flight()] == [f"{shop.name}.web:app.<locals>.plain"]
        go_on.set()
        thread.join()
        assert seen == ["1"]

    def test_tasks(self, shop: Shop) -> None:
        async def main() -> None:
            task = shop.web.MADE[2]
            gates = [asyncio.Event() for _ in range(3)]
            tasks = []
            for gate, version in zip(gates, ("2", "3", "4"), strict=True):
                tasks.append(asyncio.create_task(task(gate.wait)))
                await asyncio.sleep(0)
                shop.apply(version)
            for gate in gates:
                gate.set()
            assert [await one for one in tasks] == ["1", "2", "3"]

        asyncio.run(main())

    def test_generator_expression(self, shop: Shop) -> None:
        shop.web.TOKENS += ["", "begun 1"]
        old = shop.web.lazily()
        next(old)
        shop.apply("2")
        assert next(old) == "1"

    def test_what_a_program_registers_later(self, shop: Shop) -> None:
        shop.apply("2")
        made = shop.web.app()
        old = made[0]()
        next(old)
        shop.apply("3")
        assert next(old) == "2"
        assert whole(made[0]) == "3"


def test_what_has_run_is_gone(shop: Shop) -> None:
    codes = []
    for version in ("2", "3", "4"):
        old = [shop.web.WAYS[way]() for way in WAYS]
        for one in old:
            next(one)
        codes += [weakref.ref(one.gi_code) for one in old]
        shop.apply(version)
        del one, old
    assert shop.patcher.current is not None
    shop.patcher.current.confirm()
    assert forks_go()
    live = {id(shop.web.WAYS[way].__code__) for way in WAYS}
    held = [code() for code in codes]
    assert {id(code) for code in held if code is not None} <= live


def test_a_closure_that_an_earlier_call_has_made(shop: Shop) -> None:
    """What makes it is at work once more: that call is old, and a call of the closure begins now."""
    earlier, going = shop.web.maker(), shop.web.maker()
    inner = next(earlier)
    earlier.close()
    next(going)
    shop.apply("2")
    assert inner() == "begun 2"
    going.close()


def test_code_that_gives_way_to_copies_does_not_die_within_the_writes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing: list[bool] = []
    died: list[bool] = []
    write = vars(hotswap.swap.writes)["deque"]

    def watched(*arguments: Any, **options: Any) -> Any:
        writing.append(True)
        try:
            return write(*arguments, **options)
        finally:
            writing.pop()

    monkeypatch.setattr(hotswap.swap.writes, "deque", watched)
    code = weakref.ref(shop.web.app.__code__, lambda _: died.append(bool(writing)))
    old = shop.web.WAYS["closure"]()  # the function that has made it gets a copy of its code, too
    next(old)
    shop.apply("2")
    assert code() is None
    assert died == [False]
    assert next(old) == "1"


def test_what_is_frozen(shop: Shop) -> None:
    """The collector does not tell of it; functions and closures that names lead to are known all the same."""
    gc.freeze()
    try:
        old = [shop.web.WAYS[way]() for way in ("name", "named closure")]
        for one in old:
            next(one)
        shop.apply("2")
        assert [next(one) for one in old] == ["1", "1"]
        assert [whole(shop.web.WAYS[way]) for way in ("name", "named closure")] == ["2", "2"]
        for one in old:
            one.close()
    finally:
        gc.unfreeze()
