"""Drops that wait: for a patcher that is busy, or for what has to come with them, such as their signature.

That is no verdict. It is told once in the log; what a drop lacks is also said beside it, in `NAME.pending`.
Concurrency: belongs to whoever has the turn (see `watch`); `reason` may be asked by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import TYPE_CHECKING

from hotswap.errors import BusyError
from hotswap.events import emit
from hotswap.watching.ledger import Ledger
from hotswap.watching.outcome import Failure, Outcome

if TYPE_CHECKING:
    from hotswap.watching.attempt import Taken

__all__ = ["Delays"]


class Delays:
    """Which drops of a watch wait, and for what. Lives as long as the watch."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: Mapping[str, tuple[str, str]] = MappingProxyType({})
        """Name -> digest, and why; replaced, never changed."""
        self._pending: dict[str, str] = {}
        """Name -> what a drop lacks, as its marker says."""

    def reason(self, name: str) -> str | None:
        """Why a drop waits, or None."""
        waiting = self._waiting.get(name)
        return None if waiting is None else waiting[1]

    def busy(self, error: BusyError, drops: Sequence[Taken]) -> None:
        """Note, and tell once, that these drops wait until the patcher is free."""
        reason = Failure.of(error).reason
        new = [one for one in drops if self._waiting.get(one.drop.name, ("", ""))[0] != one.digest]
        for one in drops:
            self._complete(one.drop.name)
        self._waiting = {**self._waiting, **{one.drop.name: (one.digest, reason) for one in drops}}
        for one in new:
            emit("drop.waiting", drop=one.drop.name, version=one.version, digest=one.digest, reason=reason)

    def lacking(self, name: str, reason: str) -> None:
        """Note, and tell once, that a drop waits for something that has to come with it."""
        self._waiting = {**self._waiting, name: ("", reason)}
        if self._pending.get(name) != reason:
            self._pending[name] = reason
            self._ledger.tell(Outcome.pending(name, reason))
            emit("drop.waiting", drop=name, version=None, digest="", reason=reason)

    def tell_again(self) -> None:
        """Say beside the drops once more what they lack: this process reports under another name now."""
        for name, reason in self._pending.items():
            self._ledger.tell(Outcome.pending(name, reason))

    def over(self, name: str) -> None:
        """Note that a drop does not wait any more."""
        if name in self._waiting:
            self._waiting = {other: why for other, why in self._waiting.items() if other != name}
        self._complete(name)

    def _complete(self, name: str) -> None:
        """Take back the marker of a drop that lacks nothing any more, or has gone away."""
        if self._pending.pop(name, None) is not None:
            self._ledger.waits_no_more(name)

    def only(self, present: Set[str]) -> None:
        """Note that all drops but these have gone away."""
        for name in self._waiting.keys() - present:
            self.over(name)
