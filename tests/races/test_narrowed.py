"""A changed loop that goes on after the handover: what it comes to without spelling its name is the old, too."""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.swap.forked_attributes import Attribute
from hotswap.swap.forwarding import ways_of
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCE = """
import copy
import functools

class Lock:
    def __enter__(self): return self.take({one})
    def __exit__(self, *error): self.take({one})
    def __len__(self): return len(self.take({one}))
    def take(self, {x}): return "{v}"

class Job:
    def __init__(self, {x}): self.kind = "{v}"
Task = Job

class Holder:
    klass = Job
    def _step(self): return self.deep({one})
    step = _step
    show = lambda self: self.deep({one})
    shown = property(_step)
    def deep(self, {x}): return "{v}"
    @functools.singledispatchmethod
    def sent(self, {x}): return "{v}"

def operators(lock):
    tag = "{v}"
    while True:
        with lock as got: pass
        yield tag, got, len(lock) and tag

def aliases(holder):
    tag = "{v}"
    while True:
        yield tag, Task({one}).kind, holder.klass({one}).kind

def attributes(holder):
    tag = "{v}"
    while True:
        yield tag, holder.step(), holder.show(), holder.shown

def raw(holder): return holder.step()
def other(holder): return holder.show()
part, assigned = functools.partial(raw), functools.lru_cache(other)

def wrapped(holder):
    tag = "{v}"
    while True:
        yield tag, part(holder), assigned(holder)
        assigned.cache_clear()

def held(holder):
    tag, mine, cache = "{v}", part, assigned
    while True:
        yield tag, mine(holder), cache(holder)
        cache.cache_clear()

def sent(holder):
    tag = "{v}"
    while True:
        yield tag, holder.sent({one})
"""


def text(version: int) -> str:
    new = version == 2
    return SOURCE.format(v=version, x="x, y" if new else "x", one="1, 2" if new else "1")


@pytest.fixture
def core(make_package: Callable[..., ModuleType]) -> Any:
    return importlib.import_module(f"{make_package({'core.py': text(1)}).__name__}.core")


@pytest.mark.parametrize("name", ["operators", "aliases", "attributes", "wrapped", "held"])
@pytest.mark.parametrize("handover", [0, 0.2])
def test_goes_on_with_the_old(core: Any, name: str, handover: float) -> None:
    loop = getattr(core, name)(core.Lock() if name == "operators" else core.Holder())
    assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=handover)
    with structlog.testing.capture_logs() as logs:
        rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))

        def is_handed_over() -> bool:
            assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
            return any(log["event"] == "rollout.handed_over" for log in logs)

        assert until(is_handed_over)
    assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_what_it_does_not_come_to_is_plain(core: Any) -> None:
    """Constructors and operators have no names in code: a loop that makes no jobs does not keep those slow."""
    loop = core.attributes(core.Holder())
    next(loop)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=0)
    rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
    live: Any = importlib.import_module(core.__name__)
    assert until(lambda: id(core.Job) not in walk.forked)
    assert ways_of(live.Job.__init__.__code__) is None
    assert id(core.Lock) in walk.forked  # operators may come to that
    assert next(loop) == ("1",) * 4
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_what_a_thread_is_about_to_call_takes_what_the_other_version_passes(core: Any) -> None:
    """A thread of the old version has the fork in its hands when the rollback makes it that of the live version."""
    loop = core.aliases(core.Holder())
    next(loop)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=0)
    rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
    live: Any = importlib.import_module(core.__name__)
    assert until(lambda: ways_of(live.Job.__init__.__code__) is None)
    fork = walk.class_space(core.Job)["__init__"]
    assert isinstance(fork, Attribute)
    rollout.rollback()
    job = object.__new__(core.Job)
    fork.__get__(job, core.Job)(1)
    assert job.kind == "1"
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_each_way_back_and_there_leaves_others_as_fast_as_before(core: Any) -> None:
    """A call that goes on for days asks for one generation, however often the next is taken back and comes again."""
    loop = core.aliases(core.Holder())
    next(loop)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=None)
    for _ in range(3):
        rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
        assert len(walk.class_space(core.Job)["__init__"].ways.old) == 1
        assert next(loop) == ("1",) * 3
        rollout.rollback()
        assert next(loop) == ("1",) * 3
    loop.close()
    assert forks_go()


def test_each_way_back_and_there_keeps_older_sessions_on_their_generation(core: Any) -> None:
    loop = core.aliases(core.Holder())
    next(loop)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=None)
    with hotswap.session():
        for _ in range(3):
            rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
            assert core.Job(1).kind == "1"
            rollout.rollback()
            assert core.Job(1).kind == "1"
        rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
        assert core.Job(1).kind == "1"
    assert core.Job(1, 2).kind == "2"
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_in_a_session_the_library_between_is_looked_through(core: Any) -> None:
    """Whose code was changed gets the old from `functools` as directly, in whatever session he is."""
    loop = core.sent(core.Holder())
    assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=None)
    rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
    with hotswap.session():
        assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
    assert next(loop) in (("1",) * 3, ("1",) * 4, ("1",) * 2)
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_new_code_gets_the_new_from_it_in_an_old_session(core: Any) -> None:
    old, inside = hotswap.session(), contextvars.Context()
    inside.run(old.__enter__)
    patcher = Patcher([core.__name__.partition(".")[0]], handover=None)
    rollout = patcher.apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
    live: Any = importlib.import_module(core.__name__)
    loop = live.sent(live.Holder())
    assert next(loop) == ("2", "2")
    assert inside.run(next, loop) == ("2", "2")
    inside.run(old.__exit__, None, None, None)
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


STAYS = """
from . import core

def helper(holder): return holder.shown
class Uses:
    def __init__(self, holder): self.holder = holder
    def step(self): return helper(self.holder)

def loop(holder):
    while True: yield Uses(holder).step()
"""


@pytest.mark.parametrize("name", ["core", "stays"])
def test_without_a_handover_what_goes_on_is_narrowed_too(make_package: Callable[..., ModuleType], name: str) -> None:
    """A call of a module that stays comes to the old by other functions of such modules."""
    package = make_package({"core.py": text(1), "stays.py": STAYS}).__name__
    core: Any = importlib.import_module(f"{package}.core")
    stays: Any = importlib.import_module(f"{package}.stays")
    loop = core.attributes(core.Holder()) if name == "core" else stays.loop(core.Holder())
    said = next(loop)
    rollout = Patcher([package], handover=None).apply(Patch.from_sources({core.__name__: text(2)}, version="2"))
    live: Any = importlib.import_module(core.__name__)
    assert next(loop) == said
    assert id(core.Job) in walk.forked
    assert until(lambda: id(core.Job) not in walk.forked, 20)
    assert id(core.Holder) in walk.forked
    assert next(loop) == said
    assert live.Holder().shown == "2"
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()
