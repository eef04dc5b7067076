"""The garbage collector, switched off for as long as somebody of ours needs it off.

A collection in the middle of a swap would run finalizers there, and one of the whole heap would stop every thread for
as long as the heap is large. So it is off while a candidate is loaded, while a swap is prepared, and in the commit;
what was made meanwhile is collected afterwards, when the program next makes objects.

Guarantees: blocks may overlap in several threads; when the last one ends, the collector is on again if the program had
it on. Assumes: nobody else switches it meanwhile; who does gets what he asked for. Any interpreter.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_wanted", "switched_off"]


class _Switch:
    def __init__(self) -> None:
        # Reentrant: a collection that begins while it is held may run a finalizer that comes here.
        self._lock = threading.RLock()
        self._holders = 0
        self._wanted = True

    @property
    def wanted(self) -> bool:
        with self._lock:
            return self._wanted if self._holders else gc.isenabled()

    def hold(self) -> None:
        with self._lock:
            if not self._holders:
                self._wanted = gc.isenabled()
            gc.disable()
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders and self._wanted:
                gc.enable()


_switch = _Switch()


def is_wanted() -> bool:
    """Whether the program has the collector on, whatever we did to it for the moment."""
    return _switch.wanted


@contextmanager
def switched_off() -> Iterator[None]:
    """Have the collector off in this block."""
    _switch.hold()
    try:
        yield
    finally:
        _switch.release()
