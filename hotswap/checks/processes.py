"""Processes that a check starts, and that end with it, with all that they have started.

Guarantees: when `run` returns or raises, whatever was in the process's group has been killed, and it was reaped; that
holds for a check that is stopped, too. What it writes is read as it comes, and its end is kept.

Assumes POSIX. A process that leaves the group (a daemon that calls `setsid`) is not found any more. Where the service
ignores SIGCHLD, or waits for all children, its number may be another's by the time the group is killed; that would take
a full round of all numbers between two looks.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hotswap.verification import Answer, Inconclusive, Verdict, time_left

__all__ = ["Ended", "python", "run", "script"]

_KEPT = 16 * 1024
"""Bytes of the end of what a process has written that are kept."""

_TICK = 0.05
"""Seconds between two looks whether the process has ended; a stop of the check is raised at one of them."""

_MARGIN = 1.0
"""Seconds before the end of the check's time at which its process is ended, so that the check can say why."""

_LAST_WORDS = 0.3
"""Seconds that a process has, when its time is up, to say where it hangs."""


@dataclass(frozen=True)
class Ended:
    """How a process has ended.

    Attributes:
        code: its exit status; less than 0 for a signal; None where somebody else has reaped it.
        late: whether it was ended because the time was up.
        output: the end of what it has written, to both streams.
        seconds: how long it ran.
    """

    code: int | None
    late: bool
    output: str
    seconds: float

    @property
    def fate(self) -> str:
        """How it ended, in words."""
        if self.code is not None and self.code < 0:
            with suppress(ValueError):
                return f"it was ended by {signal.Signals(-self.code).name}"
        return "it has ended" if self.code is None else f"it exited with status {self.code}"

    @property
    def last_line(self) -> str:
        """The last line that it has written."""
        return (self.output.strip().splitlines() or ["it said nothing"])[-1]

    def timed_out(self, doing: str) -> Answer:
        """Return the answer of a check whose process was late."""
        return Answer(Verdict.TIMED_OUT, f"no answer within {self.seconds:.1f} s: {doing}", self.output)


def python() -> str:
    """Return the interpreter for a process; where this one is embedded, it is what `multiprocessing` was told.

    Raises Inconclusive where there is none, and where processes have no groups that end together: on Windows, and in
    WebAssembly, which has no processes.
    """
    if os.name != "posix" or sys.platform in ("emscripten", "wasi"):
        raise Inconclusive("it runs in a process of its own, which needs POSIX: there are no process groups here")
    told = getattr(sys.modules.get("multiprocessing.spawn"), "get_executable", lambda: None)()
    found = os.fsdecode(told or sys.executable or "")
    if not found:
        raise Inconclusive("it runs in a process of its own, and nobody knows the interpreter for it (sys.executable)")
    return found


def script(name: str) -> list[str]:
    """Return the command that runs one of the scripts in `child`, without its folder on `sys.path`."""
    return [python(), "-P", str(Path(__file__).parent / "child" / f"{name}.py")]


def run(command: Sequence[str], environment: Mapping[str, str], folder: str | Path | None = None) -> Ended:
    """Run a process to its end, or to the end of the check's time.

    Arguments:
        command: what to run.
        environment: its variables.
        folder: its working directory; None: that of this process.

    Raises OSError if it can't be started.
    """
    began = time.monotonic()
    left = time_left()
    deadline = None if left is None else began + max(left - _MARGIN, left / 2)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            watched = _Watched(process)
            late = not watched.wait(deadline)
            if late:
                # `faulthandler`, where it is on, writes where all threads are.
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGABRT)
                watched.wait(time.monotonic() + _LAST_WORDS)
        finally:
            _kill(process)
        watched.read()
    seconds = time.monotonic() - began
    return Ended(watched.code, late, watched.tail.decode("utf-8", "replace"), seconds)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the group. The process itself was not reaped before, so that its number is nobody else's."""
    with suppress(ProcessLookupError, PermissionError):  # none is left; on macOS zombies alone are not permitted
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Watched:
    """A process that is looked at; lives as long as it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._descriptor = process.stdout.fileno()
        self._open = True
        self.tail = bytearray()
        self.code: int | None = None
        os.set_blocking(self._descriptor, False)

    def wait(self, deadline: float | None) -> bool:
        """Read what it writes until it has ended; return False if it did not in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while not self._has_ended():
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                if not self._open:
                    time.sleep(_TICK)
                elif selector.select(_TICK):
                    self.read()
        return True

    def _has_ended(self) -> bool:
        """Whether it has ended. It is not reaped: as long as it is there, the number of its group is its own."""
        try:
            facts = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # the service ignores SIGCHLD, or waits for all of its children
            return True
        if facts is None:
            return False
        self.code = facts.si_status if facts.si_code == os.CLD_EXITED else -facts.si_status
        return True

    def read(self) -> None:
        """Take in what it has written by now: as much as a pipe holds, so that one who writes for ever ends this."""
        for _ in range(16):
            try:
                data = os.read(self._descriptor, _KEPT)
            except BlockingIOError:
                return
            if not data:
                self._open = False
                return
            self.tail += data
            del self.tail[:-_KEPT]
