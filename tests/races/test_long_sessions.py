"""A session that stays open over many patches, and generations that nobody is on but by way of it."""

from __future__ import annotations

import contextvars
import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import ModuleType

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap.junctions import Junction
from hotswap.testing import ManualClock
from tests.races.threads import minute, settles

pytestmark = pytest.mark.threads

TOP = """
from . import middle

def told({more}n): return "{v}"

def answer(n): return [told({pass_}n), *middle.answer(n)]
"""
MIDDLE = """
import functools, importlib, sys

from .low import Held, helper

def told({more}n): return "{v}"

def imported(n):
    from . import low
    from .low import helper as found
    return [low.helper({pass_}n), found({pass_}n), importlib.import_module(low.__name__).helper({pass_}n)]

@functools.wraps(imported)
def wrapped(n): return [helper({pass_}n)]

class Job:
    kind = "{v}"
    def __init__(self, {more}n): self.n = told({pass_}n)
    def run(self, {more}n): return [self.n, self.kind, self._deep({pass_}n), Held({pass_}n).told]
    def _deep(self, {more}n): return told({pass_}n)
    @property
    def shown(self): return self._deep({pass_}1)

def answer(n):
    job = Job({pass_}n)
    return [
        told({pass_}n), *imported(n), *wrapped(n), *job.run({pass_}n), job.shown, (lambda: helper({pass_}n))(),
        sys.modules[__name__.replace("middle", "low")].helper({pass_}n), *[helper({pass_}one) for one in (n,)],
    ]
"""
LOW = """
def helper({more}n): return "{v}"

class Held:
    def __init__(self, {more}n): self.told = helper({pass_}n)
"""
TEXTS = {"top": TOP, "middle": MIDDLE, "low": LOW}


class Service:
    """A package of three modules, and sessions of which each has called it once."""

    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock) -> None:
        self._clock = clock
        self.name = make({f"{name}.py": self._text(name, 1) for name in TEXTS}).__name__
        self.patcher = Patcher([self.name], handover=1.0)
        for name in TEXTS:
            importlib.import_module(f"{self.name}.{name}")
        self.version = 1
        self.now = dict.fromkeys(TEXTS, 1)
        self.units: list[tuple[hotswap.Session, contextvars.Context, dict[str, int]]] = []

    @staticmethod
    def _text(name: str, version: int) -> str:
        more, pass_ = ("z, ", "0, ") if version % 2 else ("", "")
        return TEXTS[name].format(v=f"{name} {version}", more=more, pass_=pass_)

    def _patch(self, names: tuple[str, ...]) -> Patch:
        self.version += 1
        sources = {f"{self.name}.{name}": self._text(name, self.version) for name in names}
        return Patch.from_sources(sources, version=str(self.version))

    def apply(self, *names: str) -> hotswap.Rollout:
        """Patch some modules, and let the time of all handovers go by."""
        rollout = self.patcher.apply(self._patch(names))
        self.goes_live(*names)
        return rollout

    def arm(self, *names: str) -> hotswap.Rollout:
        rollout = self.patcher.stage(self._patch(names))
        rollout.verify()
        rollout.arm()
        return rollout

    def goes_live(self, *names: str) -> None:
        self.now = self.now | dict.fromkeys(names, self.version)
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.look()
            minute(self._clock)

    def open(self, candidate: hotswap.Rollout | None = None, *names: str) -> None:
        """Open a session; on a candidate, of which some modules are another version, if one is given."""
        unit, context = hotswap.session(), contextvars.Context()
        with nullcontext() if candidate is None else candidate.preview():
            context = contextvars.copy_context() if candidate is not None else context
            context.run(unit.__enter__)
        self.units.append((unit, context, self.now | dict.fromkeys(names, self.version)))
        self.look()

    def close(self, number: int) -> None:
        unit, context, _ = self.units.pop(number)
        context.run(unit.__exit__, None, None, None)

    def answer(self) -> dict[str, int]:
        found = sys.modules[f"{self.name}.top"].answer(1)
        versions = {(name, int(version)) for name, version in map(str.split, found)}
        assert len(versions) == len(TEXTS), versions
        return dict(versions)

    def look(self) -> None:
        """Each session has the versions with which it began, and everybody else what is live."""
        assert self.answer() == self.now
        for _, context, then in self.units:
            assert context.run(self.answer) == then


