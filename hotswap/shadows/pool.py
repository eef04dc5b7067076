"""The pool: a few threads that do shadow work, each piece within a time limit.

Guarantees: whoever puts something in never waits. A piece of work whose time is up is told so once, and its thread is
asked to end it, as `hotswap.stopping` says; the thread goes on with the next one. One that waits in C for ever keeps
its thread, so that there are never more threads than at the beginning. No code of others runs under the lock.

Assumes: whoever puts something in bounds how much waits.
"""

from __future__ import annotations

import queue
import threading
from contextvars import Context
from typing import Protocol

from hotswap import clock
from hotswap.stopping import Worker

__all__ = ["Pool", "Work"]


class Work(Protocol):
    """A piece of work."""

    context: Context

    def work(self) -> None:
        """Do it; called in its context, within the time limit. It catches what it raises, but for `Stopped`."""

    def overdue(self) -> None:
        """Note that its time is up; called by another thread."""

    def ended(self) -> None:
        """Note that it has ended, one way or another; called in the thread, outside of its context and time limit."""


class _Turn:
    """A piece of work that a thread is at."""

    def __init__(self, work: Work, due: float) -> None:
        self.work, self.due = work, due
        self.worker = Worker("hotswap shadow")


class Pool:
    """Threads for the shadow of one function. Lives until `end`.

    Arguments:
        name: of the threads.
        threads: how many there are.
        timeout: seconds that a piece of work may take.
    """

    def __init__(self, name: str, threads: int, timeout: float) -> None:
        self._timeout = timeout
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._main, name=f"{name} {number}", daemon=True)
            for number in range(1, threads + 1)
        ]
        self._lock = threading.Lock()
        self._turns: set[_Turn] = set()
        self._alarm: clock.Alarm | None = None
        self._ended = False

    def start(self) -> None:
        """Start the threads. Raises RuntimeError where none can be started; none is left then."""
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.end()
            raise

    def put(self, work: Work) -> None:
        """Have something done, unless it has ended."""
        self._queue.put(work)
        if self._ended:  # perhaps in this very moment: work holds the candidate, and nobody would take it out
            self._clear()

    def end(self) -> None:
        """Have the threads end; what they are at goes on for as long as it may, and what waits is not begun."""
        self._ended = True
        self._clear()
        with self._lock:
            if self._alarm is not None and not self._turns:
                self._alarm.cancel()
                self._alarm = None

    def _clear(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            for _ in self._threads:
                self._queue.put(None)

    def _main(self) -> None:
        while (work := self._queue.get()) is not None:
            turn = _Turn(work, clock.now() + self._timeout)
            self._begin(turn)
            try:
                turn.worker.here(work.context, work.work)
            finally:
                self._over(turn)
            work.ended()
            del work, turn

    def _begin(self, turn: _Turn) -> None:
        with self._lock:
            self._turns.add(turn)
            if self._alarm is None:
                self._alarm = clock.after(self._timeout, self._look)

    def _over(self, turn: _Turn) -> None:
        with self._lock:
            self._turns.discard(turn)

    def _look(self) -> None:
        """See whose time is up. One alarm is set for all threads: calls are many, and few of them are late."""
        with self._lock:
            now = clock.now()
            late = [turn for turn in self._turns if turn.due <= now]
            self._turns.difference_update(late)
            due = min((turn.due for turn in self._turns), default=None)
            self._alarm = None if due is None else clock.after(max(0.0, due - now), self._look)
        for turn in late:
            turn.work.overdue()
            turn.worker.ask()
