"""What code that asks for a method does with it: how `hotswap/swap/loads.py` knows."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hotswap.swap.loads import is_called_at_once

ASKED: list[bool] = []


class Asked:
    """Notes for each time that it is asked for whether it is called there and then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, o: object, owner: Any = None) -> Callable[..., Any]:
        ASKED.append(is_called_at_once(sys._getframe(1), self.name))
        return lambda *_: 1


class Above:
    method = Asked()
    __enter__ = __exit__ = Asked()
    __add__ = Asked()
    __len__ = Asked()
    __call__ = Asked()


class Below(Above):
    def of_super(self) -> None:
        super().method()

    def kept_of_super(self) -> Any:
        return super().method


def made() -> Below:
    o = Below.__new__(Below)
    ASKED.clear()
    return o


CALLS: dict[str, Callable[[Any], Any]] = {
    "a call": lambda o: o.method(),
    "a call of super's": lambda o: o.of_super(),
    "an operator": lambda o: o + 1,
    "a call of the object": lambda o: o(1),
    "len": lambda o: len(o),
}
KEEPS: dict[str, Callable[[Any], Any]] = {
    "a variable": lambda o: (kept := o.method, kept)[1],
    "an argument": lambda o: id(o.method),
    "super's": lambda o: o.kept_of_super(),
    "getattr": lambda o: getattr(o, "meth" + "od"),
    "attrgetter": operator.attrgetter("method"),
}


def with_block(o: Any) -> None:
    with o:
        pass


@pytest.mark.parametrize("ask", [*CALLS.values(), with_block], ids=[*CALLS, "a with block"])
def test_a_call(ask: Callable[[Any], Any]) -> None:
    o = made()
    ask(o)
    assert set(ASKED) == {True}


@pytest.mark.parametrize("ask", KEEPS.values(), ids=KEEPS)
def test_a_method_that_is_kept(ask: Callable[[Any], Any]) -> None:
    o = made()
    ask(o)
    assert ASKED == [False]


@pytest.mark.parametrize("ask", [CALLS["a call"], KEEPS["a variable"]], ids=["called", "kept"])
def test_warm_and_traced(ask: Callable[[Any], Any]) -> None:
    """Neither instructions that CPython has specialized nor those of a debugger hide it."""
    o = made()
    for _ in range(100):
        ask(o)
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        ask(o)
    finally:
        sys.settrace(before)
    assert set(ASKED) == {ask is CALLS["a call"]}
    assert len(ASKED) == 101


def test_code_with_many_names() -> None:
    """Where the argument of the instruction takes more than a byte, its lowest bit stands in the last one."""
    names = "\n".join(f"    name{number} = o.name{number} = {number}" for number in range(300))
    facts: dict[str, Any] = {}
    exec(f"def both(o):\n{names}\n    o.method()\n    kept = o.method\n    return kept\n", facts)
    o = made()
    facts["both"](o)
    assert ASKED == [True, False]
