"""The course of several checks: which run when, and what is known of them meanwhile.

| turn | runs in | when |
|---|---|---|
| parallel | a thread that waits for it, one for each processor | from the beginning |
| serial | the caller's thread waits for it | one after the other, as they were registered |
| alone | as above | one after the other, when all others have ended |

Where no thread can be started, all run one after the other.

Guarantees: each check has its own time limit, which begins when it does; the report has the order of registration,
whatever ends first; `tell` is called under no lock, by the thread that waits for the check, and two calls
may overlap.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import TypeAlias

from hotswap import stopping
from hotswap.stopping import Flag
from hotswap.verification.checks import Candidate, Check, CheckResult, Report, Turn
from hotswap.verification.running import Trial, serving

__all__ = ["Tell", "named_apart", "run_checks"]

Tell: TypeAlias = Callable[[str, "CheckResult | None"], None]
"""Gets the name of a check, and what it found; None: it has begun."""

_GLANCE = 0.1
"""Seconds between two looks of the caller, who waits for parallel checks, at what else concerns it: Ctrl-C, a stop."""


def run_checks(
    checks: Sequence[Check],
    candidate: Candidate,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    token: object | None = None,
    cancelled: threading.Event | None = None,
    show: Callable[[Report], object] | None = None,
    tell: Tell | None = None,
) -> Report:
    """Run all checks, also after one has failed, and report what each found.

    Arguments:
        checks: what to run. Where several have the same name, ``-2``, ``-3``, ... is appended.
        candidate: handed to every check as its only argument.
        loop: the event loop for async checks. It must run in another thread than the caller's; otherwise, and without
            one, every async check gets a fresh loop.
        token: what `current_token` answers inside these checks, for the caller to know its own again.
        cancelled: once it is set, the running checks are stopped as if their time were up, and no other begins.
        show: gets the report as far as it is, whenever it has changed. It only notes it: it is called under a lock.
        tell: called when a check begins, and when it has ended.

    Blocks for the sum of all time limits at most, and up to a second more for each check that hangs. Whatever a check
    raises becomes part of the report. Where a hung check can't be ended, its result says which thread or task is left.
    KeyboardInterrupt in the caller's thread goes on to the caller, after the running checks were asked to stop. Those
    that did not begin are in the report as waiting.
    """
    mark = object() if token is None else token
    return _Course(named_apart(checks), candidate, serving(loop), mark, cancelled, show, tell).run()


def named_apart(checks: Sequence[Check]) -> dict[str, Check]:
    """Return the checks under names that differ: `-2`, `-3`, ... is appended where several have the same."""
    named: dict[str, Check] = {}
    for check in checks:
        name, number = check.name, 1
        while name in named:
            number += 1
            name = f"{check.name}-{number}"
        named[name] = check
    return named


class _Course:
    """One run of several checks. Lives as long as `run_checks`."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        candidate: Candidate,
        loop: asyncio.AbstractEventLoop | None,
        token: object,
        cancelled: Flag | None,
        show: Callable[[Report], object] | None,
        tell: Tell | None,
    ) -> None:
        self._checks = checks
        self._candidate = candidate
        self._loop = loop
        self._token = token
        self._cancelled = cancelled
        self._show = show
        self._tell = tell
        self._ended = threading.Event()
        """Set when the caller was interrupted: nothing more begins, and what runs is stopped."""
        # Guards what follows, for the length of a few assignments.
        self._lock = threading.Lock()
        self._found: dict[str, CheckResult] = {}
        self._running: set[str] = set()
        self._trouble: list[BaseException] = []

    def is_set(self) -> bool:
        """Return whether what runs is to be stopped; `Trial` asks."""
        return self._ended.is_set() or (self._cancelled is not None and self._cancelled.is_set())

    def run(self) -> Report:
        """Run them all."""
        self._shown()
        beside: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in self._of(Turn.PARALLEL):
            beside.put(name)
        waiting = self._beside(beside)
        try:
            for name in self._of(Turn.SERIAL):
                self._try(name)
            if not waiting:
                self._drain(beside)
            for thread in waiting:
                while thread.is_alive():
                    thread.join(_GLANCE)
            if self._trouble:
                raise self._trouble[0]
            for name in self._of(Turn.ALONE):
                self._try(name)
        except BaseException:
            self._ended.set()
            for thread in waiting:
                thread.join(2 * stopping.GRACE)
            raise
        return self._shown()

    def _of(self, turn: Turn) -> list[str]:
        return [name for name, check in self._checks.items() if check.turn is turn]

    def _beside(self, names: queue.SimpleQueue[str]) -> list[threading.Thread]:
        """Start the threads that wait for parallel checks: as many as there are processors, two at least."""
        threads: list[threading.Thread] = []
        for number in range(min(names.qsize(), max(2, os.cpu_count() or 1))):
            arguments = (copy_context().run, self._drain, names)
            thread = threading.Thread(target=self._wait, args=arguments, name=f"hotswap checks {number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there are no threads here, or no more of them
                break
            threads.append(thread)
        return threads

    def _wait(self, run: Callable[..., None], *arguments: object) -> None:
        try:
            run(*arguments)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            with self._lock:
                self._trouble.append(error)

    def _drain(self, names: queue.SimpleQueue[str]) -> None:
        while True:
            try:
                name = names.get_nowait()
            except queue.Empty:
                return
            self._try(name)

    def _try(self, name: str) -> None:
        if self.is_set():
            return
        self._shown(begun=name)
        if self._tell is not None:
            self._tell(name, None)
        result = Trial(name, self._checks[name], self._loop, self._token, self).run(self._candidate)
        self._shown(result)
        if self._tell is not None:
            self._tell(name, result)

    def _shown(self, found: CheckResult | None = None, begun: str | None = None) -> Report:
        """Note that a check has begun or ended, and show the report as it is now."""
        with self._lock:
            if begun is not None:
                self._running.add(begun)
            if found is not None:
                self._running.discard(found.name)
                self._found[found.name] = found
            report = self._report()
            if self._show is not None:
                self._show(report)  # under the lock, so that no report is shown after one that knows more
        return report

    def _report(self) -> Report:
        return Report(
            tuple(self._found[name] for name in self._checks if name in self._found),
            tuple(name for name in self._checks if name in self._running),
            tuple(name for name in self._checks if name not in self._found and name not in self._running),
        )
