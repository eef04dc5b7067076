"""Names that no code has as names: class patterns, `operator`, format strings. Narrowing keeps what they lead to."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.swap.junctions import Junction
from hotswap.swap.narrowing import is_spelled
from hotswap.testing import ManualClock
from tests.races.modules import Modules
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


class Spelling(Versions):
    source = """
import operator
SHOWN = operator.attrgetter("shown")
CALCULATED = operator.methodcaller("calculated", {pass_}1)
class Point:
    __match_args__ = ("x", "only_in_{v}")
    @property
    def x(self): return "{v}"
    @property
    def shown(self): return "{v}"
    @property
    def formatted(self): return "{v}"
    @property
    def by_keyword(self): return "{v}"
    def calculated(self, {more}n): return "{v}"
def positions(point):
    match point:
        case Point(x): return x
def keywords(point):
    match point:
        case Point(by_keyword=x): return x
def loop():
    version = "{v}"
    while True:
        point = Point()
        yield {{
            positions(point), keywords(point), SHOWN(point), CALCULATED(point), "{{0.formatted}}".format(point), version
        }}
"""


@pytest.mark.parametrize("handover", [None, 10.0])
def test_stays_old(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None) -> None:
    spelling = Spelling(make_package, handover)
    loop = spelling.core.loop()
    assert next(loop) == {"1"}
    spelling.apply("2")
    for _ in range(3):
        assert next(loop) == {"1"}
        assert next(spelling.core.loop()) == {"2"}
        hotswap_clock.advance(20)
    del loop
    assert forks_go()


SOURCES = {
    "core": """
def helper(): return "{v}"
def loop(kind, point):
    version = "{v}"
    while True:
        match point:
            case kind(x): yield {{x, version}}
""",
    "shapes": """
from . import core
class Point:
    __match_args__ = ("x",)
    @property
    def x(self): return core.helper()
""",
}


@pytest.mark.parametrize("handover", [None, 10.0])
def test_by_a_pattern_of_a_class_that_stays(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    modules = Modules(make_package, hotswap_clock, SOURCES)
    point = modules.module("shapes").Point()
    loop = modules.module("core").loop(type(point), point)
    assert next(loop) == {"1"}
    modules.apply("core", version="2", handover=handover)
    for _ in range(3):
        assert next(loop) == {"1"}
        assert next(modules.module("core").loop(type(point), point)) == {"2"}
        hotswap_clock.advance(20)
    loop.close()
    del loop
    assert forks_go()


def test_operators_need_no_name_of_the_class_that_overrides_them() -> None:
    """A metaclass' ``__call__`` takes the place of that of `type`: a later patch lent it by the name of its class."""
    junction = Junction((), (), ())
    junction.spelled = frozenset({"Job"})
    assert is_spelled(junction, "__call__", "Meta", is_asked=True)
    assert is_spelled(junction, "emit", "Job", is_asked=True)
    assert not is_spelled(junction, "emit", "Other", is_asked=True)
    assert not is_spelled(junction, "__init__", "Other")
