"""Hashes of classes of which one version can be a key and the other can't, or is another one, while a loop is old."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap import walk
from hotswap.swap.holders import hash_is_in_c
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

SHAPES = {
    "plain": "class C:\n    def __init__(self, x): self.x = x\n",
    "none": "class C:\n    __hash__ = None\n    def __init__(self, x): self.x = x\n",
    "eq": "class C:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n",
    "both": "class C:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n"
    "    def __hash__(self): return self.x\n",
    "data": "@dataclasses.dataclass\nclass C:\n    x: int\n",
    "frozen": "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int\n",
}

SOURCE = """
import dataclasses, functools
{text}
class Below(C):
    pass
cached = functools.lru_cache(lambda x: "cached")
ASKED = [
    lambda o: hash(o) == hash(o), lambda o: {{o: 1}}[o], lambda o: o in {{o}}, lambda o: len({{o, type(o)(2)}}),
    lambda o: len({{type(o)(5), type(o)(5)}}), lambda o: type(o).__hash__ is None, cached, lambda o: o == type(o)(1),
]
def answer(ask, o):
    try:
        return repr(ask(o))
    except TypeError as error:
        return str(error)
def helper({more}x): return "{v}"
def answers(): return [[answer(ask, o) for ask in ASKED] for o in (C(1), Below(1))]
def loop():
    while True:
        yield helper({pass_}1), answers()
"""


class Hashes(Versions):
    source = SOURCE
    shapes: tuple[str, str]

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        more, pass_ = "".join(f"z{n}, " for n in range(shape)), "0, " * shape
        return cls.source.format(v=version, more=more, pass_=pass_, text=SHAPES[cls.shapes[shape]])


@pytest.mark.parametrize("shapes", list(itertools.permutations(SHAPES, 2)), ids="-".join)
def test_are_those_of_the_version(make_package: Callable[..., ModuleType], shapes: tuple[str, str]) -> None:
    """Whoever defines `__eq__` alone says `__hash__ = None`: an old call must not get that."""
    hashes = type("Both", (Hashes,), {"shapes": shapes})(make_package, None)

    def is_no_quiet_key() -> None:
        forked = issubclass(type(vars(hashes.core.C).get("__hash__")), walk.Fork)
        assert not (forked and hash_is_in_c(hashes.core.C)), "a commit would take it for a key that runs no Python code"

    before, during, after = hashes.answers_over_a_swap(is_no_quiet_key)
    assert during == (("1", before), ("2", after))
