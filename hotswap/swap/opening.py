"""Opening: what code has opened a session, and whether that stays on a generation: then the session does.

A session is on what was live when it began. But code that a swap has changed stays old for as long as its call lasts,
and what it calls gets arguments as the old takes them: in a thread or a task that it starts in a session of its own,
too. Code that is the same opens sessions that are new at once.

Assumes: a code object that is kept has its identity; whoever is asked for is open, or tells nobody's code.
"""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from hotswap import walk
from hotswap.session import Session, task_here
from hotswap.swap.callers import looked_through

if TYPE_CHECKING:
    from hotswap.swap.junctions import Junction

__all__ = ["stays"]


def stays(junction: Junction, session: Session | None) -> bool:
    """Whether code that stays on a generation has opened a session, by itself or by what it has called for that.

    That may be a helper of its own, which is a clone, and a library that receives a message for it.

    Arguments:
        junction: the generation.
        session: the session, if there is one.
    """
    if session is None:
        return False
    for place, (frame, code, space) in enumerate(openers := session.openers):
        if id(code) in junction.copies or walk.is_forwarder(code) or space in looked_through:
            continue
        if id(code) in junction.same or id(code) in junction.shared or space in junction.others:
            return False
        if junction.has(code, space, None):
            if not _goes_on(session, frame, code):
                session.openers = ()  # for all that the session goes on to, elsewhere too
            return bool(session.openers)
        if session.task is None or not code.co_flags & _WAITS:
            # A loop of somebody else. If that runs a job itself, a clone was made for calls of that generation.
            known, job, there = openers[-1]
            return not place and not known and id(job) in junction.copies and junction.has(job, there, None)
    return False


_WAITS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _goes_on(session: Session, frame: int, code: CodeType) -> bool:
    """Whether the call that has opened a session has not ended. A block has its caller as long as it is open.

    Arguments:
        session: the session.
        frame: the id of the frame of that call.
        code: what runs in it: another call may have its place by now.
    """
    if session.task is None or session.task is not task_here():
        return True  # what it has started may outlast it
    asks: FrameType | None = sys._getframe(1)
    while asks is not None and not (id(asks) == frame and asks.f_code is code):
        asks = asks.f_back
    return asks is not None
