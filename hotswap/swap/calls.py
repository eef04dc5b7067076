"""Calls in flight: who still runs code of a generation that has gone, and where.

Threads are walked frame by frame. What is suspended has no thread: generators and coroutines refer to their code, so
one pass over the heap finds them, and another the tasks that run them. It is for people and their tools, not for each
request: with two million objects it takes some tens of milliseconds, with the GIL held.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from hotswap import collector, frames, walk
from hotswap.swap.kin import made_in
from hotswap.swap.templates import KIND_FLAGS

__all__ = [
    "FRAMES",
    "CallInFlight",
    "calls_in_flight",
    "frame_of",
    "going_on_in",
    "is_over",
    "making",
    "pauses",
    "running_frames",
    "running_in",
    "suspended",
    "unused",
]

FRAMES = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}
"""The attribute in which the frame of what can be suspended is."""
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
_BETWEEN = ("async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper")
"""What CPython has between a coroutine and what it awaits."""
_WITH_BODY: Any = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)
_CHAIN = 1_000
"""How many coroutines that await each other are followed."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


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


def calls_in_flight(
    codes: Iterable[CodeType], since: datetime, held: Iterable[Any] = ()
) -> list[tuple[CodeType, CallInFlight]]:
    """Return the calls that run some code, each with the code.

    Arguments:
        codes: the code.
        since: when its generation went.
        held: what may be suspended in it: where somebody has frozen objects, those are not found.
    """
    wanted = {id(code): code for code in codes}
    if not wanted:
        return []
    found: list[tuple[FrameType, str, Any]] = [(frame, thread, None) for thread, frame in running_frames(wanted)]
    seen = {id(frame) for frame, *_ in found}
    for o in (*suspended(wanted.values()), *held):
        frame = frame_of(o)
        if frame is not None and id(frame.f_code) in wanted and id(frame) not in seen:
            seen.add(id(frame))
            found.append((frame, "", o))
    tasks = _tasks() if any(o is not None for *_, o in found) else {}
    calls = [
        (
            frame.f_code,
            CallInFlight(
                f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}",
                frame.f_code.co_filename,
                frame.f_lineno or frame.f_code.co_firstlineno,
                thread,
                tasks.get(id(o), "") if o is not None else "",
                since,
            ),
        )
        for frame, thread, o in found
    ]
    found.clear()
    return sorted(calls, key=lambda call: (call[1].function, call[1].line, call[1].thread, call[1].task))


def unused(codes: Iterable[CodeType]) -> set[int]:
    """Return the ids of the code that no call runs: somebody else holds it, a debugger or a function of his own.

    It passes over the heap only for what no thread is running.
    """
    wanted = {id(code): code for code in codes}
    for _, frame in running_frames(wanted):
        wanted.pop(id(frame.f_code), None)
    for o in suspended(wanted.values()) if wanted else ():
        held = frame_of(o)
        if held is not None:
            wanted.pop(id(held.f_code), None)
    return {*wanted}


def pauses() -> Iterator[float]:
    """Seconds to wait before each look for calls that have ended unseen, since somebody holds what they ran.

    It passes over the heap, so it comes ever more seldom; but what is not noticed keeps forks in place.
    """
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def making(codes: Iterable[CodeType]) -> set[int]:
    """Return the ids of the nested code of which calls that go on may have made closures: these are their callbacks.

    It may pass over the heap.

    Arguments:
        codes: the code of functions.
    """
    every = list(codes)
    idle = unused(every)
    return made_in(code for code in every if id(code) not in idle)


def suspended(codes: Iterable[CodeType]) -> list[Any]:
    """Return the generators and coroutines that run some code and have not ended.

    But for those to which nothing leads but names of old modules: nobody will resume them who is not in flight himself.
    """
    wanted = {id(code): code for code in codes if code.co_flags & KIND_FLAGS}
    if not wanted:
        return []
    few = len(wanted) <= collector.FEW
    found = collector.referrers_of(wanted.values(), FRAMES) if few else collector.objects_of(FRAMES)
    # One may also hold code of others.
    running = [o for o in found if (frame := frame_of(o)) is not None and id(frame.f_code) in wanted]
    found.clear()  # references are counted
    left = _left_behind(running)
    return [o for o in running if id(o) not in left]


def _left_behind(running: list[Any]) -> set[int]:
    """The ids of those generators and coroutines that are held by names of a module that is not live, and by no more.

    Arguments:
        running: them; nobody else holds them for us.
    """
    alone = [(None for _ in ())]
    (usual,) = map(sys.getrefcount, alone)
    counts = [*map(sys.getrefcount, running)]
    left = set()
    for o, count in zip(running, counts, strict=True):
        frame = frame_of(o)
        facts = {} if frame is None else frame.f_globals
        module = sys.modules.get(facts.get("__name__", ""))
        if type(module) is ModuleType and ModuleType.__getattribute__(module, "__dict__") is not facts:
            names = sum(value is o for value in list(facts.values()))
            left |= {id(o)} if names and count == usual + names else set()
    return left


