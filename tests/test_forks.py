"""Forks: an old call that is under way goes on with the old attributes of classes, and everybody else gets the new."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import operator
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import pytest

from hotswap import CommitError, Patch, Patcher, walk
from hotswap.swap import forks
from hotswap.swap.forwarding import ways_of
from hotswap.swap.order import Beside
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

Make = Callable[..., ModuleType]

SOURCE = '''
import functools
import sys

def helper({more}a): return ("{v}", a)

class Base:
    def inherited(self): return "base"

class Thing(Base):
    """A class of which nearly everything changes."""
    kind = "{v}"

    def __init__(self, {more}n): self.made = "{v}"

    @property
    def price(self): return "{v}"

    @price.setter
    def price(self, value): self.paid = "{v}"

    @functools.cached_property
    def cached(self): return "{v}"

    @staticmethod
    def static({more}a): return "{v}"

    @classmethod
    def made_of(cls, {more}a): return "{v}", cls.__name__

    def step(self, {more}a): return ("{v}", helper({pass_}a))

    def _private(self, {more}a): return "{v}"

    def __call__(self, {more}a): return "{v}"

    def __len__(self): return {len}

    def __eq__(self, other): return "{v}"

    def __getitem__(self, key): return "{v}"

    def __enter__(self): return "{v}"

    def __exit__(self, *_): self.left = "{v}"
    {extra}

class Below(Thing):
    def step(self, {more}a): return ("{v}", super().step({pass_}a))

def seen(thing):
    """Everything that a call can meet."""
    function, bound, cls, module = helper, thing.step, Thing, sys.modules[__name__]
    while True:
        thing.price = 1
        fresh = Thing({pass_}1)
        with thing as entered:
            pass
        below = Below({pass_}1)
        yield [
            function({pass_}1), helper({pass_}1), module.helper({pass_}1), bound({pass_}1), thing.step({pass_}1),
            thing._private({pass_}1), thing.price, thing.paid, thing.static({pass_}1), Thing.made_of({pass_}1),
            thing({pass_}1), len(thing) == {len}, thing == 3, thing["key"], entered, thing.left, cls.kind, thing.kind,
            fresh.made, fresh.cached, cls({pass_}1).made, below.step({pass_}1), thing.inherited(),
            sorted([2, 1], key=functools.partial(helper, {pass_}))[0],
        ]

def rerun(thing, wait):
    """The same in a call that goes on."""
    flow = seen(thing)
    first = next(flow)
    wait()
    return first, next(flow)
'''


def text(version: int) -> str:
    """Two texts: what each calls has other parameters."""
    new = version % 2
    return SOURCE.format(
        v=f"v{version}",
        more="z, " if new else "",
        pass_="0, " if new else "",
        len=2 if new else 1,
        extra="def inherited(self): return 'own'" if new else "def only(self): return 'old'",
    )


class Service:
    """A package of one module, in versions that are counted."""

    def __init__(self, make: Make, first: str) -> None:
        self.name = make({"__init__.py": "__version__ = '0'\n", "core.py": first}).__name__
        __import__(f"{self.name}.core")
        self.patcher = Patcher([self.name])
        self.version = 0

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.name}.core"]

    def put(self, source: str) -> Any:
        self.version += 1
        patch = Patch.from_sources({f"{self.name}.core": textwrap.dedent(source)}, version=str(self.version))
        return self.patcher.apply(patch)


@pytest.fixture
def service(make_package: Make) -> Iterator[Callable[[str], Service]]:
    yield lambda first: Service(make_package, textwrap.dedent(first))
    gc.collect()


def expected(version: int) -> list[Any]:
    """What the text of a version sees if it runs alone."""
    module = ModuleType(f"fresh{version}")
    sys.modules[module.__name__] = module
    try:
        exec(text(version), module.__dict__)
        thing = module.Thing(*([0] if version % 2 else []), 1)
        seen: list[Any] = next(module.seen(thing))
        return seen
    finally:
        del sys.modules[module.__name__]


def thing_of(core: Any, version: int) -> Any:
    return core.Thing(*([0] if version % 2 else []), 1)


def settled(rollout: Any) -> bool:
    """Whether what has drained was settled, given the time."""
    gc.collect()
    return bool(rollout.wait_settled(30))


def is_plain(cls: type) -> bool:
    values = list(walk.class_space(cls).values())
    return id(cls) not in walk.forked and not any(issubclass(type(value), walk.Fork) for value in values)


class TestOldCalls:
    def test_go_on_with_the_old_and_others_get_the_new(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        thing = thing_of(running.core, 0)
        flow = running.core.seen(thing)
        assert next(flow) == expected(0)
        rollout = running.put(text(1))
        for _ in range(2):
            assert next(flow) == expected(0), "the old call"
            assert next(running.core.seen(thing)) == expected(1), "a new one"
            assert (thing.step(0, 1), thing.price, len(thing)) == (("v1", ("v1", 1)), "v1", 2), "nobody's code"
            assert not hasattr(thing, "only")
            assert thing.inherited() == "own"
        assert not is_plain(running.core.Thing)
        del flow
        assert settled(rollout)
        assert is_plain(running.core.Thing)
        assert type(vars(running.core.Thing)["step"]) is FunctionType

    def test_in_a_thread(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        begun, go_on, found = threading.Event(), threading.Event(), []

        def wait() -> None:
            begun.set()
            assert go_on.wait(30)

        thing = thing_of(running.core, 0)
        thread = threading.Thread(target=lambda: found.append(running.core.rerun(thing, wait)))
        thread.start()
        assert begun.wait(30)
        rollout = running.put(text(1))
        go_on.set()
        thread.join(30)
        assert found == [(expected(0), expected(0))]
        assert settled(rollout)
        assert is_plain(running.core.Thing)

    FLOWS = """
        def helper({more}a): return ("{v}", a)
        class Thing:
            def step(self, {more}a): return ("{v}", helper({pass_}a))
        async def task(wait):
            thing, function = Thing(), helper
            await wait()
            return thing.step({pass_}1), function({pass_}1)
        async def flow():
            thing, function = Thing(), helper
            while True:
                yield thing.step({pass_}1), function({pass_}1)
    """

    def test_in_a_coroutine_and_an_asynchronous_generator(self, service: Callable[[str], Service]) -> None:
        old, new = (self.FLOWS.format(v=v, more=m, pass_=p) for v, m, p in (("v0", "", ""), ("v1", "z, ", "0, ")))
        running = service(old)
        results: list[Any] = []

        async def main() -> None:
            go_on = asyncio.Event()
            task: asyncio.Task[Any] = asyncio.create_task(running.core.task(go_on.wait))
            flow: AsyncIterator[Any] = running.core.flow()
            await anext(flow)
            await asyncio.sleep(0)
            rollout = running.put(new)
            results.append(await anext(flow))
            go_on.set()
            results.append(await task)
            results.append(await anext(running.core.flow()))
            await flow.aclose()  # type: ignore[attr-defined]
            del flow, task
            await asyncio.sleep(0.01)  # the loop lets go of what has ended
            assert settled(rollout)

        asyncio.run(main())
        assert results == [(("v0", ("v0", 1)), ("v0", 1))] * 2 + [(("v1", ("v1", 1)), ("v1", 1))]
        assert is_plain(running.core.Thing)

    def test_of_several_generations_go_on_each_with_its_own(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        thing = thing_of(running.core, 0)
        flows = []
        rollouts = []
        for version in range(5):
            flow = running.core.seen(thing)
            next(flow)
            flows.append(flow)
            rollouts.append(running.put(text(version + 1)))
            assert [next(flow) for flow in flows] == [expected(older) for older in range(version + 1)]
        assert next(running.core.seen(thing)) == expected(5)
        del flow
        while flows:
            flows.pop(len(flows) // 2)  # they end in another order than they began
            gc.collect()
        assert all(map(settled, rollouts))
        assert is_plain(running.core.Thing)
        assert next(running.core.seen(thing)) == expected(5)

    def test_of_the_new_go_on_after_a_rollback(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        thing = thing_of(running.core, 0)
        oldest = running.core.seen(thing)
        next(oldest)
        rollout = running.put(text(1))
        newer = running.core.seen(thing)
        next(newer)
        running.patcher.rollback()
        assert next(newer) == expected(1)
        assert next(oldest) == expected(0)
        assert next(running.core.seen(thing)) == expected(0)
        del newer, oldest
        assert settled(rollout)
        assert forks_go()  # those of the oldest, too
        assert is_plain(running.core.Thing)
        assert next(running.core.seen(thing)) == expected(0)


class TestAttributes:
    """Between kinds of attributes: a value, a function, a property, none."""

    BODIES: ClassVar = {
        "value": "x = '{v}'",
        "property": "x = property(lambda self: '{v}')",
        "slot-like": "x = property(lambda self: self.__dict__['_x'], lambda self, v: self.__dict__.update(_x=v))",
        "nothing": "y = 1",
    }
    TEXT = "class Base:\n    x = 'base'\nclass C(Base):\n    {body}\ndef see(o):\n    while True: yield o.x\n"

    @pytest.mark.parametrize("after", BODIES)
    @pytest.mark.parametrize("before", BODIES)
    def test_are_what_they_were_for_the_old(self, service: Callable[[str], Service], before: str, after: str) -> None:
        old = self.TEXT.format(body=self.BODIES[before].replace("{v}", "old"))
        new = self.TEXT.format(body=self.BODIES[after].replace("{v}", "new"))
        running = service(old)
        o = running.core.C()
        o.__dict__["_x"] = "kept"
        flow = running.core.see(o)
        was = next(flow)
        running.put(new)
        assert next(flow) == was
        assert o.x == {"value": "new", "property": "new", "slot-like": "kept", "nothing": "base"}[after]

    def test_set_and_deleted_by_each(self, service: Callable[[str], Service]) -> None:
        old = """
            class C:
                x = "class"
            def use(o):
                yield
                o.x = "set"
                yield o.x, dict(o.__dict__)
                del o.x
                yield o.x, dict(o.__dict__)
        """
        new = """
            class C:
                @property
                def x(self): return self.y
                @x.setter
                def x(self, value): self.y = value + "!"
                @x.deleter
                def x(self): del self.y
        """
        running = service(old)
        o = running.core.C()
        flow = running.core.use(o)
        next(flow)
        running.put(new)
        o.x = "new"
        assert (o.x, dict(o.__dict__)) == ("new!", {"y": "new!"})
        assert next(flow) == ("set", {"y": "new!", "x": "set"})
        assert o.x == "new!"
        assert next(flow) == ("class", {"y": "new!"})
        del o.x
        with pytest.raises(AttributeError):
            _ = o.x


class TestForks:
    def test_can_be_copied_and_asked_for_what_they_stand_for(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        flow = running.core.seen(thing_of(running.core, 0))
        next(flow)
        running.put(text(1))
        fork = vars(running.core.Thing)["price"]
        assert isinstance(fork, walk.Fork)
        assert fork.fget.__name__ == "price"  # type: ignore[attr-defined]  # it gives what it stands for
        assert type(copy.copy(fork)) is type(fork)
        assert inspect.signature(running.core.Thing.step) == inspect.signature(lambda self, z, a: None)


class TestWhatAThreadHasGotFromAFork:
    """It may be switched out between that and the call: what it has got is taken here by hand."""

    def test_leads_to_the_next_version_when_that_is_live(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        flight = running.core.seen(thing_of(running.core, 0))
        next(flight)
        running.put(text(1))
        ways = ways_of(running.core.helper.__code__)
        assert ways is not None
        got = ways.new
        assert got(0, 1) == ("v1", 1)
        running.put(text(2))
        assert got(1) == ("v2", 1)
        assert next(flight) == expected(0)

    def test_leads_to_the_next_version_when_that_needs_no_forks(self, service: Callable[[str], Service]) -> None:
        functions = "def helper({more}a): return ('{v}', a)\ndef seen():\n    while True: yield helper({pass_}1)\n"
        running = service(functions.format(v="v0", more="", pass_=""))
        flight = running.core.seen()
        next(flight)
        running.put(functions.format(v="v1", more="z, ", pass_="0, "))
        ways = ways_of(running.core.helper.__code__)
        assert ways is not None
        got = ways.new
        assert got(0, 1) == ("v1", 1)
        running.put(functions.format(v="v2", more="", pass_=""))  # only a call of the first is in flight
        assert got(1) == ("v2", 1)
        assert next(flight) == ("v0", 1)

    def test_leads_to_the_function_when_the_fork_is_gone(self, service: Callable[[str], Service]) -> None:
        running = service(text(0))
        flight = running.core.seen(thing_of(running.core, 0))
        next(flight)
        rollout = running.put(text(1))
        ways = ways_of(running.core.helper.__code__)
        assert ways is not None
        got = ways.new
        del flight, ways
        assert settled(rollout)
        running.put(text(3))  # with the signature of the first patch, as the caller knows it
        assert got(0, 1) == ("v3", 1)


class TestACommitThatFails:
    def test_in_the_middle_of_its_writes_leaves_the_forks_of_earlier_swaps(
        self, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = service(text(0))
        flight = running.core.seen(thing_of(running.core, 0))
        assert next(flight) == expected(0)
        running.put(text(1))
        original = forks.Forks.ops

        def ops(self: forks.Forks) -> Beside:
            made = original(self)
            return made._replace(names=[*made.names, (operator.truediv, 1, 0)])

        with monkeypatch.context() as patched:
            patched.setattr(forks.Forks, "ops", ops)
            with pytest.raises(CommitError, match="ZeroDivisionError"):
                running.put(text(2))
        assert next(flight) == expected(0)
        assert next(running.core.seen(thing_of(running.core, 1))) == expected(1)


class TestWhereNothingIsInFlight:
    def test_no_fork_is_made(self, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch) -> None:
        def never(_: object) -> Any:
            raise AssertionError("a fork is made")

        monkeypatch.setattr(forks.Forks, "ops", never)
        running = service(text(0))
        for version in range(1, 4):
            running.put(text(version))
        running.patcher.rollback()
        assert next(running.core.seen(thing_of(running.core, 2))) == expected(2)

    def test_no_fork_is_made_for_nested_code_that_nobody_holds(
        self, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(_: object) -> Any:
            raise AssertionError("a fork is made")

        monkeypatch.setattr(forks.Forks, "ops", never)
        source = """
            def sums(n): return {0} + sum(x for x in range(n))
            def outer():
                def rows():
                    def deeper(): yield from (z for z in "")
                    yield {0}
                async def answer(): return [a async for a in rows()]
                return sum(rows())
            class Thing:
                def step(self): return (q for q in "")
            """
        running = service(textwrap.dedent(source.format(1)))
        running.put(textwrap.dedent(source.format(2)))
        assert running.core.outer() == 2
        running.patcher.rollback()
        assert running.core.outer() == 1

    def test_signatures_are_those_of_the_new(self, service: Callable[[str], Service]) -> None:
        running = service("def function(a, b=1): return a\n")
        old = running.core.function
        running.put("def function(x, *, y=2): return x\n")
        assert str(inspect.signature(old)) == "(x, *, y=2)"


class TestSignatures:
    def test_while_a_call_is_in_flight(self, service: Callable[[str], Service]) -> None:
        """Old callers pass the arguments of the old one: so it takes anything; the rest is the new one's."""
        running = service("def function(a, b=1):\n    yield a\n")
        old = running.core.function
        flow = old(1)
        next(flow)
        rollout = running.put("def function(x, *, y=2):\n    yield x\n")
        assert next(old(3, y=1)) == 3
        assert old.__kwdefaults__ == {"y": 2}
        del flow
        assert settled(rollout)
        assert str(inspect.signature(old)) == "(x, *, y=2)"


