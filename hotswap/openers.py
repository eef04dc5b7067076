"""Openers: who has opened a session, and which of these calls are at work in it.

Nothing is noted unless somebody wants to know (`hotswap.session.asking`).

Guarantees: code is kept, and it is in flight anyway; frames are not. Assumes: as long as a call lasts it has its frame,
and no other call that runs the same code gets the same one. Frames of other threads are read as they are at that
moment: who isn't found there may be at work all the same.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType
from typing import Any, TypeAlias

__all__ = ["Opener", "Opening", "task_here"]

Opener: TypeAlias = tuple[int, CodeType, int]
"""A call that has opened a session, or waits for that: the id of its frame, its code, and the id of its globals.

A function has no frame: 0."""


class Opening:
    """How a session was opened. Those within it have the same.

    Arguments:
        function: that for which an event loop may open it, if there is one.
        task: the task that has received the message which it is about; None if it is a block of whoever has opened it.
    """

    __slots__ = ("_by_generator", "_openers", "_task", "_thread", "received")

    def __init__(self, function: object, task: Any) -> None:
        self._openers = openers = _openers(function)
        self._by_generator = bool(openers and openers[0][1].co_flags & _GENERATES)
        self.received = task is not None
        """Whether it is no block: what has opened it may have ended."""
        # A block of a generator may be of a task, too; nobody asks for that of another one.
        self._task = task_here() if task is None and self._by_generator else task
        self._thread = threading.get_ident()

    def by(self, frame: FrameType) -> bool:
        """Whether the code in a frame has opened it, or waits for that."""
        return any(known == id(frame) and code is frame.f_code for known, code, _ in self._openers)

    def openers(self) -> Iterator[tuple[Opener, ...]]:
        """Yield who has opened it, and who has called him, from the innermost that is at work in it.

        Whoever has only received a message has ended. A generator waits while its caller is at work on an item: where
        that tells nothing, the generator may, and follows.
        """
        openers = self._openers
        if not (self.received or self._by_generator):
            yield openers
            return
        is_here = self._thread == threading.get_ident() and self._task is task_here()
        asks = _stack(sys._getframe(1)) if is_here else self._elsewhere()
        working = {(id(frame), frame.f_code) for frame in asks}
        places = (place for place, (frame, code, _) in enumerate(openers) if not frame or (frame, code) in working)
        place = next(places, 0)
        yield openers[place:]
        if self._by_generator:
            yield openers[:place]

    def _elsewhere(self) -> Iterator[FrameType]:
        """The frames of the task, if it waits, and of what the thread runs now."""
        waits: Any = None if self._task is None else self._task.get_coro()
        while waits is not None:
            if type(waits) in _SUSPENDED:
                frame, inner = _SUSPENDED[type(waits)](waits)
                yield from () if frame is None else (frame,)
                waits = inner
            else:  # one step of an asynchronous generator, say
                waits = next((one for one in gc.get_referents(waits) if type(one) in _SUSPENDED), None)
        yield from _stack(sys._current_frames().get(self._thread))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _openers(function: object) -> tuple[Opener, ...]:
    """Who opens a session, and who has called him. A function for which an event loop may open it comes last."""
    frame = sys._getframe(2)
    while (below := frame.f_back) is not None:
        # What is done in its block is done by whoever has called a context manager that has opened it.
        is_manager = frame.f_code.co_flags & _GENERATES and below.f_globals is _CONTEXTLIB
        if not (is_manager or frame.f_globals.get("__name__", "").startswith(_BETWEEN)):
            break
        frame = below
    found: list[Opener] = []
    asks: FrameType | None = frame
    while asks is not None and len(found) < _DEPTH and asks.f_globals.get("__name__") != _CONVERSATION:
        found.append((id(asks), asks.f_code, id(asks.f_globals)))
        asks = asks.f_back
    if type(function) is FunctionType:
        found.append((0, function.__code__, id(function.__globals__)))
    return tuple(found)


_DEPTH = 20
"""How many frames may stand between who opens a session and the code for which he does."""
_CONTEXTLIB = vars(contextlib)
_CONVERSATION = "hotswap.asgi.conversation"
"""The module that has called the application to which a message goes: for whom it does that is another matter."""
_BETWEEN = ("hotswap.", "contextlib")
"""How modules are called that open sessions for others."""
_SUSPENDED: dict[type, Callable[[Any], tuple[FrameType | None, Any]]] = {
    CoroutineType: operator.attrgetter("cr_frame", "cr_await"),
    GeneratorType: operator.attrgetter("gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: operator.attrgetter("ag_frame", "ag_await"),
}
"""What waits -> how to get its frame, and what it waits for."""
_GENERATES = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def task_here() -> Any:
    """Return the task of asyncio in which the caller runs; None if there is none, or another event loop."""
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        return None
