"""Code of others that may hang: a thread of its own, a time limit, and asking that thread to stop.

A thread can't be ended from outside. CPython can raise an exception in it at its next bytecode boundary, which ends
pure Python code, an endless loop for example. A thread that waits in C (a lock, a socket, a long computation)
does not get there before the C call returns: it is left behind then.

Guarantees:

- A stop is requested once at most, and only of the worker's own thread while it is there to catch it (`_enter`,
  `_leave`).
- No code of others runs under the lock, which guards a few attributes for the length of a few assignments.

Assumes CPython 3.11 or newer, with or without a GIL. Elsewhere hung threads can't be stopped, and are named.
"""

from __future__ import annotations

import math
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import Protocol, TypeVar

__all__ = [
    "GRACE",
    "Flag",
    "Stopped",
    "Worker",
    "answer_of",
    "can_stop",
    "check_limit",
    "check_wait",
    "forget_stop",
    "is_interrupt",
    "request_stop",
]

T = TypeVar("T")

GRACE = 0.5
"""Seconds that a worker has to end after it was asked to."""

_GLANCE = 0.1
"""Seconds between two looks of a waiting thread at what else concerns it: a cancellation, Ctrl-C, a stop."""


class Stopped(BaseException):
    """Raised in a thread whose time is up. Not an `Exception`, so that ``except Exception`` lets it by.

    Nobody catches it but the thread's own main function. Cleaning up in ``finally`` is welcome; what comes of the work
    afterwards is ignored.
    """


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception may be somebody's Ctrl-C. Only the main thread gets it: elsewhere a program raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


class Worker:
    """A daemon thread for one piece of work, which may hang. Lives as long as the work does.

    Arguments:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread: threading.Thread | None = None
        # Guarded by the lock, because the work and the caller meet here when time is up.
        self._lock = threading.Lock()
        self._given_up = False  # the caller waits no longer: begin nothing new
        self._entered = False  # from here on the thread is ready for a stop
        self._left = False  # from here on it must not be asked any more
        self._over = False  # nothing of the work runs any more
        self._stop_requested = False
        self._afterwards: list[Callable[[], None]] = []

    # --- the caller's side ---

    def start(self, work: Callable[..., object], *arguments: object) -> bool:
        """Begin the work, with a copy of the caller's context variables; False where no thread can be started.

        The work has to catch what it raises, but for `Stopped`.
        """
        arguments = (copy_context(), work, *arguments)
        self.thread = threading.Thread(target=self._main, args=arguments, name=self.name, daemon=True)
        try:
            self.thread.start()
        except RuntimeError:
            # There are no threads on this platform, or the process has as many as it may have.
            self.thread = None
            return False
        return True

    def here(self, context: Context, work: Callable[..., object], *arguments: object) -> None:
        """Do the work in the calling thread, which somebody keeps for such work; it may be asked to stop all the same.

        The work has to catch what it raises, but for `Stopped`.
        """
        self.thread = threading.current_thread()
        self._main(context, work, *arguments)

    def look(self, at: Callable[[FrameType], T]) -> T | None:
        """Return what `at` makes of the frame that the work is in, or None if it is in none.

        The thread can't leave meanwhile, so `at` has to be quick, and must not run code of others.
        """
        with self._lock:
            if self.thread is None or self.thread.ident is None or not self._entered or self._left:
                return None
            # Looked up while the thread can't leave: its identity might be another thread's afterwards.
            frame = sys._current_frames().get(self.thread.ident)
            return None if frame is None else at(frame)

    def give_up(self) -> None:
        """See to it that the work does not begin any more, if it has not begun."""
        with self._lock:
            self._given_up = True

    def join(self) -> bool:
        """Wait a little for the thread to end, and say whether it has."""
        assert self.thread is not None
        if self.thread.ident is None:
            return True  # an interrupt kept it from beginning
        self.thread.join(GRACE)
        return not self.thread.is_alive()

    def ask(self) -> None:
        """Ask the thread to stop, unless it was asked before or has nothing to stop."""
        with self._lock:
            self._given_up = True
            ident = None if self.thread is None else self.thread.ident
            if ident is not None and self._entered and not self._left and not self._stop_requested:
                self._stop_requested = request_stop(ident)

    def fate(self) -> str:
        """Wait a little for the thread to end, and say in words what became of it."""
        return "its thread has ended" if self.join() else f"its thread {self.name!r} is still running"

    def afterwards(self, act: Callable[[], None]) -> None:
        """Have `act` called when nothing of the work runs any more: at once, or in the worker's thread as it ends."""
        with self._lock:
            if not self._over and (self._entered or not self._given_up):
                self._afterwards.append(act)
                return
        act()

    # --- the worker's side ---

    def _main(self, context: Context, work: Callable[..., object], *arguments: object) -> None:
        """The thread. `Stopped` may strike at any bytecode between `_enter` and `_leave`, but only once."""
        try:
            try:
                if self._enter():
                    context.run(work, *arguments)
            finally:
                self._leave()
        except Stopped:
            # It was asked for when nobody waited for an answer any more. It may have struck inside `_leave`; this time
            # nothing can.
            self._leave()
        finally:
            self._end()

    def _enter(self) -> bool:
        """Whether the work shall begin; from here on a stop is caught."""
        with self._lock:
            self._entered = not self._given_up
            return self._entered

    def _leave(self) -> None:
        """Make sure that no stop can be on its way any more when the thread ends.

        A stop that arrives in the interpreter's own code after the thread's function would be printed as a crash; one
        that is requested after the thread's end would hit another thread that got the same identity.
        """
        with self._lock:
            self._left = True
            requested = self._stop_requested
        if requested:
            forget_stop(threading.get_ident())

    def _end(self) -> None:
        with self._lock:
            self._over = True
            acts, self._afterwards = self._afterwards, []
        for act in acts:
            act()


