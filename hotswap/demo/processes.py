"""Processes that end with the one that started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["running"]

GRACE = 8.0
"""Seconds that a process has to end by itself."""


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str],
    *,
    log: IO[bytes],
    environment: Mapping[str, str] | None = None,
    output: bool = False,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python program in a process group of its own, which is gone when the block is left, however it is left.

    Arguments:
        arguments: what follows the interpreter.
        log: receives what the program writes, its standard output only if `output` is False.
        environment: added to this process's own.
        output: whether its standard output can be read by the caller.

    The program's standard input is a pipe. Both our programs end when it is closed, so they also end when this process
    is killed and runs no `finally`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if output else log,
        stderr=log,
        env={**os.environ, **search_path(), **(environment or {})},
        start_new_session=os.name == "posix",
    )
    try:
        yield process
    finally:
        await to_the_end(asyncio.ensure_future(end(process)))


async def to_the_end(task: asyncio.Future[None]) -> None:
    """Wait for the task even when this one is cancelled meanwhile: a second Ctrl-C must not leave a process behind."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def end(process: asyncio.subprocess.Process) -> None:
    """Close its input, and wait; then ask it to end, and wait; then kill the whole group."""
    if process.stdin is not None:
        process.stdin.close()
    for number in (None, signal.SIGTERM):
        if number is not None:
            tell(process, number)
        if await ended(process, GRACE):
            break
    # Also when it ended by itself: what it may have started belongs to its group.
    tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    await process.wait()


async def ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether the process is gone within so many seconds."""
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return False
    return True


def tell(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal to the whole group of a process, where there are groups."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


def search_path() -> dict[str, str]:
    """An environment in which another process imports the same hotswap, also from a checkout that is not installed."""
    here = str(Path(__file__).resolve().parents[2])
    given = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([here, given] if given else [here]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