def frame_of(o: object) -> FrameType | None:
    """Return the frame of a generator or a coroutine that has not ended."""
    attribute = FRAMES.get(type(o))
    return None if attribute is None else getattr(o, attribute)


def is_over(o: object) -> bool:
    """Whether something is a generator or a coroutine that has ended."""
    return type(o) in FRAMES and frame_of(o) is None


def running_in(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield the threads that run code of a module now: (thread, function and line)."""
    facts = module.__dict__
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, stack in frames.stacks().items():
        # Our own frame is among them: in a local of itself it would keep what all our callers hold, until a collection.
        places = [f"{one.f_code.co_qualname}, line {one.f_lineno}," for one in stack if one.f_globals is facts]
        stack.clear()
        if places:
            yield names.get(ident, str(ident)), places[0]


def running_frames(wanted: Container[int]) -> list[tuple[str, FrameType]]:
    """Return the frames on the stacks of threads that run some code, each with the name of the thread.

    Arguments:
        wanted: the ids of the code.
    """
    return _on_stacks(lambda frame: id(frame.f_code) in wanted)


def _on_stacks(wanted: Callable[[FrameType], bool]) -> list[tuple[str, FrameType]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [(names.get(ident, str(ident)), stack) for ident, stack in frames.stacks().items()]
    stacks += [("", frames.stack(frame)) for frame in _greenlets()]
    found = [(name, one) for name, stack in stacks for one in stack if wanted(one)]
    for _, stack in stacks:
        # Our own frame is among them: in a local of itself it would keep what all our callers hold, until a collection.
        stack.clear()
    return found


def going_on_in(spaces: Mapping[int, dict[str, Any]], functions: Sequence[FunctionType]) -> set[int]:
    """Return the ids of the namespaces in which calls go on, but for those of what only leads on to new code.

    It passes over the heap.

    Arguments:
        spaces: the namespaces, by id.
        functions: the functions that have them as globals; what is suspended in one of them refers to it.
    """
    few = len(functions) <= collector.FEW
    held = collector.referrers_of(functions, FRAMES) if few else collector.objects_of(FRAMES)
    suspended_in = [frame for o in held if (frame := frame_of(o)) is not None]
    running = [frame for _, frame in _on_stacks(lambda frame: id(frame.f_globals) in spaces)]
    places = {id(frame.f_globals) for frame in (*suspended_in, *running) if not walk.is_forwarder(frame.f_code)}
    return places & spaces.keys()


def _greenlets() -> Iterator[FrameType]:
    """The frames of greenlets that are switched away from: they are on no stack of a thread."""
    greenlet = sys.modules.get("greenlet")
    kind = getattr(greenlet, "greenlet", None)
    threads = getattr(getattr(greenlet, "_greenlet", None), "get_total_main_greenlets", lambda: 1)
    if kind is not None and threads():  # many import it who never use it; a pass over the heap takes its time
        found = (o.gr_frame for o in collector.objects_of((kind, *walk.descendants(kind))))
        yield from (frame for frame in found if frame is not None)


def _tasks() -> dict[int, str]:
    """The ids of coroutines and generators -> the name of the task that runs them, or what they are held by.

    What a task awaits is told first; then what its calls hold: an `async for` has its generator on its stack, and an
    `async with` the context manager, whose body is one.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return {}
    found: dict[int, str] = {}
    reached: list[tuple[Any, str]] = []
    for task in collector.objects_of((asyncio.Task, *walk.descendants(asyncio.Task))):
        held, name = task.get_coro(), task.get_name()
        for _ in range(_CHAIN):
            if held is None or id(held) in found:
                break
            found[id(held)] = name
            reached.append((held, name))
            held = next((awaited for attribute in _AWAITED if (awaited := getattr(held, attribute, None))), None)
    while reached:
        held, name = reached.pop()
        for inner in _held(held):
            if id(inner) not in found:
                found[id(inner)] = name
                reached.append((inner, name))
    return found


def _held(o: Any) -> Iterator[Any]:
    """The generators and coroutines that one holds, and what stands between."""
    if type(o) not in FRAMES and type(o).__name__ not in _BETWEEN:
        return
    for inner in gc.get_referents(o):
        manager: Any = inner.__self__ if type(inner) is MethodType else None
        if issubclass(type(manager), _WITH_BODY):
            inner = manager.gen  # the exit that a `with` calls at its end
        if type(inner) in FRAMES or type(inner).__name__ in _BETWEEN:
            yield inner
