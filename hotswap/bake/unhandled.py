"""Exceptions that nobody handles: heard wherever the interpreter reports them, while a rollout bakes.

| where | which |
|---|---|
| `sys.excepthook` | one that ends the program |
| `threading.excepthook` | one that ends a thread |
| `sys.unraisablehook` | one in a `__del__`, or in a callback of the collector |
| `asyncio.BaseEventLoop.call_exception_handler` | one of a task that nobody awaits, or of a callback |

What is only logged is not heard: somebody has handled it by logging it.

Each place is wrapped, and what stood there before is called as ever. Somebody else may wrap ours meanwhile: then ours
stays below, and passes everything on; what is put in later goes on top. So they come off in any order.

Guarantees: hearing never raises, and takes no lock. Assumes: nothing; an exception may be reported in any thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

__all__ = ["Unhandled", "listen", "runs_through", "told"]

_FRAMES = 2_000
"""Frames of a traceback that are looked at; recursion makes long ones."""

_CHAIN = 10
"""Exceptions that one was raised from, which are looked at too."""


class Unhandled(NamedTuple):
    """An exception as it was reported."""

    error: BaseException | None
    trace: TracebackType | None


_facts: Any = vars(BaseException)
"""By descriptor, since attributes of a stranger's exception may be anything."""

Hear = Callable[[Unhandled], None]


class _Place:
    """One place where exceptions are reported. Lives as long as the process."""

    def __init__(self, owner: Any, name: str, read: Callable[..., Unhandled]) -> None:
        self._owner, self._name, self._read = owner, name, read
        self._ours: Any = None

    def wrap(self) -> None:
        """Put ours on top of what stands there."""
        before = getattr(self._owner, self._name)

        def ours(*arguments: Any) -> Any:
            if self._ours is ours:  # else it lies below somebody's who did not take it off
                _heard(self._read(*arguments))
            return before(*arguments)

        ours.__name__ = ours.__qualname__ = self._name
        self._ours = ours
        setattr(self._owner, self._name, ours)
        self._before = before

    def unwrap(self) -> None:
        """Take ours off; if it lies below somebody else's, it only passes on."""
        ours, self._ours = self._ours, None
        if getattr(self._owner, self._name) is ours:
            setattr(self._owner, self._name, self._before)
        del self._before


def _of_program(_: type, error: BaseException, trace: TracebackType | None, *__: object) -> Unhandled:
    return Unhandled(error, trace)


def _of_thread(arguments: Any, *_: object) -> Unhandled:
    return Unhandled(arguments.exc_value, arguments.exc_traceback)


def _of_loop(_: object, context: Any, *__: object) -> Unhandled:
    error = context.get("exception")
    return Unhandled(error, None if error is None else _facts["__traceback__"].__get__(error))


_PLACES = (
    _Place(sys, "excepthook", _of_program),
    _Place(threading, "excepthook", _of_thread),
    _Place(sys, "unraisablehook", _of_thread),
    _Place(asyncio.BaseEventLoop, "call_exception_handler", _of_loop),
)
_hearers: tuple[Hear, ...] = ()
_changing = threading.Lock()


def _heard(unhandled: Unhandled) -> None:
    for hear in _hearers:
        hear(unhandled)


def listen(hear: Hear) -> Callable[[], None]:
    """Have somebody hear of each unhandled exception, and return what ends that.

    Arguments:
        hear: is called in the thread that reports it, so it must neither wait nor raise.
    """
    global _hearers  # noqa: PLW0603 - the one registry of who hears
    with _changing:
        if not _hearers:
            for place in _PLACES:
                place.wrap()
        _hearers = (*_hearers, hear)

    def listen_no_more() -> None:
        global _hearers  # noqa: PLW0603 - the one registry of who hears
        with _changing:
            left = tuple(one for one in _hearers if one is not hear)
            if _hearers and not left:
                for place in _PLACES:
                    place.unwrap()
            _hearers = left

    return listen_no_more


def runs_through(unhandled: Unhandled, namespaces: frozenset[int]) -> str:
    """Return where an exception came through code of some modules, as `file:line in function`; else an empty text.

    Arguments:
        unhandled: what was reported; what it was raised from counts as well.
        namespaces: the identities of the modules' globals.
    """
    error, trace = unhandled
    for _ in range(_CHAIN):
        place = ""
        for _ in range(_FRAMES):
            if trace is None:
                break
            if id(trace.tb_frame.f_globals) in namespaces:
                code = trace.tb_frame.f_code
                place = f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}"
            trace = trace.tb_next
        if place or error is None:
            return place
        error = _facts["__cause__"].__get__(error) or _facts["__context__"].__get__(error)
        trace = None if error is None else _facts["__traceback__"].__get__(error)
    return ""


def told(error: BaseException | None, where: str) -> str:
    """Return an exception in one line. Never raises, whatever its `__str__` does."""
    if error is None:
        return where
    try:
        text = " ".join(str(error).split())[:200]
    except Exception:  # noqa: BLE001 - it is a stranger's; the type and the place are worth telling all the same
        text = "(its text can't be read)"
    return f"{type(error).__qualname__}: {text} ({where})" if text else f"{type(error).__qualname__} ({where})"


def _begin_anew() -> None:
    global _changing  # noqa: PLW0603 - another thread of the parent may have held it
    _changing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
