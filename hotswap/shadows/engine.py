"""The engine of a shadow: live calls come in, runs of the candidate go out, and what they show is counted.

Concurrency. Guarantees: a live call never waits for the candidate, nor for a lock of ours: it counts itself, chooses,
copies, and puts itself into a queue. At most `pending` calls are known at a time; what comes above that is dropped
before it is copied, and counted. Figures are written under one lock, and code of others never runs under it. Assumes:
the GIL, as arming does.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from hotswap import clock, events
from hotswap.session import Mark, here
from hotswap.shadows.calls import Call, Outcome
from hotswap.shadows.figures import Durations, Mismatch, Tally
from hotswap.shadows.inside import is_shadow
from hotswap.shadows.options import Options
from hotswap.shadows.pool import Pool
from hotswap.shadows.runs import Aim, AsyncRun, Run
from hotswap.shadows.taps import Tap
from hotswap.shadows.targets import Target

__all__ = ["Engine", "Owner"]

_EXAMPLES = 20
"""How many mismatches are kept."""

_QUIET = 10.0
"""Seconds between two events about mismatches of one function."""


class Owner(Protocol):
    """The rollout whose candidate runs."""

    def changing(self) -> AbstractContextManager[Any]:
        """A block in which nobody makes a swap."""

    def shadow_told(self, event: events.EventName, level: events.Level, facts: dict[str, object]) -> None:
        """Emit an event."""

    def shadow_refused(self, reason: str) -> None:
        """Reject the rollout, unless it is armed no more."""

    def shadow_ended(self, shadow: Any) -> None:
        """Note what a shadow has found."""


class Engine(ABC):
    """What makes a shadow run. Lives as long as the shadow.

    Arguments:
        target: the function.
        options: how it is to be shadowed.
        mark: stands for the armed candidate in sessions.
        owner: the rollout.
    """

    def __init__(self, target: Target, options: Options, mark: Mark, owner: Owner) -> None:
        self.name, function, seen, self.is_async = target
        self.options = options
        self._aim: Aim | None = Aim(function, mark)
        self._seen: Any = seen
        self.is_over = False
        self.pool = Pool(f"hotswap-shadow {target.name}", 1 if self.is_async else options.workers, options.timeout)
        self._owner = owner
        self._draw = random.Random(options.seed).random  # noqa: S311 - which calls are chosen is no secret
        self._chooses = callable(options.share)
        self._share = 1.0 if callable(options.share) else options.share
        self._places: deque[None] = deque([None] * options.pending)
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls, self._dropped, self._left_out, self._errors = Tally(), Tally(), Tally(), Tally()
        self._last_error = ""
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._compared = self._mismatched = self._timed_out = 0
        self._examples: list[Mismatch] = []
        self._old, self._new = Durations(), Durations()
        self._stopped = ""
        self._quiet_until = 0.0
        self._refused = False
        self._began, self._ended = time.perf_counter(), 0.0
        self._take_out: Callable[[], None] = _nothing

    def _put(self) -> None:
        assert self._aim is not None, "it begins once"
        function, _ = self._aim
        self._take_out = Tap(self._seen, (function,), self._see).put()

    def taps(self, target: Target) -> bool:
        """Whether live calls of a function are seen by this one."""
        return target.seen is self._seen

    def take_out(self) -> None:
        """See no more calls, and hold nothing of the service and the candidate. May be repeated.

        Nobody may make a swap meanwhile.
        """
        self.is_over = True
        self._take_out()
        self._aim = self._seen = None

    # --- the live side: called by the tap, in whatever thread calls the function ---

    def _see(self) -> Call | None:
        aim = self._aim
        if aim is None or self.is_over or is_shadow():
            return None
        session = here()
        if session is not None and aim.mark in session.previews:
            return None  # it is on the candidate already
        self._calls.add()
        if self._share < 1.0 and self._draw() >= self._share:
            return None
        if not (self._places or self._chooses):
            self._dropped.add()  # as `take_place` would, and sooner
            return None
        return Call(self)

    def take_place(self) -> bool:
        """Take one of the places of calls that are pending; False if there is none, which is counted."""
        try:
            self._places.pop()
        except IndexError:
            self._dropped.add()
            return False
        return True

    def leave_place(self) -> None:
        """Give it back."""
        self._places.append(None)

    def leave_out(self) -> None:
        """Note a call, or a run, that is not compared."""
        self._left_out.add()

    def begin(self, call: Call, old: Outcome) -> None:
        """Have the candidate called, too."""
        aim = self._aim
        if aim is None or self.is_over:
            call.leave()
        elif not self.is_async:
            self.pool.put(Run(self, call, old, aim))
        elif len(self._tasks) >= self.options.workers:
            self._dropped.add()
            call.leave()
        else:
            self._begin_task(AsyncRun(self, call, old, aim), call)

    def _begin_task(self, run: AsyncRun, call: Call) -> None:
        coroutine = run.on_loop()
        try:
            loop = asyncio.get_running_loop()
            task = loop.create_task(coroutine, name=f"hotswap-shadow {self.name}", context=call.context)
        except Exception as error:  # noqa: BLE001 - another kind of loop, or somebody's factory of tasks; it is counted
            coroutine.close()
            self.trouble("starting a task", error)
            call.leave()
            return
        self._tasks.add(task)
        task.add_done_callback(partial(self._end_task, call))

    def _end_task(self, call: Call, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # the loop ends, or the candidate has cancelled itself
            self.leave_out()
            call.leave()
        elif (error := task.exception()) is not None:
            self.trouble("awaiting the candidate", error)

    # --- the side of the runs ---

    def trouble(self, what: str, error: BaseException) -> None:
        """Note what went wrong with the shadow itself."""
        self._errors.add()
        try:
            self._last_error = f"{what} failed: {type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - `__str__` of somebody's exception
            self._last_error = f"{what} failed: {type(error).__name__}"

    def late(self) -> None:
        """Note a run that did not end in time."""
        with self._lock:
            self._timed_out += not self.is_over
        self._judge()

    def blocked(self, seconds: float) -> None:
        """Note a run that has held the event loop up, and end: what it does once it may do with each call."""
        with self._lock:
            self._timed_out += 1
            self._stopped = self._stopped or f"the candidate has held the event loop up for {seconds:.2f} s"
        self.is_over = True
        clock.after(0.0, self.end)  # not on the loop: it waits for a lock, and tells
        self._judge()

    def found(self, call: Call, duration: float, mismatch: Mismatch | None) -> None:
        """Note a comparison; in a thread of the pool, where code of others may run."""
        facts: dict[str, object] | None = None
        with self._lock:
            if self.is_over:
                return
            self._compared += 1
            self._old.add(call.duration)
            self._new.add(duration)
            if mismatch is not None:
                self._mismatched += 1
                if len(self._examples) < _EXAMPLES:
                    self._examples.append(mismatch)
                now = clock.now()
                if now >= self._quiet_until:
                    self._quiet_until = now + _QUIET
                    facts = {"function": self.name, "arguments": mismatch.arguments}
                    facts |= {"old": mismatch.old, "new": mismatch.new}
                    facts |= {"mismatched": self._mismatched, "compared": self._compared}
        if facts is not None:
            self._owner.shadow_told("shadow.mismatch", "warning", facts)
        self._judge()

    def _judge(self) -> None:
        limit = self.options.limit
        if limit is None or self._refused or self._against <= limit or self._ended:
            return
        self._refused = True
        self._refuse(f"{self._summary}; more than {limit}")

    def _refuse(self, reason: str) -> None:
        # In a thread of its own: this one may be an event loop's, or one that the end of the shadow waits for.
        clock.after(0.0, lambda: self._owner.shadow_refused(reason))

    @property
    def _against(self) -> int:
        return self._mismatched + self._timed_out

    @property
    @abstractmethod
    def _summary(self) -> str:
        """What was found, in a sentence."""

    @abstractmethod
    def end(self) -> None:
        """End it."""


def _nothing() -> None:
    """Undo nothing."""
