"""Import statements: what `hotswap/generation/isolation.py` builds on."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def asked() -> Iterator[list[tuple[str, Any]]]:
    """What goes through `builtins.__import__`, with the globals of whoever imports."""
    original: Callable[..., ModuleType] = builtins.__import__
    seen: list[tuple[str, Any]] = []

    def hook(name: str, globals_: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        seen.append((name, globals_))
        return original(name, globals_, locals_, fromlist, level)

    builtins.__import__ = hook  # type: ignore[assignment]  # the parameters have other names
    yield seen
    builtins.__import__ = original


def by(namespace: dict[str, Any], asked: list[tuple[str, Any]]) -> list[str]:
    """What the code with these globals has asked for; other threads may import, too."""
    return [name for name, globals_ in asked if globals_ is namespace]


class TestImportStatement:
    def test_goes_through_the_name_in_builtins(self, asked: list[tuple[str, Any]]) -> None:
        namespace: dict[str, Any] = {"__name__": "importing"}
        exec("import json", namespace)
        assert by(namespace, asked) == ["json"]

    def test_tells_whose_globals_ask(self, asked: list[tuple[str, Any]]) -> None:
        """By their identity a generation's code is told from everybody else's."""
        namespace: dict[str, Any] = {"__name__": "importing"}
        exec("def function():\n    import json\n    return json", namespace)
        namespace["function"]()
        assert by(namespace, asked) == ["json"]

    def test_in_a_function_that_is_compiled_long_ago_does_too(self, asked: list[tuple[str, Any]]) -> None:
        def function() -> object:
            import json

            return json

        function()
        assert by(globals(), asked) == ["json"]

    def test_takes_what_the_hook_returns(self) -> None:
        own = ModuleType("own")
        original = builtins.__import__
        builtins.__import__ = lambda *_: own
        try:
            namespace: dict[str, Any] = {}
            exec("import anything", namespace)
        finally:
            builtins.__import__ = original
        assert namespace["anything"] is own
        assert "anything" not in sys.modules

    def test_from_asks_the_object_that_it_got(self) -> None:
        """A view of a module answers `from package import name`, whatever `sys.modules` holds."""

        class View(ModuleType):
            def __getattribute__(self, attribute: str) -> Any:
                return f"seen {attribute}"

        view = View("view")
        original = builtins.__import__
        builtins.__import__ = lambda *_: view
        try:
            namespace: dict[str, Any] = {}
            exec("from package import name", namespace)
        finally:
            builtins.__import__ = original
        assert namespace["name"] == "seen name"


class TestReferences:
    def test_a_function_that_nobody_else_has_is_counted_as_such(self) -> None:
        # `hotswap/generation/isolation.py` looks for its wrappers in all namespaces only if somebody may have one.
        class Holder:
            def __init__(self) -> None:
                def made() -> None:
                    pass

                self.held = made
                del made
                self.alone = self.count()

            def count(self) -> int:
                return sys.getrefcount(self.held)

        holder, space = Holder(), ModuleType("space")
        assert holder.count() == holder.alone
        vars(space)["taken"] = holder.held
        assert holder.count() > holder.alone
        vars(space)["taken"] = None
        assert holder.count() == holder.alone
