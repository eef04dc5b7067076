"""The plan names closures that could not be led to new code, before anybody knows whether there are some."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

import hotswap

Make = Callable[..., ModuleType]

END = "one that was made before the swap, and that no name leads to, keeps the old code"
CLASS = "belongs to a class that a function made; such classes are not followed"


@pytest.fixture
def warnings(make_package: Make) -> Callable[[str, str], list[str]]:
    """Stage a second text of a package, and return the plan's warnings without the name of the package."""

    def staged(before: str, after: str) -> list[str]:
        name = make_package({"__init__.py": before}).__name__
        rollout = hotswap.Patcher([name]).stage(hotswap.Patch.from_sources({name: after}))
        assert rollout.plan is not None
        found = [warning.replace(f"{name}:", "") for warning in rollout.plan.warnings]
        rollout.abort()
        return found

    return staged


class TestWarnings:
    def test_a_decorator_that_needs_another_variable(self, warnings: Callable[[str, str], list[str]]) -> None:
        source = "def deco(f{more}):\n    def wrapper(*a): return {calls}f(*a)\n    return wrapper"
        found = warnings(source.format(more="", calls=""), source.format(more=", log=print", calls="log() or "))
        assert found == [f"deco.<locals>.wrapper was made without log, which the new version uses; {END}"]

    def test_another_parameter(self, warnings: Callable[[str, str], list[str]]) -> None:
        source = "class A:\n    def make(self): return lambda {}: a"
        found = warnings(source.format("a"), source.format("a, b"))
        reason = "was made without the parameter b of the new version"
        assert found == [f"A.make.<locals>.<lambda> {reason}; {END}"]

    def test_a_changed_method_of_a_local_class(self, warnings: Callable[[str, str], list[str]]) -> None:
        source = """
def make():
    class Local:
        def same(self): return 1
        def method(self): return {n}
    return Local
"""
        assert warnings(source.format(n=1), source.format(n=2)) == [f"make.<locals>.Local.method {CLASS}; {END}"]
        assert warnings(source.format(n=1), "# moved\n\n" + source.format(n=1)) == []

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("def make(x): return lambda a: (a, x)", "def make(x): return lambda a: (x, a)"),
            ("def make(x): return lambda a: (a, x)", "def make(x): return 5"),
            ("def make(x, y): return list(x for x in x)", "def make(x, y): return list((x, y) for x in x)"),
            ("def make(x, y): return [x for x in x]", "def make(x, y): return [(x, y) for x in x]"),
        ],
        ids=["led", "gone", "generator", "comprehension"],
    )
    def test_nothing_is_said_of_what_can_be_led_or_is_never_held(
        self, warnings: Callable[[str, str], list[str]], before: str, after: str
    ) -> None:
        assert warnings(before, after) == []
