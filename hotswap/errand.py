"""An errand: one call of a user's function, away from whoever wants it made.

| what | runs in |
|---|---|
| the function | a daemon thread of its own |
| what a coroutine function returned | the loop that was given, if that runs in another thread than the caller's |
| the same, otherwise | a fresh loop in the errand's thread |
| a function for which no thread can be started | the caller's thread, without a time limit |

Guarantees: what it came to is told at most once, by the thread or the loop in which it ended. No user code runs under
the lock, which guards a few attributes for the length of a few assignments. A stop is requested only of the errand's
own thread, never of a thread that runs somebody else's loop.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from typing import Any, NamedTuple

from hotswap.stopping import Stopped, Worker, answer_of, is_interrupt
from hotswap.verification.answers import close
from hotswap.verification.running import serving

__all__ = ["Errand", "Result", "made"]


class Result(NamedTuple):
    """What an errand came to: a value, or the error that was raised."""

    value: object
    error: BaseException | None


class Errand:
    """One call. Lives until it has ended, which may be longer than anybody waits for it.

    Arguments:
        name: of its thread, or task.
        function: sync or async.
        arguments: what it is called with.
        loop: where what has to be awaited is awaited, if it runs in another thread than the caller's.
        inside: makes the block in which all of it runs.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        arguments: tuple[object, ...] = (),
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        inside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._name, self._function, self._arguments = name, function, arguments
        self._loop = serving(loop)
        self._inside = inside
        self._worker = Worker(name)
        self._lock = threading.Lock()
        self._given_up = False
        self._home: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._told: Callable[[Result], None] = lambda _: None

    @property
    def is_here(self) -> bool:
        """Whether the caller is the thread of this errand."""
        return self._worker.thread is threading.current_thread()

    def start(self, told: Callable[[Result], None]) -> None:
        """Begin.

        Arguments:
            told: gets what it came to, in whatever thread that is.
        """
        self._told = told
        if not self._worker.start(self._call):
            copy_context().run(self._call)

    def give_up(self) -> None:
        """Have it end, as far as it can be made to: nobody waits for it any more."""
        with self._lock:
            self._given_up = True
            home, task = self._home, self._task
        if home is not None and task is not None:
            with suppress(RuntimeError):  # the loop is closed, so the task has ended
                home.call_soon_threadsafe(task.cancel)
        self._worker.give_up()
        if home is None or home is not self._loop:
            self._worker.ask()

    # --- where it runs ---

    def _call(self) -> None:
        try:
            with self._inside():
                value = self._function(*self._arguments)
                if inspect.isawaitable(value):
                    if self._loop is not None:
                        self._send_there(value, self._loop)
                        return
                    with asyncio.Runner() as runner:
                        value = runner.run(self._awaited(value))
        except Stopped as stopped:
            self._told(Result(None, stopped))
            raise
        except BaseException as error:
            if self._worker.thread is None and is_interrupt(error):
                raise
            self._told(Result(None, error))
        else:
            self._told(Result(value, None))

    def _send_there(self, value: Awaitable[object], loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._begin_there, value)
        except RuntimeError:  # it is closed
            close(value)
            raise

    def _begin_there(self, value: Awaitable[object]) -> None:
        assert self._loop is not None
        with self._lock:
            given_up = self._given_up
            if not given_up:
                self._home = self._loop
                self._task = self._loop.create_task(self._settle(value), name=self._name)
        if given_up:
            close(value)
            self._told(Result(None, TimeoutError()))

    async def _settle(self, value: Awaitable[object]) -> None:
        try:
            with self._inside():
                result = Result(await value, None)
        except BaseException as error:  # noqa: BLE001 - it is the errand's; SystemExit would end a loop that is not ours
            result = Result(None, error)
        self._told(result)

    async def _awaited(self, value: Awaitable[object]) -> object:
        with self._lock:
            self._home, self._task = asyncio.get_running_loop(), asyncio.current_task()
        return await value


def made(errand: Errand, timeout: float, cancelled: threading.Event | None = None) -> object:
    """Run an errand, and wait for it. Returns what it returned.

    Arguments:
        errand: what to run.
        timeout: seconds that it may take.
        cancelled: gives it up, as if its time were over.

    Raises what it raised, as a RuntimeError if that is none of Exception: it is not the caller who shall end. Raises
    TimeoutError if it has not ended in time; it is asked to end then, or left behind.
    """
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    try:
        errand.start(results.put)
        result = answer_of(results, timeout, cancelled)
    except queue.Empty:
        errand.give_up()
        given_up = cancelled is not None and cancelled.is_set()
        raise TimeoutError("it was given up" if given_up else f"no answer within {timeout:g} s") from None
    except BaseException:
        errand.give_up()
        raise
    error = result.error
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise RuntimeError(f"it raised {type(error).__qualname__}") from error
    return result.value
