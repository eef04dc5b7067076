"""Special methods that only one version has: calls in flight get what Python does without them, or with them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

METHODS = """
def __bool__(self): return False
def __len__(self): return 0
def __contains__(self, one): return one == "x"
def __iter__(self): return iter("new")
def __reversed__(self): return iter("wen")
def __getitem__(self, key): return "abc"[key]
def __missing__(self, key): return "made"
def __call__(self, *args): return args
def __await__(self): return iter(())
def __aiter__(self): return self
def __getattr__(self, name): return "any " + name
def __eq__(self, other): return True
def __hash__(self): return 7
def __lt__(self, other): return True
def __str__(self): return "new"
def __int__(self): return 1
def __float__(self): return 1.5
def __complex__(self): return 1j
def __index__(self): return 1
def __neg__(self): return "neg"
def __abs__(self): return "abs"
def __invert__(self): return "not"
def __round__(self, digits=None): return "round"
def __floor__(self): return "floor"
def __ceil__(self): return "ceil"
def __trunc__(self): return 3
def __add__(self, other): return "add"
def __radd__(self, other): return "radd"
def __iadd__(self, other): return "iadd"
def __pow__(self, *other): return "pow"
def __and__(self, other): return "and"
def __divmod__(self, other): return "divmod"
def __copy__(self): return "copied"
def __fspath__(self): return "/new"
def __length_hint__(self): return 4
@classmethod
def __class_getitem__(cls, key): return key
"""

SOURCE = """
import copy, math, operator, os

class Bare:
    kind = "{v}"
{all}

class Below(Bare):
    def __len__(self): return 3

class Sequence:
    def __getitem__(self, key): return (5, 6, 7)[key]
    def __len__(self): return 3
{some}

class Number:
    def __index__(self): return 9
{numbers}

class Table(dict):
    kind = "{v}"
{missing}

class Sum:
    kind = "{v}"
    def __radd__(self, other): return "right"

async def awaits(o): return await o

async def iterates(o):
    async for one in o: return one

def run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as error:
        return error.value

def added(o, other):
    o += other
    return o

ASKED = [
    lambda o: "yes" if o else "no", lambda o: not o, lambda o: bool(o), lambda o: o and 1,
    lambda o: len(o), lambda o: operator.length_hint(o, 2),
    lambda o: 6 in o, lambda o: "x" in o, lambda o: list(o), lambda o: [x for x in o],
    lambda o: list(reversed(o)), lambda o: o[0], lambda o: o["k"],
    lambda o: o(), lambda o: o(1, 2), lambda o: run(awaits(o)), lambda o: run(iterates(o)),
    lambda o: o.nowhere, lambda o: getattr(o, "nowhere", "default"), lambda o: hasattr(o, "nowhere"),
    lambda o: o == 1, lambda o: o != o, lambda o: o < 1, lambda o: str(o)[:3],
    lambda o: int(o), lambda o: float(o), lambda o: complex(o), lambda o: operator.index(o),
    lambda o: -o, lambda o: abs(o), lambda o: ~o, lambda o: round(o), lambda o: round(o, 1),
    lambda o: math.floor(o), lambda o: math.ceil(o), lambda o: math.trunc(o),
    lambda o: o + 1, lambda o: 1 + o, lambda o: o + Sum(), lambda o: added(o, 1), lambda o: added(o, Sum()),
    lambda o: o ** 2, lambda o: pow(o, 2, 3), lambda o: o & 1, lambda o: divmod(o, 2),
    lambda o: type(copy.copy(o)).__name__, lambda o: os.fspath(o), lambda o: type(o)[int],
    lambda o: o.__len__, lambda o: hasattr(o, "__len__"), lambda o: getattr(o, "__iter__", None) is None,
]

ANOTHER_TEXT = [lambda o: [*o], lambda o: [1, 2, 3][o]]  # CPython says it otherwise where there is no slot at all

def answer(ask, o):
    try:
        found = ask(o)
    except Exception as error:
        return type(error).__name__, "" if ask in ANOTHER_TEXT else str(error)
    return "a method" if callable(found) and not isinstance(found, (type, Bare)) else repr(found).partition(" at ")[0]

def answers():
    made = Bare(), Below(), Sequence(), Number(), Table(a=1)
    return [[answer(ask, o) for ask in ASKED + ANOTHER_TEXT] for o in made]

def loop():
    tag = "{v}"
    while True:
        yield tag, answers()
"""


def indented(names: str) -> str:
    wanted = ("__class_getitem__", *names.split()) if names != "all" else ()
    parts = METHODS.replace("@classmethod\n", "@classmethod ").strip().split("\n")
    kept = [one for one in parts if not wanted or one.split("(")[0].removeprefix("@classmethod ")[4:] in wanted]
    return "\n".join("    " + one.replace("@classmethod ", "@classmethod\n    ") for one in kept)


class Special(Versions):
    source = SOURCE

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """The versions with a shape have the special methods."""
        places = {
            "all": indented("all"),
            "some": indented("__bool__ __contains__ __iter__ __reversed__"),
            "numbers": indented("__int__ __float__ __complex__ __floor__"),
            "missing": indented("__missing__ __bool__ __iadd__"),
        }
        return cls.source.format(v=version, **{name: text if shape else "" for name, text in places.items()})


def differing(one: list[list[Any]], other: list[list[Any]]) -> list[Any]:
    """Where answers differ: the number of the object, that of the question, and both answers."""
    pairs = [
        (number, asked, *both)
        for number, answers in enumerate(zip(one, other, strict=True))
        for asked, both in enumerate(zip(*answers, strict=True))
    ]
    return [pair for pair in pairs if pair[2] != pair[3]]


@pytest.mark.parametrize("shape", [0, 1])
def test_a_loop_goes_on_with_those_of_its_version(make_package: Callable[..., ModuleType], shape: int) -> None:
    """The second version adds them, or has them no more."""
    versions = Special(make_package, None)
    if shape:
        versions.apply("1.5", 1).confirm()
    core = versions.core
    before = core.answers()
    old = core.loop()
    next(old)
    rollout = versions.apply("2", 1 - shape)
    new = versions.core.loop()
    during = next(old)[1], next(new)[1]
    old.close()
    del old
    assert rollout.drained.wait(20)
    assert forks_go()
    after = versions.core.answers()
    assert after != before
    assert next(new)[1] == after
    assert differing(before, during[0]) == []
    assert differing(after, during[1]) == []
    new.close()
