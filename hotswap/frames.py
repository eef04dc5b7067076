"""Frames: the stacks of threads, looked at from another thread while they run.

A frame that another thread runs is no object of its own: what is read goes through a pointer into that thread's stack.
CPython is careful as long as nothing else runs during the reading, which the GIL sees to; but before 3.12 to make the
object for a frame may begin a collection, which runs finalizers, in which another thread may run on and leave the frame
(`tests/cpython/test_frames_of_threads` crashes so). And `sys._current_frames` hung for the same reason.

Guarantees: a stack is walked in one C call, in which the collector is off. What is given lives by itself.

Assumes: the GIL. Our own frame is on one of the stacks: whoever keeps that in a local of his own keeps what all his
callers hold, until a collection, unless he empties it.
"""

from __future__ import annotations

import gc
import operator
import sys
import threading
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import accumulate, chain, compress, repeat, starmap, takewhile
from types import FrameType
from typing import Any

__all__ = ["stack", "stacks"]

_IS_FRAME = partial(operator.is_not, None)


def stack(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and those below it, the innermost first; nothing for None."""
    found: list[list[FrameType]] = []
    _in_one_call((found.extend, _walked([] if frame is None else [frame])))
    return found[0] if found else []


def stacks() -> dict[int, list[FrameType]]:
    """Return the stacks of all threads, by their idents, innermost frame first; that of the caller begins with him."""
    ident = threading.get_ident()
    current: list[dict[int, FrameType]] = []
    found: list[list[FrameType]] = []
    # Our own thread is walked from the caller on: a frame of ours that is held would hold what holds it.
    _in_one_call(
        (current.extend, starmap(sys._current_frames, [()])),
        (deque, map(dict.pop, current, (ident,))),
        (found.extend, _walked(chain.from_iterable(map(dict.values, current)))),
    )
    return dict(zip(current[0], found, strict=True)) | {ident: stack(sys._getframe(1))}


def _walked(frames: Iterable[FrameType]) -> Iterable[list[FrameType]]:
    """The stack of each frame, walked without running anything but C: `getattr(frame, "f_back")` until that is None."""
    steps = map(chain, zip(frames), repeat(repeat("f_back")))
    return map(list, map(takewhile, repeat(_IS_FRAME), map(accumulate, steps, repeat(getattr))))


def _in_one_call(*steps: tuple[Any, ...]) -> None:
    was_on: list[bool | None] = []
    off: tuple[Any, ...] = (was_on.extend, map(operator.call, (gc.isenabled, gc.disable)))
    on: tuple[Any, ...] = (deque, map(operator.call, compress((gc.enable,), was_on)))
    deque(starmap(operator.call, (off, *steps, on)), maxlen=0)
