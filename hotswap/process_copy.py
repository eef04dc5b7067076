"""A copy of the process, in which a patch is rehearsed: how it is made, and whether this is one.

`os.fork` runs the hooks of everybody (`os.register_at_fork`) before it returns. Ours are registered when hotswap is
imported, so those of whoever imports hotswap, or is imported later, run in a copy that is guarded already.

Guarantees: locks that are named are held by the copying thread while the copy is made, so that what they guard is whole
in it; both processes let go of them. The guard runs in the copy before anything that was registered later. Assumes:
nobody who was registered before hotswap waits, in a hook, for one of those locks in another thread.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["can_copy", "copy_process", "copying", "in_children", "rehearsing"]


class _Plan(threading.local):
    """What the hooks do for the thread that is making a copy; nothing for anybody else who forks."""

    locks: Sequence[Any] = ()
    guard: Callable[[], object] | None = None


_plan = _Plan()
_here = threading.Event()
"""Set in a process that is a copy."""


def in_children(method: Callable[[], object]) -> None:
    """Have a method of an object called in each child that is forked, as long as the object lives.

    For locks that another thread may have held, which nobody lets go of there, and for threads that are not there.
    """
    if not hasattr(os, "register_at_fork"):
        return
    weak = weakref.WeakMethod(method)

    def forked() -> None:
        found = weak()
        if found is not None:
            found()

    os.register_at_fork(after_in_child=forked)


def rehearsing() -> bool:
    """Whether the calling code runs in a copy of the process, in which a patch is rehearsed.

    Nothing that happens there is to be seen by anybody else. Code that would be (a request to another service, a file
    that is written) may leave that undone.
    """
    return _here.is_set()


def copying() -> bool:
    """Whether the calling thread is making such a copy just now: hooks of `os.fork` of our own have nothing to do."""
    return _plan.guard is not None


def can_copy() -> bool:
    """Whether this platform can copy a process."""
    return hasattr(os, "fork") and sys.platform not in ("emscripten", "wasi")


def copy_process(locks: Sequence[Any], guard: Callable[[], object]) -> int:
    """Copy this process, with the calling thread and no other; return 0 in the copy, and its id in the original.

    Arguments:
        locks: are held meanwhile. Reentrant ones: hooks of others may come back to what they guard.
        guard: called in the copy, as early as can be. If it raises, the copy ends.

    Raises OSError if there can be no copy. The caller sees to it that the copy never leaves the block that has called.
    """
    _allow_threads()
    _plan.locks, _plan.guard = locks, guard
    try:
        return os.fork()
    finally:
        _plan.locks, _plan.guard = (), None


def _allow_threads() -> None:
    """Have CPython (3.12 and newer) not warn that a process with threads is forked: here it is meant, and handled.

    The filter is for this module alone, and stays. To put the filters back, as `warnings.catch_warnings` does, would
    throw away what another thread has changed meanwhile.
    """
    ours = __name__.replace(".", r"\.")
    if not any(entry[0] == "ignore" and getattr(entry[3], "pattern", None) == ours for entry in warnings.filters):
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=ours)


def _before() -> None:
    for lock in _plan.locks:
        lock.acquire()


def _release() -> None:
    for lock in reversed(_plan.locks):
        lock.release()


def _in_copy() -> None:
    guard = _plan.guard
    if guard is None:
        return
    _here.set()
    try:
        _release()
        guard()
    except BaseException:  # noqa: BLE001 - CPython would print it and go on, with a copy that reaches everything
        os._exit(70)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_release, after_in_child=_in_copy)
