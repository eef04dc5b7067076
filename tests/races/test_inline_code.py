"""Lambdas, generator expressions and comprehensions in an old body that was changed: they are part of it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from tests.races.threads import forks_go
from tests.races.versions import Versions
from tests.waiting import until

pytestmark = pytest.mark.threads


class Inline(Versions):
    source = """
def helper(x): return "{v}"

def loop():
    tag = "{v}"
    while True:
        yield tag, {{
            *(helper(x) for x in [1]), *[helper(x) for x in [1]], *map(lambda x: helper(x), [1]),
            *map(lambda x: [*(helper(y) for y in [x])][0], [1]),
        }}

def made():
    tag = "{v}"
    def inner():
        while True:
            yield helper(1)
    return inner()
"""


def test_they_stay_with_the_body_around_them(make_package: Callable[..., ModuleType]) -> None:
    """Their own text is the same in both versions, and the handover has been."""
    inline = Inline(make_package, 0)
    loop = inline.core.loop()
    assert next(loop) == ("1", {"1"})
    rollout = inline.apply_and_hand_over("2")
    assert next(loop) == ("1", {"1"})
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()


def test_a_function_in_a_changed_one_is_handed_over(make_package: Callable[..., ModuleType]) -> None:
    """It may be an endless loop of its own, which has not changed."""
    inline = Inline(make_package, 0)
    loop = inline.core.made()
    assert next(loop) == "1"
    rollout = inline.apply("2")
    assert until(lambda: next(loop) == "2")
    loop.close()
    assert rollout.drained.wait(20)
    assert forks_go()
