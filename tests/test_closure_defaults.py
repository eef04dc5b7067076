"""Default values of closures that are led to new code: changed constants are led too, computed values are kept."""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
import weakref
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.rollout import Rollout
from hotswap.swap.defaults import header_of

pytestmark = pytest.mark.threads

LIMIT = 20.0
Make = Callable[..., ModuleType]


class Program:
    """A closure that was made by `make(7)` of the first of some versions."""

    def __init__(self, make_package: Make, header: str) -> None:
        self.name = make_package({"__init__.py": self.text(header)}).__name__
        self.held: Any = sys.modules[self.name].make(7)
        self.patcher = hotswap.Patcher([self.name])

    @staticmethod
    def text(header: str) -> str:
        return f"def make(x, y=0):\n    def inner({header}):\n        return a, b\n    return inner\n"

    def apply(self, header: str) -> Rollout:
        rollout = self.patcher.apply(hotswap.Patch.from_sources({self.name: self.text(header)}))
        assert rollout.wait_settled(LIMIT)
        assert rollout.settled is not None
        assert rollout.settled.led
        return rollout


class TestDefaults:
    @pytest.mark.parametrize(
        ("before", "after", "answer"),
        [
            ("a=1, b=2", "a=1, b=3", (1, 3)),
            ("a=1, b=2", "b=3, a=4", (4, 3)),
            ("a=x, b=2", "a=x, b=3", (7, 3)),
            ("a=1, *, b=2", "a=2, *, b=3", (2, 3)),
            ("*, a=x, b=True", "*, a=x, b=1", (7, 1)),
            ("a=1, b=-1", "a=None, b=(1, 2)", (None, (1, 2))),
            ("a: int=1, b: str='2'", "a: int=1, b: str='3'", (1, "3")),
        ],
    )
    def test_changed_constants_are_those_of_the_new_version_until_a_rollback(
        self, make_package: Make, before: str, after: str, answer: tuple[Any, Any]
    ) -> None:
        program = Program(make_package, before)
        old = program.held()
        rollout = program.apply(after)
        assert program.held() == answer
        assert rollout.settled is not None
        assert rollout.settled.defaults == ()
        rollout.rollback()
        assert program.held() == old

    def test_a_default_that_comes_or_goes(self, make_package: Make) -> None:
        program = Program(make_package, "a, b=2")
        program.apply("a=5, b=6")
        assert program.held() == (5, 6)
        program.apply("a, b")
        with pytest.raises(TypeError):
            program.held(1)
        assert program.held(1, 2) == (1, 2)
        program.apply("a, b=9")
        assert program.held(1) == (1, 9)

    @pytest.mark.parametrize(
        ("before", "after"), [("a, b=x", "a, b=1"), ("a, b=7", "a, b=x"), ("a, b=x", "a, b=y"), ("a, b=[]", "a, b=[1]")]
    )
    def test_a_computed_one_is_kept_and_named(self, make_package: Make, before: str, after: str) -> None:
        program = Program(make_package, before)
        old = program.held(1)
        rollout = program.apply(after)
        assert program.held(1) == old
        assert rollout.settled is not None
        place = f"{program.name}:make.<locals>.inner"
        assert rollout.settled.defaults == (f"{place} keeps its default of b: the new one can't be known",)

    def test_one_that_somebody_has_set_is_kept_and_named(self, make_package: Make) -> None:
        program = Program(make_package, "a, b=2")
        program.held.__defaults__ = (50,)
        rollout = program.apply("a, b=3")
        assert program.held(1) == (1, 50)
        assert rollout.settled is not None
        assert len(rollout.settled.defaults) == 1

    def test_it_is_compared_with_the_statement_that_made_the_closure(self, make_package: Make) -> None:
        program = Program(make_package, "a=1, b=x")
        for number in range(2, 5):
            program.apply(f"a={number}, b={number}")
            assert program.held() == (number, 7)
        rollout = program.apply("a=1, b=x")
        assert program.held() == (1, 7)
        assert rollout.settled is not None
        assert rollout.settled.defaults == ()


