"""Generators that have not begun, and the context managers of `contextlib`: what `swap.spares` relies on."""

from __future__ import annotations

import contextlib
import opcode
from types import CodeType
from typing import Any

import pytest


def plain() -> Any:
    yield 1
    yield 2


def with_cells(a: int) -> Any:
    """Cells and free variables put instructions before the one that makes the generator."""
    yield lambda: a


async def flowing() -> Any:
    yield 1


def enclosing(given: int) -> Any:
    def inner() -> Any:
        yield given

    return inner()


def last_instruction(frame: Any) -> tuple[int, int]:
    """Where a frame is, and where its generator was made."""
    return frame.f_lasti, frame.f_code.co_code[::2].index(opcode.opmap["RETURN_GENERATOR"]) * 2


@pytest.mark.parametrize("generator", [plain(), with_cells(1), enclosing(1)], ids=["plain", "cells", "free"])
def test_one_that_has_not_begun_is_where_it_was_made(generator: Any) -> None:
    at, made = last_instruction(generator.gi_frame)
    assert made <= at <= made + 2
    next(generator)
    at, made = last_instruction(generator.gi_frame)
    assert at > made + 2


def test_so_is_an_asynchronous_one() -> None:
    generator = flowing()
    at, made = last_instruction(generator.ag_frame)
    assert made <= at <= made + 2
    with pytest.raises(StopIteration):
        generator.asend(None).send(None)
    at, made = last_instruction(generator.ag_frame)
    assert at > made + 2


def test_to_close_one_that_has_not_begun_runs_nothing() -> None:
    ran = []

    def generate() -> Any:
        ran.append("begun")
        try:
            yield
        finally:
            ran.append("ended")

    generate().close()
    assert ran == []


@pytest.mark.parametrize("kind", ["contextmanager", "asynccontextmanager"])
def test_a_decorated_function_has_its_context_manager_in_a_cell(kind: str) -> None:
    """It makes another one for each call, so that the generator of this one never begins."""
    manager = getattr(contextlib, kind)(plain if kind == "contextmanager" else flowing)()
    decorator: Any = contextlib.ContextDecorator if kind == "contextmanager" else contextlib.AsyncContextDecorator
    function = manager(plain)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    assert cells["self"].cell_contents is manager
    assert function.__code__ in [one for one in decorator.__call__.__code__.co_consts if type(one) is CodeType]
    another = manager._recreate_cm()
    assert another is not manager
    assert another.gen is not manager.gen
    del manager.gen
    assert type(manager._recreate_cm()) is type(manager)
