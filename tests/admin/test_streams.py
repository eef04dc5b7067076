"""Events as they happen, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest

from hotswap import events
from hotswap.admin.stream import Stream
from hotswap.asgi import admin
from tests.admin.conftest import TOKENS, Service, client, serving
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


def told(lines: Iterator[str]) -> dict[str, Any]:
    """The next event: its id, name and facts."""
    found: dict[str, Any] = {}
    for line in lines:
        if not line and "event" in found:
            return found
        name, _, value = line.partition(": ")
        if name in ("id", "event"):
            found[name] = value
        elif name == "data":
            found["data"] = json.loads(value)
    raise AssertionError("the stream has ended")


def follow(service: Service, **headers: str) -> Any:
    return service.http.stream("GET", "/events", headers=headers)


class TestFollowing:
    def test_a_rollout(self, service: Service) -> None:
        with follow(service) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            next(lines)  # it is heard
            rollout = service.patcher.apply(service.patch())
            seen = [told(lines) for _ in range(3)]
        assert [one["event"] for one in seen] == ["rollout.staged", "rollout.verified", "rollout.live"]
        assert {one["data"]["rollout"] for one in seen} == {rollout.id}
        assert seen[0]["data"]["event"] == "rollout.staged"

    def test_who_comes_back_misses_nothing(self, service: Service) -> None:
        with follow(service) as stream:
            lines = stream.iter_lines()
            next(lines)
            service.patcher.apply(service.patch())
            last = told(lines)
        service.patcher.rollback()
        with follow(service, **{"last-event-id": last["id"]}) as stream:
            lines = stream.iter_lines()
            names = [told(lines)["event"] for _ in range(3)]
        assert names == ["rollout.verified", "rollout.live", "rollout.rolled_back"]

    @pytest.mark.parametrize("last", ["another-7", "7", "", "x-", "-"])
    def test_who_comes_from_elsewhere_is_told(self, service: Service, last: str) -> None:
        service.patcher.apply(service.patch())
        with follow(service, **{"last-event-id": last}) as stream:
            lines = stream.iter_lines()
            assert [told(lines)["event"] for _ in range(2)] == ["missed", "rollout.staged"]

    def test_of_other_patchers_nothing_is_told(self, make_package: Make, service: Service) -> None:
        other = Service(make_package)
        with follow(service) as stream:
            lines = stream.iter_lines()
            next(lines)
            other.patcher.apply(other.patch())
            rollout = service.patcher.apply(service.patch())
            assert told(lines)["data"]["rollout"] == rollout.id

    def test_heartbeats(self, make_package: Make) -> None:
        service = Service(make_package)
        app = admin(service.patcher, authorize=TOKENS, heartbeat=0.05)
        with serving(app) as address, client(address) as service.http, follow(service) as stream:
            lines = stream.iter_lines()
            assert [line for line in (next(lines) for _ in range(8)) if line.startswith(":")]

    def test_too_many(self, make_package: Make) -> None:
        service = Service(make_package)
        app = admin(service.patcher, authorize=TOKENS, max_streams=1, heartbeat=0.05)
        with serving(app) as address, client(address) as service.http:
            with follow(service) as stream:
                lines = stream.iter_lines()
                next(lines)
                refused = service.http.get("/events")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")

            def again() -> bool:
                with follow(service) as stream:
                    return bool(stream.status_code == 200)

            assert until(again)  # who hangs up makes room


class TestStream:
    """The list behind it, without a server."""

    @staticmethod
    def event(number: int) -> events.Event:
        return events.Event("rollout.live", "info", 0.0, {"number": number})

    @staticmethod
    async def numbers(lines: AsyncIterator[bytes], count: int) -> list[int]:
        found: list[int] = []
        async for chunk in lines:
            found += [json.loads(line[6:])["number"] for line in chunk.splitlines() if line.startswith(b'data: {"e')]
            if len(found) >= count:
                break
        return found

    def test_told_by_many_threads(self) -> None:
        """Nothing is lost, or told twice, or out of order, to any of the clients."""

        async def run() -> list[list[int]]:
            stream = Stream(heartbeat=60)
            clients = [asyncio.create_task(self.numbers(stream.follow(None), 400)) for _ in range(20)]
            await asyncio.sleep(0)  # each begins to follow
            assert stream.clients == len(clients)

            def tell(start: int) -> None:
                for number in range(start, start + 100):
                    stream.tell(self.event(number))

            threads = [threading.Thread(target=tell, args=[start]) for start in (0, 100, 200, 300)]
            for thread in threads:
                thread.start()
            found = await asyncio.wait_for(asyncio.gather(*clients), 30)
            for thread in threads:
                thread.join()
            return list(found)

        found = asyncio.run(run())
        assert all(one == found[0] for one in found)
        assert sorted(found[0]) == list(range(400))

    def test_a_slow_client_is_told_that_it_has_missed_some(self) -> None:
        async def run() -> bytes:
            stream = Stream(heartbeat=60)
            lines = stream.follow(None)
            await anext(lines)
            stream.tell(self.event(0))
            first = await anext(lines)
            for number in range(1, 2000):
                stream.tell(self.event(number))
            missed = await anext(lines)
            rest = await anext(lines)
            assert b'"number": 0' in first
            assert b'"number": 1999' in rest
            return missed

        assert asyncio.run(run()).startswith(b"event: missed")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
    def test_a_fork_while_it_is_told(self) -> None:
        """A lock that another thread held at the fork is not there for ever."""
        stream = Stream(heartbeat=60)
        stream._lock.acquire()
        process = os.fork()
        if process == 0:
            try:
                stream.tell(self.event(1))
                os._exit(0)
            finally:
                os._exit(1)
        stream._lock.release()
        assert until(lambda: (ended := os.waitpid(process, os.WNOHANG))[0] and ended) == (process, 0)

    def test_loops_that_are_closed(self) -> None:
        stream = Stream(heartbeat=60)

        async def run() -> None:
            lines = stream.follow(None)
            await anext(lines)
            waiting = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            waiting.cancel()

        asyncio.run(run())
        stream.tell(self.event(1))  # of the loop nothing is left


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are reset otherwise there")
def test_a_client_that_hangs_up_stops_nothing(service: Service) -> None:
    """Whoever has asked for a rollout and is gone: it goes on."""
    go = threading.Event()
    service.patcher.check(lambda _: go.wait(), name="patient")
    with pytest.raises(httpx.ReadTimeout):
        service.upload(data={"version": "1.0"}, timeout=0.5)
    current = service.patcher.current
    assert current is not None
    go.set()
    assert until(lambda: current.state == "live")
