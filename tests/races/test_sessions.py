"""A session keeps the generation that it began with, whatever it calls and by whatever way it comes there."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, walk
from tests.races.threads import Crowd, forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
import functools

def helper({more}a): return "{v}"

def logged(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper

@logged
def decorated(a): return "{v}"

class Thing:
    kind = "{v}"
    def __init__(self): self.made = "{v}"
    @property
    def price(self): return "{v}"
    def step(self, a): return "{v}", helper({pass_}a)

def entry(a):
    thing = Thing()
    return {{"{v}", helper({pass_}a), thing.made, thing.price, thing.kind, *thing.step(a)}}

async def answer(a): return "{v}"

def counted():
    yield "{v}"

def loop(turns, done):
    for _ in turns:
        done.append(step())

def step(): return "{v}"

def changed_loop(turns, done):
    for _ in turns:
        done.append((step(), "{v}"))
"""

API = """
from .core import Thing, entry
from . import core

ROUTES = {"entry": core.entry, "decorated": core.decorated}

def handle(a): return [entry(a), core.entry(a), ROUTES["entry"](a)]
"""


def text(version: str, *, more: bool = False) -> str:
    return SOURCE.format(v=version, more="z, " if more else "", pass_="0, " if more else "")


class Service(SimpleNamespace):
    patcher: Patcher
    core: Callable[[], ModuleType]
    api: ModuleType

    def apply(self, version: str, *, more: bool = False) -> hotswap.Rollout:
        patch = Patch.from_sources({self.core().__name__: text(version, more=more)}, version=version)
        return self.patcher.apply(patch)


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    package = make_package({"core.py": text("1"), "api.py": API}).__name__
    __import__(f"{package}.api")
    made = Service(
        patcher=Patcher([package]), core=lambda: sys.modules[f"{package}.core"], api=sys.modules[f"{package}.api"]
    )
    yield made
    assert forks_go()


def everything(service: Service, held: ModuleType, thing: Any) -> set[str]:
    """The versions that a caller meets by all ways: names, modules, registries, instances and objects held."""
    core, api = service.core(), service.api
    found: set[str] = set()
    found.update(*api.handle(1), held.entry(1), core.entry(1), held.Thing().step(1), api.Thing().step(1))
    found |= {thing.price, thing.kind, *thing.step(1), core.Thing.kind, core.Thing().made, next(core.counted())}
    found |= {asyncio.run(core.answer(1)), asyncio.run(held.answer(1)), direct(core.helper)}
    found |= {held.decorated(1), core.decorated(1), api.ROUTES["decorated"](1)}
    return found


def direct(helper: Callable[..., str]) -> str:
    """Call a function whose signature differs from version to version."""
    try:
        return helper(1)
    except TypeError:
        return helper(0, 1)


