"""Exceptions that nobody handles: heard wherever the interpreter reports them, while a rollout bakes.

| where | which |
|---|---|
| `sys.excepthook` | one that ends the program |
| `threading.excepthook` | one that ends a thread |
| `sys.unraisablehook` | one in a `__del__`, or in a callback of the collector |
| `asyncio.BaseEventLoop.call_exception_handler` | one of a task that nobody awaits, or of a callback |

What is only logged is not heard: somebody has handled it by logging it.

Each place is wrapped, and what stood there before is called as ever. Somebody else may wrap ours meanwhile, or replace
it by one that does not call it: nobody can tell which. So whoever listens has ours put on top again from time to time,
and those that lie below pass everything on. They come off in any order.

Guarantees: hearing never raises, and takes no lock. Assumes: nothing; an exception may be reported in any thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple

from hotswap import walk

__all__ = ["Unhandled", "listen", "listen_on", "of", "runs_through"]

_FRAMES = 2_000
"""Frames of a traceback that are looked at; recursion makes long ones."""

_ALL_FRAMES = 20_000
"""Frames that are looked at altogether: a group may have as many exceptions as there were tasks."""

_EXCEPTIONS = 1_000
"""Exceptions that are looked at: the one that was reported, what is in it, and what it was raised from."""


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
        """That which hears."""
        self._before: list[tuple[Any, Any]] = []
        """Each of ours, and what it calls."""

    def wrap(self) -> None:
        """Have one of ours on top of what stands there."""
        standing = getattr(self._owner, self._name)
        if any(one is standing for one, _ in self._before):  # it may have been put back by who had replaced it
            self._ours = standing
            return

        def ours(*arguments: Any) -> Any:
            if self._ours is ours:  # else it lies below somebody's who did not take it off
                _heard(self._read(*arguments))
            return standing(*arguments)

        ours.__name__ = ours.__qualname__ = self._name
        self._before.append((ours, standing))
        self._ours = ours
        setattr(self._owner, self._name, ours)

    def unwrap(self) -> None:
        """Take ours off; those that lie below somebody else's only pass on."""
        standing = getattr(self._owner, self._name)
        self._ours = None
        for ours, before in self._before:
            if ours is standing:
                setattr(self._owner, self._name, before)
        self._before = []


def _of_program(_: type, error: BaseException, trace: TracebackType | None, *__: object) -> Unhandled:
    return Unhandled(error, trace)


def _of_thread(arguments: Any, *_: object) -> Unhandled:
    return Unhandled(arguments.exc_value, arguments.exc_traceback)


def _of_loop(_: object, context: Any, *__: object) -> Unhandled:
    error = context.get("exception")
    return Unhandled(None, None) if error is None else of(error)


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


def listen_on() -> None:
    """Have ours on top again wherever somebody else has put in another, which may not call ours."""
    with _changing:
        if _hearers:
            for place in _PLACES:
                place.wrap()


def of(error: BaseException) -> Unhandled:
    """Return an exception as it would have been reported where it was raised last."""
    return Unhandled(error, walk.trace_of(error))


def runs_through(
    unhandled: Unhandled,
    namespaces: frozenset[int],
    *,
    own: CodeType | None = None,
    kinds: tuple[type[BaseException], ...] = (Exception,),
) -> str:
    """Return which exception came through code of some modules, as `kind: text (file:line in function)`; else "".

    So does one that says that one of the modules does not have a name, though none of its code has run.

    What counts is the exception that was reported, those that are in it if it is a group, and those that any of them
    was raised from, or while handling which it was raised. An interrupt is no fault of the code that it comes through,
    nor is a cancellation, unless an exception was raised from it: a time limit was over.

    Arguments:
        unhandled: what was reported.
        namespaces: the identities of the modules' globals.
        own: code that does not count, wherever it is, nor what is defined in it.
        kinds: of exceptions that count.
    """
    waiting, seen = deque([(unhandled, False)]), {id(unhandled.error)}
    frames = _ALL_FRAMES
    while waiting and frames > 0:
        (error, trace), is_cause = waiting.popleft()
        place, looked = _place(trace, namespaces, own, min(frames, _FRAMES))
        frames -= looked
        place = place or _asked(error, trace, namespaces, own)
        if place and (error is None or is_cause or issubclass(type(error), kinds)):
            told = _told(error, place)
            return told if error is unhandled.error else f"{told}, reported as {_told(unhandled.error)}"
        for one, is_cause in _led_to(error):
            if id(one) not in seen and len(seen) < _EXCEPTIONS:
                seen.add(id(one))
                waiting.append((of(one), is_cause))
    return ""


def _led_to(error: BaseException | None) -> Iterator[tuple[BaseException, bool]]:
    """What is in an exception or has led to it, and whether it was raised from that."""
    if error is None:
        return
    if (cause := _facts["__cause__"].__get__(error)) is not None:
        yield cause, True
    yield from ((one, False) for one in walk.members_of(error))
    if (context := _facts["__context__"].__get__(error)) is not None:
        yield context, False


def _place(trace: TracebackType | None, namespaces: frozenset[int], own: CodeType | None, most: int) -> tuple[str, int]:
    """The innermost line of some modules in a traceback, and how many frames of it were looked at."""
    place, looked = "", 0
    while trace is not None and looked < most:
        code = trace.tb_frame.f_code
        if id(trace.tb_frame.f_globals) in namespaces and not _is_of(code, own):
            place = f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}"
        trace, looked = trace.tb_next, looked + 1
    return place, looked


def _asked(
    error: BaseException | None, trace: TracebackType | None, namespaces: frozenset[int], own: CodeType | None
) -> str:
    """Words for an exception that says that one of some modules does not have a name; "" for any other.

    Nothing of the modules has run then: a function is gone that code which stays calls. It tells nothing if it is our
    own code that asks, which may have misspelt the name.
    """
    if issubclass(type(error), AttributeError):
        module = vars(AttributeError)["obj"].__get__(error)
    elif issubclass(type(error), ImportError):
        name = vars(ImportError)["name"].__get__(error)
        module = sys.modules.get(name) if type(name) is str else None
    else:
        return ""
    if not issubclass(type(module), ModuleType):
        return ""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and _is_of(trace.tb_frame.f_code, own):
        return ""
    return "asked of the patch" if id(ModuleType.__getattribute__(module, "__dict__")) in namespaces else ""


def _is_of(code: CodeType, own: CodeType | None) -> bool:
    """Whether code is this one, or defined in it."""
    if own is None or code.co_filename != own.co_filename:
        return False
    return f"{code.co_qualname}.<locals>.".startswith(f"{own.co_qualname}.<locals>.")


def _told(error: BaseException | None, where: str = "") -> str:
    """An exception in one line. Never raises, whatever its `__str__` does."""
    if error is None:
        return where
    try:
        text = " ".join(str(error).split())[:200]
    except Exception:  # noqa: BLE001 - it is a stranger's; the type and the place are worth telling all the same
        text = "(its text can't be read)"
    told = f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
    return f"{told} ({where})" if where else told


def _begin_anew() -> None:
    global _changing  # noqa: PLW0603 - another thread of the parent may have held it
    _changing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
