"""What a module makes of names that it has not (PEP 562) is of the version of who asks, as what it has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.modules import Modules
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads

SOURCES = {
    "sibling": """
def __getattr__(name):
    if name == "rate":
        return lambda {more}n: "{v}"
    raise AttributeError(f"no {{name}}")
""",
    "module": """
from . import sibling
def loop():
    while True:
        yield sibling.rate({pass_}1), hasattr(sibling, "nothing"), "{v}"
def seen():
    while True:
        yield sibling
""",
}
OLD, NEW = ("1", False, "1"), ("2", False, "2")


@pytest.fixture
def modules(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> Modules:
    return Modules(make_package, hotswap_clock, SOURCES)


@pytest.mark.parametrize("handover", [None, 10.0])
def test_are_those_of_the_version_in_flight(
    modules: Modules, hotswap_clock: ManualClock, handover: float | None
) -> None:
    """Old calls met an `AttributeError`; those of what was taken back, too."""
    old = modules.module("module").loop()
    assert next(old) == OLD
    modules.apply("sibling", "module", version="2", more="z", handover=handover)
    new = modules.module("module").loop()
    for _ in range(2):
        assert (next(old), next(new)) == (OLD, NEW)
        hotswap_clock.advance(20)
    modules.patcher.rollback()
    for _ in range(2):
        assert (next(old), next(new), next(modules.module("module").loop())) == (OLD, NEW, OLD)
        hotswap_clock.advance(20)
    del old, new
    assert forks_go()


def test_of_a_module_that_somebody_has_taken_out(modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who still holds the old one has it alone: it was no plain module any more, and made nothing of such names."""
    held = modules.module("sibling")
    seen = modules.module("module").seen()
    assert next(seen) is held
    modules.apply("sibling", "module", version="2")
    view = next(seen)
    assert view is not held
    seen.close()
    del seen
    assert forks_go()
    assert until(lambda: held.rate(1) == view.rate(1) == "2")  # what was handed out is led on in a thread
    monkeypatch.delitem(sys.modules, held.__name__)
    for module in (held, view):
        assert module.rate(1) == "1"
        with pytest.raises(AttributeError, match="no nothing"):
            _ = module.nothing
