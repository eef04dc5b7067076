"""Returning: what it takes to go back to the generation before, with what was imported since, and to come again.

Concurrency. Guarantees nothing by itself: every method but `undo` is called under the patcher's lock. Assumes what
`succession` does, of which this is a part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from packaging.version import Version

from hotswap.adapters import adapters
from hotswap.errors import StateError
from hotswap.generation import (
    Candidate,
    EarlierCandidate,
    Ground,
    Late,
    Live,
    LiveModule,
    Shelf,
    ShelfMark,
    epochs,
    standing,
)
from hotswap.records import BEFORE_LIVE, State
from hotswap.rollout import Rollout
from hotswap.settlement import Settlement
from hotswap.swap import Importers, Lineage, Recalled, Swap, Undone

__all__ = ["Previous", "Returning", "Warm"]

_MEANWHILE = "it was imported, or imported anew, while the rollback was made"


class Previous(NamedTuple):
    """What it takes to go back from the live rollout to the generation before it."""

    rollout: Rollout
    swap: Swap
    versions: Mapping[str, Version]
    mark: ShelfMark
    known: frozenset[str]
    """The managed modules that were imported before the swap was made."""
    epochs: tuple[int, ...]
    entries: Mapping[str, LiveModule]
    """What was known of the modules that the swap has replaced."""


class Warm(NamedTuple):
    """A rollout that was taken back, and whose candidate is kept, so that it can be made live again."""

    rollout: Rollout
    swap: Swap
    candidate: Candidate


class Returning:
    """The part of a succession that knows the way back. Lives as long as its patcher."""

    _importers: Importers
    _lineage: Lineage
    _live: Live
    _packages: tuple[str, ...]
    _previous: Previous | None
    _settlement: Settlement
    _shelf: Shelf
    _warm: Warm | None

    def _require_newest(self, rollout: Rollout) -> None:
        """Raise StateError if a rollout is not what is live, or its previous generation is not kept."""
        over = rollout.state not in (State.LIVE, State.PERMANENT)
        if over or self.newest is not rollout:
            before_live = rollout.state in BEFORE_LIVE
            raise StateError(
                f"a rollout that is {rollout.state.replace('_', ' ')} can't be rolled back"
                + ("" if over else ": it is not what is live, and its previous generation is not kept"),
                patch=rollout.label,
                running=self.versions,
                advice="call abort() to give up a rollout that is not live yet"
                if before_live
                else "only the newest rollout can be taken back; apply an older version as a new patch",
            )

    def _require_kept(self, rollout: Rollout) -> None:
        """Raise StateError if a rollout that was taken back is not warm."""
        if not self.is_warm(rollout):
            raise StateError(
                "a rollout that was rolled back can't be committed: its candidate is not kept",
                patch=rollout.label,
                running=self.versions,
                advice="arm() loads it anew, if it was armed before; or stage the patch again",
            )

    def _require_live(self, rollout: Rollout) -> None:
        """Raise StateError if a rollout is not what went live last."""
        if self.newest is not rollout:
            raise StateError("only what went live last can be audited", patch=rollout.label, running=self.versions)

    @property
    def versions(self) -> dict[str, Version]:
        """What is live, as a mapping from package to version."""
        return {name: standing(name).version for name in self._packages}

    @property
    def newest(self) -> Rollout | None:
        """The rollout that is live and can be taken back, or None."""
        return self._previous.rollout if self._previous else None

    def is_warm(self, rollout: Rollout) -> bool:
        """Whether a rollout that was taken back can be made live again without being loaded anew."""
        return self._warm is not None and self._warm.rollout is rollout

    @property
    def _epochs(self) -> tuple[int, ...]:
        return epochs(self._packages)

    def undo(self, rollout: Rollout, inside: Callable[[], AbstractContextManager[None]]) -> Undone:
        """Run the inverse migrations of the live rollout, in the block that `inside` makes.

        They are code of users, so this is the one method that is not called under the lock.
        """
        previous = self._previous
        return previous.swap.undo(inside) if previous is not None and previous.rollout is rollout else Undone()

    def recall(self, rollout: Rollout, undone: Undone) -> Recalled:
        """Lay out the old versions of what was imported since a rollout went live. Nothing of it is executed.

        Arguments:
            rollout: that is to be taken back.
            undone: what its inverse migrations have to write.
        """
        previous = self._previous
        if previous is None or previous.rollout is not rollout or previous.epochs != self._epochs:
            return Recalled()  # `retreat` says why
        self._live.adopt()
        late = self._late(previous)
        specs = {**late.returning, **late.moved}
        packages = {name for name, spec in specs.items() if spec.submodule_search_locations is not None}
        texts = {name: (text, name in packages) for name, text in late.texts.items()}
        if not texts:
            return Recalled()
        tree, known = previous.mark.tree, {entry.name for entry in self._live} - late.returning.keys()
        ground = Ground(
            late.returning,
            known,
            lambda name: self._shelf.spec(name, tree),
            os.sep if tree is None else tree.directory,
            frozenset() if tree is None else tree.complete,
        )
        version = next(iter(previous.versions.values()))
        allow, used = rollout.candidate.journal.allowed, adapters()
        gone = {name: self._live.modules[name].module for name in late.dropped}
        earlier = previous.swap.earlier(undone, gone)
        candidate = EarlierCandidate(self._live, texts, version, ground, earlier, used, allow)
        return Recalled(candidate if candidate.changed else None, used)

    def _late(self, previous: Previous) -> Late:
        return self._shelf.late(previous.mark, previous.known, previous.swap.fresh, self._live)

    def _returning(self, previous: Previous, recalled: Recalled) -> tuple[Swap | None, Late]:
        """Make the swap to the old versions of what was imported since; return what is left without one, too."""
        late, candidate = self._late(previous), recalled.candidate
        if candidate is None:
            return None, late.without(dict.fromkeys(late.returning, recalled.failed or _MEANWHILE))
        failed = {name: why for name, why in candidate.failed.items() if name in late.returning}
        failed |= dict.fromkeys(late.returning.keys() - candidate.replaced.keys() - failed.keys(), _MEANWHILE)
        left = late.without(failed)
        live = ((name, self._live.get(name)) for name in candidate.modules if name in candidate.replaced)
        if any(entry is None or entry.module is not candidate.replaced[name] for name, entry in live):
            return None, late.without(dict.fromkeys(late.returning, _MEANWHILE))
        if not candidate.modules:
            return None, left
        lineage = self._settlement.known(self._lineage)
        try:
            swap = Swap(self._live, candidate, self._importers, lineage, recalled.adapters, previous.swap)
            why = "; ".join(map(str, swap.plan.unsupported)) or previous.swap.clash(swap)
            if not why:
                swap.make_ready()
                return swap, left
            swap.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the way back has to go through
            why = f"{type(error).__name__}: {error}"
        candidate.failed |= {name: why for name in candidate.modules if name not in late.returning}
        return None, late.without(dict.fromkeys(late.returning, why))
