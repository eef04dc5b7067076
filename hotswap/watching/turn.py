"""The turn: one pass over the directory at a time.

Guarantees: who has the turn is the only one; whoever asks for it from within (a check that calls `scan`) is refused and
never waits for itself. The condition is held for moments: no user code runs and no file is touched under it.
Assumes nothing. It is not a lock that anything but a pass, `stop`, or a fork waits for.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator

from hotswap.errors import BusyError

__all__ = ["Turn"]

_held: contextvars.ContextVar[object] = contextvars.ContextVar("hotswap.watching.turn", default=None)


class Turn:
    """Who makes a pass over a directory; lives as long as its watch.

    `changed` is told whenever the turn is given back, and whenever its owner says that something has become known.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._holder: object | None = None
        self._thread: int | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the turn for as long as the block lasts; wait for it as long as it takes."""
        holder = self.take(None)
        token = _held.set(holder)
        try:
            yield
        finally:
            _held.reset(token)
            self.give_back(holder)

    def take(self, timeout: float | None) -> object | None:
        """Take the turn; None where that took too long. `give_back` has to follow."""
        holder = object()
        with self.changed:
            if not self.changed.wait_for(lambda: self._holder is None, timeout):
                return None
            self._holder, self._thread = holder, threading.get_ident()
        return holder

    def hold(self, timeout: float) -> object | None:
        """Take the turn, unless the caller has it: None then, and where that took too long."""
        return None if self.inside() else self.take(timeout)

    def renew(self) -> None:
        """Begin anew in a forked child, where nobody has the turn and nobody holds a lock."""
        self.changed = threading.Condition()
        self._holder = self._thread = None

    def give_back(self, holder: object) -> None:
        """Give the turn back, if this is who has it."""
        with self.changed:
            if holder is not None and self._holder is holder:
                self._holder = self._thread = None
                self.changed.notify_all()

    def inside(self) -> bool:
        """Whether the caller has the turn, or runs in a context of whoever has it."""
        return self._holder is not None and (self._holder is _held.get() or self._thread == threading.get_ident())

    def refuse_inside(self, what: str) -> None:
        """Raise BusyError for who has the turn."""
        if self.inside():
            raise BusyError(f"{what}() was called from within a rollout of the same watch, and would wait for itself")

    def wait_until_free(self) -> None:
        """Wait until nobody has it."""
        with self.changed:
            self.changed.wait_for(lambda: self._holder is None)
