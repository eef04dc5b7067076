"""What was registered at run time with `functools.singledispatch` goes on in the next version, and after a rollback."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code

Make = Callable[..., ModuleType]

TEXT = """
import functools
class Money: pass
@functools.singledispatch
def show(value): return "old other"
@show.register
def _(value: int): return "old int"
def plain(value): return "old plain"
def nested(cls):
    @show.register(cls)
    def inner(value): return "old nested"
"""

NEW = TEXT.replace("old", "new")

METHODS = """
import functools
class Printer:
    @functools.singledispatchmethod
    def show(self, value): return "old other"
    @show.register
    def _(self, value: int): return "old int"
    def plain(self, value): return "old plain"
"""


def shown(code: Code, *values: Any) -> list[str]:
    """What the function says of some values, asked twice, so that what it remembers is asked too."""
    show = code.live.show
    first = [show(value) for value in values]
    assert [show(value) for value in values] == first
    return first


class TestFunctions:
    def test_what_was_registered_elsewhere_goes_on(self, make_package: Make) -> None:
        code = Code(make_package, TEXT)
        held = code.live.show
        held.register(str, lambda _: "elsewhere")
        held.register(code.live.Money, functools.partial(str.format, "money"))
        assert shown(code, "x", 1, 1.5) == ["elsewhere", "old int", "old other"]
        for _ in range(2):  # the second swap finds what the first has carried
            code.put(NEW)
            assert shown(code, "x", 1, 1.5, code.live.Money()) == ["elsewhere", "new int", "new other", "money"]
            assert held("x") == "elsewhere"
        code.back()
        assert shown(code, "x", 1, 1.5) == ["elsewhere", "new int", "new other"]

    def test_what_is_remembered_is_forgotten(self, make_package: Make) -> None:
        code = Code(make_package, TEXT)
        code.live.show.register(str, lambda _: "elsewhere")
        code.put(NEW + 'assert show("x") == "new other"\n')
        assert shown(code, "x") == ["elsewhere"]

    def test_a_rollback_takes_along_what_came_since(self, make_package: Make) -> None:
        code = Code(make_package, TEXT)
        held = code.live.show
        assert shown(code, "x", 1, 1.5) == ["old other", "old int", "old other"]
        code.put(NEW + "def young(value): return 'young'\n@show.register\ndef _(value: bytes): return 'new bytes'\n")
        live = code.live
        live.show.register(str, lambda _: "since")
        live.show.register(int, lambda _: "instead")
        live.show.register(float, live.plain)
        live.show.register(complex, live.young)
        live.nested(list)
        code.back()
        # What only the new version has is gone with it.
        expected = ["since", "instead", "old plain", "old other", "old other"]
        assert shown(code, "x", 1, 1.5, 1j, b"") == [held(v) for v in ("x", 1, 1.5, 1j, b"")] == expected
        assert held([]).endswith("nested")

    def test_functions_of_the_module_lead_to_their_successors(self, make_package: Make) -> None:
        code = Code(make_package, TEXT)
        code.live.show.register(str, code.live.plain)
        code.live.nested(list)
        live = code.put(NEW)
        assert live.show.dispatch(str) is live.plain
        assert shown(code, "x") == ["new plain"]
        assert live.show([]).endswith("nested")  # a closure is led to the new code when the last old call has ended
        code.back()
        assert shown(code, "x") == ["old plain"]
        assert code.live.show([]).endswith("nested")

    def test_what_the_import_had_registered_goes(self, make_package: Make) -> None:
        registered = (
            "def traced(function):\n"
            "    @functools.wraps(function)\n"
            "    def wrapper(value): return function(value)\n"
            "    return wrapper\n"
            "@show.register\n@traced\ndef _(value: float): return 'float'\n"
            "@show.register(bytes)\ndef of_bytes(value): return 'bytes'\n"
            "class Local:\n    def __init__(self, value): pass\n"
            "for cls in (str, list):\n    show.register(cls, plain)\n"
            "show.register(tuple, len)\nshow.register(set, lambda _: 'set')\nshow.register(dict, Local)\n"
        )
        code = Code(make_package, TEXT + registered)
        assert shown(code, 1.5, b"", "", [], (), set())[:4] == ["float", "bytes", "old plain", "old plain"]
        code.live.show.register(complex, lambda _: "elsewhere")
        code.put(NEW)
        assert shown(code, 1.5, b"", "", [], (), set(), {}) == ["new other"] * 7
        assert shown(code, 1j) == ["elsewhere"]
        code.back()
        assert shown(code, 1.5, b"", "", [])[:4] == ["float", "bytes", "old plain", "old plain"]

    def test_what_other_modules_registered(self, make_package: Make) -> None:
        """An importer that is loaded again registers for itself; another one has registered for good."""
        others = {
            "again": "from .code import show\n@show.register\ndef _(value: str): return 'again'\n",
            "same": "import sys\nsys.modules[__package__ + '.code'].show.register(bytes, lambda _: 'same')\n",
        }
        code = Code(make_package, TEXT, **others)
        assert shown(code, "", b"") == ["again", "same"]
        code.put(NEW, again="from .code import show\n", same=others["same"])
        assert shown(code, "", b"") == ["new other", "same"]

    def test_abstract_classes(self, make_package: Make) -> None:
        """A function with an abstract class in its table looks anew when something is registered with one."""

        class Shape(abc.ABC):  # noqa: B024 - it needs no methods
            """It is asked for by `issubclass`."""

        class Circle:
            """Becomes a shape later."""

        code = Code(make_package, TEXT)
        code.live.show.register(Shape, lambda _: "shape")
        code.put(NEW)
        assert shown(code, Circle()) == ["new other"]
        Shape.register(Circle)
        assert shown(code, Circle()) == ["shape"]

    def test_classes_with_a_hash_of_their_own_are_left_alone(self, make_package: Make) -> None:
        asked: list[str] = []

        class Meta(type):
            def __hash__(cls) -> int:
                asked.append("hash")
                return 1

        cls = Meta("cls", (), {})
        code = Code(make_package, TEXT)
        code.live.show.register(cls, lambda _: "meta")
        asked.clear()
        code.put(NEW)
        assert asked == []
        assert code.live.show(cls()) == "new other"

    def test_a_class_that_is_gone_is_not_carried(self, make_package: Make) -> None:
        code = Code(make_package, TEXT)
        code.live.show.register(code.live.Money, lambda _: "money")
        live = code.put(NEW.replace("class Money: pass\n", ""))
        assert [cls.__name__ for cls in live.show.registry] == ["object", "int"]

    @pytest.mark.parametrize("text", ["def show(value): return 'no dispatch'\n", "show = None\n"])
    def test_that_are_no_dispatching_functions_any_more(self, make_package: Make, text: str) -> None:
        code = Code(make_package, TEXT)
        code.live.show.register(str, lambda _: "elsewhere")
        code.put(text)
        code.back()
        assert shown(code, "x", 1) == ["elsewhere", "old int"]


class TestMethods:
    def test_both_ways(self, make_package: Make) -> None:
        code = Code(make_package, METHODS)
        printer = code.live.Printer()
        descriptor = vars(code.live.Printer)["show"]
        descriptor.register(bytes, lambda self, value: "elsewhere")
        descriptor.register(str, code.live.Printer.plain)
        assert [printer.show(value) for value in (1, "", b"", 1.5)] == [
            "old int",
            "old plain",
            "elsewhere",
            "old other",
        ]
        code.put(METHODS.replace("old", "new"))
        assert [printer.show(value) for value in (1, "", b"", 1.5)] == [
            "new int",
            "new plain",
            "elsewhere",
            "new other",
        ]
        vars(code.live.Printer)["show"].register(float, lambda self, value: "since")
        code.back()
        assert [printer.show(value) for value in (1, "", b"", 1.5)] == ["old int", "old plain", "elsewhere", "since"]

    def test_what_the_class_body_had_registered_goes(self, make_package: Make) -> None:
        more = "    @show.register(str)\n    def text(self, value): return 'text'\n"
        code = Code(make_package, METHODS + more)
        printer = code.live.Printer()
        assert printer.show("") == "text"
        code.put(METHODS)
        assert printer.show("") == "old other"
