"""Exits: how this process ends, as far as that can be known from inside, while something is on trial in it.

    it ends by                                         known by                                 it
    the last line of the program                       the outermost frame has returned         ended in good order
    `sys.exit(0)`, `exit(0)`, `os._exit(0)`            what was given to them                   ended in good order
    Ctrl+C                                             `sys.last_value`                         ended in good order
    SIGTERM, whoever handles it                        a note that is left when it comes        was stopped
    `sys.exit(1)`, `os._exit(1)`, an exception         the same, `sys.last_value`               died
    SIGKILL, SIGSEGV, SIGABRT                          nothing is known                         died
    `raise SystemExit(...)`                            nothing is known of its status           died

CPython lets go of the `SystemExit` that ends a program before its exit handlers run, so the status is noted when
`sys.exit` is called. A `SystemExit` that somebody raises by himself leaves no trace but an outermost frame that has not
returned: that is taken for a death, as a crash loop is worse than a patch that has to be released.

SIGTERM kills a process that does not handle it without running any Python. So `faulthandler` listens: it writes where
the thread was into the file on which this process holds its lock, and lets the signal go its way: to the handler that
was there before, or to the default action, with the same exit status. It needs no main thread, and a program that is
busy in C code is stopped as fast as ever.

Guarantees: nothing is left in place when nothing is on trial any more; what was put over ours meanwhile stays. Assumes:
nobody else has `faulthandler` listen to SIGTERM: it knows one file for each signal.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from opcode import opmap
from types import FrameType
from typing import Any

from hotswap import frames

__all__ = ["begin", "end_in_good_order", "forget", "ignore", "listen", "note_status", "over", "tell_failure", "told_by"]

_ENDED = b"ended\n"

_RETURNS = {code for name, code in opmap.items() if name in ("RETURN_VALUE", "RETURN_CONST")}


class _Exits:
    """What is watched of how this process ends. There is one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.trials: dict[str, int] = {}
        """The rollouts that are on trial, each with the handle of the file in which to note how the process ended."""
        self.status: object = _UNKNOWN
        self.outermost: FrameType | None = None
        self.undo: list[Callable[[], None]] = []
        self.listeners: list[Callable[[BaseException | None, bool], None]] = []
        self.listens: tuple[int, object] | None = None
        """The handle into which SIGTERM is noted, and who handled it when that began."""

    def install(self) -> None:
        """Watch as long as something is on trial, and not longer."""
        if self.trials and not self.undo:
            self.status, self.outermost = _UNKNOWN, _outermost()
            self.undo = [_wrapped(sys, "exit", note_status), _wrapped(os, "_exit", _note_hard)]
            with suppress(ImportError, AttributeError):  # a Python without `site` has no `exit` and `quit`
                from _sitebuiltins import Quitter

                self.undo.append(_wrapped(Quitter, "__call__", lambda _, status=None: note_status(status)))
        elif not self.trials:
            while self.undo:
                self.undo.pop()()
            self.outermost = None
        self._listen(next(iter(self.trials.values()), None))

    def _listen(self, handle: int | None) -> None:
        """Have SIGTERM noted into a file, or no more."""
        before = self.listens
        if (None if before is None else before[0]) == handle:
            return
        try:
            import faulthandler

            register, unregister = faulthandler.register, faulthandler.unregister
        except (ImportError, AttributeError):  # on Windows nobody sends a SIGTERM
            return
        handler = signal.getsignal(signal.SIGTERM)
        if handle is not None:
            if handler is None or handler == signal.SIG_IGN:
                return  # somebody's C code handles it, of which Python knows nothing; or it stops nobody
            register(signal.SIGTERM, handle, all_threads=False, chain=True)
            self.listens = handle, handler
        elif before is not None and handler == before[1]:
            unregister(signal.SIGTERM)
            self.listens = None
        else:
            # Somebody handles it by now. To undo ours would put what was before over that, and it is not called now.
            self.listens = None


_UNKNOWN: object = object()
_exits = _Exits()


def begin(trial: str, handle: int) -> None:
    """Watch how this process ends: a rollout is on trial.

    Arguments:
        trial: its id.
        handle: of the file in which to note how it ended. It stays open until `over`, `forget` or the end.
    """
    with _exits.lock:
        _exits.trials.setdefault(trial, handle)
        _exits.install()