class TestStaging:
    def test_calls_that_drain_meanwhile_are_no_effect_and_are_settled_after_it(
        self, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = service(text(0))
        thing = thing_of(running.core, 0)
        held = [running.core.seen(thing)]
        next(held[0])
        rollout = running.put(text(1))

        def end() -> None:
            held.clear()
            assert not rollout.wait_settled(0.2)

        monkeypatch.setattr(sys, "end_of_the_call", end, raising=False)
        staged = running.put(text(2) + "\nsys.end_of_the_call()\n")
        assert [effect for effect in staged.plan.effects if "Thing" in effect.what] == []
        assert settled(rollout)
        assert is_plain(running.core.Thing)
        assert next(running.core.seen(thing)) == expected(2)


class TestInFlight:
    SOURCE = """
        def helper(): return {n}
        def flow():
            yield helper()
            yield helper()
        async def task(wait):
            await inner(wait)
        async def inner(wait):
            await wait()
            return {n}
        def block(begun, go_on):
            begun.set()
            go_on.wait(30)
    """

    def test_tells_threads_tasks_and_what_is_suspended(self, service: Callable[[str], Service]) -> None:
        running = service(self.SOURCE.format(n=1))
        name = f"{running.name}.core"
        begun, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=running.core.block, args=(begun, go_on), name="a worker")
        thread.start()
        assert begun.wait(30)
        flow = running.core.flow()
        next(flow)

        async def main() -> list[Any]:
            awaited = asyncio.Event()
            task = asyncio.create_task(running.core.task(awaited.wait), name="a job")
            await asyncio.sleep(0)
            rollout = running.put(self.SOURCE.format(n=2))
            found = [(call.function, call.line, call.thread, call.task) for call in rollout.in_flight()]
            assert not rollout.drained.is_set()
            assert not await rollout.drained.wait_async(0.01)
            awaited.set()
            await task
            return [rollout, found]

        rollout, found = asyncio.run(main())
        assert found == [
            (f"{name}:block", 13, "a worker", ""),
            (f"{name}:flow", 4, "", ""),
            (f"{name}:inner", 9, "", "a job"),
            (f"{name}:task", 7, "", "a job"),
        ]
        gc.collect()
        assert [call.function for call in rollout.in_flight()] == [f"{name}:block", f"{name}:flow"]
        assert "block, line 13, in thread a worker, since" in str(rollout.in_flight()[0])
        go_on.set()
        thread.join(30)
        del flow
        assert rollout.drained.wait(30)
        assert asyncio.run(rollout.drained.wait_async(30))
        assert rollout.in_flight() == ()

    def test_tells_of_the_new_version_after_a_rollback(self, service: Callable[[str], Service]) -> None:
        running = service(self.SOURCE.format(n=1))
        rollout = running.put(self.SOURCE.format(n=2))
        assert rollout.in_flight() == ()
        flow = running.core.flow()
        next(flow)
        assert rollout.drained.wait(30)
        running.patcher.rollback()
        assert [call.function for call in rollout.in_flight()] == [f"{running.name}.core:flow"]
        assert not rollout.drained.is_set()
        assert next(flow) == 2
        del flow
        assert rollout.drained.wait(30)

    def test_is_nothing_before_the_swap(self, service: Callable[[str], Service]) -> None:
        running = service(self.SOURCE.format(n=1))
        patch = Patch.from_sources({f"{running.name}.core": textwrap.dedent(self.SOURCE.format(n=2))}, version="1")
        rollout = running.patcher.stage(patch)
        assert rollout.in_flight() == ()
        assert not rollout.drained.is_set()
        rollout.abort()
