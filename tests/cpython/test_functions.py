"""Functions and cells: what identity is made of besides code (`hotswap/swap/forwarding.py`, `swap/drain.py`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from types import CellType, FunctionType
from typing import Any

import pytest


class TestFunctionDict:
    def test_can_be_shared(self) -> None:
        """An old function shows the attributes of its successor, and what is set on one is seen on the other."""

        def old() -> None: ...

        def new() -> None: ...

        FunctionType.__dict__["__dict__"].__set__(old, new.__dict__)
        new.mark = 1  # type: ignore[attr-defined]
        assert old.mark == 1  # type: ignore[attr-defined]
        old.mark = 2  # type: ignore[attr-defined]
        assert new.mark == 2  # type: ignore[attr-defined]


class TestFacets:
    """Each is a C descriptor with `__set__`, so that a commit can write it without running Python code."""

    @pytest.mark.parametrize("name", ["__code__", "__defaults__", "__kwdefaults__", "__name__", "__qualname__"])
    def test_has_a_c_setter(self, name: str) -> None:
        setter = FunctionType.__dict__[name].__set__
        assert type(setter).__name__ == "method-wrapper"

    def test_defaults_belong_to_the_function_not_to_the_code(self) -> None:
        """So a forwarder with the successor's parameters also needs the successor's defaults."""

        def old(number: int = 1) -> int:
            return number

        def new(number: int = 2) -> int:
            return number

        old.__code__ = new.__code__
        assert old() == 1

    def test_doc_belongs_to_the_function(self) -> None:
        def old() -> None:
            """Old."""

        def new() -> None:
            """New."""

        old.__code__ = new.__code__
        assert old.__doc__ == "Old."
        FunctionType.__dict__["__doc__"].__set__(old, new.__doc__)
        assert old.__doc__ == "New."


class TestAnnotations:
    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="from 3.14 on they are computed by __annotate__")
    def test_can_be_assigned(self) -> None:
        def old() -> None: ...

        vars(FunctionType)["__annotations__"].__set__(old, {"return": "int"})
        assert old.__annotations__ == {"return": "int"}

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="there is no __annotate__ before 3.14")
    def test_follow_annotate(self) -> None:
        """Assigning `__annotate__` drops what was computed before; the commit writes that one and not the result."""

        def old() -> None: ...

        assert old.__annotations__ == {"return": "None"}
        FunctionType.__dict__["__annotate__"].__set__(old, lambda form: {"return": int})
        assert old.__annotations__ == {"return": int}
        FunctionType.__dict__["__annotate__"].__set__(old, None)
        assert old.__annotations__ == {"return": int}, "but not if nothing computes them"
        FunctionType.__dict__["__annotate__"].__set__(old, lambda form: {"return": int})
        vars(FunctionType)["__annotations__"].__set__(old, None)
        assert (old.__annotations__, FunctionType.__dict__["__annotate__"].__get__(old)) == ({}, None), (
            "this drops both"
        )


class TestCells:
    def test_are_shared_with_frames_in_flight(self) -> None:
        """A decorator's wrapper that is in flight reads the inner function from the cell, after a swap as before."""

        def made() -> tuple[Callable[[], Generator[int, None, None]], CellType]:
            value = 1

            def reads() -> Generator[int, None, None]:
                yield value
                yield value

            return reads, reads.__closure__[0]  # type: ignore[index]

        reads, cell = made()
        running = reads()
        assert next(running) == 1
        CellType.__dict__["cell_contents"].__set__(cell, 2)
        assert next(running) == 2

    def test_is_what_super_looks_into(self) -> None:
        """`super()` in a transplanted method works because its `__class__` cell is set to the living class."""

        class Base:
            def name(self) -> str:
                return "base"

        class Living(Base):
            pass

        class Twin(Base):
            def name(self) -> str:
                return f"twin of {super().name()}"

        method = Twin.__dict__["name"]
        Living.name = method  # type: ignore[method-assign]
        with pytest.raises(TypeError):
            Living().name()
        CellType.__dict__["cell_contents"].__set__(method.__closure__[0], Living)
        assert Living().name() == "twin of base"

    def test_of_a_forwarder_are_reached_by_the_function_alone(self) -> None:
        """A function keeps its closure when its code is replaced, so a rollback finds it as it was."""
        value: Any = [1]

        def closure() -> Any:
            return value

        before = closure.__closure__
        closure.__code__ = (lambda: None).__code__.replace(co_freevars=("value",))
        assert closure.__closure__ is before
