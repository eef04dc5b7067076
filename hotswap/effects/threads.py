"""Threads that a module body started and that still run, and tasks that it scheduled on somebody's event loop.

Other threads of a busy service start threads all the time. One is the candidate's if its object leads to the
candidate's code, or if it is running code of it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from types import CoroutineType, FrameType
from typing import Any

from hotswap.effects.facts import Deed

__all__ = ["Threads", "tasks"]


class Threads:
    """The threads that ran before loading."""

    def __init__(self) -> None:
        self._before = {id(thread): thread for thread in threading.enumerate()}
        self._idents = set(sys._current_frames())

    def changed(self, is_ours: Callable[[Any], bool], ran: Container[int]) -> list[Deed]:
        """Return those that the candidate started and that still run.

        Arguments:
            is_ours: whether an object leads to the candidate's code.
            ran: ids of the globals of the candidate's modules.
        """
        frames = sys._current_frames()
        known = {thread.ident: thread for thread in threading.enumerate()}
        found: list[Deed] = []
        for ident, frame in frames.items():
            thread = known.get(ident)
            if ident in self._idents and (thread is None or id(thread) in self._before):
                continue
            if ident == threading.get_ident():
                continue
            place = _place(frame, ran)
            if place or (thread is not None and (is_ours(thread) or is_ours(thread.__dict__))):
                name = repr(thread.name) if thread is not None else f"number {ident}"
                found.append(Deed("threads", f"thread {name} is still running{f' {place}' if place else ''}"))
        del frames, frame
        return found


def _place(frame: FrameType | None, ran: Container[int]) -> str:
    """The innermost function of the candidate that a thread is in; empty if it is in none."""
    while frame is not None:
        if id(frame.f_globals) in ran:
            return f"{frame.f_code.co_qualname} at line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def tasks(young: Iterable[object], ran: Container[int], inside: Container[int]) -> list[Deed]:
    """Return the candidate's coroutines that somebody outside of it is to run.

    Arguments:
        young: what was created while the candidate was loaded.
        ran: ids of the globals of the candidate's modules.
        inside: ids of what the candidate's modules hold themselves.
    """
    found: list[Deed] = []
    coroutines: Mapping[int, Any] = {
        id(o): o
        for o in young
        if type(o) is CoroutineType and o.cr_frame is not None and id(o.cr_frame.f_globals) in ran
    }
    holders: dict[int, Any] = {}
    for o in young if coroutines else ():
        if issubclass(type(o), asyncio.Task):
            for referent in gc.get_referents(o):
                if id(referent) in coroutines:
                    holders[id(referent)] = o
    for key, coroutine in coroutines.items():
        task = holders.get(key)
        if task is not None or key not in inside:
            name = coroutine.cr_code.co_qualname
            found.append(_Task(f"the coroutine {name} was handed to an event loop", coroutine, task))
    return found


class _Task(Deed):
    def __init__(self, what: str, coroutine: Any, task: Any) -> None:
        super().__init__("tasks", what)
        self._coroutine, self._task = coroutine, task

    def drop(self) -> None:
        """Ask it to end; it is code of the candidate, and may refuse."""
        task, self._task, self._coroutine = self._task, None, None
        if task is not None:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
