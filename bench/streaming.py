"""What clients cost that follow events and hear nothing, and how soon all of them hear of a rollout.

The service is a process of its own, with uvicorn; the clients are here, on one event loop, and do as little as they
can.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["Streaming", "streaming"]

SERVICE = """
import resource, socket, sys, time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import hotswap
from hotswap.asgi import admin

import streamed.core

patcher = hotswap.Patcher(["streamed"])


async def used(request):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return JSONResponse({"memory": pages * resource.getpagesize(), "cpu": time.process_time()})


def roll_out(request):
    number = int(request.query_params["number"])
    source = f"def function():\\n    return {number}\\n"
    began = time.perf_counter()
    patcher.apply(hotswap.Patch.from_sources({"streamed.core": source}, f"1.{number}"))
    return JSONResponse({"seconds": time.perf_counter() - began})


ops = Mount("/ops", admin(patcher, authorize=None))
app = Starlette(routes=[Route("/used", used), Route("/roll-out", roll_out), ops])
listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(listening.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="critical", lifespan="off", backlog=2048)
uvicorn.Server(config).run(sockets=[listening])
"""


@dataclass(frozen=True)
class Streaming:
    """What some clients cost, and what a rollout took beside them."""

    clients: int
    memory: float
    """Bytes of the service for each client."""
    share: float
    """Of one core, while nothing happens but heartbeats."""
    rollout: float
    """Seconds of a rollout; those of `alone` are without a client."""
    alone: float
    heard: float
    """Seconds from the request for a rollout until the last client has heard that it is live."""
    cpu: float
    """Seconds of processor time of the service for that."""


def streaming(folder: Path, *, counts: Sequence[int], seconds: float, repeat: int) -> list[Streaming]:
    """Measure; on Linux, which tells how much memory another process has.

    Arguments:
        folder: where to put the service.
        counts: how many clients there are.
        seconds: how long nothing happens; heartbeats come every 15.
        repeat: how many rollouts there are.
    """
    package = folder / "streamed"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text("def function():\n    return 0\n")
    (folder / "streaming_service.py").write_text(SERVICE)
    return [asyncio.run(_measured(folder, count, seconds, repeat)) for count in counts]


async def _measured(folder: Path, count: int, seconds: float, repeat: int) -> Streaming:
    command = [sys.executable, "streaming_service.py"]
    service = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - once
    try:
        assert service.stdout is not None
        port = int(service.stdout.readline())
        await _asked(port, "/roll-out?number=1")  # what is imported at the first one is there
        alone = median([(await _asked(port, f"/roll-out?number={n}"))["seconds"] for n in range(2, repeat + 2)])
        before = await _asked(port, "/used")
        streams = [await _followed(port) for _ in range(count)]
        await asyncio.sleep(1)
        began, first = time.perf_counter(), await _asked(port, "/used")
        await asyncio.sleep(seconds)
        last = await _asked(port, "/used")
        share = (last["cpu"] - first["cpu"]) / (time.perf_counter() - began)
        took, heard, cpu = [], [], []
        for number in range(repeat + 2, 2 * repeat + 2):
            used, began = await _asked(port, "/used"), time.perf_counter()
            hearing = asyncio.gather(*(_hears(reader, b"event: rollout.live\n") for reader, _ in streams))
            took.append((await _asked(port, f"/roll-out?number={number}"))["seconds"])
            await hearing
            heard.append(time.perf_counter() - began)
            cpu.append((await _asked(port, "/used"))["cpu"] - used["cpu"])
        for _, writer in streams:
            writer.close()
        memory = (first["memory"] - before["memory"]) / count
        return Streaming(count, memory, share, median(took), alone, median(heard), median(cpu))
    finally:
        service.kill()
        service.wait()


async def _followed(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ops/events HTTP/1.1\r\nHost: x\r\n\r\n")
    await _hears(reader, b"retry: 2000\n")
    return reader, writer


async def _hears(reader: asyncio.StreamReader, line: bytes) -> None:
    while await reader.readline() != line:
        if reader.at_eof():
            raise ConnectionError("the service has hung up")


async def _asked(port: int, path: str) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    found: dict[str, float] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found