@pytest.fixture
def service(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> Iterator[Service]:
    made = Service(make_package, hotswap_clock)
    yield made
    while made.units:
        made.close(0)
    assert settles(hotswap_clock)
    assert made.answer() == made.now


ALL = tuple(TEXTS)
LOWER = ("middle", "low")


@pytest.mark.parametrize(
    "patches",
    [
        pytest.param([ALL] * 6, id="all"),
        pytest.param([LOWER, ALL, LOWER, ALL, LOWER], id="the lower ones, and all"),
        pytest.param([("top",), LOWER, LOWER, ("top",), LOWER], id="one after the other"),
        pytest.param([("top",), ("top",), LOWER, ("top",), ("top",), LOWER], id="what is changed late"),
        pytest.param([("top",), LOWER, ("top",), LOWER, ALL, ALL], id="and all in the end"),
    ],
)
@pytest.mark.parametrize("between", [None, 2, 4])
def test_keeps_its_version(service: Service, patches: list[tuple[str, ...]], between: int | None) -> None:
    service.open()
    for number, names in enumerate(patches):
        if number == between:
            service.open()
        service.apply(*names)
    service.close(0)
    service.look()


def test_keeps_no_version_in_between(service: Service) -> None:
    """Forks asked for each of them, and all of their code lived: each patch made calls slower."""
    service.open()
    first = service.apply(*ALL)
    gone = [weakref.ref(sys.modules[f"{service.name}.{name}"]) for name in TEXTS]
    between = service.apply(*ALL)
    gone += [weakref.ref(sys.modules[f"{service.name}.{name}"]) for name in TEXTS]
    for _ in range(3):
        service.apply(*ALL)
    assert between.drained.is_set()
    assert between.open_sessions() == ()
    assert [*map(id, first.open_sessions())] == [id(service.units[0][0])]
    assert not first.drained.is_set()
    assert len(Junction.in_flight) == 2  # that with which it began, and that of the last patch
    gc.collect()
    assert [reference() for reference in gone] == [None] * len(gone)


def test_waits_for_a_session_that_began_in_between(service: Service) -> None:
    service.open()
    service.apply(*ALL)
    service.open()
    second = service.apply(*ALL)
    for _ in range(2):
        service.apply(*ALL)
    assert not second.drained.is_set()
    service.close(1)
    service.apply(*ALL)
    assert second.drained.wait(20)


@pytest.mark.parametrize("also_old", [False, True])
def test_on_a_candidate(service: Service, also_old: bool) -> None:
    """It began before the swap that made the candidate live, and is on what that has brought."""
    if also_old:
        service.open()
    candidate = service.arm(*ALL)
    service.open(candidate, *ALL)
    candidate.commit()
    service.goes_live(*ALL)
    for _ in range(3):
        service.apply(*ALL)
    service.close(-1)
    service.open()
    if also_old:
        for _ in range(3):
            service.apply(*ALL)
        assert len(Junction.in_flight) <= 3  # those of the two sessions, and that of the last patch


def test_over_a_version_that_was_taken_back(service: Service) -> None:
    service.open()
    service.apply(*ALL)
    before = dict(service.now)
    service.apply(*LOWER)
    service.open()
    service.patcher.rollback()
    service.now = before
    service.settle()
    service.open()
    for names in (LOWER, ALL, ("top",), ALL):
        service.apply(*names)
    service.close(0)
    service.settle()


@pytest.mark.parametrize("patches", [[LOWER, ("top",), ALL], [("top",), LOWER, ALL], [ALL, ("top",), LOWER]])
def test_on_a_candidate_that_is_given_up(service: Service, patches: list[tuple[str, ...]]) -> None:
    """It came to the version before the candidate by modules that the candidate had not changed, and a patch did."""
    candidate = service.arm(*LOWER)
    service.open(candidate, *LOWER)
    candidate.abort()
    service.settle()
    for names in patches:
        service.apply(*names)
    service.close(0)
    service.settle()


def test_that_is_in_packages_of_two_patchers(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, service: Service
) -> None:
    """What waits for it in the one package knows nothing of the other."""
    other = Service(make_package, hotswap_clock)
    service.open()
    unit, context, _ = service.units[0]
    other.units.append((unit, context, dict(other.now)))
    for one in (service, other, other, other, service, service):
        one.apply(*ALL)
        one.look()
    other.look()
    other.units.clear()
    service.close(0)
    assert settles(hotswap_clock)
    other.look()
