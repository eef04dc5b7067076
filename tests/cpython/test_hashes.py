"""How members of enumerations are hashed in a commit: what `hotswap/swap/hashing.py` builds on.

`Enum.__hash__` is a function in Python. A property that leads to the method of the name's hash gives the same hash,
and runs no Python code: neither in a look-up, nor in a write.
"""

from __future__ import annotations

import enum
import sys
from collections import OrderedDict
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from hotswap.swap.hashing import NAME_HASHED_IN_C, hashing, quieted


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


MEMBERS = [*Mode, *Right, Right.READ | Right.WRITE, Right(0)]


@pytest.fixture
def quiet() -> Iterator[None]:
    (write, cls, name, value), before = NAME_HASHED_IN_C, enum.Enum.__dict__["__hash__"]
    write(cls, name, value)
    yield
    write(cls, name, before)


def calls(*ops: tuple[Any, ...]) -> list[str]:
    """The names of the Python functions that some writes run."""
    seen: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        for write, *arguments in ops:
            write(*arguments)
    finally:
        sys.setprofile(None)
    return seen


def writes() -> list[tuple[Any, ...]]:
    table: dict[Any, int] = dict.fromkeys(MEMBERS, 0)
    ordered, several = OrderedDict(table), set(MEMBERS)
    pairs = {(member, 1): 1 for member in MEMBERS}
    ops: list[tuple[Any, ...]] = []
    for member in MEMBERS:
        ops += [
            (dict.__setitem__, table, member, 1),
            (dict.pop, table, member, None),
            (OrderedDict.__setitem__, ordered, member, 1),
            (OrderedDict.pop, ordered, member, None),
            (set.discard, several, member),
            (set.add, several, member),
            (dict.pop, pairs, (member, 1), None),
        ]
    return ops


class TestHashOfMembers:
    def test_runs_python_code_by_itself(self) -> None:
        assert "__hash__" in calls(*writes())

    @pytest.mark.usefixtures("quiet")
    def test_runs_none_by_way_of_a_property_in_c(self) -> None:
        assert calls(*writes()) == []

    @pytest.mark.usefixtures("quiet")
    def test_is_the_same(self) -> None:
        assert list(map(hash, MEMBERS)) == [hash(member._name_) for member in MEMBERS]


class TestQuieted:
    def test_is_once_at_the_beginning_and_taken_back_at_the_end(self) -> None:
        before = enum.Enum.__dict__["__hash__"]
        for ops in quieted([*hashing(MEMBERS), *writes(), *hashing([(1, Mode.FAST)])], []):
            assert calls(*ops) == []
            assert enum.Enum.__dict__["__hash__"] is before

    def test_is_nothing_where_nobody_hashes_members(self) -> None:
        assert quieted([*hashing(["text", 1, Mode, ("a", 2)])], []) == [[], []]
