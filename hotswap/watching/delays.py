"""Drops that wait: for what has to come with them, such as their signature, or for circumstances that pass.

That is no verdict. It is told once in the log, and beside the drop, in `NAME.pending`.
Concurrency: belongs to whoever has the turn (see `watch`); `reason` may be asked by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType

from packaging.version import Version

from hotswap.events import emit
from hotswap.watching.ledger import Ledger
from hotswap.watching.outcome import Outcome

__all__ = ["Delays"]


class Delays:
    """Which drops of a watch wait, and for what. Lives as long as the watch."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: Mapping[str, tuple[str, str]] = MappingProxyType({})
        """Name -> digest, and why; replaced, never changed."""

    def reason(self, name: str) -> str | None:
        """Why a drop waits, or None."""
        waiting = self._waiting.get(name)
        return None if waiting is None else waiting[1]

    def wait(self, name: str, reason: str, digest: str = "", version: Version | None = None) -> None:
        """Note, and tell once, that a drop waits.

        Arguments:
            name: of the drop.
            reason: for what it waits.
            digest: of its bytes; empty where they were not read.
            version: that it says it is, where that is known.
        """
        if self._waiting.get(name) != (digest, reason):
            self._waiting = {**self._waiting, name: (digest, reason)}
            self._ledger.tell(Outcome.pending(name, reason, digest))
            emit("drop.waiting", drop=name, version=version, digest=digest, reason=reason)

    def tell_again(self) -> None:
        """Say beside the drops once more what they wait for: this process reports under another name now."""
        for name, (digest, reason) in self._waiting.items():
            self._ledger.tell(Outcome.pending(name, reason, digest))

    def over(self, name: str) -> None:
        """Note that a drop does not wait any more, or has gone away."""
        if name in self._waiting:
            self._waiting = {other: why for other, why in self._waiting.items() if other != name}
            self._ledger.waits_no_more(name)

    def only(self, present: Set[str]) -> None:
        """Note that all drops but these have gone away."""
        for name in self._waiting.keys() - present:
            self.over(name)
