"""The flip of an armed rollout is one store: its writes are made one by one here, as a free-threaded build shows it."""

from __future__ import annotations

import contextvars
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import starmap
from types import ModuleType
from typing import Any

import pytest

import hotswap
import hotswap.swap.writes
from hotswap import Patch, Patcher
from tests.races.test_armed import apart
from tests.races.test_sessions import API, text
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

MORE = """
hits = 0
def count():
    global hits
    hits += 1
    return "{v}"

def sized(a{default}): return "{v}"

class Base:
    def inherited(self): return "{v}"

class Derived(Base):
    @classmethod
    def make(cls): return "{v}"
    @staticmethod
    def plain(): return "{v}"

def watch():
    thing, derived = Thing(), Derived()
    while True:
        imported = __import__(__name__, fromlist=["entry"])
        found = {{"{v}", helper({pass_}1), decorated(1), imported.entry(1) == entry(1) and "{v}", *entry(1)}}
        found |= {{thing.price, thing.kind, *thing.step(1), Thing().made, derived.inherited()}}
        found |= {{Derived.make(), derived.plain(), next(counted())}}
        yield found

def same():
    while True:
        yield {{step(), Thing().made, Derived.make(), *entry(1)}}
"""


def source(version: str, *, more: bool = False, default: bool = False) -> str:
    added = MORE.format(v=version, pass_="0, " if more else "", default=f", b={version}" if default else "")
    return text(version, more=more) + added


class OneByOne:
    """Makes the writes of a commit one at a time, and looks after each."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.made = 0
        self._look = look

    def deque(self, ops: Any, maxlen: int | None = None) -> deque[Any]:
        """Do what a deque does with the writes of a commit."""
        results: deque[Any] = deque(maxlen=maxlen)
        if type(ops) is not starmap:
            return deque(ops, maxlen)
        for result in ops:
            results.append(result)
            self.made += 1
            self._look()
        return results


class Served:
    """A service, as its callers see it through what they hold."""

    def __init__(self, package: str) -> None:
        self.patcher = Patcher([package])
        self.name = f"{package}.core"
        self.api, self.held = sys.modules[f"{package}.api"], self.core()
        self.thing, self.derived = self.held.Thing(), self.held.Derived()
        self.functions = [getattr(self.held, name) for name in ("entry", "step", "decorated", "count", "sized")]
        self.bound = self.thing.step

    def core(self) -> Any:
        return sys.modules[self.name]

    def reached(self) -> set[str]:
        """The versions that a caller meets by what a fork leads: functions, methods, properties, constructors."""
        held, thing, derived = self.held, self.thing, self.derived
        entry, step, decorated, count, sized = self.functions
        found = {*entry(1), step(), decorated(1), count(), sized(1), *self.bound(1), *held.entry(1)}
        found |= {thing.price, thing.kind, *thing.step(1), held.Thing().made, type(thing).kind, derived.inherited()}
        found |= {type(derived).make(), derived.plain(), held.Derived.make(), next(held.counted())}
        found.update(*self.api.handle(1), self.core().entry(1), {self.core().step()})
        try:
            held.answer(1).send(None)
        except StopIteration as end:
            found.add(end.value)
        return found


@pytest.fixture
def served(make_package: Callable[..., ModuleType]) -> Iterator[Served]:
    package = make_package({"core.py": source("1"), "api.py": API}).__name__
    __import__(f"{package}.api")
    yield Served(package)
    assert forks_go()


@pytest.mark.parametrize("more", [False, True], ids=["same", "other-signature"])
@pytest.mark.parametrize("default", [False, True], ids=["same", "default-added"])
class TestFlipOneWriteAtATime:
    def test_everybody_gets_the_one_or_the_other(
        self, served: Served, monkeypatch: pytest.MonkeyPatch, more: bool, default: bool
    ) -> None:
        patcher = served.patcher
        rollout = patcher.stage(Patch.from_sources({served.name: source("2", more=more, default=default)}, version="2"))
        rollout.verify()
        rollout.arm()
        old, inside = hotswap.session(), contextvars.Context()
        inside.run(old.__enter__)
        preview, previewing = rollout.preview(), contextvars.Context()
        previewing.run(preview.__enter__)
        flights = [served.held.watch(), served.held.same()]
        for flight in flights:
            next(flight)
        succession: Any = patcher._succession
        junction = succession._armed[1]._crossings.there
        wrong: list[Any] = []
        flipped: list[int] = []
        begun: list[tuple[hotswap.Session, contextvars.Context, set[str]]] = []

        def begin() -> None:
            """Begin a session, between any two writes: it keeps what it meets first."""
            session, context = hotswap.session(), contextvars.Context()
            context.run(session.__enter__)
            begun.append((session, context, context.run(served.reached)))

        def look() -> None:
            if not junction.armed and not flipped:
                flipped.append(steps.made)
            if not flipped or steps.made < flipped[0] + 3:
                begin()
            wrong.extend(
                (steps.made, one, now) for _, run, one in begun[-5:] if (now := run.run(served.reached)) != one
            )
            expected = {"2"} if flipped else {"1"}
            for who, found in (
                ("outside", apart(served.reached)),
                ("the preview", previewing.run(served.reached)),
                ("the old session", inside.run(served.reached)),
                *(("a call in flight", apart(next, flight)) for flight in flights),
            ):
                wanted = expected if who == "outside" else {"2"} if who == "the preview" else {"1"}
                if found != wanted:
                    wrong.append((steps.made, flipped, who, found))

        steps = OneByOne(look)
        look()
        with monkeypatch.context() as patch:
            patch.setattr(hotswap.swap.writes, "deque", steps.deque)
            rollout.commit()
        look()
        assert flipped
        assert wrong == []
        assert steps.made > 50
        inside.run(old.__exit__, None, None, None)
        previewing.run(preview.__exit__, None, None, None)
        for session, context, met in begun:
            wrong.extend(met if len(met) > 1 else ())
            context.run(session.__exit__, None, None, None)
        assert {version for *_, met in begun for version in met} == {"1", "2"}
        assert wrong == []
        for flight in flights:
            flight.close()
        assert rollout.drained.wait(10)
        assert served.reached() == {"2"}


class TestPreview:
    def test_of_a_function_that_gets_a_default(self, make_package: Callable[..., ModuleType]) -> None:
        texts = "def pair(a, b): return '1', a, b\n", "def pair(a, b=7): return '2', a, b\n"
        package = make_package({"core.py": texts[0]}).__name__
        __import__(f"{package}.core")
        pair = sys.modules[f"{package}.core"].pair
        rollout = Patcher([package]).stage(Patch.from_sources({f"{package}.core": texts[1]}, version="2"))
        rollout.verify()
        rollout.arm()
        with rollout.preview():
            assert pair(1) == ("2", 1, 7)
        with pytest.raises(TypeError, match="pair"):
            pair(1)
        assert pair(1, 2) == ("1", 1, 2)
        rollout.abort()
