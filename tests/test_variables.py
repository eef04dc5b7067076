"""`swap.variables`: what calls in flight hold, and that to look at it changes nothing for them."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from hotswap.swap.variables import variables
from tests.cpython.test_frames_of_threads import run

TELLS = sys.version_info >= (3, 12)


class Held: ...


def held_by(code: CodeType) -> list[Any]:
    ((found, held),) = variables([code])
    assert found is code
    return [value for value in held or [] if type(value) is Held]


def suspended(given: Held) -> Generator[int, None, None]:
    in_cell = Held()
    yield 1
    yield id(given) + (lambda: id(in_cell))()


async def awaits(given: Held, event: asyncio.Event) -> None:
    await event.wait()
    del given


async def yields(given: Held) -> AsyncGenerator[Held, None]:
    yield given


class TestSuspended:
    def test_generators_are_looked_into(self) -> None:
        held = Held()
        made = suspended(held)
        next(made)
        found = held_by(suspended.__code__)
        assert len(found) == 2
        assert held in found

    @pytest.mark.threads  # there is no event loop that blocks on Pyodide
    def test_coroutines_and_async_generators_too(self) -> None:
        async def main() -> None:
            held, event = Held(), asyncio.Event()
            task = asyncio.create_task(awaits(held, event))
            made = yields(held)
            await anext(made)
            await asyncio.sleep(0)
            assert held_by(awaits.__code__) == held_by(yields.__code__) == [held]
            event.set()
            await task
            await made.aclose()

        asyncio.run(main())

    def test_the_function_itself_is_in_no_variable(self) -> None:
        made = suspended(Held())
        next(made)
        ((_, held),) = variables([suspended.__code__])
        assert held is not None
        assert suspended not in [value for value in held if callable(value)]

    def test_what_has_ended_holds_nothing(self) -> None:
        made = suspended(Held())
        next(made)
        made.close()
        assert variables([suspended.__code__]) == []


@pytest.mark.threads
class TestRunning:
    def test_a_thread_is_looked_into_where_that_can_be_done(self) -> None:
        stood, go = threading.Event(), threading.Event()

        def loop(given: Held) -> None:
            in_cell, text = Held(), "text"
            stood.set()
            go.wait(20)
            later = Held()
            assert (lambda: in_cell)() is not given is not later
            assert text

        held = Held()
        thread = threading.Thread(target=loop, args=(held,))
        thread.start()
        assert stood.wait(20)
        try:
            ((_, found),) = variables([loop.__code__])
            assert (found is not None) is TELLS
            if found is not None:
                assert "text" in found
                assert held in found
                assert sum(type(value) is Held for value in found) == 2
        finally:
            go.set()
            thread.join()

    def test_a_generator_that_a_thread_runs_is_one_call(self) -> None:
        stood, go = threading.Event(), threading.Event()

        def rows(given: Held) -> Iterator[Held]:
            stood.set()
            go.wait(20)
            yield given

        held = Held()
        thread = threading.Thread(target=lambda: next(rows(held)))
        thread.start()
        assert stood.wait(20)
        try:
            ((_, found),) = variables([rows.__code__])
            assert (found is not None and held in found) is TELLS
        finally:
            go.set()
            thread.join()

    def test_what_was_looked_at_lives_no_longer_for_it(self) -> None:
        """Before CPython 3.13 `f_locals` would keep it as long as the call goes on."""
        stood, go, gone, end = (threading.Event() for _ in range(4))

        def loop(given: list[Held]) -> None:
            held: Held | None = given.pop()
            stood.set()
            go.wait(20)
            held = None
            gone.set()
            end.wait(20)
            assert held is None

        given = [Held()]
        reference = weakref.ref(given[0])
        thread = threading.Thread(target=loop, args=(given,))
        thread.start()
        assert stood.wait(20)
        variables([loop.__code__])
        go.set()
        assert gone.wait(20)
        try:
            assert reference() is None
        finally:
            end.set()
            thread.join()


PROGRAM = """
import threading
from hotswap.swap.variables import variables

stood, go, dropped = threading.Event(), threading.Event(), threading.Event()

class Held:
    def __del__(self):
        dropped.set()
        if threading.current_thread() is not thread:
            thread.join()

def loop():
    held = Held()
    stood.set()
    go.wait()
    held = None
    stood.set()
    dropped.wait()
    after = 1

thread = threading.Thread(target=loop)
thread.start()
stood.wait()
variables([loop.__code__])
stood.clear()
go.set()
stood.wait()
variables([loop.__code__])
thread.join()
"""


@pytest.mark.threads
def test_nothing_dies_while_a_call_is_looked_at(tmp_path: Path) -> None:
    """What dies may let the call end, which ends the process then (`tests/cpython/test_frames_of_threads`)."""
    done = run(tmp_path, PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_collector_is_on_again() -> None:
    was_on = gc.isenabled()
    gc.enable()
    try:
        variables([suspended.__code__])
        assert gc.isenabled()
    finally:
        if not was_on:
            gc.disable()
