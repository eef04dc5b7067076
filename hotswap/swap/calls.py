"""Calls in flight: who still runs code of a generation that has gone, and where.

Threads are walked frame by frame. What is suspended has no thread: generators and coroutines refer to their code, so
one pass over the heap finds them, and another the tasks that run them. It is for people and their tools, not for each
request: with two million objects it takes some tens of milliseconds, with the GIL held.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

__all__ = ["CallInFlight", "calls_in_flight"]

_FRAMES = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
_CHAIN = 1_000
"""How many coroutines that await each other are followed."""


@dataclass(frozen=True, slots=True)
class CallInFlight:
    """A call that goes on with code of a generation that has gone.

    Attributes:
        function: its module and qualified name, ``shop.orders:Order.pay``.
        file: where its source is; a file in a temporary directory may be deleted already.
        line: the line that it is at.
        thread: the name of the thread that runs it, or "" if it is suspended.
        task: the name of the task that awaits it, or "" if none does.
        since: when its generation went, in UTC: that of the swap, not the beginning of the call.
    """

    function: str
    file: str
    line: int
    thread: str
    task: str
    since: datetime

    def __str__(self) -> str:
        where = f"in thread {self.thread}" if self.thread else f"in task {self.task}" if self.task else "suspended"
        return f"{self.function}, line {self.line}, {where}, since {self.since:%H:%M:%S}"


def calls_in_flight(codes: Iterable[CodeType], since: datetime) -> tuple[CallInFlight, ...]:
    """Return the calls that run some code.

    Arguments:
        codes: the code.
        since: when its generation went.
    """
    wanted = {id(code): code for code in codes}
    if not wanted:
        return ()
    found: list[tuple[FrameType, str, Any]] = [(frame, thread, None) for thread, frame in _running(wanted)]
    seen = {id(frame) for frame, *_ in found}
    for o in gc.get_referrers(*wanted.values()):
        name = _FRAMES.get(type(o))
        held: FrameType | None = None if name is None else getattr(o, name)
        if held is not None and id(held) not in seen:  # without a frame it has ended, and is only held
            found.append((held, "", o))
    tasks = _tasks() if any(o is not None for *_, o in found) else {}
    calls = [
        CallInFlight(
            f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}",
            frame.f_code.co_filename,
            frame.f_lineno or frame.f_code.co_firstlineno,
            thread,
            tasks.get(id(o), "") if o is not None else "",
            since,
        )
        for frame, thread, o in found
    ]
    found.clear()
    return tuple(sorted(calls, key=lambda call: (call.function, call.line, call.thread, call.task)))


def _running(wanted: Container[int]) -> list[tuple[str, FrameType]]:
    """The frames on the stacks of threads that run some code, each with the name of the thread."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: list[tuple[str, FrameType]] = []
    walked: FrameType | None
    for ident, walked in sys._current_frames().items():
        while walked is not None:
            if id(walked.f_code) in wanted:
                found.append((names.get(ident, str(ident)), walked))
            walked = walked.f_back
    # Our own frame is among them: in a local of itself it would keep what all our callers hold, until a collection.
    del walked
    return found


def _tasks() -> dict[int, str]:
    """The ids of coroutines -> the name of the task that runs them, or that awaits what they are awaited by."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return {}
    found: dict[int, str] = {}
    for task in [o for o in gc.get_objects() if issubclass(type(o), asyncio.Task)]:
        held, name = task.get_coro(), task.get_name()
        for _ in range(_CHAIN):
            if held is None or id(held) in found:
                break
            found[id(held)] = name
            held = next((awaited for attribute in _AWAITED if (awaited := getattr(held, attribute, None))), None)
    return found
