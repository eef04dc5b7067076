"""One candidate is loaded at a time in a process, whatever patchers there are.

What module bodies do to the process is told by looks before and after: of two that run at once, each would be blamed
for what the other one does. So it would be for what we do meanwhile with functions that it has made.

Guarantees: who waits goes on as soon as the other has ended, or is cancelled. Code that is loaded, and has another
patcher load something, does not wait for itself. A child that is forked meanwhile waits for nobody. Who does not wait
is told when it has ended. Assumes: whoever loads has a limit of time of his own.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

__all__ = ["alone", "between_loads"]

_GLANCE = 0.1
"""Seconds between two looks at whether who waits is cancelled."""

_turn = threading.Lock()
_has_it: ContextVar[bool] = ContextVar("hotswap_loads", default=False)
"""Is copied to the thread in which module bodies run."""
_afterwards: deque[Callable[[], object]] = deque()
"""What is called when somebody has had the turn."""


@contextmanager
def alone(cancelled: threading.Event) -> Iterator[None]:
    """Wait for the turn, and have it in the block. If the caller is cancelled meanwhile, the block runs without it.

    Arguments:
        cancelled: once it is set, what is in the block ends at once by itself.
    """
    if _has_it.get():
        yield
        return
    turn = _turn
    while not (taken := turn.acquire(timeout=_GLANCE)) and not cancelled.is_set():
        pass
    token = _has_it.set(True)
    try:
        yield
    finally:
        _has_it.reset(token)
        if taken:
            _release(turn)


@contextmanager
def between_loads(afterwards: Callable[[], object]) -> Iterator[bool]:
    """Have the turn in the block, so that no candidate is loaded meanwhile, or say that somebody else has it.

    Arguments:
        afterwards: is called, in whatever thread that is, when he has ended. It must not wait, nor raise.
    """
    _afterwards.append(afterwards)  # before it is asked: that may be in between
    turn = _turn
    taken = turn.acquire(blocking=False)
    if taken:
        with suppress(ValueError):  # it has been called already
            _afterwards.remove(afterwards)
    try:
        yield taken
    finally:
        if taken:
            _release(turn)


def _release(turn: threading.Lock) -> None:
    turn.release()
    while _afterwards:
        with suppress(IndexError):  # another thread has taken it
            _afterwards.popleft()()


def _renew() -> None:
    global _turn  # noqa: PLW0603 - whoever had it is not there
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
