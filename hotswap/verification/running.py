"""Running one check: with a time limit, away from the caller's thread.

| what | runs in |
|---|---|
| the check function | a daemon thread of its own, with a copy of the caller's context variables |
| what an async check returned | the caller's loop, if one was given and runs in another thread than the caller's |
| the same, otherwise | a fresh loop in the check's thread |
| a check for which no thread can be started | the caller's thread, without a time limit |

Guarantees:

- Exactly one answer counts. The check puts it into a queue; the caller takes the first one, or none in time. What
  comes later is put into a queue that nobody reads.
- No user code runs under the locks, which guard a few attributes for the length of a few assignments.
- A stop is requested only of the check's own thread, as `hotswap.stopping` says; never of a thread that runs somebody
  else's event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from hotswap import stopping
from hotswap.stopping import Flag, Stopped, Worker, answer_of
from hotswap.verification.answers import Answer, judge_error, judge_value, stack_of
from hotswap.verification.checks import Candidate, Check, CheckResult, Verdict
from hotswap.verification.inside import Visit

__all__ = ["Trial", "serving"]


class Trial:
    """One run of one check; lives as long as the check does, which for one that hangs is longer than its result.

    Arguments:
        name: of the check in the report.
        check: what to run.
        loop: the event loop for an async check, as `serving` returned it; None: a fresh one.
        token: what `current_token` answers inside of it.
        cancelled: once it is set, the check is stopped as if its time were up.
    """

    def __init__(
        self,
        name: str,
        check: Check,
        loop: asyncio.AbstractEventLoop | None,
        token: object,
        cancelled: Flag | None = None,
    ) -> None:
        self._name = name
        self._label = f"hotswap check {name}"
        self._check = check
        self._given_loop = loop
        self._token = token
        self._cancelled = cancelled
        self._visit: Visit | None = None
        self._deadline: float | None = None
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._worker = Worker(self._label)
        # Guarded by the lock, because the check and the caller meet here when time is up.
        self._lock = threading.Lock()
        self._given_up = False  # the caller waits no longer: await nothing new
        self._awaiting: _Awaiting | None = None

    # --- the caller's side ---

    def run(self, candidate: Candidate) -> CheckResult:
        """Run the check, and judge what it returned or raised. Only what ends the caller itself is raised."""
        started = time.perf_counter()
        self._deadline = time.monotonic() + self._check.timeout
        try:
            if not self._worker.start(self._call, candidate):
                copy_context().run(self._call, candidate)
            try:
                answer = answer_of(self._answers, self._check.timeout, self._cancelled)
                duration = time.perf_counter() - started
            except queue.Empty:
                duration = time.perf_counter() - started
                answer = self._give_up()
            else:
                if self._worker.thread is not None:
                    # It has answered and only has to leave. Until then its frames hold the candidate, which the
                    # caller may want to be the last to hold.
                    self._worker.join()
        except BaseException:
            # Somebody wants to end the process (or to stop the check in which we run): leave nothing behind.
            self._stop()
            raise
        message = answer.message
        if self._worker.thread is None and (self._awaiting is None or self._awaiting.loop is None):
            note = "no thread could be started, so it ran in the calling thread, without its time limit"
            message = f"{message}; {note}" if message else note
        tolerated = self._check.tolerates(answer.verdict)
        return CheckResult(self._name, answer.verdict, duration, message, answer.detail, tolerated)

    def _give_up(self) -> Answer:
        """The answer to give instead of the check's, once it has been stopped."""
        detail = self._worker.look(stack_of) or ""
        fate = self._stop()
        if self._cancelled is not None and self._cancelled.is_set():
            return Answer(Verdict.ERROR, f"stopped, because the caller was cancelled; {fate}", detail)
        return Answer(Verdict.TIMED_OUT, f"no answer within {self._check.timeout:g} s; {fate}", detail)

    def _stop(self) -> str:
        """Ask the check to end, wait a little, and say what became of it."""
        self._worker.give_up()
        with self._lock:
            self._given_up = True
            awaiting = self._awaiting
        if awaiting is not None:
            awaiting.give_up()
            if awaiting.loop is not None:
                return awaiting.fate(stopping.GRACE)
        if self._worker.thread is None:
            return "it ran in the calling thread"
        # The loop of an async check runs in the check's own thread, which ends with it.
        if awaiting is not None and self._worker.join():
            return "it was cancelled"
        self._worker.ask()
        if awaiting is not None:
            awaiting.wake()
        return self._worker.fate()

    # --- the check's side ---

    def _call(self, candidate: Candidate) -> None:
        """The check, from the call to its answer; runs in the check's context."""
        self._visit = Visit.begin(self._token, self._deadline)
        try:
            value = self._check.function(candidate)
            if not inspect.isawaitable(value):
                answer = judge_value(value)
            elif self._given_loop is not None:
                self._await_there(value, self._given_loop)
                return  # the answer comes from the loop
            else:
                answer = self._await_here(value)
        except Stopped:
            self._visit.over = True
            raise
        except KeyboardInterrupt as error:
            if self._worker.thread is None:
                # In the caller's thread it may be Ctrl-C, the only way to end a check that hangs there.
                self._visit.over = True
                raise
            answer = judge_error(error, self._check.function)
        except BaseException as error:  # noqa: BLE001  # it becomes the verdict
            answer = judge_error(error, self._check.function)
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        if self._visit is not None:
            self._visit.over = True
        self._answers.put(answer)

    def _await_here(self, value: Awaitable[object]) -> Answer:
        """Await in a fresh loop in this thread."""
        awaiting = self._new_awaiting(value, loop=None)
        if _running_loop() is not None:
            # Only without threads: the caller is a callback of the loop that would have to go on meanwhile.
            awaiting.give_up()
            return Answer(Verdict.ERROR, "an async check can't run here: its event loop would need another thread")
        with asyncio.Runner() as runner:
            return runner.run(awaiting.settle(self._check.function))

    def _await_there(self, value: Awaitable[object], loop: asyncio.AbstractEventLoop) -> None:
        """Have it awaited on the caller's loop."""
        awaiting = self._new_awaiting(value, loop)
        try:
            # The loop runs it in a copy of this context, as it does with every callback.
            loop.call_soon_threadsafe(awaiting.begin, self._check.function, self._finish)
        except RuntimeError as error:
            awaiting.give_up()
            raise RuntimeError(f"the event loop can't take an async check: {error}") from error

    def _new_awaiting(self, value: Awaitable[object], loop: asyncio.AbstractEventLoop | None) -> _Awaiting:
        awaiting = _Awaiting(value, self._label, loop)
        with self._lock:
            self._awaiting = awaiting
            given_up = self._given_up
        if given_up:
            awaiting.give_up()
        return awaiting


