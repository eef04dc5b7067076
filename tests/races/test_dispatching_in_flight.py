"""Methods with several implementations, as `functools.singledispatchmethod` has them, while old calls are in flight."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions, stays_old

pytestmark = pytest.mark.threads


class Exports(Versions):
    source = """
import functools
import hotswap
class Exporter:
    @functools.singledispatchmethod
    def export(self, x{more_}): return "{v}"
    @export.register
    def _(self, x: int{more_}): return "{v}"
    @export.register
    def _(self, x: list{more_}): return "".join({{self.export(one{pass__}) for one in x}})
    @functools.singledispatchmethod
    @classmethod
    def made(cls, x{more_}): return "{v}"
    @made.register
    @classmethod
    def _(cls, x: int{more_}): return "{v}"
class Below(Exporter):
    @Exporter.export.register
    def _(self, x: dict{more_}): return "{v}"
    @functools.singledispatchmethod
    def export(self, x{more_}): return super().export(x{pass__})
@functools.singledispatch
def total(x{more_}): return "{v}"
@total.register
def _(x: int{more_}): return "{v}"
@total.register
def _(x: list{more_}): return "{v}"
def answers(exporter):
    found = {{exporter.export(one{pass__}) for one in (1, [1, 2], "x", None)}}
    found |= {{total(one{pass__}) for one in (1, [], "x")}}
    return found | {{exporter.made(one{pass__}) for one in (1, "x")}} | {{type(exporter).made(1{pass__})}}
def changed():
    text = "{v}"
    while True: yield {{text, *answers(Exporter()), *answers(Below())}}
def same():
    while True: yield answers(Exporter()) | answers(Below())
def unit():
    with hotswap.session():
        while True: yield answers(Exporter()) | answers(Below())
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """Return the source of a version; the shape says how many parameters its methods have more."""
        more, passed = "".join(f", z{n}" for n in range(shape)), ", 0" * shape
        return cls.source.format(v=version, more_=more, pass__=passed)


def test_after_the_handover_too(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """No code spells their names: the forks of the others were taken away, as of what nobody can come to."""
    stays_old(Exports(make_package, 1.0), "changed", hotswap_clock)


@pytest.mark.parametrize("name", ["changed", "same", "unit"])
def test_goes_on_with_those_of_its_version(make_package: Callable[..., ModuleType], name: str) -> None:
    """Those that no name of the class leads to were the new ones: a `TypeError`, or two versions in one call."""
    exports = Exports(make_package, None)
    loop, inside = getattr(exports.core, name)(), contextvars.Context()
    assert inside.run(next, loop) == {"1"}
    for version, shape in (("2", 1), ("3", 0)):
        exports.apply(version, shape)
        assert inside.run(next, loop) == {"1"}
        assert contextvars.Context().run(next, getattr(exports.core, name)()) == {version}
    exports.patcher.rollback()
    assert inside.run(next, loop) == {"1"}
    assert contextvars.Context().run(next, getattr(exports.core, name)()) == {"2"}
    inside.run(loop.close)
    del loop
    assert forks_go()


def test_what_is_registered_meanwhile_goes_on(make_package: Callable[..., ModuleType]) -> None:
    exports = Exports(make_package, None)
    loop = exports.core.changed()
    assert next(loop) == {"1"}
    exports.apply("2", 0)
    exports.core.Exporter.export.register(bytes, lambda _, x: "bytes")
    assert exports.core.Exporter().export(b"") == "bytes"
    assert next(loop) == {"1"}
    loop.close()
    del loop
    assert forks_go()
    assert exports.core.Exporter().export(b"") == "bytes"
