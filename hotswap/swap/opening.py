"""Opening: what code has opened a session, and whether that stays on a generation: then the session does.

A session is on what was live when it began. But code that a swap has changed stays old for as long as its call lasts,
and what it calls gets arguments as the old takes them: in a thread or a task that it starts in a session of its own,
too. Code that is the same opens sessions that are new at once.

Assumes: a code object that is kept has its identity; whoever is asked for is open, or tells nobody's code.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import CodeType
from typing import TYPE_CHECKING

from hotswap import walk
from hotswap.openers import Opener
from hotswap.session import Session
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
    opening = None if session is None else session.opening  # another thread may end it meanwhile
    told = (_tell(junction, openers, opening.received) for openers in opening.openers()) if opening is not None else ()
    return next((answer for answer in told if answer is not None), False)


def _tell(junction: Junction, openers: Sequence[Opener], received: bool) -> bool | None:
    """What the innermost of some calls says that is of a generation; None if nobody's code is in between.

    Arguments:
        junction: the generation.
        openers: the calls.
        received: whether the session is no block of theirs, but has begun with a message.
    """
    for place, (_, code, space) in enumerate(openers):
        is_clone, is_same = id(code) in junction.copies, id(code) in junction.same
        if (is_clone and is_same) or walk.is_forwarder(code) or space in looked_through:
            continue
        if is_same or id(code) in junction.shared or space in junction.others:
            return False
        if junction.has(code, space, None):
            return True
        if not (received and code.co_flags & _WAITS):
            # A loop of somebody else. If that runs a job itself, a clone was made for calls of that generation.
            known, job, there = openers[-1]
            runs = not place and not known and _is_cloned(job, junction)
            return True if runs and junction.has(job, there, None) else None
    return None


def _is_cloned(code: CodeType, junction: Junction) -> bool:
    """Whether a clone of a generation runs some code, or what stands for one does."""
    stands = walk.is_forwarder(code) and any(getattr(one, "junction", None) is junction for one in code.co_consts)
    return stands or id(code) in junction.copies


_WAITS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
