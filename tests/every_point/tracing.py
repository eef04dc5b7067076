"""The points of a program: every event in the code of a package, in the order in which each thread meets them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Point", "Tracer"]

EVENTS = frozenset(("call", "line"))


class Point(NamedTuple):
    """The ordinal number of an event among those of its thread: between threads there is no order."""

    thread: str
    number: int


class Tracer:
    """Lists the points of one run, and acts at one of them. What it does at each of them keeps no frame alive.

    Arguments:
        package: whose events are points.
        at: where to act; None only lists.
        act: what to do there. Nothing is traced while it is done, or after it.
        opcodes: whether each instruction is a point, too.

    Attributes:
        met: what happened at each point, by thread.
        committed: whether the act is done.
    """

    def __init__(
        self,
        package: str,
        at: Point | None = None,
        act: Callable[[], None] = lambda: None,
        *,
        opcodes: bool = False,
    ) -> None:
        self._inside, self._package = f"{package}.", package
        self._at, self._act, self._opcodes = at, act, opcodes
        self._events = EVENTS | {"opcode"} if opcodes else EVENTS
        self._over = False
        self.met: dict[str, list[str]] = {}
        self.committed = False

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Trace this thread, and those that are started, until the block is left."""
        before = sys.gettrace(), threading.gettrace()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            self._over = True
            sys.settrace(before[0])
            threading.settrace(before[1])

    @property
    def points(self) -> list[Point]:
        """All that were met."""
        return [Point(thread, number) for thread, met in sorted(self.met.items()) for number in range(len(met))]

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if self._over:
            return None
        module = frame.f_globals.get("__name__", "")
        if module != self._package and not module.startswith(self._inside):
            return None
        if self._opcodes:
            frame.f_trace_opcodes = True
        if event in self._events:
            module = module.removeprefix(self._package).removeprefix(".") or "__init__"
            where = f"{module}:{frame.f_lineno} {frame.f_code.co_name}"
            self.reach(f"{where}, {event}")
        return self._trace

    def reach(self, what: str) -> None:
        """A point: note it, and act if it is the one."""
        if self._over:
            return
        thread = threading.current_thread().name
        met = self.met.setdefault(thread, [])
        met.append(what)
        if self._at != (thread, len(met) - 1):
            return
        self._over = True
        sys.settrace(None)
        threading.settrace(None)
        self._act()
        self.committed = True
