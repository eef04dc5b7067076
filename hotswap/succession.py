"""The succession of generations: what is live, what was live before it, and the way from one to the other.

Concurrency. Guarantees nothing by itself: every method but `undo` and `settle` is called under the patcher's lock.
Assumes that no other patcher swaps the same packages at the same instant; what another one did before is noticed
(`generation.standing`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib.util import decode_source
from types import ModuleType

from packaging.version import Version

from hotswap.adapters import adapters
from hotswap.admission import Numbers, admit, resolve, roots
from hotswap.errors import OutdatedError, StateError, UnsupportedChangeError, WrongPackageError
from hotswap.generation import (
    Candidate,
    Live,
    LiveModule,
    Shelf,
    ShelfMark,
    Tree,
    booted,
    forget,
    standing,
)
from hotswap.patch import Patch
from hotswap.records import BEFORE_LIVE
from hotswap.returning import Previous, Returning, Warm
from hotswap.rollout import Rollout
from hotswap.session import Mark
from hotswap.settlement import Settlement
from hotswap.shield import outlast
from hotswap.swap import Importers, Left, Leftover, Lineage, Recalled, Settling, Shedding, Spares, Swap, Undone

__all__ = ["Succession"]


_STALE = "keeps what it has made of the version that was taken back"

_NOT_HANDED = "calls that do not end are not led to new code"

_DATA_KEPT = "the data of earlier versions may be kept in memory"

_DROPPED = "was imported after the swap, in the version that was taken back; who holds things of it keeps them"


class Succession(Returning):
    """What is live of some packages, and the generation before it. Lives as long as its patcher.

    Arguments:
        packages: the managed top-level packages.
        settlement: leads on what old code leaves behind, once its calls have ended.
    """

    def __init__(self, packages: tuple[str, ...], settlement: Settlement) -> None:
        self._packages = packages
        self._settlement = settlement
        self._live = Live(packages)
        self._spares = Spares()
        self._importers = Importers(packages)
        self._shelf = Shelf(booted(packages))
        self._lineage = Lineage()
        self.numbers = Numbers()
        self._previous: Previous | None = None
        self._armed: tuple[Rollout, Swap] | None = None
        self._warm: Warm | None = None
        self._staged_on: dict[str, tuple[int, ...]] = {}
        self._shedding = Shedding(packages, lambda: self._lineage, settlement.later, self._shed)

    # --- before a swap ---------------------------------------------------------------------------------------------

    def modules(self) -> list[LiveModule]:
        """The managed modules as they run now. Nobody may swap meanwhile."""
        self._live.adopt()
        return list(self._live)

    def runs(self, patch: Patch) -> bool:
        """Whether the modules of a patch that are imported run as it has them. May be called by any thread."""
        try:
            sources = resolve(patch, self._live).sources
        except WrongPackageError:  # a module that was imported since has its name, too
            return False
        found = ((self._live.get(name), source) for name, source in sources.items())
        return all(entry is None or entry.text == decode_source(source.data) for entry, source in found)

    def begin(self, rollout: Rollout) -> None:
        """Note on what a rollout is staged."""
        self._staged_on[rollout.id] = self._epochs
        self._live.adopt()

    def over(self, rollout: Rollout) -> None:
        """Forget a rollout that will not go live."""
        self._staged_on.pop(rollout.id, None)
        self.let_go(rollout)
        armed = self._armed
        if armed is not None and armed[0] is rollout and rollout.state not in BEFORE_LIVE and not armed[1].is_armed:
            self._armed = None
            if armed[1].was_live:
                self._close(armed[1])

    def warm(self, rollout: Rollout) -> Candidate:
        """Return the candidate of a rollout that was taken back.

        Raises StateError if it is not warm, or if what is live has changed since, and OutdatedError if a module of the
        patch was imported since.
        """
        self._require_kept(rollout)
        warm = self._warm
        assert warm is not None, "it is kept"
        self._require_unchanged(rollout, warm.candidate, warm.swap)
        return warm.candidate

    def let_go(self, rollout: Rollout | None = None) -> bool:
        """Let go of the candidate that is warm, if there is one, and of this rollout; return whether there was."""
        warm = self._warm
        if warm is None or (rollout is not None and warm.rollout is not rollout):
            return False
        self._warm = None
        self._close(warm.swap)
        self._shelf.retire(self._marks())
        return True

    def _marks(self) -> list[ShelfMark]:
        """Whose files are kept, besides those of what is live."""
        kept = [] if self._previous is None else [self._previous.mark]
        trees = [warm.candidate.tree for warm in (self._warm,) if warm is not None]
        return kept + [ShelfMark(tree, {}) for tree in trees]

    def candidate(
        self, rollout: Rollout, allow_effects: frozenset[str], may_be_older: Callable[[Patch], bool]
    ) -> Candidate:
        """Admit the patch of a rollout, if need be an older one, and lay out its files. Nothing of it is executed."""
        patch = resolve(rollout.patch, self._live)
        rollout.patch = patch.with_versions(self.numbers.versions_for(patch, self.versions, rollout.id))
        version = rollout.version = rollout.patch.version or rollout.version
        if not rollout.silent:
            admit(rollout.patch, self._live, self.versions, may_be_older=may_be_older(rollout.patch))
        paths = self._shelf.base_paths(self._live)
        regular = {entry.name for entry in self._live if entry.package and not entry.namespace}
        tree = Tree(rollout.patch, self._packages, version, self._shelf.tree, paths, regular)
        rollout.adapters = adapters()
        return Candidate(self._live, rollout.patch, version, tree, rollout.adapters, allow_effects)

    def prepare(self, rollout: Rollout) -> Swap:
        """Make a swap of a rollout's candidate against what is live now. Raises StateError if that has changed."""
        self._require_present(rollout)
        self._let_go_of_spares(rollout.candidate.owned)
        lineage = self._settlement.known(self._lineage)
        return Swap(self._live, rollout.candidate, self._importers, lineage, rollout.adapters)

    def _let_go_of_spares(self, young: list[object] | None = None) -> None:
        self._spares.let_go(self._live.packages, {entry.name: entry.module for entry in self._live}, young)

    def _require_present(self, rollout: Rollout) -> None:
        """Raise StateError if a rollout was staged on something else than what is live."""
        self._require_unchanged(rollout, rollout.candidate)

    def _require_unchanged(self, rollout: Rollout, candidate: Candidate, swap: Swap | None = None) -> None:
        if self._staged_on.get(rollout.id) != self._epochs:
            raise StateError(
                "what is live has changed since it was staged",
                patch=rollout.label,
                running=self.versions,
                advice="stage it again",
            )
        self._live.adopt()
        self._require_none(candidate.missed(), rollout)
        if swap is not None:
            self._require_none([name for name in swap.fresh if name in self._live.modules], rollout)

    def _require_none(self, late: Collection[str], rollout: Rollout) -> None:
        """Raise OutdatedError for modules that were imported, in the old version, too late."""
        if late:
            verb = "was" if len(late) == 1 else "were"
            raise OutdatedError(
                f"{', '.join(sorted(late))} {verb} imported, in the old version, since it was staged",
                patch=rollout.label,
                running=self.versions,
                advice="stage it again; apply() does so by itself",
            )

    def arm(self, rollout: Rollout) -> Mark:
        """Make the candidate of a rollout reachable; return what stands for it in sessions that are on it."""
        swap = self._ready(rollout)
        if not self.is_warm(rollout):
            self.let_go()
        self._hasten()
        swap.arm(self._settlement.handed_out)
        self._armed, self._warm = (rollout, swap), None
        return swap.mark()

    def disarm(self, rollout: Rollout) -> Left | None:
        """Take that back, unless it is live. Returns what is left, if somebody is on the candidate."""
        if self._armed is None or self._armed[0] is not rollout:
            return None
        swap = self._armed[1]
        left = swap.disarm(self._settlement.later)
        if rollout.state not in BEFORE_LIVE:
            self._armed = None
            if swap.was_live:
                self._close(swap)
        return left

    def _ready(self, rollout: Rollout) -> Swap:
        """Return the swap of a rollout, the one that was armed if there is one."""
        known = self._armed if self._armed is not None else self._warm and self._warm[:2]
        if known is not None and known[0] is rollout:
            self._require_unchanged(rollout, rollout.candidate, known[1])
            return known[1]
        swap = self.prepare(rollout)
        rollout.plan = swap.plan
        if not swap.plan.supported:
            raise UnsupportedChangeError(swap.plan.unsupported, patch=rollout.label)
        return swap

    # --- there and back --------------------------------------------------------------------------------------------

    def advance(self, rollout: Rollout) -> Rollout | None:
        """Make the candidate of a rollout live, and keep the way back. Returns the rollout that was live before."""
        swap = self._ready(rollout)
        if swap.is_left:
            swap.arm(self._settlement.handed_out)  # who is on it stays there
        self._let_go_of_spares()
        before, mark = self.versions, self._shelf.mark()
        imported = frozenset(entry.name for entry in self._live)
        known = imported | swap.new.keys()
        entries = {name: entry for name, entry in self._live.modules.items() if name in swap.old}
        patch = rollout.patch
        versions = {name: patch.version_of(name) or rollout.version for name in roots(patch, before)}
        superseded = self._previous
        if swap.was_live:
            rollout.unsettle()
        rollout.pause = swap.commit(self._drained(rollout))
        if self.is_warm(rollout):
            self._warm = None
        rollout.went(swap.drain)
        self._put(versions)
        self._previous = Previous(rollout, swap, before, mark, imported, self._epochs, entries)
        self.over(rollout)
        self._armed = None
        rollout.adapters = []
        rollout.plan.warnings += outlast(
            {
                "files of the new version may be missing": lambda: self._shelf.put(
                    rollout.candidate.tree, swap.new, rollout.candidate.removed
                ),
                "functions of earlier versions may not follow later patches": lambda: self._follow(swap),
                "later patches may not know what is live": lambda: self._learn(rollout, swap),
                "modules may have been imported from the old version": lambda: self._forget_stragglers(rollout, known),
                "the candidate of a rollout that was taken back is kept in memory": self.let_go,
                "files of old versions may be left": lambda: self._shelf.retire([mark]),
                "the version before is kept in memory": lambda: self._close(superseded and superseded.swap),
                _NOT_HANDED: lambda: self._settlement.await_calls(rollout, swap.drain, self._last, swap.settling),
            }
        )
        return None if superseded is None else superseded.rollout

    def _follow(self, swap: Swap, before: Lineage | None = None) -> None:
        self._lineage = swap.lineage_after_commit(before)

    def _learn(self, rollout: Rollout, swap: Swap) -> None:
        self._live.adopt()
        if not rollout.patch.keep | rollout.patch.replace:  # those have changed what the definitions say
            self._live.learn(swap.new, rollout.candidate.definitions)

    def _forget_stragglers(self, rollout: Rollout, known: frozenset[str]) -> None:
        stragglers = self._shelf.stragglers(known, self._live)
        if stragglers:
            forget(stragglers)
            self._live.adopt()
            names = ", ".join(stragglers)
            sentence = "was imported from the old version while the swap was made; it will be imported anew"
            rollout.plan.warnings.append(f"{names} {sentence}")

    def retreat(self, rollout: Rollout, undone: Undone, recalled: Recalled) -> dict[str, object]:
        """Take the live rollout back, with what its inverse migrations have to write.

        Arguments:
            rollout: that is to be taken back.
            undone: what its inverse migrations have to write.
            recalled: the old versions of what was imported since.

        Returns what is to be told of modules that were imported since. Raises StateError if the rollout is not what is
        live, or if another patcher has changed the packages since.
        """
        self._require_newest(rollout)
        previous = self._previous
        assert previous is not None, "it is the newest"
        if previous.epochs != self._epochs:
            raise StateError(
                "another patcher has changed these packages since",
                patch=rollout.label,
                running=self.versions,
                advice="take back what that patcher applied first; one patcher for a package is best",
            )
        self._live.adopt()
        rollout.plan.warnings += outlast({"sessions may meet closures of another version": self._hasten})
        self._let_go_of_spares()
        previous.swap.renew_back()
        swap, late = self._returning(previous, recalled)
        stays = previous.swap.is_warm and recalled.candidate is None and not (late.dropped or late.moved)
        rollout.unsettle()
        versions = {name: previous.versions[name] for name in roots(rollout.patch, previous.versions)}
        returned = [] if swap is None else sorted(swap.new)
        try:
            rollout.pause = previous.swap.revert(late, undone, self._drained(rollout), swap)
        except BaseException:
            if swap is not None:
                swap.unmake()
                swap.close()
            raise
        rollout.went(previous.swap.drain)
        self._put(versions)
        self._previous = None
        if stays:
            self._warm = Warm(rollout, previous.swap, rollout.candidate)
            self._staged_on[rollout.id] = self._epochs
        for name, why in late.dropped.items():
            rollout.plan.warnings.append(f"{name} {_DROPPED}: {why}")
        for name, why in recalled.candidate.failed.items() if recalled.candidate is not None else ():
            if name not in late.dropped:
                rollout.plan.warnings.append(f"{name} {_STALE}: {why}")
        if swap is not None:
            rollout.plan.warnings += [line for line in swap.plan.warnings if line not in rollout.plan.warnings]
        rollout.plan.warnings += outlast(
            {
                "functions of earlier versions may not follow later patches": lambda: self._follow_back(previous, swap),
                "files of the old version may be missing": lambda: self._shelf.put_back(previous.mark),
                "later patches may not know what is live": lambda: self._live.adopt(previous.entries),
                _NOT_HANDED: lambda: self._settlement.await_calls(
                    rollout, previous.swap.drain, self._last, previous.swap.settling_back, back=True
                ),
                "what was taken back is kept in memory": lambda: self._close(None if stays else previous.swap),
                "files of what was taken back may be left": lambda: self._shelf.retire(self._marks()),
            }
        )
        return {"returned": returned, "dropped": sorted(late.dropped)} if returned or late.dropped else {}

    def _follow_back(self, previous: Previous, returning: Swap | None) -> None:
        self._lineage = previous.swap.lineage_after_revert()
        if returning is not None:
            self._follow(returning, self._lineage)
            returning.close()

    def _put(self, versions: Mapping[str, Version]) -> None:
        for name, version in versions.items():
            standing(name).put(version)

    def _drained(self, rollout: Rollout) -> Callable[[Settling], None]:
        """Return what is called when the last call of the generation that goes has ended."""
        return partial(self._settlement.take, rollout, self._last)

    def _hasten(self) -> None:
        """Lead what the last swap has left with others, if that waits for its moment."""
        if self._previous is not None:
            self._settlement.hasten(self._last, self._previous.swap.settling)

    def _last(self) -> tuple[Swap | None, Lineage]:
        """The last swap, if it can be taken back, and what earlier generations left behind."""
        return self._previous.swap if self._previous else None, self._lineage

    def audit(self, rollout: Rollout) -> tuple[Leftover, ...]:
        """Look who refers to what the swap of a live rollout has dropped. Raises StateError if it is not live."""
        self._require_live(rollout)
        assert self._previous is not None, "it is live"
        return self._previous.swap.audit()

    def burn(self) -> None:
        """Forget the way back."""
        previous, self._previous = self._previous, None
        if previous is not None:
            self._close(previous.swap)
            self._shelf.retire([])

    def _close(self, swap: Swap | None) -> None:
        """Forget the way of a swap. What only its modules need is shed when these are gone."""
        if swap is None:
            return
        stay = {id(module) for module in self._returning_modules}
        both = (*swap.old.items(), *swap.new.items())
        self._shedding.await_end([m for name, m in both if sys.modules.get(name) is not m and id(m) not in stay])
        swap.close()

    @property
    def _returning_modules(self) -> list[ModuleType]:
        """The modules that come back if what is live is taken back."""
        return [] if self._previous is None else [*self._previous.swap.old.values()]

    def _shed(self) -> object:
        taken: list[list[object]] = []
        told = outlast({_DATA_KEPT: lambda: taken.append(self._shedding.shed(self._returning_modules))})
        if self._previous is not None:
            self._previous.rollout.plan.warnings += told
        return taken
