"""The aftermath of a swap: what becomes of what old code has left with others, once its last call has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from hotswap import events
from hotswap.bake import Baking, Figures
from hotswap.moment import Moment
from hotswap.patch import Patch
from hotswap.records import State
from hotswap.session import Session, opened
from hotswap.swap import CallInFlight, Drain, Leftover, Settled

__all__ = ["Aftermath", "Auditor", "Baked", "Drained"]


class Auditor(Protocol):
    """Who can look what a swap has left."""

    def audit(self, rollout: Any, /) -> tuple[Leftover, ...]:
        """Look who refers to what the swap of a rollout has dropped. Raises StateError if it is not live."""

    def settled(self, rollout: Any, /) -> Callable[[], None] | None:
        """What is to be called, where user code may run, when old calls have ended; None if there is nothing."""


class Drained(Moment):
    """The last call of the generation that went has ended, and calls run at plain speed again.

    A wait without a limit takes as long as a loop that never ends, and that the patch has changed.
    """


class Baked(Moment):
    """No bake of the rollout goes on: its verdict is carried out, somebody has ended it, or it has none."""


class Aftermath:
    """The part of a rollout that comes after the swap. Lives as long as the rollout.

    `settled` says what was led to new code when the last old call had ended; it is None until then.
    """

    id: str
    patch: Patch
    state: State

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self.settled: Settled | None = None
        self.handover: float | None = None
        """Seconds that calls in flight have to finish before unchanged old code calls the new; with None, for ever."""
        self.drained = Drained()
        """Says whether the last call of the generation that went has ended, and waits for that."""
        self.baked = Baked()
        """Says whether no bake goes on, and waits for that."""
        self.baked.set()
        self.baking: Baking | None = None
        """The bake that goes on, or went on last."""
        self._settled = threading.Event()
        self._drain: Drain | None = None

    @property
    def patcher(self) -> object:
        """The patcher whose rollout it is."""
        return self._auditor

    def went(self, drain: Drain | None) -> None:
        """Note what tells of the calls of the generation that has just gone."""
        self._drain = drain

    def in_flight(self) -> tuple[CallInFlight, ...]:
        """Return the calls that go on with code of the generation that went with the last swap of this rollout.

        Each with its function, file and line, the thread or task, and since when its generation is gone. Of closures,
        generators, coroutines and plain calls in threads are among them; `open_sessions` has the sessions. It passes
        over the heap, with the GIL held: ask now and then, not for each request.
        """
        drain = self._drain
        return () if drain is None else tuple(call for _, call in drain.calls(begun=True))

    def open_sessions(self) -> tuple[Session, ...]:
        """Return the sessions that began before the last swap of this rollout and are still open: it waits for them.

        Each says when and in which thread it began, and what it is about. Where nobody is on the generation that went
        but sessions which an earlier rollout waits for, this one waits for none of them, some time after the next has
        come. It passes over the heap, as `in_flight` does.
        """
        keeper = None if self._drain is None else self._drain.keeper
        return () if keeper is None else tuple(sorted(opened(keeper), key=lambda session: session.began))

    @property
    def bake(self) -> Figures | None:
        """The figures of its bake, of this moment or of its end; None if it had none. `str()` is for reading."""
        return None if self.baking is None else self.baking.figures()

    def wait_baked(self, timeout: float | None = None) -> bool:
        """Wait until the bake is over, and its verdict carried out; `baked.wait_async` does so on an event loop.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns whether it is over; it is at once where there is none. `state` says what has become of the rollout then.
        """
        return self.baked.wait(timeout)

    def wait_settled(self, timeout: float | None = None) -> bool:
        """Wait until the last call of the generation that went has ended, and what it left behind is led to new code.

        Arguments:
            timeout: seconds; None waits for ever, which a loop takes that never ends, and that the patch has changed.

        Returns whether it has happened; `settled` says what was done. After a rollback it is about the way back.
        """
        return self._settled.wait(timeout)

    def unsettle(self) -> None:
        """Note that the way back begins: calls of what was live until now are in flight."""
        self._settled.clear()
        self.drained.clear()

    def settle_down(self, settled: Settled, failure: str, aside: Callable[[Callable[[], None]], None]) -> None:
        """Note what was led to new code, or why that failed, and tell it where user code may run."""
        self.settled = settled
        self._settled.set()
        hooks = self._auditor.settled(self)
        if hooks is not None:
            aside(hooks)
        if settled.led or settled.left or failure:
            facts: dict[str, Any] = {
                "rollout": self.id,
                "patch": self.patch.name,
                "version": self.patch.version,
                "state": self.state,
            }
            facts |= {"led": sorted(settled.led), "left": sorted(settled.left)}
            facts |= {"defaults": sorted(settled.defaults), "wrapped": settled.wrapped, "duration": settled.duration}
            level: events.Level = "error" if failure else "warning" if settled.left or settled.defaults else "info"
            aside(lambda: events.emit("rollout.settled", level=level, of=self.patcher, reason=failure, **facts))

    def audit(self) -> tuple[Leftover, ...]:
        """Look who refers to what the swap has dropped: nobody but hotswap's own journal should.

        It is for tests and staging: it takes a full collection and passes over the heap, with the GIL held. Raises
        StateError if the rollout is not what went live last.
        """
        return self._auditor.audit(self)
