"""Threads for tests of races: they take the same step again and again while a block is executed.

While something is staged they pause a moment after each step: at a switch interval of a microsecond staging would take
minutes, and there is nothing to race with.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

import hotswap.swap.writes
from hotswap import walk
from hotswap.swap.junctions import Junction
from hotswap.testing import ManualClock
from tests.waiting import until

THREADS = 2
EAGERLY = 1e-6
"""Seconds after which a thread gives way while it races."""

PAUSE = 0.001
"""Seconds between two steps otherwise."""


def forks_go(within: float = 10.0) -> bool:
    """Wait until no fork stands, and return whether it is so: what has drained is settled in a thread.

    Arguments:
        within: seconds to wait.
    """
    return bool(until(lambda: not walk.forked, within))


def over(clock: ManualClock) -> bool:
    """Let time go by until nothing old is in flight, and return whether it is so.

    More than once: what somebody holds is looked for ever more seldom, and a circle does until it is collected.
    """
    return bool(until(lambda: clock.advance(600) >= 0 and not Junction.in_flight))


def settles(clock: ManualClock) -> bool:
    """Let time go by until nothing old is in flight and no fork stands, and return whether it is so."""
    return over(clock) and forks_go()


def minute(clock: ManualClock) -> None:
    """Let a minute go by, and what has drained by then be settled: that is done in a thread."""
    clock.advance(60)
    time.sleep(0.01)


class Crowd:
    """Threads that do something until the block is left.

    Arguments:
        works: what each of them does, until `over` is set.
    """

    def __init__(self, works: Iterable[Callable[[], None]]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


class Repeaters:
    """Threads that call `step` with their number until the block is left; a step that returns False ends its thread."""

    def __init__(self, step: Callable[[int], bool]) -> None:
        self._step = step
        self._stop = False
        self._races = threading.Event()
        self._awaited = False
        self._stepped = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(THREADS)]

    def _run(self, index: int) -> None:
        step = self._step
        while not self._stop and step(index):
            if self._awaited:
                self._stepped.release()
            if not self._races.is_set():
                self._races.wait(PAUSE)

    def _wait_for_steps(self) -> None:
        """Wait until whole steps were taken, or all threads have ended.

        Not one of each thread: where they need the same lock, as that of a module they import, one may wait long.
        """
        self._stepped = threading.Semaphore(0)
        self._awaited = True
        taken = 0
        while taken < 2 * THREADS and any(thread.is_alive() for thread in self._threads):  # some had begun before
            taken += self._stepped.acquire(timeout=0.1)
        self._awaited = False

    @contextmanager
    def racing(self) -> Iterator[None]:
        """Have the threads go on without a pause, and all threads give way eagerly, as long as the block lasts.

        They take steps before it begins, and some more after it.
        """
        self._races.set()
        try:
            with switching(EAGERLY):
                self._wait_for_steps()
                yield
                self._wait_for_steps()
        finally:
            self._races.clear()

    @contextmanager
    def racing_with_commits(self) -> Iterator[None]:
        """Have the threads race where a commit makes its writes, as long as the block lasts."""
        write = vars(hotswap.swap.writes)["deque"]

        def racing(*arguments: Any, **options: Any) -> Any:
            with self.racing():
                return write(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hotswap.swap.writes, "deque", racing)
            yield

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        for thread in self._threads:
            thread.join()


class Readers(Repeaters):
    """Threads that take snapshots and keep those that are torn: not all of their values are the same.

    Attributes:
        read: how many snapshots each thread took.
        torn: the torn ones.
        seen: the first value of each.
    """

    def __init__(self, snapshot: Callable[[], tuple[Any, ...]]) -> None:
        super().__init__(self._read)
        self._snapshot = snapshot
        self.read = [0] * THREADS
        self.torn: list[tuple[Any, ...]] = []
        self.seen: set[Any] = set()

    def _read(self, index: int) -> bool:
        seen = self._snapshot()
        self.read[index] += 1
        if seen.count(seen[0]) != len(seen):
            self.torn.append(seen)
        self.seen.add(seen[0])
        return True


@contextmanager
def switching(interval: float) -> Iterator[None]:
    """Have threads give way after that many seconds, as long as the block lasts."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
