"""A succession in which nothing is swapped: what is live is a number, and the way from one to the other is none.

Concurrency. Guarantees nothing by itself: every method but `undo` is called under the patcher's lock, as those of
`hotswap.succession` are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from packaging.version import Version

from hotswap.admission import Numbers, admit, resolve, roots
from hotswap.errors import WrongPackageError
from hotswap.generation import Candidate, Live
from hotswap.generation.live import live_version
from hotswap.patch import Patch, SourceFile
from hotswap.rollout import Rollout
from hotswap.session import Mark
from hotswap.settlement import Settlement
from hotswap.succession import Succession
from hotswap.swap import Left, Leftover, Plan, Recalled, Swap, Undone
from hotswap.testing.candidates import FakeCandidate
from hotswap.testing.choices import Choices

__all__ = ["FakeSuccession"]


class _Before(NamedTuple):
    """The rollout that is live, and the versions and sources that were so before it."""

    rollout: Rollout
    versions: Mapping[str, Version]
    sources: Mapping[str, SourceFile]


class _Kept(NamedTuple):
    """A rollout that was taken back, and can be made live again."""

    rollout: Rollout
    candidate: Candidate


class _Prepared(NamedTuple):
    """What there is of a swap."""

    plan: Plan

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class FakeSuccession(Succession):
    """Which of some packages' versions are live, in the eyes of a fake patcher. Lives as long as that.

    It admits and refuses as the real one does, and no module is touched.
    """

    def __init__(self, packages: tuple[str, ...], settlement: Settlement) -> None:
        # Nothing of the base: it knows the process.
        self._packages, self._settlement = packages, settlement
        self._live = Live(packages)
        self.choices = Choices()
        self._versions = {name: live_version(name) for name in packages}
        self._sources: Mapping[str, SourceFile] = {}
        self.numbers = Numbers()
        self._epoch = 0
        self._staged_on: dict[str, tuple[int, ...]] = {}
        self._armed = None
        self._before: _Before | None = None
        self._kept: _Kept | None = None
        self._armed_before: set[str] = set()

    # --- what is known ---------------------------------------------------------------------------------------------

    @property
    def versions(self) -> dict[str, Version]:
        """What is live, as a mapping from package to version."""
        return dict(self._versions)

    def begin_with(self, versions: Mapping[str, Version]) -> None:
        """Have some versions be live to begin with."""
        self._versions.update(versions)

    @property
    def newest(self) -> Rollout | None:
        """The rollout that is live and can be taken back, or None."""
        return self._before.rollout if self._before else None

    @property
    def _epochs(self) -> tuple[int, ...]:
        return (self._epoch,)

    # --- before a swap ---------------------------------------------------------------------------------------------

    begin = Succession.begin
    over = Succession.over
    modules = Succession.modules

    def runs(self, patch: Patch) -> bool:
        """Whether the modules of a patch went live as it has them, and in no other way since."""
        try:
            sources = resolve(patch, self._live).sources
        except WrongPackageError:  # as in the real one
            return False
        return all(self._sources.get(name) == source for name, source in sources.items())

    def candidate(
        self, rollout: Rollout, allow_effects: frozenset[str], may_be_older: Callable[[Patch], bool]
    ) -> Candidate:
        """Admit the patch of a rollout, if need be an older one. Nothing of it is executed."""
        self.choices.taken("stage")
        patch = resolve(rollout.patch, self._live)
        rollout.patch = patch.with_versions(self.numbers.versions_for(patch, self.versions, rollout.id))
        version = rollout.version = rollout.patch.version or rollout.version
        admit(rollout.patch, self._live, self.versions, may_be_older=may_be_older(rollout.patch))
        return FakeCandidate(rollout.patch, version)

    def prepare(self, rollout: Rollout) -> Swap:
        """Make a plan. Raises StateError if what is live has changed since the rollout was staged."""
        self._require_present(rollout)
        prepared: Any = _Prepared(Plan(rollout.label, dict.fromkeys(rollout.patch.sources, "changed")))
        return prepared  # type: ignore[no-any-return]  # all of a swap that is asked for here

    def arm(self, rollout: Rollout) -> Mark:
        """Return what stands for a candidate that nobody can reach."""
        self.choices.taken("arm")
        self._require_present(rollout)
        if not self.is_warm(rollout):
            self.let_go()
        self._kept = None
        self._armed_before.add(rollout.id)
        return Mark()

    def disarm(self, rollout: Rollout) -> Left | None:
        """Nobody was on it."""
        return None

    # --- there and back --------------------------------------------------------------------------------------------

    def advance(self, rollout: Rollout) -> Rollout | None:
        """Have the versions of a rollout be live. Returns the rollout that was so before."""
        self.choices.taken("commit")
        self._require_present(rollout)
        superseded, before, patch = self.newest, self.versions, rollout.patch
        rollout.unsettle()
        self._versions |= {name: patch.version_of(name) or rollout.version for name in roots(patch, before)}
        self._before, self._kept = _Before(rollout, before, self._sources), None
        self._sources = {**self._sources, **patch.sources}
        self._turn(rollout)
        self._staged_on.pop(rollout.id, None)
        return superseded

    def retreat(self, rollout: Rollout, undone: Undone, recalled: Recalled) -> dict[str, object]:
        """Have the versions be live again that were so before. Raises StateError if the rollout is not what is live."""
        self._require_newest(rollout)
        assert self._before is not None, "it is the newest"
        self.choices.taken("rollback")
        rollout.unsettle()
        self._versions, self._sources = dict(self._before.versions), self._before.sources
        self._before = None
        self._turn(rollout)
        if rollout.id in self._armed_before:
            self._kept = _Kept(rollout, rollout.candidate)
            self._staged_on[rollout.id] = self._epochs
        return {}

    def _turn(self, rollout: Rollout) -> None:
        self._epoch += 1
        rollout.pause = 0.0
        rollout.drained.set()

    def burn(self) -> None:
        """Forget the way back."""
        self._before = None

    def undo(self, rollout: Rollout, inside: Callable[[], AbstractContextManager[None]]) -> Undone:
        """No migration was run, so there is none to be taken back."""
        return Undone()

    def recall(self, rollout: Rollout, undone: Undone) -> Recalled:
        """Nothing was imported in a version that goes."""
        return Recalled()

    def audit(self, rollout: Rollout) -> tuple[Leftover, ...]:
        """Nothing was dropped. Raises StateError if the rollout is not live."""
        self._require_live(rollout)
        return ()

    # --- one that was taken back ------------------------------------------------------------------------------------

    def is_warm(self, rollout: Rollout) -> bool:
        """Whether a rollout that was taken back can be made live again: one that was armed."""
        return self._kept is not None and self._kept.rollout is rollout

    def warm(self, rollout: Rollout) -> Candidate:
        """Return the candidate of a rollout that was taken back. Raises StateError if it is not kept."""
        self._require_kept(rollout)
        assert self._kept is not None, "it is kept"
        self._require_unchanged(rollout, self._kept.candidate)
        return self._kept.candidate

    def let_go(self, rollout: Rollout | None = None) -> bool:
        """Let go of the candidate that is kept, if there is one, and of this rollout; return whether there was."""
        if self._kept is None or (rollout is not None and self._kept.rollout is not rollout):
            return False
        self._kept = None
        return True
