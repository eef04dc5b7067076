"""The aftermath of a swap: what becomes of what old code has left with others, once its last call has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from hotswap import events
from hotswap.patch import Patch
from hotswap.records import State
from hotswap.swap import Leftover, Settled

__all__ = ["Aftermath", "Auditor"]


class Auditor(Protocol):
    """Who can look what a swap has left."""

    def audit(self, rollout: Any, /) -> tuple[Leftover, ...]:
        """Look who refers to what the swap of a rollout has dropped. Raises StateError if it is not live."""


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
        self._settled = threading.Event()

    def wait_settled(self, timeout: float | None = None) -> bool:
        """Wait until the last call of the generation that went has ended, and what it left behind is led to new code.

        Arguments:
            timeout: seconds; None waits for ever, which a loop that never ends takes.

        Returns whether it has happened; `settled` says what was done. After a rollback it is about the way back.
        """
        return self._settled.wait(timeout)

    def unsettle(self) -> None:
        """Note that the way back begins: calls of what was live until now are in flight."""
        self._settled.clear()

    def settle_down(self, settled: Settled, failure: str, aside: Callable[[Callable[[], None]], None]) -> None:
        """Note what was led to new code, or why that failed, and tell it where user code may run."""
        self.settled = settled
        self._settled.set()
        if settled.led or settled.left or failure:
            facts: dict[str, object] = {
                "rollout": self.id,
                "patch": self.patch.name,
                "version": self.patch.version,
                "state": self.state,
            }
            facts |= {"led": sorted(settled.led), "left": sorted(settled.left)}
            facts |= {"defaults": sorted(settled.defaults), "wrapped": settled.wrapped, "duration": settled.duration}
            level: events.Level = "error" if failure else "warning" if settled.left or settled.defaults else "info"
            aside(lambda: events.emit("rollout.settled", level=level, reason=failure, **facts))

    def audit(self) -> tuple[Leftover, ...]:
        """Look who refers to what the swap has dropped: nobody but hotswap's own journal should.

        It is for tests and staging: it takes a full collection and passes over the heap, with the GIL held. Raises
        StateError if the rollout is not what went live last.
        """
        return self._auditor.audit(self)