class Flag(Protocol):
    """What a `threading.Event` is to who only asks it."""

    def is_set(self) -> bool:
        """Return whether it is set."""


def answer_of(answers: queue.SimpleQueue[T], seconds: float, cancelled: Flag | None = None) -> T:
    """Wait for an answer. Raises `queue.Empty` when the time is over, or somebody has cancelled meanwhile.

    It looks up ten times a second: a wait that can't be interrupted (Ctrl-C on Windows, a stop of the calling thread)
    would last as long as the limit.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return answers.get(timeout=max(0.0, min(left, _GLANCE)))
        except queue.Empty:
            if left <= _GLANCE or (cancelled is not None and cancelled.is_set()):
                raise


def check_limit(seconds: object, subject: str, thing: str) -> None:
    """Refuse what is no time limit.

    Arguments:
        seconds: what was given.
        subject: what it was given for.
        thing: what would hang without a limit.

    Raises TypeError or ValueError.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{subject}: the time limit must be a number of seconds, not {type(seconds).__qualname__}")
    if not (math.isfinite(seconds) and 0 < seconds <= threading.TIMEOUT_MAX):
        raise ValueError(
            f"{subject}: the time limit must be more than 0 and at most {threading.TIMEOUT_MAX:.0f} "
            f"seconds, not {seconds!r}; {thing} that may hang for ever would hang the rollout"
        )


def check_wait(seconds: object, what: str = "wait") -> None:
    """Refuse what is no time to wait: a number of seconds, 0 and more, or None for ever.

    Raises TypeError or ValueError, which call it as `what` says.
    """
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} must be a number of seconds or None, not {type(seconds).__qualname__}")
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"{what} must be 0 to {threading.TIMEOUT_MAX:.0f} seconds, or None for ever, not {seconds!r}")


def _load() -> Callable[[int, object], int] | None:
    try:
        import ctypes

        # A prototype of our own: the function object `ctypes.pythonapi.PyThreadState_SetAsyncExc` is shared by the
        # whole process, and others may have set its argument types.
        prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)
        function = prototype(("PyThreadState_SetAsyncExc", ctypes.pythonapi))
        nothing = ctypes.py_object()
    except (ImportError, AttributeError, OSError):
        return None

    def set_exception(ident: int, exception: object) -> int:
        return int(function(ident, nothing if exception is None else ctypes.py_object(exception)))

    return set_exception


_set_exception = _load()


def can_stop() -> bool:
    """Whether this interpreter can raise an exception in another thread."""
    return _set_exception is not None


def request_stop(ident: int) -> bool:
    """Have `Stopped` raised in a thread as soon as it runs bytecode; says whether that was possible.

    Arguments:
        ident: the thread's identity. The caller makes sure that the thread is alive: identities are used again.
    """
    return _set_exception is not None and _set_exception(ident, Stopped) == 1


def forget_stop(ident: int) -> None:
    """Take back an exception that was requested for a thread and has not been raised yet.

    CPython 3.11 goes on signalling to all threads that there is something to do, and then a traced or profiled function
    never gets past its first instruction (`tests/cpython` proves it). So one is raised here on purpose, and caught:
    that ends the signal.
    """
    if _set_exception is None:
        return
    _set_exception(ident, None)
    if sys.version_info < (3, 12):
        try:
            _set_exception(threading.get_ident(), Stopped)
            while True:  # until it is raised, which is at the end of the first round
                pass
        except Stopped:
            return
