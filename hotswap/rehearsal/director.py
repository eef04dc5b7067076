"""The rehearsal from without: a copy of the process is made, listened to, and ended.

Guarantees: when `rehearse` returns or raises, the copy has ended, and so has whatever it started that stayed in its
session; nothing of it is left that could be waited for, and no descriptor. The calling thread waits; others stand still
only while the page tables are copied. The copy ends with the original at the latest, where Linux or its own look tells.

Assumes: the ids of processes are not used again within milliseconds. Somebody else in the process may wait for any
child (`os.waitpid(-1)`): then the exit status is his, and what is known is what the copy wrote.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import IO, Any

from hotswap.errors import RehearsalError
from hotswap.process_copy import copy_process
from hotswap.rehearsal.channel import Listener
from hotswap.rehearsal.leftovers import kill_leftovers
from hotswap.rehearsal.outcome import End, Rehearsed, outcome, pass_on
from hotswap.rehearsal.scene import Scene
from hotswap.rehearsal.terms import Rehearsal
from hotswap.verification import CheckResult

__all__ = ["rehearse"]

_GLANCE = 0.05
"""Seconds between two looks at what can't be waited for."""
_GRACE = 3.0
"""Seconds beyond its time in which the copy finds out why it hangs."""
_LAST_WORDS = 1.0
"""Seconds in which it writes its stacks."""
_PATIENCE = 5.0
"""Seconds in which a process ends that was killed; one that waits for a disk may take longer."""
_LONGEST = 1 << 16
"""Bytes of its stacks that are read."""
_CAN_LOOK = hasattr(os, "waitid")
"""Whether a child can be looked at without reaping it; not on macOS before Python 3.13."""


def rehearse(
    rehearsal: Rehearsal,
    scenes: Iterable[Scene],
    *,
    locks: Sequence[Any],
    cancelled: threading.Event,
    tell: Callable[[str, CheckResult | None], None],
) -> Rehearsed:
    """Take some steps in a copy of this process, and say what became of it.

    Arguments:
        rehearsal: what it may take.
        scenes: the steps.
        locks: reentrant ones, whose work must not be half done in the copy.
        cancelled: once it is set, the copy is ended.
        tell: gets the name of a check as it begins in the copy, and what it found when it has ended, as its row in the
            report; called by this thread.

    Raises RehearsalError if there can be no copy.
    """
    # Here, because neither exists on every platform; before the fork, because nothing should be imported after it.
    from hotswap.rehearsal.mappings import libc
    from hotswap.rehearsal.performance import Performance

    library = libc() if sys.platform == "linux" else None
    with contextlib.ExitStack() as held:
        try:
            stacks: IO[bytes] = held.enter_context(tempfile.TemporaryFile())
            reading, writing = os.pipe()
            held.callback(os.close, reading)
            closing = held.enter_context(contextlib.ExitStack())
            closing.callback(os.close, writing)
            os.set_blocking(reading, False)
            performance = Performance(rehearsal, writing, stacks, library)
            original, began = os.getpid(), time.perf_counter()
            try:
                process = copy_process(locks, performance.guard)
                pause = time.perf_counter() - began
                if process == 0:
                    performance.play(scenes)
            finally:
                if os.getpid() != original:
                    os._exit(70)  # whatever happens, the copy does not go on with what the service does
        except OSError as error:
            raise RehearsalError(
                f"there can be no copy of the process: {error}",
                advice="the process, or its account, is at a limit of the system: processes, descriptors or memory",
                code="no-copy",
            ) from error
        copy = _Copy(Listener(reading, partial(pass_on, tell)), process, reading)
        try:
            closing.close()
            copy.attend(time.monotonic() + rehearsal.time + _GRACE, cancelled)
        finally:
            copy.end()
            kill_leftovers(performance.mark)
        end = End(
            status=copy.status,
            by_us=copy.ended_for,
            stacks=os.pread(stacks.fileno(), _LONGEST, 0).decode(errors="replace"),
            duration=time.perf_counter() - began,
            pause=pause,
            cpu=copy.cpu,
        )
        return outcome(copy.told, end, limits=rehearsal)


class _Copy:
    """The copy, as the original sees it. Lives as long as the rehearsal."""

    def __init__(self, told: Listener, process: int, reading: int) -> None:
        self._process = process
        self._poll = select.poll()  # `select.select` can't take the descriptors of a service that has thousands
        self._poll.register(reading, select.POLLIN)
        self._reading = reading
        self.told = told
        self.status: int | None = None
        self.cpu: float | None = None
        self.ended_for = ""
        self._reaped = False

    def attend(self, until: float, cancelled: threading.Event) -> None:
        """Listen until it has ended, or has to be ended."""
        while not self._has_ended():
            if cancelled.is_set():
                self.ended_for = "cancelled"
                return
            left = until - time.monotonic()
            if left <= 0:
                self.ended_for = "time"
                self._ask(signal.SIGABRT)  # it writes its stacks
                self._wait(_LAST_WORDS)
                return
            self._poll.poll(min(left, _GLANCE) * 1000)
            if not self.told.take():
                # It is about to end; or it has closed the pipe, and goes on.
                self._poll.modify(self._reading, 0)
                self._wait(_GLANCE)
        self.told.take()

    def end(self) -> None:
        """End it and what it started, and have nothing left of it that could be waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process, signal.SIGKILL)
        self._ask(signal.SIGKILL)  # it may not have come to a session of its own
        if not self._wait(_PATIENCE, reap=True):
            threading.Thread(
                target=self._wait, args=(threading.TIMEOUT_MAX,), kwargs={"reap": True}, daemon=True
            ).start()

    def _ask(self, number: signal.Signals) -> None:
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._process, number)

    def _has_ended(self, *, reap: bool = False) -> bool:
        """Whether it has ended.

        Its id stays its own until it is reaped: by us, or by somebody who waits for any child.
        """
        if self._reaped:
            return True
        try:
            if _CAN_LOOK and not reap:
                return os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            process, status, used = os.wait4(self._process, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            self._reaped = True
            return True
        if process:
            self._reaped, self.status = True, status
            self.cpu = used.ru_utime + used.ru_stime
        return self._reaped

    def _wait(self, seconds: float, *, reap: bool = False) -> bool:
        """Wait for its end; False if it has not come within some seconds."""
        until = time.monotonic() + seconds
        while not self._has_ended(reap=reap):
            if time.monotonic() >= until:
                return False
            time.sleep(_GLANCE / 10)
        return True
