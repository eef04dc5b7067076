"""Variables: what calls in flight hold in theirs, while they go on.

`frame.f_locals` is not for that. Before CPython 3.13 to read it fills a dict that stays with the frame: what was in it
dies, and may run code that lets another thread leave the very frame that is being read, which ends the process; and
what goes in is kept until the call ends, for hours. In 3.13 and before 3.13.6 the same happens where a generator was
closed meanwhile. (`tests/cpython/test_frames_of_threads` shows all of it.)

So what is suspended is asked by the collector's own means, `gc.get_referents`: it leaves nothing behind. What a thread
runs can't be asked so. Since 3.13 `f_locals` is a view, which is read while nothing else runs; 3.12 has
`PyFrame_GetVar`, which takes one variable and changes nothing; 3.11 has neither, and nobody can tell there.

Assumes: the GIL. What is held by something in a variable is not looked into.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import chain, starmap
from operator import attrgetter, methodcaller
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any

from hotswap.collector import switched_off
from hotswap.swap.calls import FRAMES, running_frames, suspended
from hotswap.swap.parts import cell_contents
from hotswap.swap.templates import KIND_FLAGS

__all__ = ["Variables", "variables"]

Variables = tuple[CodeType, list[Any] | None]
"""The code of a call, and what its variables hold; None if that can't be told."""


def variables(codes: Iterable[CodeType]) -> list[Variables]:
    """Return what the calls of some code hold, on a stack or suspended. It passes over the heap.

    Arguments:
        codes: the code.
    """
    wanted = {id(code): code for code in codes}
    with switched_off():  # before 3.12 a collection may come in the middle of looking at a frame
        plain = [frame for _, frame in running_frames(wanted) if not frame.f_code.co_flags & KIND_FLAGS]
        found: list[Variables] = [(frame.f_code, _read(frame.f_code, partial(iter, (frame,)))) for frame in plain]
        # Those that a thread runs are among them.
        found += [held for o in suspended(wanted.values()) if (held := _of_generator(o)) is not None]
    return found


def _of_generator(o: Any) -> Variables | None:
    """What the variables of a generator or a coroutine hold; None if it has ended."""
    attribute = FRAMES[type(o)]
    # One instruction: it is suspended, as long as nothing is below it, and has not gone on when it is asked.
    steps = ((attrgetter(f"{attribute}.f_code"), o), (attrgetter(f"{attribute}.f_back"), o), (gc.get_referents, o))
    try:
        code, below, held = starmap(operator.call, steps)
    except AttributeError:
        return None
    if below is not None:
        return code, _read(code, lambda: filter(None, map(attrgetter(attribute), (o,))))
    values = [cell_contents(value) if type(value) is CellType else value for value in held]
    own = next((value for value in values if type(value) is FunctionType and value.__code__ is code), None)
    if own is not None:
        values.remove(own)  # the function that it runs, which is in no variable
    return code, values


def _read(code: CodeType, frame: Callable[[], Iterable[FrameType]]) -> list[Any] | None:
    """What the variables of a call hold that goes on; nothing if it has ended.

    Arguments:
        code: that it runs.
        frame: gives its frame, in the C call that reads it, if the call has not ended by then.
    """
    if sys.version_info >= (3, 13):
        return list(chain.from_iterable(map(methodcaller("values"), map(attrgetter("f_locals"), frame()))))
    if _get_variable is None:
        return None
    found: list[Any] = []
    for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        with suppress(NameError):  # it has no value now
            found += starmap(_get_variable, zip(frame(), (name,), strict=False))
    return found


def _load() -> Callable[[FrameType, str], Any] | None:
    try:
        import ctypes

        prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object)
        return prototype(("PyFrame_GetVar", ctypes.pythonapi))
    except (ImportError, AttributeError, OSError):
        return None


_get_variable = _load()
