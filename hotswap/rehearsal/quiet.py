"""What a copy of the process has from the original and must not use: handlers of signals and logs, the event loop."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
from contextlib import suppress
from typing import IO, Any

__all__ = ["hush"]

_FATAL = ("SIGXCPU",)
"""Signals at which the stack of each thread is written, besides those of a crash, before they end the process."""


def hush(stacks: IO[bytes]) -> None:
    """Have the copy call nothing of what the original has registered with the system, and write down how it ends.

    Arguments:
        stacks: the file into which stacks are written when the process is ended by a signal.
    """
    _signals()
    _logs()
    # Nothing runs the loop of the original here. What asks for a running one must not get it.
    asyncio._set_running_loop(None)
    asyncio.set_event_loop(None)
    faulthandler.enable(stacks, all_threads=True)
    for name in _FATAL:
        faulthandler.register(getattr(signal, name), stacks, all_threads=True, chain=True)


def _signals() -> None:
    """Whatever the service does at a signal (shut down, read its configuration, rotate a log), a copy does not."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with suppress(OSError, ValueError):
            if callable(signal.getsignal(number)) and number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _logs() -> None:
    """Handlers that are there get nothing: one may rename a file, another open a connection. New ones work."""
    logger: Any
    for logger in (logging.root, *list(logging.root.manager.loggerDict.values())):
        for handler in getattr(logger, "handlers", ()):
            handler.level = sys.maxsize
    if logging.lastResort is not None:
        logging.lastResort.level = sys.maxsize
