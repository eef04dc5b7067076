"""The way back in a process that came up on a patched version: nothing in memory leads to the version before it.

So that version is made one patch, from the store or from the code on disk, and goes live as any other; but its checks
are not run, and no migrations: it was live before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from packaging.version import Version

from hotswap.effects import KINDS
from hotswap.patch import Patch
from hotswap.records import State
from hotswap.rollout import Host, Rollout

if TYPE_CHECKING:
    from hotswap import events

__all__ = ["Back", "Resumed"]

_PATIENCE = 10.0
"""Seconds to wait for a rollout in progress, which is given up, to end what it runs."""


class Home(Host, Protocol):
    """What takes a process back to the version before the one on which it came up."""

    def go_home(self, rollout: Any, reason: str, patience: float, /) -> Rollout:
        """Have that version go live; return the rollout that stands for the swap."""


class Resumed(Rollout):
    """The permanent rollout on which this process came up. Lives as long as the patcher.

    Arguments:
        host: the patcher.
        patch: that is live.
    """

    def __init__(self, host: Home, patch: Patch, version: Version) -> None:
        super().__init__(host, patch, version)
        self._home = host
        self.state = State.PERMANENT

    def _roll_back(self, reason: str, by: str) -> None:
        """Have the version before it go live. Raises NothingToRollBackError, too, if that is not kept."""
        if self.state is not State.PERMANENT:
            raise self._wrong("rolled back", "look at what is live")
        self.actor = by
        back = self._home.go_home(self, reason or "rolled back on request", _PATIENCE)
        self.pause = back.pause
        self.drained, self._drain, self._settled = back.drained, back._drain, back._settled
        self._host.note(self)
        self._host.tell(self)
        took = time.perf_counter() - self._returns
        self._emit("rollout.rolled_back", level="warning", pause=self.pause, took=took)


class Back(Rollout):
    """The swap to the version before. Nobody gets it, and nobody is told of it."""

    silent = True

    def __init__(self, host: Host, patch: Patch) -> None:
        assert patch.version is not None
        super().__init__(host, patch, patch.version)
        self.allow_effects = frozenset(KINDS)  # whatever its import does, it did when it was live
        self._has_migrated = True

    def _emit(self, event: events.EventName, *, level: events.Level = "info", **facts: object) -> None:
        """Say nothing: who asked for it is told by the rollout that it takes back."""
