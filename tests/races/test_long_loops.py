"""Loops that stay old for hours, through hundreds of patches: what they keep does not grow."""

from __future__ import annotations

import gc
import types
import weakref
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import walk
from hotswap.swap.signatures import Shown
from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCE = """
import functools

def helper({more}n, version="{v}"): return version
@functools.lru_cache
def cached({more}n): return "{v}"
part = functools.partial(helper, {pass_}1, version="{v}")

class Tool:
    def __init__(self, {more}n): self.made = "{v}"
    @property
    def price(self): return "{v}"
    def step(self, {more}n): return "{v}", (lambda: helper({pass_}n))()

def rows():
    while True:
        yield {{*Tool({pass_}1).step({pass_}1), helper({pass_}1), cached({pass_}1), Tool({pass_}1).price, part()}}

def unchanged(arguments):
    while True:
        yield "".join({{helper(*arguments()), cached(*arguments()), part()}})
"""

WARM, MORE = 20, 40
"""Patches after which it is looked what there is, and those that are applied then."""

A_PATCH = 12
"""Objects that a patch may leave: its record in the history, with version and report, has some of them."""

MOST = MORE * A_PATCH + 400
"""With what is there for the last of them: its writes, and forks as long as they stand."""


def counted() -> Counter[str]:
    gc.collect()
    return Counter(walk.class_name(type(o)) for o in gc.get_objects())


class Program(Versions):
    source = SOURCE

    def __init__(self, make: Callable[..., ModuleType], handover: float | None = 0) -> None:
        super().__init__(make, handover, first=0)
        self.number = 0
        self.generations: list[tuple[weakref.ref[Any], weakref.ref[Any]]] = []

    def patch(self, times: int, shape: Callable[[int], int], after: Callable[[], object] = lambda: None) -> None:
        for _ in range(times):
            self.number += 1
            self.generations.append((weakref.ref(self.core), weakref.ref(self.core.rows.__code__)))
            self.apply(self.number, shape(self.number))
            after()

    def alive(self) -> list[int]:
        gc.collect()
        return [n for n, known in enumerate(self.generations) if any(one() is not None for one in known)]


@pytest.mark.parametrize("shape", [lambda _: 1, lambda number: number % 2], ids=["the same", "in turn"])
def test_a_changed_loop_keeps_no_more_with_each_patch(
    make_package: Callable[..., ModuleType], shape: Callable[[int], int]
) -> None:
    made = Program(make_package)
    flow = made.core.rows()

    def goes_on(flow: Any = flow) -> None:
        assert next(flow) == {"0"}
        assert next(made.core.rows()) == {str(made.number)}
        gc.collect()

    next(flow)
    made.patch(WARM, shape, goes_on)
    before = counted()
    made.patch(MORE, shape, goes_on)
    assert until(lambda: sum((counted() - before).values()) < MOST), (counted() - before).most_common(10)
    functions = [o for o in gc.get_objects() if type(o) is types.FunctionType and o.__module__ == made.name]
    assert len(functions) < 120, Counter(o.__qualname__ for o in functions)
    assert until(lambda: len(made.alive()) <= 3), made.alive()
    assert next(flow) == {"0"}
    del flow, functions, goes_on
    assert until(lambda: made.alive() in ([], [made.number - 1]))
    assert forks_go()


def test_a_loop_that_is_handed_over_from_patch_to_patch_keeps_none(make_package: Callable[..., ModuleType]) -> None:
    made = Program(make_package)
    flow = made.core.unchanged(lambda: (1,))
    next(flow)

    def goes_on(flow: Any = flow) -> None:
        assert until(lambda: next(flow) == str(made.number))
        gc.collect()

    made.patch(WARM, lambda _: 0, goes_on)
    before = counted()
    made.patch(MORE, lambda _: 0, goes_on)
    assert until(lambda: sum((counted() - before).values()) < MOST), (counted() - before).most_common(10)
    assert until(lambda: len(made.alive()) <= 3), made.alive()
    del flow, goes_on
    assert forks_go()


def test_what_functions_say_as_forks_goes_with_them(make_package: Callable[..., ModuleType]) -> None:
    """A generation that a loop keeps noted it for each function of the swaps that came after it."""
    made = Program(make_package, handover=None)
    flow = made.core.unchanged(lambda: (1,))

    def goes_on() -> None:
        assert next(flow) == "0"

    goes_on()
    made.patch(5, lambda _: 0, goes_on)
    before = counted()
    made.patch(20, lambda _: 0, goes_on)
    assert (counted() - before)[walk.class_name(Shown)] < A_PATCH
    flow.close()
    assert forks_go()


@pytest.mark.slow  # of staging
def test_nothing_is_left_of_two_hundred_generations(make_package: Callable[..., ModuleType]) -> None:
    """Each has a call in flight when it goes, that ends some patches later; after the last of them one is left."""
    made = Program(make_package)
    flows: list[Any] = []

    def begin() -> None:
        flow = made.core.rows()
        next(flow)
        flows.append(flow)
        if len(flows) > 3:
            next(flows.pop(0))

    made.patch(200, lambda number: number % 2, begin)
    flows.clear()
    rollout = made.patcher.current
    assert rollout is not None
    assert rollout.drained.wait(20)
    assert forks_go()
    rollout.confirm()
    made.patch(1, lambda _: 0)
    # The way back to one generation is kept.
    assert until(lambda: made.alive() in ([], [200])), made.alive()
