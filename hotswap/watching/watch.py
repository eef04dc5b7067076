"""The watch: one thread that applies what is dropped, and writes down what became of it.

    a drop appears → it settles → its bytes are read once → apply(patch) → NAME.live, or NAME.failed
                                                          ↘ the same digest as before: nothing to do

Guarantees
- Level-triggered: every pass looks at the whole directory, and a drop is known by the digest of its bytes. A lost,
  doubled or late event changes nothing.
- A live drop is not applied again by the same patcher, also by a later watch of the same directory. A failed drop is
  tried again only when its bytes change (or could not be read), or when it was dropped again and had failed for a
  reason that may be over. A drop that was dropped again and is not tried says why. A busy patcher is no verdict: drops
  wait for it. A new process runs the code on disk, so it applies what it finds, but for drops whose `NAME.failed`
  bears the same digest and says that the artifact itself is wrong, or that it was rolled back.
- When a rollout that came from a drop is rolled back, its marker says so, also after the watch has ended (`ledger`).
- Drops found in the same pass are applied in the order of their versions; those without one come last, by name.
- No drop ends the watch: whatever `apply` raises is that drop's outcome, and an error of our own is logged.
- Passes never overlap. `apply` runs user code (checks), so no lock is held while it runs: a pass has the *turn*, which
  only another pass waits for. `outcomes`, `alive` and `wait_for` never do.
- After the context ends there is no thread, no file descriptor, and no pass in progress.

Assumes that `os.replace` is atomic in the directory, and that one process writes markers there (of several, the last
one to finish is the one whose marker stands; they don't disturb each other otherwise). After `os.fork()` the child has
no thread: there the watch is not alive, and leaving its context does nothing. Works on every interpreter that has
threads; where there are none, `scan` can be called by hand.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from packaging.version import Version

from hotswap.errors import BusyError, HotswapError, StateError
from hotswap.events import Level, emit
from hotswap.trust import Waiting
from hotswap.watching.attempt import Taken, attempt, take
from hotswap.watching.claims import claim, release
from hotswap.watching.delays import Delays
from hotswap.watching.doorbell import Doorbell
from hotswap.watching.ledger import ledger_of
from hotswap.watching.outcome import Outcome
from hotswap.watching.reports import report
from hotswap.watching.scanning import OPEN, SETTLE, Bounds, Drop, Scanner, is_passed_by, look_at

if TYPE_CHECKING:
    from hotswap.patch import Patch
    from hotswap.rollout import Rollout
    from hotswap.watching.gate import Gate

__all__ = ["Watch"]

_GAP = 0.05
"""Seconds between two passes at least: a file that is written for minutes rings all the time."""

_RETRY = 0.2
"""Seconds until drops that wait for a busy patcher are tried again."""

_turn_held: contextvars.ContextVar[object] = contextvars.ContextVar("hotswap.watching.turn", default=None)


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
    ) -> None:
        for name, seconds, least in (("interval", interval, 1e-3), ("settle", settle, 0.0)):
            if not (math.isfinite(seconds) and least <= seconds <= threading.TIMEOUT_MAX):
                raise HotswapError(
                    f"a watch can't have {name}={seconds!r}", advice="give a positive number of seconds, such as 2.0"
                )
        self.directory = Path(os.path.abspath(directory))  # noqa: PTH100 - a later chdir must not move it, links stay
        self.interval = interval
        self._apply, self._running = apply, running
        self._ledger = ledger_of(apply if patcher is None else patcher, self.directory)
        self._gate = None if gate is None else gate(self.directory)
        self._bounds = OPEN if self._gate is None else Bounds(links=False, most=self._gate.trust.max_files)
        self._scanner = Scanner(self.directory, settle, bounds=self._bounds)
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._doorbell = Doorbell(self.directory, self._bell.set)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        # Guards the three below, for moments; no user code, file or log is touched while it is held.
        self._changed = threading.Condition()
        self._turn: object | None = None
        self._turn_thread: int | None = None
        self._settled: dict[str, str] = {}  # name -> stamp of the bytes that came to something
        self._delays = Delays(self._ledger)

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
        self._stopping.clear()
        self._bell.clear()
        thread = threading.Thread(target=self._work, name=f"hotswap-watch-{self.directory.name}", daemon=True)
        try:
            self._doorbell.tend()
            emit("watch.started", level="info", directory=str(self.directory), interval=self.interval)
            self._thread = thread
            thread.start()
        except BaseException as error:
            self._thread = None
            self._doorbell.close()
            release(self, self.directory)
            if isinstance(error, RuntimeError):
                raise HotswapError(f"the thread that watches {self.directory} can't be started ({error})") from error
            raise
        return self

    def stop(self) -> None:
        """Stop watching. Waits for a rollout in progress; drops that wait their turn are left for the next watch.

        Raises BusyError when it is called from within that rollout (by a check, say). A watch that isn't running, or
        was started by the parent of a forked process, is left as it is.
        """
        thread = self._thread
        if thread is None:
            return
        if self._pid != os.getpid():
            self._doorbell.forget()
            return
        self._refuse_inside("stop")
        self._stopping.set()
        self._bell.set()
        thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._turn is None)  # A `scan` that another thread began.
            last = self._thread is thread
            self._thread = None
            self._changed.notify_all()
        if last:
            self._stopping.clear()
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
        self._refuse_inside("scan")
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
            with self._changed:
                if stamp is not None and self._settled.get(name) == stamp:
                    return self._ledger.outcomes[name]
                if not self.alive:
                    raise StateError(f"the watch of {self.directory} is not running, so nothing becomes of {name}")
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._bell.set()
                self._changed.wait(min(left, self.interval))
        last = self._ledger.outcomes.get(name)
        waiting = self._delays.reason(name)
        if stamp is None:
            because = "there is no such drop"
        elif waiting is not None:
            because = waiting
        elif last is not None and not last.final:
            because = last.reason
        else:
            because = "it has not settled, or its rollout is still in progress"
        raise _NoOutcomeError(f"nothing became of {name} in {timeout:g} s: {because}")

    # --- the thread ---

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._bell.clear()  # Before the pass: what rings during it is heard after it.
                pause = self._round()
                self._stopping.wait(_GAP)
                self._bell.wait(max(pause - _GAP, 0.0))
        finally:
            self._doorbell.close()

    def _round(self) -> float:
        """Tend the doorbell, make one pass; give the seconds until the next. Never raises."""
        try:
            self._doorbell.tend()
            _, due = self._pass(everything=False)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next drop must still be served
            told = traceback.format_exc()
            emit("watch.failed", level="error", directory=self.directory, reason=error, traceback=told)
            return self.interval
        return self.interval if due is None else min(due, self.interval)

    @contextlib.contextmanager
    def _turn_taken(self) -> Iterator[None]:
        """Have the turn: one pass at a time. Not a lock: nothing but a pass, and `stop`, waits for it."""
        turn = object()
        with self._changed:
            self._changed.wait_for(lambda: self._turn is None)
            self._turn, self._turn_thread = turn, threading.get_ident()
        token = _turn_held.set(turn)
        try:
            yield
        finally:
            _turn_held.reset(token)
            with self._changed:
                self._turn = self._turn_thread = None
                self._changed.notify_all()

    def _pass(self, *, everything: bool) -> tuple[tuple[Outcome, ...], float | None]:
        outcomes: list[Outcome] = []
        with self._turn_taken():
            if self._gate is not None and self._gate.closed():
                return (), None
            drops, due = self._scanner.scan(everything=everything)
            present = self._scanner.present
            if present is not None:
                self._ledger.gone(present)
                self._delays.only(present)
                with self._changed:  # What comes back has come to nothing yet, even if it looks the same.
                    self._settled = {name: stamp for name, stamp in self._settled.items() if name in present}
            for other in self._scanner.ignored():
                level: Level = "warning" if other.meant else "info"
                emit("drop.ignored", level=level, directory=self.directory, drop=other.name, reason=other.reason)
                if other.meant:
                    self._ledger.tell(Outcome.ignored(other.name, other.reason))
            taken = [one for drop in drops if (one := self._take(drop)) is not None]
            taken.sort(key=lambda one: one.order)
            for number, one in enumerate(taken):
                if self._stopping.is_set():
                    break
                if not self._unchanged(one.drop):
                    continue  # These bytes are half of something, or history: the new ones settle.
                try:
                    outcomes.append(self._finish(one))
                except BusyError as busy:  # No verdict. The later ones wait too, or they would overtake it.
                    self._delays.busy(busy, taken[number:])
                    due = _RETRY if due is None else min(due, _RETRY)
                    break
                self._delays.over(one.drop.name)
        return tuple(outcomes), due

    def _take(self, drop: Drop) -> Taken | None:
        """Read the drop's bytes, once; None where they are dealt with, or wait for what has to come with them."""
        taken = take(drop, self._running, self._gate)
        if isinstance(taken, Waiting):
            self._delays.lacking(drop.name, taken.reason)
            return None
        known = self._ledger.recall(drop.name, taken.digest)
        again = self._ledger.came_again(drop)
        if known is None or (again and known.passing):
            return replace(taken, again=again)
        self._delays.over(drop.name)
        if again:
            self._ledger.refuse(known, drop)
        else:
            self._ledger.stays(known, drop)
        self._publish(drop)
        return None

    def _finish(self, taken: Taken) -> Outcome:
        """Apply what was taken, and report: to the memory and beside the drop, then in the log."""
        began = time.monotonic()
        outcome, news = self._ledger.enter(taken, *attempt(self._admitted, taken))
        if news:
            report(outcome, time.monotonic() - began)
        if outcome.final:
            self._publish(taken.drop)
        return outcome

    def _admitted(self, patch: Patch) -> Rollout:
        if self._gate is not None:  # now, and not when it was read: an earlier drop may have gone live meanwhile
            self._gate.admit(patch)
        return self._apply(patch)

    def _unchanged(self, drop: Drop) -> bool:
        try:
            return look_at(drop.path, self._bounds) == drop.look
        except OSError:
            return False

    # --- what is known ---

    def _publish(self, drop: Drop) -> None:
        self._scanner.handled(drop)
        with self._changed:
            self._settled[drop.name] = drop.look.stamp
            self._changed.notify_all()

    # --- what is refused ---

    def _refuse_inside(self, what: str) -> None:
        if self._turn is not None and (self._turn is _turn_held.get() or self._turn_thread == threading.get_ident()):
            raise BusyError(f"{what}() was called from within a rollout of the same watch, and would wait for itself")

    def _refuse_elsewhere(self) -> None:
        if self._pid != os.getpid():
            raise StateError(f"this watch belongs to process {self._pid}, not to this one", advice="start one here")
