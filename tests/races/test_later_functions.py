"""What an old call, or a session, gets of what only a later version has brought, and the next one changes."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import hotswap
from hotswap.testing import ManualClock
from tests.races.threads import settles
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

LATER = """
import contextlib, functools

def helper({more}n): return "{v}"

def plain(n): return helper({pass_}n), "{v}"

@functools.lru_cache
def cached(n): return helper({pass_}n), "{v}"

@functools.wraps(plain)
def wrapped(n): return helper({pass_}n), "{v}"

@contextlib.contextmanager
def _scope(n): yield helper({pass_}n), "{v}"
def scoped(n):
    with _scope(n) as found:
        return found

class Job:
    def __init__(self): self.n = helper({pass_}1)
    @property
    def shown(self): return helper({pass_}1), "{v}"
    @functools.singledispatchmethod
    def run(self, n): return helper({pass_}n), "{v}"
    def __call__(self, n): return self.run(n), self.shown, "{v}"
"""
KINDS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda core: core.plain,
    "cached": lambda core: core.cached,
    "wrapped": lambda core: core.wrapped,
    "scoped": lambda core: core.scoped,
    "method": lambda core: core.Job().run,
    "call": lambda core: core.Job(),
    "property": lambda core: partial(lambda job, n: job.shown, core.Job()),
    "class": lambda core: lambda n, job=core.Job: job().run(n),
}


class Later(Versions):
    source = """
def helper({more}n): return "{v}"
def loop(registry):
    while True:
        yield "{v}", registry.later(1), helper({pass_}1)
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        own = super().text(version, shape)
        if version == "1":
            return own
        return LATER.format(v=version, more="z, " * shape, pass_="0, " * shape) + own


def flat(found: Any) -> set[str]:
    return {found} if isinstance(found, str) else set().union(*map(flat, found))


@pytest.mark.parametrize("handover", [None, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_is_what_is_live(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, kind: str, handover: float | None
) -> None:
    """The call that the next version made of it went round in a circle, once that version had settled."""
    later = Later(make_package, handover)
    registry = SimpleNamespace(later=lambda n: "1")
    loop = later.core.loop(registry)
    assert next(loop) == ("1", "1", "1")
    unit, context = hotswap.session(), contextvars.Context()
    context.run(unit.__enter__)
    later.apply("2")
    registry.later = KINDS[kind](later.core)
    for version, shape in (("2", 1), ("3", 0), ("4", 1), ("5", 1)):
        if version != "2":
            later.apply(version, shape)
        for _ in range(3):
            own, found, helper = next(loop)
            assert (own, helper) == ("1", "1")
            assert flat(found) == {version}
            assert flat(registry.later(1)) == {version}
            assert len(flat(context.run(registry.later, 1))) == 1
            hotswap_clock.advance(30)
    context.run(unit.__exit__, None, None, None)
    loop.close()
    del loop
    assert settles(hotswap_clock)