class TestForwarders:
    MAKER = "def make(n):\n    def inner(x={0}, *, k={0}): return x, k, {0}\n    return inner\n"
    USER = "from {name}.a import make\ntick = make(5)\nv = {0}\n"

    def test_one_that_leads_to_a_closure_has_the_defaults_that_this_has(self, make_package: Make) -> None:
        name = make_package({"a.py": self.MAKER.format(1)}).__name__
        patcher = hotswap.Patcher([name])

        def apply(module: str, text: str) -> Rollout:
            rollout = patcher.apply(hotswap.Patch.from_sources({f"{name}.{module}": text}))
            assert rollout.wait_settled(LIMIT)
            return rollout

        apply("b", self.USER.format(1, name=name))
        held = [importlib.import_module(f"{name}.b").tick]
        for number in (2, 3):
            apply("b", self.USER.format(number, name=name))
            held.append(sys.modules[f"{name}.b"].tick)
        before = [str(inspect.signature(one)) for one in held]
        rollout = apply("a", self.MAKER.format(2))
        assert [one() for one in held] == [(2, 2, 2)] * 3
        assert [str(inspect.signature(one)) for one in held] == ["(x=2, *, k=2)"] * 3
        rollout.rollback()
        assert rollout.wait_settled(LIMIT)
        assert [one() for one in held] == [(1, 1, 1)] * 3
        assert [str(inspect.signature(one)) for one in held] == before
        apply("a", self.MAKER.format(3).replace("x=3", "x"))
        assert [one(0) for one in held] == [(0, 3, 3)] * 3
        apply("b", self.USER.format(4, name=name))
        assert [str(inspect.signature(one)) for one in held] == ["(x, *, k=3)"] * 3

    def test_none_is_kept_alive_by_the_way_back(self, make_package: Make) -> None:
        name = make_package({"a.py": self.MAKER.format(1)}).__name__
        patcher = hotswap.Patcher([name])
        patcher.apply(hotswap.Patch.from_sources({f"{name}.b": self.USER.format(1, name=name)}))
        held = importlib.import_module(f"{name}.b").tick
        patcher.apply(hotswap.Patch.from_sources({f"{name}.b": self.USER.format(2, name=name)}))
        rollout = patcher.apply(hotswap.Patch.from_sources({f"{name}.a": self.MAKER.format(2)}))
        assert rollout.wait_settled(LIMIT)
        assert held() == (2, 2, 2)
        gone = weakref.ref(held)
        del held
        gc.collect()
        assert gone() is None


class TestHeaders:
    def constants(self, header: str) -> Any:
        namespace: dict[str, Any] = {}
        exec(f"def outer(x, y):\n def inner({header}): return x\n return inner", namespace)
        outer: FunctionType = namespace["outer"]
        (inner,) = (code for code in outer.__code__.co_consts if isinstance(code, CodeType) and code.co_name == "inner")
        found = header_of(outer.__code__, inner)
        return found if found is None else {name: default.constant for name, default in found.items()}

    @pytest.mark.parametrize(
        ("header", "constants"),
        [
            ("", {}),
            ("a, b", {}),
            ("a, b=1", {"b": (1,)}),
            ("a=x, b=y", {"a": (), "b": ()}),
            ("a=x, b=(1, 2), *, c=y, d='d'", {"a": (), "b": ((1, 2),), "c": (), "d": ("d",)}),
            ("a: x = 1, *rest: y, b: x = x(1, y=[2, 3])", {"a": (1,), "b": ()}),
            ("a={1: y}, b=f'{x}{y}', c=x[1:2].y", {"a": (), "b": (), "c": ()}),
            ("a=lambda b=5: 6, b=5", {"a": (), "b": (5,)}),
        ],
    )
    def test_constants_are_told_from_what_is_computed(self, header: str, constants: dict[str, Any]) -> None:
        assert self.constants(header) == constants

    @pytest.mark.parametrize("header", ["a=1 if x else 2, b=3", "a=x or 2", "*, a=x and 1"])
    def test_conditions_are_not_followed(self, header: str) -> None:
        assert self.constants(header) is None
