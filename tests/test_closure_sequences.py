"""Closures after sequences of swaps and rollbacks: they answer as after a fresh import, whatever came before.

A decorator's module and the module that uses it are patched in random order; each patch may be taken back.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher

pytestmark = pytest.mark.threads

LIMIT = 20.0
Make = Callable[..., ModuleType]
Step = tuple[str, bool]

TEXTS = {
    "deco": """
def note(): return "note {n}"
def deco(function):
    def wrapper(*a): return ("wrapper {n}", note(), function(*a))
    return wrapper
""",
    "user": """
from .deco import deco
@deco
def plain(): return "plain {n}"
@deco
@deco
def twice(): return "twice {n}"
class Service:
    @deco
    def method(self): return "method {n}"
    @staticmethod
    @deco
    def static(): return "static {n}"
""",
}
ORDERS: list[list[Step]] = [
    [("user", True), ("deco", False)],
    [("deco", True), ("user", False)],
    [("user", True), ("deco", True), ("deco", False)],
    [("deco", True), ("user", True), ("deco", False)],
    [("user", True), ("user", True), ("deco", False)],
    [("deco", False), ("user", True), ("deco", True), ("user", False)],
]
"""The short ones: module, and whether its patch is taken back."""


def drawn(seed: int) -> list[Step]:
    chance = random.Random(seed)
    return [(chance.choice(("deco", "user")), chance.random() < 0.6) for _ in range(6)]


def answers(user: Any) -> Iterator[Any]:
    yield user.plain()
    yield user.twice()
    yield user.Service().method()
    yield user.Service.static()


class Held:
    """What somebody holds since the beginning, with the names of the module."""

    def __init__(self, user: Any) -> None:
        self.plain, self.twice, service = user.plain, user.twice, user.Service()
        bound = service.method
        self.Service: Any = type("Service", (), {"static": service.static, "method": lambda _: bound()})


class TestSequences:
    @pytest.mark.parametrize("steps", [*ORDERS, *map(drawn, range(8))], ids=str)
    def test_names_and_held_objects_answer_as_after_a_fresh_import(self, make_package: Make, steps: list[Step]) -> None:
        texts = {name: text.format(n=0) for name, text in TEXTS.items()}

        def started() -> Any:
            package = make_package({f"{name}.py": text for name, text in texts.items()})
            return importlib.import_module(f"{package.__name__}.user")

        living = started()
        package, held = living.__package__, Held(living)
        patcher = Patcher([package])

        def same() -> None:
            fresh = list(answers(started()))
            assert list(answers(sys.modules[f"{package}.user"])) == fresh
            assert list(answers(held)) == fresh

        for number, (module, taken_back) in enumerate(steps, 1):
            before = texts[module]
            texts[module] = TEXTS[module].format(n=number)
            rollout = patcher.apply(Patch.from_sources({f"{package}.{module}": texts[module]}))
            assert rollout.wait_settled(LIMIT)
            same()
            if taken_back:
                texts[module] = before
                rollout.rollback()
                assert rollout.wait_settled(LIMIT)
                same()
