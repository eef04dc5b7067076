"""Handed on: functions that calls which stay old give to others after the handover, to a pool or a thread.

Whoever calls them there is nobody's code. The calls that were handed over run in the same globals, and take functions
from the same names: so it is told by these whose a function is. What both kinds of calls spell is new, and so is what
has no name of its own: an object with `__call__`.
"""

from __future__ import annotations

from types import FrameType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.generation.live import managed
from hotswap.session import here
from hotswap.swap.junctions import Junction

__all__ = ["is_handed_on"]


def is_handed_on(junction: Junction, value: Any, frame: FrameType) -> bool:
    """Whether others call a function on behalf of calls that were not handed over, and go on.

    Others are those outside of the package, and modules of it that stay.

    Arguments:
        junction: the generation of these calls.
        value: what is of it, the function or what has one.
        frame: the frame of who calls.
    """
    led, function = junction.led, walk.function_behind(value)
    if led is None or type(function) is not FunctionType or here() is not None:
        return False
    if id(frame.f_code) in junction.shared or id(frame.f_code) in junction.foreign:
        return False  # one that was handed over itself: it calls what it has, as a decorator's loop does
    name, spelled, space = function.__name__, junction.spelled, id(frame.f_globals)
    if space not in junction.staying and managed(str(frame.f_globals.get("__name__")), junction.packages):
        return False
    return name not in led and (spelled is None or name in spelled)
