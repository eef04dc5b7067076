"""The watch: one thread that applies what is dropped, and writes down what became of it.

    a drop appears → it settles → its bytes are read once → apply(patch) → NAME.live, or NAME.failed
                                                          ↘ the same digest as before: nothing to do

Guarantees
- Level-triggered: every pass looks at the whole directory, and a drop is known by the digest of its bytes. A lost,
  doubled or late event changes nothing.
- A live drop is not applied again by the same patcher, also by a later watch of the same directory. A failed drop is
  tried again only when its bytes change, also by a new process, which reads that in the `.failed` of any process that
  was before it (`failures`); whoever wants it tried again removes that. A drop that was dropped again and is not tried
  says why. What says nothing of the drop (a busy patcher, a locked store, a file that can't be read or is still open to
  write) is no failure: it waits, and `NAME.pending` says for what. A new process runs the code on disk, so it applies
  what it finds, but for what failed or was rolled back.
- A marker that can't be written is tried again until it stands (`owed`).
- When a rollout that came from a drop is rolled back, its marker says so, also after the watch has ended (`ledger`).
- Drops found in the same pass are applied in the order of their versions; those without one come last, by name.
- No drop ends the watch: whatever `apply` raises is that drop's outcome, and an error of our own is logged.
- Passes never overlap. `apply` runs user code (checks), so no lock is held while it runs: a pass has the *turn*, which
  only another pass waits for. `outcomes`, `alive` and `wait_for` never do.
- After the context ends there is no thread, no file descriptor, and no pass in progress.

Assumes that `os.replace` is atomic in the directory. Several processes may watch it: each reports under its own name
(`seats`). In the child of
a fork, a watch that was running goes on (`children`). Works on every interpreter that has threads; where there are
none, `scan` can be called by hand.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from packaging.version import Version

from hotswap.errors import HotswapError, StateError
from hotswap.events import emit
from hotswap.trust import open_to_everybody
from hotswap.watching import children
from hotswap.watching.bounds import Bounds
from hotswap.watching.claims import claim, inherit, release
from hotswap.watching.doorbell import Doorbell
from hotswap.watching.ledger import ledger_of
from hotswap.watching.looks import look_at
from hotswap.watching.outcome import Outcome, remove_unfinished
from hotswap.watching.passes import Passes
from hotswap.watching.scanning import SETTLE, is_passed_by
from hotswap.watching.seats import checked_name
from hotswap.watching.turn import Turn

if TYPE_CHECKING:
    from hotswap.patch import Patch
    from hotswap.rollout import Record, Rollout
    from hotswap.watching.gate import Gate

__all__ = ["Watch"]

_GAP = 0.05
"""Seconds between two passes at least: a file that is written for minutes rings all the time."""


class _NoOutcomeError(HotswapError, TimeoutError):
    """A drop came to nothing in the time that `wait_for` was given. Nothing was changed; the watch goes on."""


class Watch:
    """Applies what is dropped in a directory, from `start` (or the beginning of the `with` block) to `stop`.

    Arguments:
        apply: called with each dropped patch, from the watch's own thread; returns the rollout, or raises.
        directory: where drops are looked for; made when the watch starts, if it is missing.
        interval: seconds between two rescans, for when no event tells of a change.
        settle: seconds for which a drop must look the same before it is taken.
        patcher: whose memory of earlier drops this is; `apply` by default.
        running: returns what is live, a version for each package; None where nobody knows.
        gate: makes the gate that drops have to pass, for the directory; None: everything passes.
        single_files: whether `.py` files are taken; where there is a gate, its policy says so instead.
        name: what this process is called, where several watch the directory; None: by its host and its id.
        told: called with the outcomes of each pass, from the thread that makes it. Raises nothing.
        stood: tells of a patch's digest whether it is live, or below what is live, since before this process began.
        runs: tells of a patch that was applied before whether it is what runs.
        came_to: tells of a patch's digest and origin what they came to in an earlier process; None where nobody knows.
    """

    def __init__(
        self,
        apply: Callable[[Patch], Rollout],
        directory: str | os.PathLike[str],
        interval: float = 2.0,
        *,
        settle: float = SETTLE,
        patcher: object = None,
        running: Callable[[], Mapping[str, Version]] | None = None,
        gate: Callable[[Path], Gate] | None = None,
        single_files: bool = False,
        name: str | None = None,
        told: Callable[[tuple[Outcome, ...]], None] | None = None,
        stood: Callable[[str], bool] = lambda _: False,
        runs: Callable[[Patch], bool] = lambda _: True,
        came_to: Callable[[str, str], Record | None] = lambda _, __: None,
    ) -> None:
        self._told = told
        for what, seconds, least in (("interval", interval, 1e-3), ("settle", settle, 0.0)):
            if not (math.isfinite(seconds) and least <= seconds <= threading.TIMEOUT_MAX):
                raise HotswapError(
                    f"a watch can't have {what}={seconds!r}", advice="give a positive number of seconds, such as 2.0"
                )
        self.directory = Path(os.path.abspath(directory))  # noqa: PTH100 - a later chdir must not move it, links stay
        self.interval = interval
        self.name = None if name is None else checked_name(name)
        self._ledger = ledger_of(apply if patcher is None else patcher, self.directory)
        self._gate = None if gate is None else gate(self.directory)
        self._bounds = Bounds(single_files=single_files) if self._gate is None else self._gate.bounds
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._doorbell = Doorbell(self.directory, self._ring)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self.turn = Turn()
        """Who makes a pass; for who forks."""
        self._passes = Passes(
            self.directory,
            apply,
            self._ledger,
            settle=settle,
            bounds=self._bounds,
            running=running,
            gate=self._gate,
            stopping=self._stopping,
            stood=stood,
            runs=runs,
            came_to=came_to,
        )

    # --- what a user sees ---

    @property
    def alive(self) -> bool:
        """Whether drops are being applied: started, not stopped, and in the process that started it."""
        return self._thread is not None and self._pid == os.getpid() and self._thread.is_alive()

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The last outcome of each drop by name, as of now (read-only); also of drops that were removed since."""
        return self._ledger.outcomes

    def start(self) -> Self:
        """Begin to watch. Drops that are there already are taken like new ones.

        Raises HotswapError where the directory can't be made or read, or is watched already in this process, or where
        there are no threads, TrustError where others can write to it and the policy forbids that; StateError where this
        watch is running. Nothing is left behind then.
        """
        if self._thread is not None:
            here = "already running" if self._pid == os.getpid() else f"the one that process {self._pid} was running"
            raise StateError(f"this watch is {here}", advice="make another with patcher.watch()")
        if sys.platform in ("emscripten", "wasi"):
            raise HotswapError("this platform has no threads, so nothing can be watched", advice="call watch.scan()")
        claim(self, self.directory)
        try:
            if self._gate is not None:
                self._gate.check_directory()
        except BaseException:
            release(self, self.directory)
            raise
        self._pid = os.getpid()
        self._ledger.seat.name = self.name
        self._ledger.seat.keep()
        self._stopping.clear()
        self._bell.clear()
        try:
            self._doorbell.tend()
            emit("watch.started", level="info", directory=str(self.directory), interval=self.interval)
            self._warn()
            self._begin()
        except BaseException as error:
            self._thread = None
            children.ends(self)
            self._doorbell.close()
            self._ledger.leave()
            release(self, self.directory)
            if isinstance(error, RuntimeError):
                raise HotswapError(f"the thread that watches {self.directory} can't be started ({error})") from error
            raise
        return self

    def _warn(self) -> None:
        """Tell, where there is no policy that forbids or allows it, that everybody may run code here."""
        place = open_to_everybody(self.directory) if self._gate is None else None
        if place is not None:
            reason = (
                f"everybody on this machine can write to {place}, and so run code in this service; what to do: "
                f"chmod o-w {place}, or give a policy, Trust(...), which refuses that or allows it"
            )
            emit("watch.troubled", level="warning", directory=self.directory, reason=reason)

    def _begin(self) -> None:
        remove_unfinished(self.directory)
        thread = threading.Thread(target=self._work, name=f"hotswap-watch-{self.directory.name}", daemon=True)
        self._thread = thread
        children.goes_on(self)
        thread.start()

    def go_on(self) -> None:
        """Go on in a forked child, with a thread, an observer and a name of its own. Only `children` calls it."""
        self._pid = os.getpid()
        self._doorbell.forget()
        self._bell, self._stopping = threading.Event(), threading.Event()
        self._passes.stopping = self._stopping
        self._ledger.inherit()
        inherit(self, self.directory)
        try:
            self._begin()
        except RuntimeError as error:
            self._thread = None
            release(self, self.directory)
            emit("watch.failed", level="error", directory=self.directory, reason=error, traceback=None)

    def stop(self) -> None:
        """Stop watching. Waits for a rollout in progress; drops that wait their turn are left for the next watch.

        Raises BusyError when it is called from within that rollout (by a check, say). A watch that isn't running, or
        did not go on in this process, which was forked in the middle of a rollout, is left as it is.
        """
        thread = self._thread
        if thread is None:
            return
        children.ends(self)
        if self._pid != os.getpid():
            self._doorbell.forget()
            return
        self.turn.refuse_inside("stop")
        self._stopping.set()
        self._bell.set()
        thread.join()
        self.turn.wait_until_free()  # A `scan` that another thread began.
        with self.turn.changed:
            last = self._thread is thread
            self._thread = None
            self.turn.changed.notify_all()
        if last:
            self._stopping.clear()
            self._ledger.leave()
            release(self, self.directory)
            emit("watch.stopped", level="info", directory=str(self.directory))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def scan(self) -> tuple[Outcome, ...]:
        """Look at every drop now, in this thread, and apply those that have settled and are new here.

        Every settled drop is read again, whatever its times say. A drop that is seen for the first time only begins to
        settle, so two calls are needed, at least `SETTLE` seconds apart. Waits for a pass in progress. Works also while
        the watch is not running.

        Returns the outcomes of this pass. Raises BusyError when it is called from within a rollout of this watch.
        """
        self._refuse_elsewhere()
        self.turn.refuse_inside("scan")
        outcomes, _ = self._pass(everything=True)
        return outcomes

    def wait_for(self, name: str, timeout: float) -> Outcome:
        """Wait until the bytes that are now dropped under this name have come to something.

        Arguments:
            name: the name of the file or folder in the directory.
            timeout: seconds to wait.

        Raises TimeoutError (a HotswapError too) when the time is over; StateError when the watch is not running;
        HotswapError when nothing of this name is ever taken. Nothing is changed.
        """
        if is_passed_by(name) or Path(name).name != name:
            raise HotswapError(
                f"{name!r} is not the name of a drop", advice="give the name that it has in the directory"
            )
        self._refuse_elsewhere()
        deadline = time.monotonic() + timeout
        while True:
            try:
                stamp = look_at(self.directory / name, self._bounds).stamp
            except OSError:
                stamp = None
            with self.turn.changed:
                if stamp is not None and self._passes.settled.get(name) == stamp:
                    return self._ledger.outcomes[name]
                if not self.alive:
                    raise StateError(f"the watch of {self.directory} is not running, so nothing becomes of {name}")
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._bell.set()
                self.turn.changed.wait(min(left, self.interval))
        waiting = self._passes.delays.reason(name)
        if stamp is None:
            because = "there is no such drop"
        elif waiting is not None:
            because = waiting
        else:
            because = "it has not settled, or its rollout is still in progress"
        raise _NoOutcomeError(f"nothing became of {name} in {timeout:g} s: {because}")

    # --- the thread ---

    def _work(self) -> None:
        try:
            self._ledger.seat.keep()  # of a forked child, whose parent has the one that it had
            while not self._stopping.is_set():
                if rang := self._bell.is_set():
                    self._bell.clear()  # Before the pass: what rings during it is heard after it.
                pause = self._round(rang=rang)
                self._stopping.wait(_GAP)
                self._bell.wait(max(pause - _GAP, 0.0))
        finally:
            self._doorbell.close()

    def _ring(self) -> None:
        self._bell.set()

    def _round(self, *, rang: bool) -> float:
        """Tend the doorbell, make one pass; give the seconds until the next. Never raises."""
        try:
            self._doorbell.tend()
            _, due = self._pass(everything=False, rang=rang or not self._doorbell.hears_all)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next drop must still be served
            told = traceback.format_exc()
            emit("watch.failed", level="error", directory=self.directory, reason=error, traceback=told)
            return self.interval
        return self.interval if due is None else min(due, self.interval)

    def _pass(self, *, everything: bool, rang: bool = True) -> tuple[tuple[Outcome, ...], float | None]:
        with self.turn.taken():
            outcomes, due = self._passes.make(self._tell, everything=everything, rang=rang)
            if self._told is not None and outcomes:
                self._told(outcomes)
            return outcomes, due

    def _tell(self) -> None:
        with self.turn.changed:
            self.turn.changed.notify_all()

    def _refuse_elsewhere(self) -> None:
        if self._pid != os.getpid():
            raise StateError(f"this watch belongs to process {self._pid}, not to this one", advice="start one here")
