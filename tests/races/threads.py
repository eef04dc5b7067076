"""Threads for tests of races: they take the same step again and again while a block is executed.

While something is staged they pause a moment after each step: at a switch interval of a microsecond staging would take
minutes, and there is nothing to race with.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

import hotswap.swap.plan

THREADS = 2
EAGERLY = 1e-6
"""Seconds after which a thread gives way while it races."""

PAUSE = 0.001
"""Seconds between two steps otherwise."""


class Repeaters:
    """Threads that call `step` with their number until the block is left; a step that returns False ends its thread."""

    def __init__(self, step: Callable[[int], bool]) -> None:
        self._step = step
        self._stop = False
        self._races = False
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(THREADS)]

    def _run(self, index: int) -> None:
        step = self._step
        while not self._stop and step(index):
            if not self._races:
                time.sleep(PAUSE)

    @contextmanager
    def racing(self) -> Iterator[None]:
        """Have the threads go on without a pause, and all threads give way eagerly, as long as the block lasts.

        They are in full swing when it begins, and for a moment after it.
        """
        self._races = True
        try:
            with switching(EAGERLY):
                time.sleep(2 * PAUSE)
                yield
                time.sleep(2 * PAUSE)
        finally:
            self._races = False

    @contextmanager
    def racing_with_commits(self) -> Iterator[None]:
        """Have the threads race where a commit makes its writes, as long as the block lasts."""
        write = vars(hotswap.swap.plan)["deque"]

        def racing(*arguments: Any, **options: Any) -> Any:
            with self.racing():
                return write(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hotswap.swap.plan, "deque", racing)
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
