"""Settings of the process: values that a module body sets by a function or as an attribute of a module.

Each is read before and after loading. A difference is put back, made again at the commit, and taken back by a
rollback, unless somebody has set something else since. Who set it is not known: another thread of the service may have.
But what only the main thread can set is not the candidate's if its module bodies run in another one: a service that
starts an event loop just then (`asyncio.run` sets the handler of SIGINT) is in nobody's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import locale
import logging
import os
import signal
import socket
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hotswap import depth
from hotswap.effects.facts import Deed, Outcome

__all__ = ["Settings"]

_UNKNOWN: Any = object()
"""What can't be read is not compared."""

_PLAIN = (int, float, str, bool, type(None))


class Spot(NamedTuple):
    """Where a setting stands: how it is called, read and written."""

    kind: str
    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    main_thread: bool = False


def _attribute(kind: str, module: Any, name: str, title: str = "") -> Spot:
    where = title or f"{module.__name__}.{name}"
    return Spot(kind, where, lambda: getattr(module, name), lambda value: setattr(module, name, value))


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text, as `os.chdir` takes it back
    except OSError:
        return None  # it was deleted


def _change_directory(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


def _umask() -> Any:
    """The mask, where it can be read without setting it: setting it for a moment would concern other threads."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.partition(":")[2], 8)
    return _UNKNOWN


def _threshold(number: int) -> int:
    return gc.get_threshold()[number]


def _change_threshold(number: int, value: int) -> None:
    wanted = [*gc.get_threshold()]
    wanted[number] = value
    gc.set_threshold(*wanted)


def _policy() -> Any:
    events = asyncio.events
    # It is made when somebody asks for it first, and has the loops of threads since: it must not be taken away again.
    make = getattr(events, "_init_event_loop_policy", None)
    if make is not None and getattr(events, "_event_loop_policy", _UNKNOWN) is None:
        make()
    return getattr(events, "_event_loop_policy", _UNKNOWN)


def _change_policy(policy: Any) -> None:
    vars(asyncio.events)["_event_loop_policy"] = policy  # the function for it warns from CPython 3.14 on


def _start_method() -> str | None:
    """How processes are started; None: as they are if nobody says it. Nothing is imported for it.

    Whoever makes a pool has `multiprocessing` note the usual way: that is no setting of anybody's.
    """
    module = sys.modules.get("multiprocessing")
    said = None if module is None else module.get_start_method(allow_none=True)
    return None if module is None or said == module.get_all_start_methods()[0] else said


def _change_start_method(method: str | None) -> None:
    module = sys.modules.get("multiprocessing")
    if module is not None:
        module.set_start_method(method, force=True)


def _change_faulthandler(enabled: bool) -> None:
    faulthandler.enable() if enabled else faulthandler.disable()


def _traced_frames() -> int:
    return tracemalloc.get_traceback_limit() if tracemalloc.is_tracing() else 0


def _trace_frames(number: int) -> None:
    tracemalloc.stop()
    if number:
        tracemalloc.start(number)


def _spots() -> Iterator[Spot]:
    yield Spot("settings", "the recursion limit", depth.limit, depth.set_limit)
    yield Spot("settings", "the switch interval", sys.getswitchinterval, sys.setswitchinterval)
    yield Spot("settings", "the default time limit of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout)
    yield Spot("settings", "the limit of digits", sys.get_int_max_str_digits, sys.set_int_max_str_digits)
    for number in range(len(gc.get_threshold())):
        read, write = partial(_threshold, number), partial(_change_threshold, number)
        yield Spot("settings", f"threshold {number} of the garbage collector", read, write)
    yield Spot("settings", "the working directory", _directory, _change_directory)
    yield Spot("settings", "the umask", _umask, os.umask)
    # All categories at once: the C library has more of them than Python has names for.
    locales: Callable[..., str] = partial(locale.setlocale, locale.LC_ALL)
    yield Spot("settings", "the locale", locales, locales)
    yield Spot("settings", "the policy of event loops", _policy, _change_policy)
    yield Spot("settings", "the start method of multiprocessing", _start_method, _change_start_method)
    yield Spot("settings", "faulthandler", faulthandler.is_enabled, _change_faulthandler)
    yield Spot("settings", "the number of frames that tracemalloc keeps", _traced_frames, _trace_frames)
    yield from (_attribute("hooks", sys, name) for name in ("excepthook", "displayhook", "unraisablehook"))
    yield from (_attribute("hooks", sys, name) for name in ("stdin", "stdout", "stderr"))
    yield _attribute("hooks", sys, "breakpointhook")
    yield _attribute("hooks", threading, "excepthook")
    yield Spot("hooks", "threading.settrace", threading.gettrace, threading.settrace)
    yield Spot("hooks", "threading.setprofile", threading.getprofile, threading.setprofile)
    yield _attribute("warnings", warnings, "showwarning")
    yield _attribute("warnings", warnings, "formatwarning")
    yield Spot("logging", "the logger class", logging.getLoggerClass, logging.setLoggerClass)
    yield Spot("logging", "the record factory", logging.getLogRecordFactory, logging.setLogRecordFactory)
    yield Spot("logging", "logging.disable", lambda: logging.root.manager.disable, logging.disable)
    for number in sorted(getattr(signal, "valid_signals", set)()):
        title = f"the handler of signal {getattr(number, 'name', number)}"
        yield Spot("signals", title, partial(signal.getsignal, number), partial(_handle, number), main_thread=True)


def _handle(number: signal.Signals, handler: Any) -> None:
    if handler is not None:  # None stands for a handler that was not set from Python, and can't be
        signal.signal(number, handler)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same; only plain ones are compared by `==`, which may be anybody's code."""
    return one is other or (type(one) is type(other) and type(one) in _PLAIN and bool(one == other))


class Settings:
    """The settings as they were before loading."""

    def __init__(self) -> None:
        self._by_main = False
        self._before = [(spot, spot.read()) for spot in _spots()]

    def run_here(self) -> None:
        """Note that module bodies run in the calling thread."""
        self._by_main = self._by_main or threading.current_thread() is threading.main_thread()

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        found: list[Deed] = []
        for spot, before in self._before:
            if spot.main_thread and not self._by_main:
                continue
            now = spot.read()
            if before is not _UNKNOWN and now is not _UNKNOWN and not _same(before, now):
                deed = _Setting(spot, now)
                try:
                    spot.write(before)
                except (OSError, ValueError, TypeError, RuntimeError) as error:
                    deed.what += f", which can't be put back: {error}"
                    deed.outcome = Outcome.LEFT
                found.append(deed)
        return found


class _Setting(Deed):
    def __init__(self, spot: Spot, after: Any) -> None:
        value = f" to {after!r}" if type(after) in _PLAIN else ""
        super().__init__(spot.kind, f"sets {spot.name}{value}", Outcome.UNDONE)
        if spot.main_thread:
            self.what += ", which was put back: only the main thread can set it, and a commit is made in another one"
            self.outcome = Outcome.LEFT
        self._spot, self._after = spot, after
        self._made: list[tuple[Any, Any]] = []

    def make(self, living: Callable[[Any], Any]) -> None:
        if self.outcome is Outcome.LEFT:
            return
        there, wanted = self._spot.read(), living(self._after)
        self._spot.write(wanted)
        self._made.append((there, self._spot.read()))  # a switch interval is rounded

    def take_back(self) -> None:
        while self._made:
            there, wanted = self._made.pop()
            if _same(self._spot.read(), wanted):
                self._spot.write(there)
