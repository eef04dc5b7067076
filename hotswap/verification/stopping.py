"""Asking a thread to stop, by an exception that the interpreter raises in it.

A thread can't be ended from outside. CPython can raise an exception in it at its next bytecode boundary, which ends
pure Python code, an endless loop for example. A thread that waits in C (a lock, a socket, a long computation)
does not get there before the C call returns.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CheckStopped", "can_stop", "forget_stop", "request_stop"]


class CheckStopped(BaseException):
    """Raised in the thread of a check whose time is up. Not an `Exception`, so that ``except Exception`` lets it by.

    Nobody catches it but the thread's own main function. Cleaning up in ``finally`` is welcome; what the check
    returns afterwards is ignored.
    """


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
    """Have `CheckStopped` raised in a thread as soon as it runs bytecode; says whether that was possible.

    Arguments:
        ident: the thread's identity. The caller makes sure that the thread is alive: identities are used again.
    """
    return _set_exception is not None and _set_exception(ident, CheckStopped) == 1


def forget_stop(ident: int) -> None:
    """Take back an exception that was requested for a thread and has not been raised yet."""
    if _set_exception is not None:
        _set_exception(ident, None)
