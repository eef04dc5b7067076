"""Programs that wait: generators, coroutines, context managers and threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.every_point.programs import Drive, Program, rows, stepped, written

GENERATORS = {
    "parts": """
        STEP = <<1|10>>
        def scaled(<<|z, >>n): return n * STEP
        def inner(<<|z, >>n):
            got = yield scaled(<<|0, >>n)
            return scaled(<<|0, >>n + 1), got
    """,
    "core": """
        from . import parts
        from .parts import inner
        class Feed:
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>n): self.n = n
            def one(self, <<|z, >>i): return self.kind, i
            def __iter__(self):
                for i in range(self.n):
                    yield self.one(<<|0, >>i)
        def values(n):
            try:
                yield parts.scaled(<<|0, >>n)
                returned = yield from inner(<<|0, >>n)
                yield returned
                yield from Feed(<<|0, >>1)
            finally:
                parts.scaled(<<|0, >>n)
            return "<<old|new>>", parts.STEP
        def lazy(n): return (parts.scaled(<<|0, >>i) for i in range(n))
    """,
}


def generators(drive: Drive) -> None:
    drive("values", lambda: rows(drive, drive.core.values(1)))
    drive("lazy", lambda: rows(drive, drive.core.lazy(2)))


COROUTINES = {
    "core": """
        from . import parts
        async def work(<<|z, >>n):
            first = parts.scaled(<<|0, >>n)
            await parts.Wait()
            async with parts.Lock(<<|0, >>n) as lock:
                second = await lock.use(<<|0, >>n)
            return first, second, [value async for value in stream(<<|0, >>1)], "<<old|new>>"
        async def stream(<<|z, >>n):
            for i in range(n):
                yield parts.scaled(<<|0, >>i)
                await parts.Wait()
        async def run(n): return await work(<<|0, >>n), await caught(<<|0, >>n)
        async def caught(<<|z, >>n):
            try:
                await parts.fail(<<|0, >>n)
            except parts.Failed as error:
                return error.told(<<|0>>)
    """,
    "parts": """
        RATE = <<1|10>>
        def scaled(<<|z, >>n): return n * RATE
        class Wait:
            kind = "<<old|new>>"
            def __await__(self):
                yield
                return self.kind
        class Lock:
            def __init__(self, <<|z, >>n): self.n = n
            async def __aenter__(self):
                await Wait()
                return self
            async def __aexit__(self, *_): self.left = await Wait()
            async def use(self, <<|z, >>n): return "<<old|new>>", scaled(<<|0, >>n), await Wait()
        class Failed(Exception):
            def told(self<<|, z>>): return "<<old|new>>", self.args
        async def fail(<<|z, >>n):
            await Wait()
            raise Failed(scaled(<<|0, >>n))
    """,
}


def coroutines(drive: Drive) -> None:
    drive("run", lambda: stepped(drive, drive.core.run(1)))


async def _read(drive: Drive, stream: AsyncIterator[Any]) -> list[Any]:
    found = []
    async for value in stream:
        drive.point("between two values")
        found.append(value)
    return found


ASYNCIO = {
    "core": """
        import asyncio
        from .jobs import Job, scaled
        async def one(<<|z, >>n):
            job = Job(<<|0, >>n)
            await asyncio.sleep(0)
            return await job.run(<<|0, >>n)
        async def run(n):
            found = await asyncio.gather(*(one(<<|0, >>i) for i in range(n)))
            task = asyncio.create_task(one(<<|0, >>n))
            async with asyncio.timeout(60):
                return found, await task, scaled(<<|0, >>n)
        async def stream(n):
            for i in range(n):
                job = Job(<<|0, >>i)
                await asyncio.sleep(0)
                yield await job.run(<<|0, >>i)
    """,
    "jobs": """
        import asyncio
        RATE = <<1|10>>
        def scaled(<<|z, >>n): return n * RATE
        class Job:
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>n): self.n = n
            async def run(self, <<|z, >>n):
                before = self._told(<<|0, >>n)
                await asyncio.sleep(0)
                return before, self._told(<<|0, >>n), scaled(<<|0, >>self.n)
            def _told(self, <<|z, >>n): return self.kind, n
    """,
}


def on_asyncio(drive: Drive) -> None:
    drive("run", lambda: asyncio.run(drive.core.run(1)))
    drive("stream", lambda: asyncio.run(_read(drive, drive.core.stream(1))))


MANAGERS = {
    "core": """
        import contextlib
        from . import managers
        from .managers import managed
        def nested(n):
            found = []
            with managers.Manager(<<|0, >>n) as first, managed(<<|0, >>n) as second:
                found += [first, second]
                with contextlib.ExitStack() as stack:
                    found.append(stack.enter_context(managed(<<|0, >>n + 1)))
            return found
        def suppressed(n):
            manager = managers.Manager(<<|0, >>n)
            with manager:
                raise managers.Stop(n)
            return manager.left
        @managers.counted(<<|0, >>4)
        def decorated(<<|z, >>n): return managers.COUNTED[-1], n, "<<old|new>>"
        def run(n): return nested(n), suppressed(n), decorated(<<|0, >>n), "<<old|new>>"
    """,
    "managers": """
        import contextlib
        WORD = "<<old|new>>"
        class Stop(Exception):
            told = "<<old|new>>"
        def closed(found, <<|z, >>n): found.append((WORD, n))
        class Manager:
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>n): self.n = n
            def __enter__(self): return self._told(<<|0, >>self.n)
            def __exit__(self, kind, error, trace):
                self.left = self._told(<<|0, >>error and error.told)
                return kind is Stop
            def _told(self, <<|z, >>n): return self.kind, n
        @contextlib.contextmanager
        def managed(<<|z, >>n):
            found = []
            closed(found, <<|0, >>n)
            try:
                yield found
            finally:
                closed(found, <<|0, >>n + 1)
        COUNTED = []
        @contextlib.contextmanager
        def counted(<<|z, >>n):
            COUNTED.append(("<<old|new>>", n))
            yield
    """,
}


def managers(drive: Drive) -> None:
    drive("run", drive.core.run, 1)


THREADS = {
    "core": """
        import threading
        from . import work
        def run(n):
            found = []
            worker = work.Worker(<<|0, >>found)
            for number in range(n):
                thread = threading.Thread(target=lambda: work.one(<<|0, >>found, number), name=f"function {number}")
                thread.start()
                thread.join()
            thread = threading.Thread(target=lambda: worker.work(<<|0, >>n), name="method")
            thread.start()
            thread.join()
            return found, work.told(<<|0, >>n)
    """,
    "work": """
        RATE = <<1|10>>
        def told(<<|z, >>n): return "<<old|new>>", n * RATE
        def one(<<|z, >>found, number):
            found.append(told(<<|0, >>number))
        class Worker:
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>found): self.found = found
            def work(self, <<|z, >>n):
                self.found.append(self._told(<<|0, >>n))
                self.found.append(told(<<|0, >>2))
            def _told(self, <<|z, >>n): return self.kind, n
    """,
}


def threads(drive: Drive) -> None:
    drive("run", drive.core.run, 2)


PROGRAMS = [
    Program("generators", generators, written(GENERATORS), forked=True),
    Program("coroutines", coroutines, written(COROUTINES), forked=True),
    Program("asyncio", on_asyncio, written(ASYNCIO), forked=True),
    Program("managers", managers, written(MANAGERS), forked=True),
    Program("threads", threads, written(THREADS), forked=True),
]
