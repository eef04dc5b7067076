"""Sessions: which unit of work has which, and when one ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import weakref
from collections.abc import AsyncIterator, Generator

import pytest

import hotswap
from hotswap.periods import now, turning
from hotswap.session import number_here


def swap() -> None:
    """End the period, as a swap does."""
    with turning() as turn:
        for call, *arguments in turn.ops:
            call(*arguments)


class TestSession:
    def test_keeps_the_period_in_which_it_began(self) -> None:
        with hotswap.session():
            before = number_here()
            swap()
            assert number_here() == before == now().number - 1
        assert number_here() is None

    def test_that_begins_within_another_belongs_to_it(self) -> None:
        with hotswap.session():
            swap()
            with hotswap.session():
                assert number_here() == now().number - 1
            assert number_here() == now().number - 1

    def test_that_begins_after_the_one_around_it_has_ended_is_of_the_present(self) -> None:
        with hotswap.session():
            context = contextvars.copy_context()
        swap()
        assert context.run(number_here) is None

        def later() -> int | None:
            with hotswap.session():
                return number_here()

        assert context.run(later) == now().number

    def test_begins_once(self) -> None:
        one = hotswap.session()
        with one, pytest.raises(RuntimeError, match="begins once"), one:
            pass
        assert number_here() is None

    def test_tells_of_itself(self) -> None:
        job = hotswap.session("job 7")
        assert repr(job) == "<Session about 'job 7', not begun>"
        with job:
            told = repr(job)
            assert re.fullmatch(r"<Session about 'job 7', since \d{4}(-\d\d){2} \d\d(:\d\d){2} UTC, thread \d+>", told)
        assert repr(job) == told.replace("since", "ended, begun at")

    def test_ends_with_an_error(self) -> None:
        held = hotswap.session()
        with pytest.raises(KeyError), held:
            raise KeyError
        assert not held.is_open
        assert number_here() is None

    @pytest.mark.threads  # `asyncio.run` can't wait on Pyodide
    def test_holds_for_the_tasks_that_it_starts(self) -> None:
        async def work() -> int | None:
            return number_here()

        async def unit() -> tuple[int | None, int | None]:
            async with hotswap.session():
                swap()
                return number_here(), await asyncio.create_task(work())

        here, there = asyncio.run(unit())
        assert here == there == now().number - 1

    @pytest.mark.threads
    def test_holds_for_the_threads_that_it_starts(self) -> None:
        async def unit() -> int | None:
            async with hotswap.session():
                swap()
                return await asyncio.to_thread(number_here)

        assert asyncio.run(unit()) == now().number - 1

    def test_that_is_closed_in_another_context_ends(self) -> None:
        def opened() -> Generator[None, None, None]:
            with hotswap.session():
                yield

        one = opened()
        contextvars.copy_context().run(next, one)
        one.close()
        assert number_here() is None


class TestKeeper:
    def test_lives_until_the_last_session_has_ended_that_is_as_old(self) -> None:
        gc.collect()  # a session that an earlier test has left open in a circle is older, and holds all that come
        swap()
        first = hotswap.session()
        with first:
            keepers = [weakref.ref(now().keeper)]
            swap()
            # Nobody begins in it; but who is older than the one before is older than this one.
            keepers.append(weakref.ref(now().keeper))
            swap()
            assert [keeper() is not None for keeper in keepers] == [True, True]
        assert [keeper() for keeper in keepers] == [None, None]


class TestDecorator:
    def test_makes_each_call_a_session(self) -> None:
        @hotswap.session()
        def job() -> tuple[int | None, int | None]:
            before = number_here()
            swap()
            return before, number_here()

        for _ in range(2):
            first, last = job()
            assert first == last == now().number - 1
        assert number_here() is None

    @pytest.mark.threads  # `asyncio.run` can't wait on Pyodide
    def test_makes_each_call_of_a_coroutine_function_a_session(self) -> None:
        @hotswap.session()
        async def job() -> tuple[int | None, int | None]:
            before = number_here()
            await asyncio.sleep(0)
            swap()
            return before, number_here()

        first, last = asyncio.run(job())
        assert first == last == now().number - 1

    def test_holds_in_a_generator_and_not_for_who_reads_it(self) -> None:
        @hotswap.session()
        def rows() -> Generator[int | None, str | None, None]:
            try:
                received = yield number_here()
                assert received == "sent"
                yield number_here()
            finally:
                seen.append(number_here())

        seen: list[int | None] = []
        generator = rows()
        first = next(generator)
        assert first == now().number
        assert number_here() is None
        swap()
        assert generator.send("sent") == first
        generator.close()
        assert seen == [first]

    def test_passes_on_what_is_thrown_into_a_generator(self) -> None:
        @hotswap.session()
        def rows() -> Generator[object, None, None]:
            try:
                yield 1
            except KeyError:
                yield "caught", number_here()

        generator = rows()
        next(generator)
        assert generator.throw(KeyError()) == ("caught", now().number)

    @pytest.mark.threads  # `asyncio.run` can't wait on Pyodide
    def test_holds_in_an_asynchronous_generator_and_not_for_who_reads_it(self) -> None:
        @hotswap.session()
        async def rows() -> AsyncIterator[int | None]:
            for _ in range(2):
                await asyncio.sleep(0)
                yield number_here()

        async def read() -> list[tuple[int | None, int | None]]:
            found = []
            async for row in rows():
                found.append((row, number_here()))
                swap()
            return found

        began = now().number
        assert asyncio.run(read()) == [(began, None), (began, None)]

    @pytest.mark.threads  # `asyncio.run` can't wait on Pyodide
    def test_makes_each_call_of_an_object_that_is_awaited_a_session(self) -> None:
        class Job:
            async def __call__(self) -> tuple[int | None, int | None]:
                before = number_here()
                await asyncio.sleep(0)
                swap()
                return before, number_here()

        first, last = asyncio.run(hotswap.session()(Job())())
        assert first == last == now().number - 1

    def test_goes_around_class_methods_and_static_methods(self) -> None:
        class Job:
            @hotswap.session()
            @classmethod
            def made(cls) -> tuple[type, int | None]:
                return cls, number_here()

            @hotswap.session()
            @staticmethod
            def run(n: int) -> tuple[int, int | None]:
                return n, number_here()

        assert Job.made() == (Job, now().number)
        assert Job.run(1) == Job().run(1) == (1, now().number)
