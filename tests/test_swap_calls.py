"""What is suspended is found by its code, however much code is asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import CodeType

import pytest

from hotswap.swap.calls import suspended, unused


def generator() -> Generator[int, None, None]:
    yield 1


async def coroutine() -> None:
    raise AssertionError


async def asynchronous() -> AsyncGenerator[int, None]:
    yield 1


def others(count: int) -> list[CodeType]:
    return [compile(f"{number}", "<other>", "eval") for number in range(count)]


@pytest.mark.parametrize("more", [0, 1, 100, 3_000])
class TestSuspended:
    def test_are_found(self, more: int) -> None:
        made = generator(), coroutine(), asynchronous()
        next(made[0])
        codes = [one.__code__ for one in (generator, coroutine, asynchronous)]
        found = suspended([*codes, *others(more)])
        assert {*map(id, found)} == {*map(id, made)}
        made[1].close()

    def test_that_of_others_are_not(self, more: int) -> None:
        made = generator()
        next(made)
        assert suspended(others(more)) == []

    def test_what_has_ended_is_not(self, more: int) -> None:
        made = generator()
        assert [*made] == [1]
        assert suspended([generator.__code__, *others(more)]) == []

    def test_what_runs_none_is_unused(self, more: int) -> None:
        made, rest = generator(), others(more)
        next(made)
        assert unused([generator.__code__, *rest]) == {*map(id, rest)}
