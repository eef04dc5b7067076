"""Events as they happen, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from hotswap import events
from hotswap.admin.stream import Stream, server_ends
from hotswap.asgi import admin
from tests.admin.conftest import READER, TOKENS, Service, client, serving
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

    def test_a_burst_gets_as_many_as_there_are_places(self, make_package: Make) -> None:
        """All have asked before anybody is answered: whoever starts an answer lets the others go first."""
        app = admin(Service(make_package).patcher, authorize=TOKENS, max_streams=3)
        scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET"}
        scope |= {"path": "/events", "query_string": b""}
        scope["headers"] = [(b"authorization", f"Bearer {READER}".encode())]

        async def run() -> list[int]:
            found: list[int] = []
            all_told = asyncio.Event()

            async def receive() -> Any:
                raise AssertionError("there is nothing that is read")

            async def send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    found.append(message["status"])
                    if len(found) == 10:
                        all_told.set()
                for _ in range(10):
                    await asyncio.sleep(0)

            async def ask() -> None:
                await app(dict(scope), receive, send)

            asking = [asyncio.create_task(ask()) for _ in range(10)]
            await all_told.wait()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            return found

        assert sorted(asyncio.run(run())) == [200] * 3 + [503] * 7


FOLLOWED = """
import hotswap, hotswap.asgi

patcher = hotswap.Patcher(["followed_package"])
app = hotswap.asgi.admin(patcher, authorize=None)
"""
FOLLOWED_WSGI = FOLLOWED.replace("asgi", "wsgi")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals of this kind")
class TestTheEndOfTheServer:
    """uvicorn waits for all responses, and these would never end."""

    @staticmethod
    @contextmanager
    def running(
        tmp_path: Path, *options: str, server: tuple[str, ...] = ("uvicorn", "--fd", "{}"), source: str = FOLLOWED
    ) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        (tmp_path / "followed.py").write_text(source)
        (tmp_path / "followed_package.py").write_text("")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            fd, address = listening.fileno(), f"http://127.0.0.1:{listening.getsockname()[1]}"
            command = [sys.executable, "-m", *(one.format(fd) for one in server), "--log-level", "error", *options]
            path = os.pathsep.join([str(tmp_path), *sys.path])
            process = subprocess.Popen(
                [*command, "followed:app"], env={**os.environ, "PYTHONPATH": path}, pass_fds=[fd], cwd=tmp_path
            )
        try:
            yield process, address
        finally:
            process.terminate()  # so that gunicorn ends its workers
            process.wait()

    @pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal(self, tmp_path: Path, signal_: signal.Signals) -> None:
        with self.running(tmp_path) as (server, address), client(address, READER) as http:
            with http.stream("GET", "/events") as one, http.stream("GET", "/events") as other:
                for stream in (one, other):
                    lines = stream.iter_lines()
                    assert next(lines) == "retry: 2000"
                    if stream is one:
                        first = lines
                server.send_signal(signal_)
                # Both end as answers do, and are not cut off: that would raise.
                assert [*first] == [*lines] == [""]
            server.wait(30)

    def test_a_worker_of_gunicorn(self, tmp_path: Path) -> None:
        """It would wait half a minute, and then cut off."""
        pytest.importorskip("gunicorn")
        gunicorn = ("gunicorn", "--bind", "fd://{}", "--threads", "4", "--no-control-socket")
        with self.running(tmp_path, server=gunicorn, source=FOLLOWED_WSGI) as (server, address):
            with client(address, READER) as http, http.stream("GET", "/events") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "retry: 2000"
                server.terminate()
                assert [*lines] == [""]
            assert server.wait(30) == 0

    def test_one_that_begins(self) -> None:
        """It has signals before sockets: its lifespan may open a control socket, and somebody follow there."""
        uvicorn = pytest.importorskip("uvicorn")
        server = uvicorn.Server(uvicorn.Config("nobody:asks"))
        before = signal.signal(signal.SIGTERM, server.handle_exit)
        try:
            assert not server_ends()
            server.should_exit = True
            assert server_ends()
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_so_many_requests(self, tmp_path: Path) -> None:
        with self.running(tmp_path, "--limit-max-requests", "1") as (server, address), client(address, READER) as http:
            with http.stream("GET", "/events") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "retry: 2000"
                assert http.get("/health").status_code == 200
                assert [*lines] == [""]
            assert server.wait(30) == 0


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
