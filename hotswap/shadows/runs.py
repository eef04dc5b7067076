"""Runs: the candidate is called with the arguments of a live call, and its answer is compared.

It runs in a session on the candidate, in a copy of the live call's context: what it calls is the candidate's. Plain
functions run in the threads of the pool. Coroutine functions run as tasks on the loop of the live call: what they use
(locks, connections, the service's own objects) belongs to that loop, and would be torn by another thread. A step of
theirs that holds the loop up is noticed after it: then the shadow ends. What is compared is compared in the pool.

Guarantees: a run counts once: as compared, late, in trouble, or left out. One that begins when the candidate is about
to be out of reach is not begun; one that has begun stays on the candidate to its end.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import types
from collections.abc import Generator
from contextvars import Context, copy_context
from types import FunctionType
from typing import Any, NamedTuple, Protocol

from hotswap.session import Mark, Session
from hotswap.shadows.calls import Call, Outcome
from hotswap.shadows.figures import Mismatch, brief
from hotswap.shadows.inside import enter
from hotswap.shadows.options import Options
from hotswap.shadows.pool import Pool
from hotswap.stopping import Stopped, is_interrupt

__all__ = ["LONGEST_STEP", "Aim", "AsyncRun", "Of", "Run"]

LONGEST_STEP = 0.25
"""Seconds for which the coroutine of a candidate may hold the loop up."""


class Aim(NamedTuple):
    """What is called, and what stands for the candidate in the session in which that is done.

    Who keeps the mark keeps the candidate.
    """

    function: FunctionType
    mark: Mark


class Of(Protocol):
    """What a run tells of itself."""

    options: Options
    is_over: bool
    pool: Pool

    def found(self, call: Call, duration: float, mismatch: Mismatch | None) -> None:
        """Note a comparison; in a thread of the pool, where code of others may run."""

    def late(self) -> None:
        """Note a run that did not end in time."""

    def blocked(self, seconds: float) -> None:
        """Note a run that has held the loop up."""

    def leave_out(self) -> None:
        """Note a run that is not compared."""

    def trouble(self, what: str, error: BaseException) -> None:
        """Note what went wrong with the shadow itself."""


class Run:
    """One run of the candidate. Lives until it has been compared.

    Arguments:
        of: the shadow.
        call: the live call.
        old: what came of that.
        aim: what is called.
    """

    def __init__(self, of: Of, call: Call, old: Outcome, aim: Aim) -> None:
        self._of, self._call, self._old = of, call, old
        self._function, mark = aim
        self._session = Session(None, (mark,))
        self.context: Context = call.context
        self._open = [None]
        """Is emptied by the one who may say what came of it."""
        self._duration = 0.0
        self._arguments = ""
        self._found: list[Mismatch | None] = []

    def work(self) -> None:
        """Call the candidate, and compare."""
        enter()
        self._arguments = _told(self._call)  # before it is called: it may change them
        with self._session:
            if self._of.is_over:
                return
            began = time.perf_counter()
            new = self._outcome()
            self._duration = time.perf_counter() - began
        self._compare(new)

    def _outcome(self) -> Outcome:
        try:
            return Outcome.returned(self._function(*self._call.args, **self._call.kwargs))
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the candidate raises is what came of it
            return Outcome.raised(error)

    def _compare(self, new: Outcome) -> None:
        options, old = self._of.options, self._old
        if any(one.kind is not None and issubclass(one.kind, options.kinds) for one in (old, new)):
            if self._may_tell():
                self._of.leave_out()
            return
        try:
            raised = old.error is not None or new.error is not None
            same = old.error == new.error if raised else options.same(old.value, new.value)
            self._found.append(None if same else Mismatch(self._arguments, str(old), str(new)))
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - `compare`, `__eq__` and `__repr__` are others' code
            if self._may_tell():
                self._of.trouble("comparing the answers", error)

    def _may_tell(self) -> bool:
        try:
            self._open.pop()
        except IndexError:
            return False
        return True

    def overdue(self) -> None:
        """Note that its time is up."""
        if self._may_tell():
            self._of.late()

    def ended(self) -> None:
        """Tell what was found, unless its time was up before."""
        self._call.leave()
        if self._found and self._may_tell():
            self._of.found(self._call, self._duration, self._found[0])


class AsyncRun(Run):
    """One run of a candidate's coroutine function: it is awaited on the loop, and compared in the pool."""

    def __init__(self, of: Of, call: Call, old: Outcome, aim: Aim) -> None:
        super().__init__(of, call, old, aim)
        self._new: Outcome | None = None

    async def on_loop(self) -> None:
        """Await the candidate, in a task of its own."""
        await asyncio.sleep(0)  # a loop may take the first step of a task at once: within the live call
        enter()
        self._arguments = _told(self._call)
        try:
            async with asyncio.timeout(self._of.options.timeout) as limit:
                with self._session:
                    if self._of.is_over:
                        return
                    began = time.perf_counter()
                    self._new = await self._awaited()
                    self._duration = time.perf_counter() - began
        except TimeoutError:
            if not limit.expired():
                raise
            self.overdue()
            return
        finally:
            if self._new is None:
                self._call.leave()
        self.context = copy_context()  # that of the task can't be entered as long as the task is in it
        self._of.pool.put(self)

    async def _awaited(self) -> Outcome:
        try:
            made = self._function(*self._call.args, **self._call.kwargs)
            return Outcome.returned(await (self._steps(made) if inspect.iscoroutine(made) else made))
        except (asyncio.CancelledError, Stopped):
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            return Outcome.raised(error)

    @types.coroutine
    def _steps(self, coroutine: types.CoroutineType[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Await a coroutine, and see how long it holds the loop up."""
        step: Any = coroutine.send
        given: Any = None
        while True:
            began = time.perf_counter()
            try:
                waits = step(given)
            except StopIteration as end:
                return end.value
            finally:
                held = time.perf_counter() - began
                if held > LONGEST_STEP:
                    self._of.blocked(held)
            try:
                step, given = coroutine.send, (yield waits)
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                step, given = coroutine.throw, error

    def work(self) -> None:
        """Compare."""
        assert self._new is not None, "it is put into the pool when it has an answer"
        if not self._of.is_over:
            self._compare(self._new)


def _told(call: Call) -> str:
    return ", ".join([*map(brief, call.args), *(f"{name}={brief(value)}" for name, value in call.kwargs.items())])
