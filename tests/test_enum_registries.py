"""Registries keyed by members of enumerations, and by objects whose hash is computed by other Python code."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

from tests.test_swap_registries import Make, Service

KINDS = """
import collections
import enum

class Kind(enum.Enum):
    A = "a"
    B = "b"

class Right(enum.Flag):
    READ = 1
    WRITE = 2

HANDLERS = {}
SEEN = set()
ORDERED = collections.OrderedDict()

def on(kind):
    def enter(function):
        HANDLERS[kind] = function
        return function
    return enter
"""
HANDLING = """
@on(Kind.A)
def a(): return 1
@on(Kind.B)
def b(): return 1
"""


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda **sources: Service(make_package, **sources)


def called(table: dict[Any, Any]) -> dict[Any, Any]:
    """What stands in a registry by the names of its keys, with what its functions return in their place."""
    return {getattr(key, "name", key): value() if callable(value) else value for key, value in table.items()}


class TestMembers:
    def test_new_member_is_registered(self, service: Callable[..., Service]) -> None:
        running = service(m=KINDS + HANDLING)
        table = running.m.HANDLERS
        more = (
            KINDS.replace('    B = "b"\n', '    B = "b"\n    C = "c"\n') + HANDLING + "@on(Kind.C)\ndef c(): return 3\n"
        )
        running.apply(m=more)
        assert table[running.m.Kind.C]() == 3
        assert called(table) == {"A": 1, "B": 1, "C": 3}
        running.patcher.rollback()
        assert called(table) == {"A": 1, "B": 1}
        assert type(enum.Enum.__hash__).__name__ == "function"

    def test_entry_goes_with_its_member(self, service: Callable[..., Service]) -> None:
        running = service(m=KINDS + HANDLING)
        table = running.m.HANDLERS
        less = (KINDS + HANDLING).replace('    B = "b"\n', "").replace("@on(Kind.B)\ndef b(): return 1\n", "")
        running.apply(m=less.replace("return 1", "return 2"))
        assert called(table) == {"A": 2}
        running.patcher.rollback()
        assert called(table) == {"A": 1, "B": 1}

    def test_subclasses_that_their_base_registers(self, service: Callable[..., Service]) -> None:
        base = "class Base:\n    known = {}\n    def __init_subclass__(cls, kind): Base.known[kind] = cls\n"
        text = f"{KINDS}{base}class One(Base, kind=Kind.A): pass\n"
        running = service(m=text)
        running.apply(m=f"{text}class Other(Base, kind=Kind.B): pass\n")
        assert running.m.Base.known == {running.m.Kind.A: running.m.One, running.m.Kind.B: running.m.Other}

    @pytest.mark.parametrize("key", ["Kind.B", "Right.READ | Right.WRITE", "('x', Kind.B)", "frozenset({Kind.B})"])
    def test_keys_of_every_kind_in_an_unchanged_module(self, service: Callable[..., Service], key: str) -> None:
        running = service(kinds=KINDS, m="from .kinds import *\n@on(Kind.A)\ndef a(): return 1\n")
        table = running.kinds.HANDLERS
        before = [*table]
        running.apply(m=f"from .kinds import *\n@on({key})\ndef b(): return 2\n")
        assert [value() for value in table.values()] == [2]
        assert table[eval(key, vars(running.kinds))]() == 2  # nosec: it is one of ours
        running.patcher.rollback()
        assert [*table] == before

    def test_plain_entries_and_elements(self, service: Callable[..., Service]) -> None:
        text = "from .kinds import *\nHANDLERS[Kind.A] = 1\nHANDLERS[Kind.B] = 2\nORDERED[Kind.A] = 1\n"
        running = service(kinds=KINDS, m=f"{text}SEEN.add(Kind.A)\n")
        kinds, kind = running.kinds, running.kinds.Kind
        rollout = running.apply(
            m="from .kinds import *\nHANDLERS[Kind.A] = 10\nORDERED[Kind.B] = 2\nSEEN.add(Kind.B)\n"
        )
        assert (kinds.HANDLERS, dict(kinds.ORDERED), kinds.SEEN) == ({kind.A: 10}, {kind.B: 2}, {kind.A, kind.B})
        assert any("SEEN keeps what it has for Kind.A" in warning for warning in rollout.plan.warnings)
        running.patcher.rollback()
        assert (kinds.HANDLERS, dict(kinds.ORDERED)) == ({kind.A: 1, kind.B: 2}, {kind.A: 1})
        assert {kind.A} == kinds.SEEN

    def test_statement_that_says_another_value(self, service: Callable[..., Service]) -> None:
        text = f"{KINDS}HANDLERS[Kind.A] = 1\nHANDLERS[Kind.B] = 2\n"
        running = service(m=text)
        running.apply(m=text.replace("Kind.A] = 1", "Kind.A] = 10").replace("HANDLERS[Kind.B] = 2\n", ""))
        assert running.m.HANDLERS == {running.m.Kind.A: 10}

    def test_keys_of_their_own_hash_are_left_alone_and_named(self, service: Callable[..., Service]) -> None:
        text = KINDS.replace("class Kind(enum.Enum):", "class Kind(enum.Enum):\n    def __hash__(self): return 1")
        running = service(m=text + "@on(Kind.A)\ndef a(): return 1\n")
        rollout = running.apply(m=text + "@on(Kind.A)\ndef a(): return 1\n@on(Kind.B)\ndef b(): return 1\n")
        assert called(running.m.HANDLERS) == {"A": 1}
        assert any("HANDLERS keeps what it has for " in warning for warning in rollout.plan.warnings)

    def test_member_that_gets_another_name_is_named(self, service: Callable[..., Service]) -> None:
        running = service(m=KINDS + "@on(Kind.A)\ndef a(): return 1\n")
        text = KINDS.replace('A = "a"', 'NEW = "a"\n    A = "a"')
        rollout = running.apply(m=text + "@on(Kind.A)\ndef a(): return 2\n@on(Kind.B)\ndef b(): return 1\n")
        assert called(running.m.HANDLERS) == {"NEW": 2}
        assert any("HANDLERS keeps what it has for Kind.B" in warning for warning in rollout.plan.warnings)


class TestDataclasses:
    SOURCE = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class Event:
    name: str

HANDLERS = {}
LIMITS = {}

def on(event):
    def enter(function):
        HANDLERS[event] = function
        return function
    return enter

@on(Event("a"))
def a(): return 1
"""

    def test_new_entry_is_named(self, service: Callable[..., Service]) -> None:
        running = service(m=self.SOURCE)
        rollout = running.apply(m=self.SOURCE + '@on(Event("b"))\ndef b(): return 2\n')
        assert any(":HANDLERS keeps what it has for a Event: " in warning for warning in rollout.plan.warnings)

    def test_entry_that_is_gone_is_named(self, service: Callable[..., Service]) -> None:
        running = service(m=self.SOURCE)
        rollout = running.apply(m=self.SOURCE.partition("@on")[0])
        assert any(":HANDLERS keeps what it has for a Event: " in warning for warning in rollout.plan.warnings)

    def test_plain_entry_is_named(self, service: Callable[..., Service]) -> None:
        running = service(m=f'{self.SOURCE}LIMITS[Event("a")] = 1\n')
        rollout = running.apply(m=f'{self.SOURCE}LIMITS[Event("a")] = 2\n')
        assert any(":LIMITS keeps what it has for a Event: " in warning for warning in rollout.plan.warnings)

    def test_nothing_is_said_where_the_versions_agree(self, service: Callable[..., Service]) -> None:
        running = service(m=f'{self.SOURCE}LIMITS[Event("a")] = 1\n')
        rollout = running.apply(m=f'{self.SOURCE}LIMITS[Event("a")] = 1\n'.replace("return 1", "return 2"))
        assert rollout.plan.warnings == []
        assert [value() for value in running.m.HANDLERS.values()] == [2]