class _Awaiting:
    """The awaitable of one check; lives until it is settled.

    Arguments:
        value: what the check returned.
        name: of the task.
        loop: the caller's loop, or None for a loop in the check's own thread.
    """

    def __init__(self, value: Awaitable[object], name: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self._value = value
        self._name = name
        self.loop = loop
        self._ended = threading.Event()
        self._cancelled = threading.Event()
        # Guarded by the lock: either the task begins, or the caller gives up before that.
        self._lock = threading.Lock()
        self._given_up = False
        self._home: asyncio.AbstractEventLoop | None = None  # the loop on which it has begun
        self._task: asyncio.Task[Any] | None = None

    # --- on the loop ---

    def begin(self, function: Callable[..., object], finish: Callable[[Answer], None]) -> None:
        """Start the task on the caller's loop; runs there."""
        assert self.loop is not None
        # Kept, because a loop itself keeps tasks by weak references only.
        self._task = self.loop.create_task(self._settle_and_tell(function, finish), name=self._name)

    async def _settle_and_tell(self, function: Callable[..., object], finish: Callable[[Answer], None]) -> None:
        try:
            finish(await self.settle(function))
        finally:
            self._ended.set()

    async def settle(self, function: Callable[..., object]) -> Answer:
        """Await, and judge. Nothing that the check raises reaches the loop, which SystemExit would end."""
        with self._lock:
            if self._given_up:
                return Answer(Verdict.TIMED_OUT)  # nobody reads it
            self._home = asyncio.get_running_loop()
            self._task = asyncio.current_task()
        try:
            return judge_value(await self._value)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001  # it becomes the verdict
            return judge_error(error, function)

    # --- from other threads ---

    def give_up(self) -> None:
        """Cancel it, or see to it that it never begins."""
        with self._lock:
            self._given_up = True
            home = self._home
        if home is None:
            # Nobody awaits it any more: a coroutine that is dropped before it began would warn about that.
            if inspect.iscoroutine(self._value):
                self._value.close()
            return
        with suppress(RuntimeError):  # the loop is closed, so the task has ended
            home.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._cancelled.set()
        if self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """Have the loop run some bytecode, so that an exception requested for its thread is raised."""
        if self._home is not None:
            with suppress(RuntimeError):
                self._home.call_soon_threadsafe(lambda: None)

    def fate(self, grace: float) -> str:
        """What became of it on the caller's loop, within some seconds after it was given up."""
        if self._home is None:
            return "the event loop did not start it: it is blocked or has stopped"
        if self._ended.wait(grace):
            return "it was cancelled"
        if self._cancelled.is_set():
            return f"it goes on in spite of its cancellation: its task {self._name!r} is still running"
        return f"the event loop does not answer: its task {self._name!r}, or something else on the loop, blocks it"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def serving(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """Return the loop, if it can run a check while this thread waits."""
    return loop if loop is not None and loop.is_running() and loop is not _running_loop() else None
