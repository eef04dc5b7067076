"""Threads that a module body started and that still run, and tasks that it scheduled on somebody's event loop.

Other threads of a busy service start threads all the time. One is the candidate's if a thread that works for the
candidate has started it, if its object leads to the candidate's code, or if it is running code of it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import CoroutineType, FrameType
from typing import Any

from hotswap import frames
from hotswap.effects.actors import Actors, Raw, ident_of
from hotswap.effects.employers import Employer, employers
from hotswap.effects.facts import Deed

__all__ = ["Threads", "tasks"]


class Threads:
    """The threads that ran before loading.

    Arguments:
        actors: who works for the candidate.
    """

    def __init__(self, actors: Actors) -> None:
        self._actors = actors
        self._before = {id(thread): thread for thread in threading.enumerate()}
        self._idents = set(sys._current_frames())

    def changed(self, is_ours: Callable[[Any], bool], ran: Container[int], young: Iterable[object]) -> list[Deed]:
        """Return those that the candidate started and that still run.

        Arguments:
            is_ours: whether an object leads to the candidate's code.
            ran: ids of the globals of the candidate's modules.
            young: what was created while the candidate was loaded.
        """
        started = dict.fromkeys(map(ident_of, self._actors.running()))
        stacks = frames.stacks()
        known = {thread.ident: thread for thread in threading.enumerate()}
        found: list[tuple[int, threading.Thread | None, str]] = []
        for ident, stack in stacks.items():
            thread = known.get(ident)
            if ident == threading.get_ident():
                continue
            place = _place(stack, ran)
            if ident in started:
                found.append((ident, thread, place or _library(stack)))
            elif ident in self._idents and (thread is None or id(thread) in self._before):
                continue
            elif place or (thread is not None and (is_ours(thread) or is_ours(thread.__dict__))):
                found.append((ident, thread, place))
        # One that has not begun has no frame yet.
        found += [(ident, known.get(ident), "") for ident in started if ident is not None and ident not in stacks]
        stacks.clear()
        del stack  # our own may be the last
        employed = employers([thread for _, thread, _ in found if thread is not None], young)
        deeds: list[Deed] = []
        given: set[int] = set()
        for ident, thread, place in found:
            employer = employed.get(id(thread))
            promise = employer.promise if employer else "it runs until it ends by itself"
            name = repr(thread.name) if thread is not None else f"number {ident}"
            deeds.append(_Thread(name, place, promise, employer if id(employer) not in given else None))
            given.add(id(employer))
        return deeds


def _place(stack: Iterable[FrameType], ran: Container[int]) -> str:
    """The innermost function of the candidate that a thread is in; empty if it is in none."""
    places = (f"{frame.f_code.co_qualname} at line {frame.f_lineno}" for frame in stack if id(frame.f_globals) in ran)
    return next(places, "")


def _library(stack: Iterable[FrameType]) -> str:
    """The outermost function that a thread is in, but for what every thread begins with."""
    found = ""
    for frame in stack:
        module = frame.f_globals.get("__name__")
        if type(module) is str and module != "threading" and frame.f_code is not Raw.__call__.__code__:
            found = f"{frame.f_code.co_qualname} of {module}"
    return found


class _Thread(Deed):
    """A thread that runs.

    Arguments:
        name: of the thread, or its number.
        place: the function that it is in, or nothing.
        promise: what becomes of it.
        employer: for which it works; only one of several threads has it.
    """

    once = True

    def __init__(self, name: str, place: str, promise: str, employer: Employer | None) -> None:
        super().__init__("threads", f"thread {name} is still running{place and f' {place}'}; {promise}")
        self._employer = employer
        self._superfluous = False

    def parts(self) -> Iterator[Any]:
        """Yield those of the employer too."""
        yield from super().parts()
        if self._employer is not None:
            yield from self._employer.parts()

    def make(self, living: Callable[[Any], Any]) -> None:
        employer = self._employer
        self._superfluous = employer is not None and living(employer.held) is not employer.held

    def settle(self) -> None:
        """Let it come to its end, if a living one is kept in place of the one that it works for."""
        if self._superfluous and self._employer is not None:
            self._employer.close()
            self._employer = None

    def take_back(self) -> None:
        """Stop what goes on by itself; calls in flight may still need the others."""
        self._superfluous = False
        if self._employer is not None:
            self._employer.part()

    def drop(self) -> None:
        employer, self._employer = self._employer, None
        if employer is not None:
            employer.end()


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
    once = True

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
