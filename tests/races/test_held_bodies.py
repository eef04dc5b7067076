"""Bodies of `async for` and `async with` that are suspended while their task waits elsewhere: whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.races.versions import Versions

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
import contextlib

async def rows():
    async for row in inner(): yield row

async def inner():
    yield "{v}"
    yield "{v}"

@contextlib.asynccontextmanager
async def opened():
    with locked(): yield "{v}"

@contextlib.contextmanager
def locked(): yield "{v}"

async def reads(ready, go):
    async for row in rows():
        ready.set()
        await go.wait()

async def uses(ready, go):
    async with opened():
        ready.set()
        await go.wait()

async def asks(ready, go):
    await anext(waits(ready, go))

async def waits(ready, go):
    ready.set()
    await go.wait()
    yield "{v}"
"""


class Program(Versions):
    source = SOURCE


def test_they_are_of_the_task_that_holds_them(make_package: Callable[..., ModuleType]) -> None:
    program = Program(make_package, None)

    async def run() -> Any:
        go, tasks = asyncio.Event(), []
        for name in ("reads", "uses", "asks"):
            ready = asyncio.Event()
            tasks.append(asyncio.create_task(getattr(program.core, name)(ready, go), name=name))
            await ready.wait()
        loose = program.core.rows()
        await anext(loose)
        rollout = await asyncio.to_thread(program.apply, "2")
        calls = sorted((call.function.partition(":")[2], call.task) for call in rollout.in_flight())
        go.set()
        await asyncio.gather(*tasks)
        await loose.aclose()
        return [(name, "main" if task.startswith("Task-") else task) for name, task in calls]

    assert asyncio.run(run()) == [
        # What a task merely holds is its own, too.
        *(("asks", "asks"), ("inner", "main"), ("inner", "reads"), ("locked", "uses"), ("opened", "uses")),
        *(("reads", "reads"), ("rows", "main"), ("rows", "reads"), ("uses", "uses"), ("waits", "asks")),
    ]