class TestSession:
    @pytest.mark.parametrize("more", [False, True], ids=["same", "other-signature"])
    def test_keeps_its_generation(self, service: Service, more: bool) -> None:
        held, thing = service.core(), service.core().Thing()
        with hotswap.session():
            assert everything(service, held, thing) == {"1"}
            rollout = service.apply("2", more=more)
            assert everything(service, held, thing) == {"1"}
            outside = contextvars.Context()
            assert outside.run(everything, service, held, thing) == {"2"}
            assert not rollout.drained.is_set()
        assert everything(service, held, thing) == {"2"}
        assert rollout.drained.wait(10)

    def test_keeps_its_generation_in_a_rollback(self, service: Service) -> None:
        held, thing = service.core(), service.core().Thing()
        service.apply("2", more=True)
        new = service.core()
        with hotswap.session():
            service.patcher.rollback()
            assert everything(service, new, thing) == {"2"}
            assert contextvars.Context().run(everything, service, held, thing) == {"1"}
        assert everything(service, held, thing) == {"1"}

    def test_keeps_its_generation_through_several_swaps(self, service: Service) -> None:
        held, thing = service.core(), service.core().Thing()
        first, second, third = hotswap.session(), hotswap.session(), hotswap.session()
        contexts = [contextvars.Context() for _ in range(3)]
        contexts[0].run(first.__enter__)
        service.apply("2", more=True)
        contexts[1].run(second.__enter__)
        service.apply("3")
        contexts[2].run(third.__enter__)
        rollout = service.apply("4", more=True)
        seen = [context.run(everything, service, held, thing) for context in contexts]
        assert seen == [{"1"}, {"2"}, {"3"}]
        assert everything(service, held, thing) == {"4"}
        contexts[1].run(second.__exit__, None, None, None)
        assert [contexts[n].run(everything, service, held, thing) for n in (0, 2)] == [{"1"}, {"3"}]
        assert not rollout.drained.is_set()
        contexts[0].run(first.__exit__, None, None, None)
        assert contexts[2].run(everything, service, held, thing) == {"3"}
        contexts[2].run(third.__exit__, None, None, None)
        assert rollout.drained.wait(10)
        assert everything(service, held, thing) == {"4"}

    def test_that_was_there_before_a_swap_and_its_rollback_is_as_it_was(self, service: Service) -> None:
        held, thing = service.core(), service.core().Thing()
        with hotswap.session():
            service.apply("2", more=True)
            between, inside = hotswap.session(), contextvars.Context()
            inside.run(between.__enter__)
            service.patcher.rollback()
            assert everything(service, held, thing) == {"1"}
            assert inside.run(everything, service, held, thing) == {"2"}
            service.apply("3")
            assert everything(service, held, thing) == {"1"}
            assert inside.run(everything, service, held, thing) == {"2"}
            assert contextvars.Context().run(everything, service, held, thing) == {"3"}
            inside.run(between.__exit__, None, None, None)
        assert everything(service, held, thing) == {"3"}

    def test_in_an_old_loop_gets_the_new_generation_at_once(self, service: Service) -> None:
        done: list[Any] = []

        def turns() -> Iterator[int]:
            yield 0
            service.apply("2")
            with hotswap.session():
                yield 1
            yield 2

        service.core().loop(turns(), done)
        assert done == ["1", "2", "1"]

    def test_in_an_old_loop_that_was_changed_gets_the_old_one(self, service: Service) -> None:
        done: list[Any] = []

        def turns() -> Iterator[int]:
            service.apply("2")
            with hotswap.session():
                yield 1

        service.core().changed_loop(turns(), done)
        assert done == [("1", "1")]

    def test_keeps_defaults_bound_methods_and_what_stands_in_tables(
        self, make_package: Callable[..., ModuleType]
    ) -> None:
        source = """
            import functools
            def fee(x, rate={rate}): return "{v}", rate
            class Cls:
                def meth(self, x{more}): return "{v}"
                @classmethod
                def made(cls, x{more}): return "{v}"
                part = functools.partialmethod(meth, 3)
            """
        first = textwrap.dedent(source.format(v="1", rate=10, more=""))
        second = textwrap.dedent(source.format(v="2", rate=20, more=", y=7"))
        package = make_package({"core.py": first}).__name__
        __import__(f"{package}.core")
        core: Any = sys.modules[f"{package}.core"]
        thing = core.Cls()
        table = {"bound": thing.meth, "made": core.Cls.made, "fee": core.fee, "part": thing.part}

        def seen() -> set[Any]:
            return {table["bound"](1), table["made"](1), table["part"](), thing.meth(1), table["fee"](1), core.fee(1)}

        patcher = Patcher([package])
        with hotswap.session():
            rollout = patcher.apply(Patch.from_sources({f"{package}.core": second}, version="2"))
            assert seen() == {"1", ("1", 10)}
            assert contextvars.Context().run(seen) == {"2", ("2", 20)}
        with hotswap.session():
            patcher.rollback()
            assert seen() == {"2", ("2", 20)}
            assert contextvars.Context().run(seen) == {"1", ("1", 10)}
        assert seen() == {"1", ("1", 10)}
        assert rollout.drained.wait(10)

    def test_is_named_while_it_is_waited_for(self, service: Service) -> None:
        first, second = hotswap.session("one"), hotswap.session("two")
        contexts = [contextvars.Context() for _ in range(2)]
        contexts[0].run(first.__enter__)
        before = service.apply("2")
        contexts[1].run(second.__enter__)
        rollout = service.apply("3")
        with hotswap.session("three"):
            assert [one.about for one in rollout.open_sessions()] == ["one", "two"]
            assert [one.about for one in before.open_sessions()] == ["one"]
        assert first.thread == threading.get_ident()
        assert first.began <= second.began
        for context, one in zip(contexts, (first, second), strict=True):
            context.run(one.__exit__, None, None, None)
        assert rollout.drained.wait(10)
        assert rollout.open_sessions() == ()

    def test_new_code_that_was_changed_never_meets_an_old_helper(self, make_package: Callable[..., ModuleType]) -> None:
        source = """
            import functools
            def helper({more}n): return "{v}"
            @functools.lru_cache
            def cached(n): return "{v}" + helper({pass_}n)
            """
        first = textwrap.dedent(source.format(v="1", more="", pass_=""))
        second = textwrap.dedent(source.format(v="2", more="z, ", pass_="0, "))
        package = make_package({"core.py": first}).__name__
        __import__(f"{package}.core")
        with hotswap.session():
            Patcher([package]).apply(Patch.from_sources({f"{package}.core": second}, version="2"))
            core: Any = sys.modules[f"{package}.core"]
            assert core.cached(1) == "22"  # a cache is of everybody
            assert core.helper(1) == "1"
        assert core.cached(1) == "22"

    def test_leaves_nothing_in_caches(self, make_package: Callable[..., ModuleType]) -> None:
        source = "import functools\n@functools.lru_cache\ndef rate(n): return '{0}'\ndef ask(n): return rate(n)\n"
        package = make_package({"core.py": source.format("1")}).__name__
        __import__(f"{package}.core")
        held: Any = sys.modules[f"{package}.core"]
        cache = held.rate
        with hotswap.session():
            rollout = Patcher([package]).apply(Patch.from_sources({f"{package}.core": source.format("2")}, version="2"))
            core: Any = sys.modules[f"{package}.core"]
            assert core.ask(1) == "1"
            # By its name outside of the package it is the new one: it can't remember for a session alone.
            assert core.rate(1) == cache(1) == "2"
            assert core.ask(1) == "1"
        assert core.rate(1) == core.ask(1) == cache(1) == "2"
        assert rollout.drained.wait(10)
        assert core.rate(1) == core.ask(1) == cache(1) == "2"

    def test_leaves_nothing(self, service: Service) -> None:
        for version in range(2, 6):
            with hotswap.session():
                code = weakref.ref(service.core().entry.__code__)
                rollout = service.apply(str(version), more=version % 2 == 0)
            assert rollout.drained.wait(10)
            assert rollout.wait_settled(10)
            rollout.confirm()
        assert service.core().entry.__code__.co_consts[-1] is not walk.FORWARDS
        assert not walk.forked
        del code


@pytest.mark.slow
class TestManySessions:
    def test_are_of_one_version_each(self, service: Service) -> None:
        counts = {"odd": 0, "even": 0}
        mixed: list[Any] = []
        held, thing = service.core(), service.core().Thing()

        def work() -> None:
            while not crowd.over.is_set():
                try:
                    with hotswap.session():
                        found = {*service.api.handle(1)[0], *held.entry(1), thing.price, service.core().step()}
                        found |= {*service.api.handle(1)[1], thing.kind, service.core().step()}
                except Exception as error:
                    mixed.append(error)
                    continue
                if len(found) != 1:
                    mixed.append(found)
                counts["odd" if int(found.pop()) % 2 else "even"] += 1

        crowd = Crowd([work] * 4)
        with crowd:
            for version in range(2, 14):
                service.apply(str(version), more=version % 2 == 0)
                if version % 5 == 0:
                    service.patcher.rollback()
        assert mixed == []
        assert all(counts.values())
        rollout = service.patcher.current
        assert rollout is None or rollout.drained.wait(10)
