"""Loads: whether code that asks for a method calls it there and then, or keeps it."""

from __future__ import annotations

import dis
import sys
from types import FrameType

__all__ = ["is_called_at_once", "is_load"]

_METHOD = dis.opmap.get("LOAD_METHOD", -1) if sys.version_info < (3, 12) else -1
_LOADS = frozenset(dis.opmap[name] for name in ("LOAD_ATTR", "LOAD_SUPER_ATTR") if name in dis.opmap)
_CALLS = frozenset(number for name, number in dis.opmap.items() if name.startswith(("CALL", "PRECALL")))
_OF_METHODS = sys.version_info >= (3, 12)


def is_load(frame: FrameType) -> bool:
    """Whether the code in a frame is reading an attribute by its name."""
    instruction = frame.f_code.co_code[frame.f_lasti] if frame.f_lasti >= 0 else -1
    return instruction in _LOADS or instruction == _METHOD >= 0


def is_called_at_once(frame: FrameType, name: str) -> bool:
    """Whether the code in a frame calls the method that it is just asking for, and keeps it in no variable.

    Since CPython 3.12 the lowest bit of `LOAD_ATTR` tells, in 3.11 it is an instruction of its own. A call in the place
    of a load is that of `getattr`, or of something in C; if the name is one that CPython itself asks for, as `A()` asks
    for `__init__`, it calls what it gets. So do all other instructions, like `BINARY_OP`. Source: `tests/cpython/
    test_loads.py`.

    Arguments:
        frame: of the code that asks, while it does.
        name: of the method.
    """
    at = frame.f_lasti
    if at < 0:
        return False
    code = frame.f_code.co_code
    instruction = code[at]
    if instruction in _LOADS:
        return _OF_METHODS and bool(code[at + 1] & 1)
    if instruction in _CALLS:
        return name.startswith("__") and name.endswith("__")
    return True
