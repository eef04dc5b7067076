"""Stand-ins: what mocks and instrumentation put in the place of functions is named, and what they hold is led on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from tests.swapping import Code

Make = Callable[..., ModuleType]

SOURCE = """
def f(): return {n}
class K:
    def m(self): return {n}
    async def later(self): return {n}
    class Inner:
        def m(self): return {n}
"""
OLD, NEW = SOURCE.format(n=1), SOURCE.format(n=2)

FOUND = (
    "was replaced at run time; the patch puts the new one in its place, and what it had replaced leads to the new code"
)
LOST = (
    "was replaced at run time; the patch puts the new one in its place, and whoever puts the old one back puts back "
    "old code"
)


def replaced(code: Code) -> list[str]:
    """What the plan says of replaced functions, without the name of the module."""
    return [text.replace(f"{code.name}:", "") for text in code.plan.warnings if "replaced at run time" in text]


def mocked(*_: Any) -> str:
    return "mocked"


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return "seen", function(*arguments)

    return wrapper


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: ("seen", function(*arguments))


class Proxy:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return "seen", self._function(*arguments)


class TestMocks:
    def test_what_comes_back_after_the_mock_is_new_code(self, make_package: Make) -> None:
        code = Code(make_package, OLD)
        place, inner = code.live, code.live.K.Inner
        with (
            mock.patch.object(place, "f", mocked),
            mock.patch.object(place.K, "m", mock.Mock()),
            mock.patch.object(inner, "m", mocked),
        ):
            code.put(NEW)
            assert (code.live.f(), code.live.K().m()) == (2, 2)
        assert replaced(code) == [f"{name} {FOUND}" for name in ("K.Inner.m", "K.m", "f")]
        assert (place.f(), code.live.f(), code.live.K().m(), code.live.K.Inner().m()) == (2, 2, 2, 2)
        code.put(SOURCE.format(n=3))
        assert replaced(code) == []
        assert (code.live.f(), code.live.K().m(), code.live.K.Inner().m()) == (3, 3, 3)

    def test_the_mock_itself_is_left_alone(self, make_package: Make) -> None:
        code = Code(make_package, OLD)
        with mock.patch.object(code.live, "f", mocked):
            code.put(NEW)
            assert mocked() == "mocked"

    def test_a_rollback_puts_the_mock_back(self, make_package: Make) -> None:
        code = Code(make_package, OLD)
        with mock.patch.object(code.live.K, "m", mocked):
            code.put(NEW)
            assert code.back().K().m() == "mocked"
        assert code.live.K().m() == 1


class TestInstrumentation:
    @pytest.mark.parametrize("wrap", [wrapped, counted, Proxy, lambda f: wrapped(counted(f))])
    def test_is_named_and_calls_new_code(self, make_package: Make, wrap: Callable[..., Any]) -> None:
        code = Code(make_package, OLD)
        held, method = wrap(code.live.f), wrap(code.live.K.m)
        code.live.f, code.live.K.m = held, method
        before = held()
        code.put(NEW)
        assert replaced(code) == [f"K.m {FOUND}", f"f {FOUND}"]
        assert (code.live.f(), code.live.K().m()) == (2, 2)
        assert repr(held()) == repr(method(code.live.K())) == repr(before).replace("1", "2")
        code.back()
        assert held() == before == code.live.f()

    def test_what_can_not_be_found_is_said(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "unittest.mock")
        code = Code(make_package, OLD)
        kept = code.live.f
        code.live.f = lambda: "other"
        code.put(NEW)
        assert replaced(code) == [f"f {LOST}"]
        assert kept() == 1

    def test_a_function_of_the_same_module_is_still_itself(self, make_package: Make) -> None:
        source = "def f(): return {n}\ndef g(): return {n}0\n"
        code = Code(make_package, source.format(n=1))
        held = code.live.g
        code.live.f = code.live.g
        code.put(source.format(n=2))
        assert [text.partition(" ")[0] for text in replaced(code)] == ["f"]
        assert (code.live.f(), code.live.g(), held()) == (2, 20, 20)


PLAIN = """
import dataclasses, enum, functools, sys

def deco(f):
    @functools.wraps(f)
    def wrapper(*a): return f(*a)
    return wrapper

def methods(cls):
    for name, value in list(vars(cls).items()):
        if callable(value) and not name.startswith("__"):
            setattr(cls, name, deco(value))
    return cls

@deco
def decorated(): return {n}

def later(): return {n}
later = deco(later)

def by_name(): return {n}
globals()["by_name"] = deco(by_name)

if sys.platform:
    def conditional(): return {n}
else:
    def conditional(): return 0

@dataclasses.dataclass(slots=True)
class Data:
    x: int = {n}
    def m(self): return super().__repr__()

@functools.total_ordering
class Ordered:
    def __lt__(self, other): return bool({n})
    def __eq__(self, other): return True
    __hash__ = None

class Colour(enum.Enum):
    RED = 1
    def m(self): return {n}
    def _generate_next_value_(name, *_): return name

@methods
class Wrapped:
    def m(self): return {n}
    @property
    def p(self): return {n}
    @staticmethod
    def s(): return {n}
    def __new__(cls): return super().__new__(cls)
    def __init_subclass__(cls): return None
    def __class_getitem__(cls, item): return cls

class Assigned:
    def m(self): return {n}
    alias = m
Assigned.m = lambda self: {n}
"""


class TestFalseAlarms:
    def test_what_the_import_itself_makes_is_no_stand_in(self, make_package: Make) -> None:
        code = Code(make_package, PLAIN.format(n=1))
        for n in (2, 3):
            code.put(PLAIN.format(n=n))
            assert replaced(code) == []
        code.back()
        code.put(PLAIN.format(n=4))
        assert replaced(code) == []


def test_what_a_decorator_made_is_not_compared_on_the_way_back(make_package: Make) -> None:
    """Arrays, queries and mocks answer ``==`` in their own ways, or raise."""
    source = """
class Wrapped:
    def __init__(self, f): self.f = f
    def __call__(self): return self.f()
    def __eq__(self, other): raise TypeError("ambiguous")
    __hash__ = object.__hash__
@Wrapped
def f(): return {n}
"""
    code = Code(make_package, source.format(n=1), user="from .code import f\n")
    user: Any = sys.modules[f"{code.package}.user"]
    code.put(source.format(n=2))
    assert user.f() == 2
    code.back()
    assert user.f() == 1
