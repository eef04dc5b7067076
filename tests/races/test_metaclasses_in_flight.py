"""Classes with a metaclass: calls in flight get the methods, the properties and the constructors of their version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


@contextmanager
def there_and_back(versions: Versions, thing: Any) -> Iterator[None]:
    """The second version is live in the block; loops of both get what is theirs there, and after the rollback."""
    old = versions.core.loop(thing)
    assert next(old) == ("1", {"1"})
    rollout = versions.apply_and_hand_over("2")
    new = versions.core.loop(thing)
    assert (next(old), next(new)) == (("1", {"1"}), ("2", {"2"}))
    yield
    rollout.rollback()
    assert (next(old), next(new)) == (("1", {"1"}), ("2", {"2"}))
    old.close()
    new.close()
    assert rollout.drained.wait(20)
    assert forks_go()
    assert next(versions.core.loop(thing)) == ("1", {"1"})


class Jobs(Versions):
    source = """
import enum

class Registered(type):
    def __call__(cls, *args): return super().__call__(*args)

class Job(metaclass=Registered):
    kind = "{v}"
    def __init__(self, {more}x): self.made = helper({pass_}1)
    def __len__(self): return int(self.deep({pass_}1))
    def deep(self, {more}x): return "{v}"
    def _step(self): return self.deep({pass_}1)
    step, shown = _step, property(_step)
    @classmethod
    def of(cls, {more}x): return cls({pass_}1).made
    def only_{v}(self): return "{v}"

class Below(Job):
    def __init__(self, {more}x): super().__init__({pass_}1)

class Colour(enum.Enum):
    RED = 1
    def __str__(self): return self.deep({pass_}1)
    def deep(self, {more}x): return "{v}"
    def only_{v}(self): return "{v}"
    @property
    def shown_{v}(self): return "{v}"

def helper({more}x): return "{v}"

def all_of(job):
    of_jobs = job.step(), job.shown, str(len(job)), Job({pass_}1).made, Below({pass_}1).made, Job.of({pass_}1)
    colour = Colour.RED
    return {{*of_jobs, job.kind, job.only_{v}(), str(colour), colour.only_{v}(), colour.shown_{v}}}

def loop(job):
    tag = "{v}"
    while True:
        yield tag, all_of(job)
"""


@pytest.mark.parametrize("handover", [None, 0])
def test_a_loop_gets_all_of_its_version(make_package: Callable[..., ModuleType], handover: float | None) -> None:
    jobs = Jobs(make_package, handover)
    with there_and_back(jobs, jobs.core.Job(1)):
        assert jobs.core.Job.only_2
        assert jobs.core.Colour.only_2
    assert not hasattr(jobs.core.Job, "only_2")
    assert not hasattr(jobs.core.Colour, "only_2")


class Locks(Versions):
    source = """
class Lock:
    def NAME_enter(self): return self.deep({pass_}1)
    def NAME_exit(self, *_): self.left = self.deep({pass_}1)
    def NAME_setitem(self, key, value): self.kept = self.deep({pass_}1)
    def NAME_next(self): return self.deep({pass_}1)
    def deep(self, {more}x): return "{v}"

def all_of(lock):
    with lock as entered:
        lock[0] = 1
    return {{entered, lock.left, lock.kept, next(lock)}}

def gone(lock): return {{lock.deep({pass_}1)}}

def loop(lock):
    tag = "{v}"
    while True:
        yield tag, CALLED(lock)
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """Only the first version has the special methods."""
        text = super().text(version, shape)
        if shape:
            return text.replace("NAME", "no").replace("CALLED", "gone")
        return re.sub(r"NAME_(\w+)", r"__\1__", text).replace("CALLED", "all_of")


def test_a_loop_gets_special_methods_that_are_gone(make_package: Callable[..., ModuleType]) -> None:
    locks = Locks(make_package, None)
    lock = locks.core.Lock()
    with there_and_back(locks, lock):
        with pytest.raises(AttributeError, match="__enter__"), lock:
            pass
