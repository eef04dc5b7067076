"""What a module makes of names that it has not (PEP 562) is of the version of who asks, as what it has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads

SIBLING = """
def __getattr__(name):
    if name == "rate":
        return lambda {parameter}: "{v}"
    raise AttributeError(name)
"""
MODULE = """
from . import sibling
def loop():
    while True:
        yield sibling.rate({argument}), hasattr(sibling, "nothing"), "{v}"
"""
VERSIONS: dict[str, dict[str, Any]] = {
    "1": {"parameter": "n", "argument": "1"},
    "2": {"parameter": "*, k", "argument": "k=1"},
}


def sources(version: str) -> dict[str, str]:
    texts = {"sibling": SIBLING, "module": MODULE}
    return {name: text.format(v=version, **VERSIONS[version]) for name, text in texts.items()}


@pytest.mark.parametrize("handover", [None, 10.0])
def test_are_those_of_the_version_in_flight(
    make_package: Callable[..., ModuleType], hotswap_clock: ManualClock, handover: float | None
) -> None:
    """Old calls met an `AttributeError`; those of what was taken back, too."""
    name = make_package({f"{module}.py": text for module, text in sources("1").items()}).__name__
    importlib.import_module(f"{name}.module")
    patcher = Patcher([name], handover=handover)
    patch = Patch.from_sources({f"{name}.{module}": text for module, text in sources("2").items()}, version="2")

    def begun() -> Iterator[Any]:
        loop: Iterator[Any] = sys.modules[f"{name}.module"].loop()
        return loop

    old = begun()
    assert next(old) == ("1", False, "1")
    patcher.apply(patch)
    new = begun()
    for _ in range(2):
        assert (next(old), next(new)) == (("1", False, "1"), ("2", False, "2"))
        hotswap_clock.advance(20)
    patcher.rollback()
    for _ in range(2):
        assert (next(old), next(new), next(begun())) == (("1", False, "1"), ("2", False, "2"), ("1", False, "1"))
        hotswap_clock.advance(20)
    del old, new
    assert forks_go()
