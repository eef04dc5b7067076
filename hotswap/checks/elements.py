"""What a function returns before it has done its work: an iterator, which works as somebody asks it for elements."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Any

__all__ = ["MOST", "gathered", "gathered_async", "is_async_iterator", "is_iterator", "run", "run_async"]

MOST = 10_000
"""How many elements of an iterator are asked for; more are an endless one."""


def is_iterator(kind: type) -> bool:
    """Return whether objects of a class work as they are iterated. Files do not: what they have is there already."""
    return issubclass(kind, Iterator) and not issubclass(kind, io.IOBase)


def is_async_iterator(kind: type) -> bool:
    """Return whether objects of a class work as they are iterated asynchronously."""
    return issubclass(kind, AsyncIterator)


def gathered(elements: Iterator[Any]) -> list[Any]:
    """Return what an iterator yields, and the exception with which it ends, if it does."""
    found: list[Any] = []
    run(elements, lambda some: found.extend(_to_the_end(some)))
    return found


async def gathered_async(elements: AsyncIterator[Any]) -> list[Any]:
    """Return what an asynchronous iterator yields, and the exception with which it ends, if it does."""
    found: list[Any] = []
    try:
        await run_async(elements, found.append)
    except Exception as error:  # noqa: BLE001 - how it ends belongs to its answer
        found.append(error)
    return found


def run(elements: Iterator[Any], take: Callable[[Iterator[Any]], object] = deque(maxlen=0).extend) -> None:
    """Have an iterator work to its end, or for as many elements as are asked for. Raises what it raises.

    Arguments:
        elements: is closed then, if it can be.
        take: what is done with them; by default nothing, as fast as can be.
    """
    try:
        take(islice(elements, MOST))
    finally:
        close = getattr(elements, "close", None)
        if callable(close):
            close()


async def run_async(elements: AsyncIterator[Any], take: Callable[[Any], object] | None = None) -> None:
    """Have an asynchronous iterator work to its end, or for as many elements. Raises what it raises.

    Arguments:
        elements: is closed then, if it can be.
        take: called with each element.
    """
    count = 0
    try:
        async for element in elements:
            if take is not None:
                take(element)
            count += 1
            if count == MOST:
                break
    finally:
        close = getattr(elements, "aclose", None)
        if callable(close):
            await close()


def _to_the_end(elements: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from elements
    except Exception as error:  # noqa: BLE001 - how it ends belongs to its answer
        yield error
