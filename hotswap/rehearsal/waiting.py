"""Why a thread in a copy of the process stands still: because of itself, or because of threads that are not there?

A fork copies the thread that calls it and no other. A lock that another one held stays held for ever, and nobody
answers who waits for another one. So this is asked of a thread that did not come to its end in time:

    it goes on when the locks that were held at the fork are let go    a lock of another thread      not its fault
    it waits on a condition that was there at the fork                 another thread's word         not its fault
    it waits for a result of a pool, and pools had threads             a thread of the pool          not its fault
    it waits for a module that was being imported                      another thread's import       not its fault
    it has given up waiting for one of these                           as above                      not its fault
    anything else                                                      an endless loop, a deadlock   its own

What can't be told: a lock within a C library, and an event of its own that it gave to a thread that is not there. Both
count as its own. A lock that the copying thread itself had held counts as one of another thread.

Letting go of locks that somebody held in the middle of his work would be no way to go on: it is done once, at the end,
in a process that is over then.

Assumes: the collector knows locks, as that of CPython does. CPython 3.14 lets nobody else release a reentrant lock:
there it is found only by the conditions.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread
import gc
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any

from hotswap import frames
from hotswap.collector import switched_off

__all__ = ["Held", "stack_of", "suspects"]

_LOCK = type(_thread.allocate_lock())
_REENTRANT = type(threading.RLock())

_STILL = 1.0
"""Seconds for which a thread has to stand in one place, or it is none that waits for a lock."""
_GO_ON = 0.5
"""Seconds that it has to go on when what it waited for is there."""
_STEP = 0.01

_LOCKED = "it waits for a lock that was held when the process was copied"

_FUTURES = "concurrent/futures/_base.py"

_OWN = "hotswap "
"""What the names of threads begin with that hotswap starts."""
_IN_BETWEEN = "hotswap/stopping.py"
"""Where a thread of hotswap waits for another one that runs code of others."""


class Held:
    """The locks that are there at the fork, and which of them are held. Lives as long as the copy.

    It looks through the heap, and writes into none of it.
    """

    def __init__(self) -> None:
        found = gc.get_referrers(_LOCK, _REENTRANT)
        self._locks: list[Any] = [o for o in found if type(o) in (_LOCK, _REENTRANT)]
        del found
        mine = f"owner={threading.get_ident()} "
        self._held = [lock for lock in self._locks if "unlocked" not in (told := repr(lock)) and mine not in told]
        self.spent = False
        """Whether they were let go. What they guarded may be torn since: nothing that follows says anything."""
        self._pools = bool(concurrent.futures.thread._threads_queues)
        self._in_vain = False
        self._look_at_waits()

    def was_in_vain(self) -> bool:
        """Whether somebody gave up waiting for what only the original has, since this was asked last.

        Conditions tell it, and so events, queues and futures; a lock that is waited for with a limit doesn't.
        """
        told, self._in_vain = self._in_vain, False
        return told

    def _look_at_waits(self) -> None:
        wait = threading.Condition.wait

        def looked_at(condition: threading.Condition, timeout: float | None = None) -> bool:
            came = wait(condition, timeout)
            if not came:
                who = sys._getframe(1).f_code.co_filename
                self._in_vain |= self._knew(condition) or (self._pools and who.endswith(_FUTURES))
            return came

        # Of the class, since who waits has it from there. Nobody takes it back: the copy ends with the rehearsal.
        threading.Condition.wait = looked_at  # type: ignore[method-assign, assignment]

    def _knew(self, condition: object) -> bool:
        """Whether a condition was there at the fork."""
        known = getattr(condition, "_lock", None)
        return any(lock is known for lock in self._locks)

    def judge(self, threads: list[threading.Thread]) -> dict[threading.Thread, str]:
        """Find out which of some threads wait for what only the original has; return for what, in words."""
        found: dict[threading.Thread, str] = {}
        others = _still(threads, _STILL)
        for thread in list(others):
            why = self._inherited(frames.stacks().get(thread.ident or 0, []))
            if why:
                found[thread] = why
                others.remove(thread)
        if others and self._held:
            self.spent = True
            before = _places(others)
            for lock in self._held:
                _let_go(lock)
            stay = _still(others, _GO_ON, before)
            found |= {thread: _LOCKED for thread in others if thread not in stay}
        return found

    def _inherited(self, stack: list[FrameType]) -> str:
        """For what of the original a thread waits; "" if that can't be told from its stack."""
        for frame in stack:
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if file == threading.__file__ and name == "wait" and frame is stack[0]:
                with switched_off():  # see `swap.variables`; nothing that dies here runs code of anybody
                    waited_for = frame.f_locals.get("self")
                if self._knew(waited_for):
                    return "it waits for what a thread was to say that is not in the copy"
            if file.endswith(_FUTURES) and self._pools:
                return "it waits for a thread of a pool, and threads of pools are not in the copy"
            if file == "<frozen importlib._bootstrap>" and name == "acquire" and frame is stack[0]:
                return "it waits for a module that another thread was importing when the process was copied"
        return ""


def _let_go(lock: Any) -> None:
    try:
        if type(lock) is _LOCK:
            lock.release()
        elif sys.version_info < (3, 14):  # a reentrant one: `release` asks whose it is
            lock._release_save()
    except RuntimeError:
        return  # it is free by now


def _places(threads: list[threading.Thread]) -> dict[threading.Thread, object]:
    """Where threads are: the innermost frame and the place in it; threads that have ended are missing."""
    current = sys._current_frames()
    places: dict[threading.Thread, object] = {}
    for thread in threads:
        frame = current.get(thread.ident or 0)
        if frame is not None and thread.is_alive():
            places[thread] = (id(frame), frame.f_lasti)
    return places


def _still(
    threads: list[threading.Thread], seconds: float, before: dict[threading.Thread, object] | None = None
) -> list[threading.Thread]:
    """The threads that stay where they are for some seconds, or until none is left that does."""
    before = _places(threads) if before is None else before
    until = time.monotonic() + seconds
    still = list(threads)
    while still and time.monotonic() < until:
        time.sleep(_STEP)
        now = _places(still)
        still = [thread for thread in still if thread in now and now[thread] == before.get(thread)]
    return still


def stack_of(threads: list[threading.Thread]) -> str:
    """Return where some threads are."""
    return "\n".join(map(_stack, threads))


def _stack(thread: threading.Thread) -> str:
    stack = frames.stacks().get(thread.ident or 0, [])
    lines = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(stack)).format()
    stack.clear()
    return f"{thread.name}:\n{''.join(lines)}"


def suspects(walking: threading.Thread) -> list[threading.Thread]:
    """Return the threads in which code of others runs for a rollout.

    Arguments:
        walking: the one that makes the rollout; it is one of them, unless it waits for another one.
    """
    others = [thread for thread in threading.enumerate() if thread.name.startswith(_OWN) and thread is not walking]
    me = threading.current_thread()
    frame = sys._current_frames().get(walking.ident or 0)
    waits = frame is not None and frame.f_code.co_filename.replace("\\", "/").endswith(_IN_BETWEEN)
    del frame
    return [thread for thread in ([] if waits else [walking]) + others if thread is not me]
