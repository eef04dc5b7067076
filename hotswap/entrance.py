"""The entrance of a patcher: what a watched directory and the admin app ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hotswap.actors import whoever
from hotswap.errors import CIRCUMSTANCES
from hotswap.footing import Footing
from hotswap.generation import LiveModule
from hotswap.hosting import Hosting
from hotswap.patch import Patch
from hotswap.place import Older, Terms
from hotswap.records import Record
from hotswap.rollout import Rollout
from hotswap.store import Refusal
from hotswap.trust import Memory, Trust

if TYPE_CHECKING:
    from hotswap.watching import Outcome

__all__ = ["Entrance"]


class Entrance(Hosting):
    """The part of a patcher that others bring patches to. Lives as long as the patcher."""

    _footing: Footing
    _trust: Trust | None

    def _walk(self, patch: Patch, terms: Terms) -> Rollout:
        raise NotImplementedError

    def _walk_once(self, patch: Patch, terms: Terms) -> Rollout:
        raise NotImplementedError

    # --- for the admin app -------------------------------------------------------------------------------------------

    @property
    def policy(self) -> tuple[Trust, Memory] | None:
        """The policy for what comes from without, with what it remembers; None: there is none."""
        return None if self._trust is None else (self._trust, self._memory)

    def modules(self) -> list[LiveModule]:
        """Return the managed modules as they run now, for who examines them."""
        with self._change:
            return self._succession.modules()

    def stored(self, digest: str) -> Patch:
        """Return the patch of that digest from the store. Raises StoreError if there is none, or it is damaged."""
        return self._books.patch(digest)

    def roll_out(self, patch: Patch, terms: Terms) -> Rollout:
        """Stage a patch and judge it, and have it go live if its terms say so; errors are those of `Patcher.apply`."""
        return self._walk_once(patch, terms)

    # --- for watched directories -------------------------------------------------------------------------------------

    def _stands(self, digest: str) -> bool:
        # Another worker may have made it permanent since this process began: it is to run here, too.
        return self._footing.holds(digest) or self._books.stands(digest)

    def _apply_dropped(self, older: Older, directory: str, patch: Patch) -> Rollout:
        if (lying := self._footing.rollout_of(patch)) is not None:
            return lying
        key = patch.metadata.get("key")  # set by the gate alone, once the signature was verified
        by = "" if key is None else f"key {key}, through {whoever()}"
        why = f"dropped into {directory}"
        terms = Terms.of(0.0, (), ..., older, by=by, why=why, through=True, rehearsal=self._rehearsal)
        try:
            return self._walk(patch, terms)
        except CIRCUMSTANCES as error:
            if isinstance(error.rollout, Record):  # no verdict: it waits, and comes to another rollout
                with self._change:
                    self._history.pop(error.rollout.id, None)
                    self._books.withdraw(error.rollout.id)
                    self._succession.numbers.give_back(error.rollout.id)
            raise

    def _refused(self, directory: str, outcomes: Iterable[Outcome]) -> None:
        """Note what came to no rollout of what was dropped."""
        self._books.refuse(
            Refusal(
                directory=directory,
                drop=one.drop,
                version=one.version,
                digest=one.digest,
                error=one.error,
                code=one.code,
                reason=one.reason,
                first=one.time.isoformat(timespec="milliseconds"),
                last=one.time.isoformat(timespec="milliseconds"),
            )
            for one in outcomes
            if one.error is not None and one.rollout is None
        )
