"""The entrance of a patcher: how a rollout begins, and what a watched directory and the admin app ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from types import EllipsisType
from typing import TYPE_CHECKING

from packaging.version import Version

from hotswap.actors import whoever
from hotswap.errors import CIRCUMSTANCES, OutdatedError, StateError
from hotswap.footing import Footing
from hotswap.generation import LiveModule
from hotswap.hosting import Hosting
from hotswap.patch import Patch
from hotswap.place import Older, Terms
from hotswap.records import BEFORE_LIVE, Record
from hotswap.rollout import Host, Rollout
from hotswap.store import Refusal
from hotswap.trust import Memory, Trust

if TYPE_CHECKING:
    from hotswap.watching import Outcome

__all__ = ["Entrance"]

_STAGINGS = 3
"""How often a patch is staged whose modules the service imports meanwhile."""


class Entrance(Hosting):
    """The part of a patcher that others bring patches to. Lives as long as the patcher."""

    _footing: Footing
    _trust: Trust | None
    _rolling: Callable[[Host, Patch, Version], Rollout]

    # --- a rollout ---------------------------------------------------------------------------------------------------

    def _stage(self, patch: Patch, terms: Terms) -> Rollout:
        if not isinstance(patch, Patch):
            raise TypeError(f"a patch is needed, not a {type(patch).__qualname__}: Patch.from_path(...) makes one")
        self._place.take(patch.label, terms)
        try:
            with self._change:
                rollout = self._rolling(self, patch, patch.version or Version("0"))
                rollout.handover = self._handover if isinstance(terms.handover, EllipsisType) else terms.handover
                rollout.allow_effects, rollout.older = terms.allow_effects, terms.older
                rollout.by, rollout.why = terms.by or whoever(), terms.why
                rollout.limits, rollout.loop = self._trials.terms(terms.bake), terms.loop
                self._place.rollout = rollout
            if terms.began is not None:
                terms.began(rollout)
        except BaseException:
            self.leave(None)
            raise
        rollout.consult("before_stage", terms.cancelled)
        self.load(rollout, terms)
        return rollout

    def _walk(self, patch: Patch, terms: Terms) -> Rollout:
        for left in reversed(range(_STAGINGS)):
            try:
                return self.roll_out(patch, terms)
            except OutdatedError:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def roll_out(self, patch: Patch, terms: Terms) -> Rollout:
        """Stage a patch and judge it, and have it go live if its terms say so; errors are those of `Patcher.apply`."""
        rollout, cancelled = self._stage(patch, terms), terms.cancelled
        try:
            if terms.staged is not None:
                terms.staged(rollout)
            if not cancelled.is_set():
                rollout.judge(terms.loop, cancelled)
            if cancelled.is_set():
                rollout.abort(reason="the caller was cancelled")
                return rollout
            if terms.through:
                rollout.take_live(cancelled)
        except BaseException as error:
            with suppress(StateError):  # it may go live, or be rejected, in this very moment
                if rollout.state in BEFORE_LIVE:  # an interrupt, say
                    rollout.abort(reason=f"interrupted by {type(error).__name__}")
            raise
        return rollout

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
