"""The handover: calls that do not end are led to new code where it is the same as theirs.

A call in flight has some time to finish on old code. An endless loop never does: a worker that takes jobs, a handler of
a connection. After that time, code that the patch did not change calls the new; code that it did change stays old until
it ends, and is named.

Who holds code objects without running them (a debugger, a traceback that is kept) would keep a generation for as long.
So now and then, and ever more seldom, the calls themselves are looked for: code that nobody runs is waited for no more.

Calls of a version that has come back are of what is live, or of a later swap: these wait for them, and not the one that
was taken back.

Guarantees: what is handed over is handed over at once, by one store, and told when it has happened. Assumes: threads;
where there are none (WebAssembly) nothing is handed over.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from hotswap import clock, events
from hotswap.mirroring import Mirroring
from hotswap.records import State
from hotswap.rollout import Rollout
from hotswap.swap import Drain, Settling, pauses

__all__ = ["Handover"]

_SOON = 0.05
"""Seconds until closures are led beside calls that go on: most have ended by then, and all is led at once."""


class _Handed(NamedTuple):
    """What is told: whose calls they are, the functions that were handed over, and the calls that stay old."""

    state: State
    over: list[str]
    kept: list[str]


class Handover:
    """Hands the calls over that one swap has left in flight. Lives until they have drained.

    Arguments:
        rollout: whose swap it is.
        drain: tells of the calls.
        settling: has the forks that lead them.
        change: the lock under which swaps are made.
        seconds: how long calls have to finish; None: for ever.
        lead: leads closures that are held by now, for everybody but calls that go on. It passes over the heap.
        mirroring: keeps in step what calls rebind that go on after that.
        back: whether the swap has taken the rollout back.
    """

    def __init__(
        self,
        rollout: Rollout,
        drain: Drain,
        settling: Settling,
        change: AbstractContextManager[object],
        seconds: float | None,
        lead: Callable[[Settling], None],
        mirroring: Mirroring,
        *,
        back: bool,
    ) -> None:
        self._rollout, self._change, self._back = rollout, change, back
        # Weakly: nobody wants them any more once the calls have drained.
        self._drain, self._settling = weakref.ref(drain), weakref.ref(settling)
        self._lead, self._mirroring = lead, mirroring
        self._until = None if seconds is None else clock.now() + seconds
        self._ever, self._is_first = seconds is not None, True
        self._pauses = pauses()
        self._pause = next(self._pauses)
        self._alarm: clock.Alarm | None = None
        self._soon: clock.Alarm | None = None

    def begin(self) -> None:
        """Wait, if there is something to be handed over; where there is no time to wait, hand it over."""
        drain, settling = self._drain(), self._settling()
        if drain is None or settling is None or drain.drained.is_set():
            return
        self._soon = clock.after(_SOON, self._lead_early)
        if self._until is not None and clock.now() >= self._until:
            self._until = None
            # Who calls this may hold a lock, under which no log handler may run. Not what `end` cancels: where nothing
            # but these calls was in flight, they have drained by now, and it is told all the same.
            clock.after(0.0, partial(self._told, self._hand_over(drain, settling)))
        else:
            self._wait()

    def _told(self, handed: _Handed | None) -> None:
        self._tell(handed)
        self._wait()

    def _wait(self) -> None:
        drain = self._drain()
        if drain is not None and not drain.drained.is_set():
            pause = self._pause
            if self._until is not None:
                pause = max(0.0, min(pause, self._until - clock.now()))
            self._alarm = clock.after(pause, self._look)

    def end(self) -> None:
        """They have drained: wait no longer."""
        for alarm in filter(None, (self._alarm, self._soon)):
            alarm.cancel()

    def _lead_early(self) -> None:
        drain, settling = self._drain(), self._settling()
        if drain is not None and settling is not None and not drain.drained.is_set():
            with self._change:
                self._lead(settling)

    def _look(self) -> None:
        drain, settling = self._drain(), self._settling()
        if drain is None or settling is None or drain.drained.is_set():
            return
        if self._until is not None and clock.now() >= self._until:
            self._until = None
            self._tell(self._hand_over(drain, settling))
        else:
            self._pause = next(self._pauses)
            with self._change:
                if settling.cancelled:
                    drain.give_way()  # no later swap tells of them: they would be waited for as long as they go on
                drain.let_go_of_unused()
                settling.let_go_of_sessions()
                if settling.handed_over or not (self._ever or self._is_first):
                    self._narrow(drain, settling)
            self._is_first = False
        self._wait()

    def _narrow(self, drain: Drain, settling: Settling) -> None:
        """What goes on now may go on for hours: it keeps the forks that it may come to, and no others.

        More than once: swaps that are made meanwhile make forks for it again. A session may come to anything.
        """
        if not settling.cancelled and not drain.drained.is_set() and drain.keeper is None:
            settling.narrow(drain.variables())

    def _hand_over(self, drain: Drain, settling: Settling) -> _Handed | None:
        """Do it, and return what is to be told; None if the swap was taken back: its calls are of live code again."""
        with self._change:
            if settling.cancelled:
                return None
            calls = drain.calls()
            drain.let_go_of_unused()
            self._mirroring.add(settling.hand_over(drain.running, sys.modules))
            same = settling.same
            drain.let_go(same)
            self._narrow(drain, settling)
            state = self._state()
        kept = sorted({str(call) for code, call in calls if id(code) not in same})
        return _Handed(state, sorted({call.function for code, call in calls if id(code) in same}), kept)

    def _state(self) -> State:
        """Whose calls they are. The rollout may not have the state yet that the swap leads to, if there is no time."""
        if self._back:
            return State.ROLLED_BACK
        return State.PERMANENT if self._rollout.state is State.PERMANENT else State.LIVE

    def _tell(self, handed: _Handed | None) -> None:
        rollout = self._rollout
        if handed is not None and (handed.over or handed.kept):
            events.emit(
                "rollout.handed_over",
                level="warning" if handed.kept else "info",
                of=rollout.patcher,
                rollout=rollout.id,
                patch=rollout.patch.name,
                version=rollout.patch.version,
                state=handed.state,
                handed_over=handed.over,
                old=handed.kept,
            )
