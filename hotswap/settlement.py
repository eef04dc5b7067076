"""The settlement: what has drained is handed to a thread that settles it, off the commit.

The last old call ends anywhere: in the middle of an allocation, under any lock of the application or of the standard
library. So what is called there only appends to a queue and asks for a thread, with no lock and without waiting.

Guarantees: everything that is taken is settled once, in the order in which it drained, by a thread of its own that ends
when the queue is empty. While a candidate is being loaded it waits: what is done with closures that a module body makes
would be taken for something that the body does. Where no thread can be had (WebAssembly, an interpreter that shuts
down) it waits for `catch_up`, which every patcher calls: its own may be gone. Assumes: nothing; every entry may be
called from any thread.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import FunctionType
from typing import TypeAlias

from hotswap import collector
from hotswap.generation import between_loads
from hotswap.handover import Handover
from hotswap.mirroring import Mirroring
from hotswap.rollout import Rollout
from hotswap.swap import Closures, Drain, HandedOut, Lineage, Reference, Settled, Settling, Swap

__all__ = ["Settlement", "catch_up"]

Last: TypeAlias = Callable[[], tuple[Swap | None, Lineage]]


class Settlement:
    """The queue of what has drained. Lives as long as its patcher.

    Arguments:
        change: the lock under which swaps are made: none may be made while something is settled.
        closures: whether closures are found and led; if not, only the forks are taken away.
    """

    def __init__(self, change: AbstractContextManager[object], *, closures: bool = True) -> None:
        self._change = change
        self._closures = Closures() if closures else None
        self._clones: list[Reference] = []
        self._mirroring = Mirroring(change)
        self._acts: deque[Callable[[], object]] = deque()
        self._waiting: deque[tuple[Rollout, Last, Settling]] = deque()

    def await_calls(
        self, rollout: Rollout, drain: Drain | None, last: Last, settling: Settling, *, back: bool = False
    ) -> None:
        """Hand the calls over that a swap has left in flight, when their time has come.

        Arguments:
            rollout: whose swap it is.
            drain: tells of the calls.
            last: as `take` has it.
            settling: has the forks that lead them.
            back: whether the swap has taken the rollout back.
        """
        if drain is not None:
            lead = partial(self._lead_soon, last)
            handover = Handover(
                rollout, drain, settling, self._change, rollout.handover, lead, self._mirroring, back=back
            )
            settling.handover = handover
            handover.begin()

    def take(self, rollout: Rollout, last: Last, settling: Settling) -> None:
        """Take what has drained. Never waits, and never raises.

        Arguments:
            rollout: is told what was done.
            last: gives the last swap, if it can be taken back, and the functions of earlier generations.
            settling: what has drained.
        """
        if settling.junction is None:  # no call was in flight that could have begun another one
            settling.over()
            if self._closures is None or not settling.nested:
                # There can be no closure that needs its old world until it is settled.
                settling.end()
        else:
            settling.world.ended()
        self._waiting.append((rollout, last, settling))
        self._begin()

    @property
    def handed_out(self) -> HandedOut:
        """Gives the closures that are led where a candidate is armed."""
        return (lambda *_: ()) if self._closures is None else self._closures.armed

    def later(self, act: Callable[[], object]) -> None:
        """Have something done under the lock, in a thread. Never waits, and never raises.

        Arguments:
            act: does it, and must not raise. What it returns is held until the lock is free: finalizers are user code.
        """
        self._acts.append(act)
        self._begin()

    def _begin(self) -> None:
        try:
            # `Thread.start` takes a lock of `threading`, which whoever was interrupted here may have: this doesn't.
            _thread.start_new_thread(self.run, ())
        except RuntimeError:
            _stranded.append(self)

    def known(self, lineage: Lineage) -> Lineage:
        """Return a lineage that knows the clones which lead to a successor now: later swaps lead them on."""
        return lineage.extended(filter(None, (known() for known in self._clones)), (), (), ())

    def run(self) -> None:
        """Settle what waits. Not to be called under a lock: it emits events."""
        done: list[tuple[Rollout, Settled | None, str]] = []
        held: list[object] = []
        with self._change, collector.switched_off():
            while self._acts:
                held.append(self._acts.popleft()())
            if self._waiting:
                with between_loads(self._begin) as may_settle:
                    done += self._settle_waiting() if may_settle else ()
        held.clear()
        for rollout, settled, reason in done:
            if settled is not None:
                rollout.settle_down(settled, reason, self._aside)

    def _settle_waiting(self) -> Iterator[tuple[Rollout, Settled | None, str]]:
        """Settle what waits, and yield what was done."""
        while self._waiting:
            rollout, last, settling = self._waiting.popleft()
            if settling.goes_on():
                continue
            if not settling.is_led and settling.lead(partial(self._lead, last, settling)):
                continue
            settling.over()
            settling.collapse()
            if settling.handover is not None:
                settling.handover.end()
            if settling.lingering is None:
                settling.end()
            yield from ((rollout, *outcome) for outcome in settling.outcomes)
            if not settling.cancelled:
                rollout.drained.set()

    def _lead(self, last: Last, settling: Settling) -> None:
        try:
            settling.outcomes.append((self._settle(*last(), settling), ""))
        except Exception as error:  # noqa: BLE001 - nobody waits here; the rollout tells
            settling.outcomes.append((Settled(), f"{type(error).__name__}: {error}"))

    def _aside(self, tell: Callable[[], None]) -> None:
        """Run log handlers, which are user code: not under the lock, and in a thread that `threading` knows.

        While the interpreter shuts down no thread can be had any more: then they run here.
        """
        with suppress(RuntimeError):
            threading.Thread(target=tell, name="hotswap-settled", daemon=True).start()
            return
        tell()

    def hasten(self, last: Last, settling: Settling) -> None:
        """Have closures be led that wait for their moment: another swap is to be made, or armed.

        Nobody may make a swap meanwhile. The arguments are those of `take`.
        """
        if settling.early is None and settling.drain is not None:
            self._lead_early(last, settling)

    def _lead_soon(self, last: Last, settling: Settling) -> None:
        """Lead closures as `_lead_early` does, once no candidate is being loaded."""
        with between_loads(partial(self.later, partial(self._lead_soon, last, settling))) as may_lead:
            if may_lead and settling.early is None:
                self._lead_early(last, settling)

    def _lead_early(self, last: Last, settling: Settling) -> None:
        """Lead closures for everybody but calls that go on for long. Under the lock under which swaps are made."""
        if settling.junction is not None and settling.nested and not (settling.cancelled or settling.outcomes):
            with collector.switched_off():
                settling.early = self._settle(*last(), settling, busy=settling.busy())

    def _settle(
        self, swap: Swap | None, lineage: Lineage, settling: Settling, *, busy: Container[int] | None = None
    ) -> Settled | None:
        """Lead what old code left behind to what is live now; None if its swap was taken back meanwhile."""
        if settling.cancelled:
            self._know(settling.lead_back())
        if settling.cancelled or self._closures is None:
            return None
        before, undo, own = swap.way_back(settling) if swap is not None else (None, None, False)
        going = None if swap is None else swap.going_back
        earlier = [function for _, function in self.known(lineage).functions]
        settled, clones = self._closures.settle(
            settling, sys.modules, before, undo, earlier, own=own, going=going, busy=busy
        )
        self._know(clones)
        return settled

    def _know(self, clones: Iterable[FunctionType]) -> None:
        """Have later swaps lead functions on, too: they lead to what is live, and somebody may hold them."""
        known = {id(clone): clone for clone in filter(None, (reference() for reference in self._clones))}
        self._clones = [*map(Reference, {**known, **{id(clone): clone for clone in clones}}.values())]


_stranded: deque[Settlement] = deque()


def catch_up() -> None:
    """Settle here what no thread could be had for. Not to be called under a lock: it emits events."""
    while True:
        try:
            settlement = _stranded.popleft()
        except IndexError:  # asking first whether there is one would race with another thread that catches up
            return
        settlement.run()