def over(trial: str) -> None:
    """The trial of a rollout is over."""
    with _exits.lock:
        if _exits.trials.pop(trial, None) is not None:
            _exits.install()


def forget() -> None:
    """Watch no more."""
    _exits.lock = threading.Lock()  # another thread of the parent may have held it
    _exits.trials.clear()
    _exits.listeners.clear()
    _exits.install()


def listen(listener: Callable[[BaseException | None, bool], None]) -> None:
    """Have a function called when this process is about to fail, as long as something is on trial.

    Arguments:
        listener: gets what it dies of, or what is handled while `sys.exit` or `os._exit` is called; None where nothing
            is known; and whether the end is certain: `sys.exit` may be called, and caught. Raises nothing.
    """
    _exits.listeners.append(listener)


def ignore(listener: Callable[[BaseException | None, bool], None]) -> None:
    """Have a function called no more."""
    with suppress(ValueError):
        _exits.listeners.remove(listener)


def tell_failure(error: BaseException | None, *, over: bool) -> None:
    """Tell those who listen that this process is about to fail; arguments as theirs."""
    for listener in list(_exits.listeners):
        listener(error, over)


def note_status(status: object = None) -> None:
    """Note the status with which this process is about to end, if it is the main thread that says so."""
    if threading.get_ident() == threading.main_thread().ident:
        _exits.status = status
        if not _is_success(status):
            tell_failure(sys.exc_info()[1], over=False)


def _note_hard(status: object) -> None:
    """Note that this process ends at once. No exit handler runs any more, and locks may be held: so it is one write."""
    if not _is_success(status):
        tell_failure(sys.exc_info()[1], over=True)
    if _is_success(status):
        for handle in {*_exits.trials.values()}:
            with suppress(OSError):  # without the note it looks as if it had died
                os.write(handle, _ENDED)


def end_in_good_order() -> bool:
    """Return whether the process, whose exit handlers run, ends in good order."""
    died_of, frame = getattr(sys, "last_value", None), _exits.outermost
    if frame is not None and frame.f_code.co_code[frame.f_lasti] in _RETURNS:
        return True
    if died_of is not None:
        return isinstance(died_of, KeyboardInterrupt)
    if frame is None:  # nothing is on trial; or Python is a guest here, and its host says when to end
        return True
    # While the frame runs, it is a forked child that calls the handlers by itself: it goes on to `os._exit`.
    return not _runs(frame) and _is_success(_exits.status)


def told_by(note: bytes) -> str | None:
    """Return how a process has ended that left a note: `ended`, `stopped`, or None where it left none."""
    if not note:
        return None
    return "ended" if note.endswith(_ENDED) else "stopped"


def _is_success(status: object) -> bool:
    return status is None or (isinstance(status, int) and status == 0)


def _outermost() -> FrameType | None:
    """The frame in which the main program runs; None where Python is a guest in another program."""
    stack = frames.stacks().get(threading.main_thread().ident or 0, [])
    frame = stack[-1] if stack else None
    stack.clear()
    # Any other frame would keep what is local in it alive.
    ours = frame is not None and (frame.f_code.co_name == "<module>" or frame.f_globals.get("__name__") == "runpy")
    return frame if ours else None


def _runs(frame: FrameType) -> bool:
    current: FrameType | None = sys._getframe()
    while current is not None and current is not frame:
        current = current.f_back
    return current is frame


def _wrapped(owner: Any, name: str, note: Callable[..., None]) -> Callable[[], None]:
    """Have what a function is given noted before it is called; return the undo of that."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **named: Any) -> Any:
        with suppress(TypeError):  # what can't be called so is told by the function itself
            note(*args, **named)
        return original(*args, **named)

    def undo() -> None:
        if getattr(owner, name) is wrapper:  # else somebody has wrapped ours
            setattr(owner, name, original)

    setattr(owner, name, wrapper)
    return undo


_held_back: dict[int, set[int | signal.Signals]] = {}
"""Threads that are forking -> the signals that they did not get before."""


def _hold_back() -> None:
    """Have SIGTERM wait while the process forks: the child would note its own into the file of its parent."""
    if _exits.listens is not None:
        _held_back[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_go() -> None:
    mask = _held_back.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forked() -> None:
    forget()  # on trial in a child is what it begins itself
    _let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_back, after_in_parent=_let_go, after_in_child=_forked)
