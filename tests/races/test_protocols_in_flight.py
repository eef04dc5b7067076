"""Special methods that code can't do without: who gets the version without one is refused as CPython refuses it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from tests.races.versions import Versions

pytestmark = pytest.mark.threads

WHOLE = """
    def __enter__(self): did.append("enter")
    def __exit__(self, *error): did.append("exit")
    async def __aenter__(self): did.append("enter")
    async def __aexit__(self, *error): did.append("exit")
    def __next__(self): return 1
    async def __anext__(self): return 1
    def __setitem__(self, key, value): did.append("set")
    def __delitem__(self, key): did.append("deleted")
"""
PARTS = {
    "nothing": "    pass",
    "ways in": "    def __enter__(self): did.append('enter')\n    async def __aenter__(self): did.append('enter')",
    "ways out": "    def __exit__(self, *error): did.append('exit')\n    async def __aexit__(self, *error): pass",
}

SOURCE = """
did = []
class Protocols:
{text}
def manages(o):
    with o:
        did.append("body")
def manages_async(o):
    async def manages():
        async with o:
            did.append("body")
    manages().send(None)
def puts(o): o[1] = 2
def puts_by_name(o): o["a"] = 2
def deletes(o): del o[1]
def deletes_by_name(o): del o["a"]
ASKED = [
    manages, manages_async, puts, puts_by_name, deletes, deletes_by_name, next, lambda o: next(o, None),
    lambda o: hasattr(o, "__enter__"), lambda o: getattr(o, "__next__", None) is None, lambda o: o.__exit__,
]
def answer(ask):
    did.clear()
    try:
        found = ask(Protocols())
    except Exception as error:
        return type(error).__name__, str(error), *did
    return "a method" if callable(found) else repr(found), *did
def answers(): return [answer(ask) for ask in ASKED]
def helper({more}x): return "{v}"
def loop():
    while True:
        yield helper({pass_}1), answers()
"""


class Protocols(Versions):
    source = SOURCE
    part = ""
    whole_at = 1

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        more, pass_ = "".join(f"z{n}, " for n in range(shape)), "0, " * shape
        text = WHOLE if shape == cls.whole_at else PARTS[cls.part]
        return cls.source.format(v=version, more=more, pass_=pass_, text=text)


@pytest.mark.parametrize("whole_at", [0, 1])
@pytest.mark.parametrize("part", PARTS)
def test_are_refused_as_ever(make_package: Callable[..., ModuleType], part: str, whole_at: int) -> None:
    """With the very error, and with nothing done: `with` asks for both halves before it enters."""
    protocols = type("Some", (Protocols,), {"part": part, "whole_at": whole_at})(make_package, None)
    before, during, after = protocols.answers_over_a_swap()
    assert during == (("1", before), ("2", after))
