"""What a process came up on, for drops that lie in a watched directory since before it began.

Such a drop is not applied: it is what is live, or lies below what is live. It is told of under the rollout that it was
in its own time, so that the news that one is taken back is not taken for news of another. What this process came up on
and took back since is not applied again, however late somebody looks at the drop.
"""

from __future__ import annotations

from packaging.version import Version

from hotswap.bookkeeping import Books
from hotswap.homecoming import Resumed
from hotswap.patch import Patch
from hotswap.records import State
from hotswap.rollout import Host, Rollout
from hotswap.store import Entry

__all__ = ["Footing"]


class Footing:
    """Knows the rollout on which a process came up, and those below it. Lives as long as the patcher.

    Arguments:
        host: the patcher.
        books: its books.
        resumed: the rollout on which the process came up, or None.
    """

    def __init__(self, host: Host, books: Books, resumed: Resumed | None) -> None:
        self._host, self._books, self._resumed = host, books, resumed

    def holds(self, digest: str) -> bool:
        """Whether a patch of this digest is live since before this process began, or below what is live."""
        found = self._found(digest)
        return found is not None and not self._taken_back(found.id)

    def rollout_of(self, patch: Patch) -> Rollout | None:
        """Return the rollout by which a patch is live, or was before this process began; None: it is none of them."""
        found, resumed = self._found(patch.digest), self._resumed
        if found is None or resumed is None:
            return None
        if found.id == resumed.id:
            return resumed
        rollout = Rollout(self._host, self._books.patch_of(found) or patch, Version(found.version or "0"))
        rollout.id, rollout.state = found.id, State.PERMANENT
        return rollout

    def _found(self, digest: str) -> Entry | None:
        """The rollout of a patch by which it is live since before this process began, or lies below what is."""
        return None if self._resumed is None else self._books.footing(digest)

    def _taken_back(self, rollout: str) -> bool:
        resumed = self._resumed
        return resumed is not None and rollout == resumed.id and resumed.state is State.ROLLED_BACK
