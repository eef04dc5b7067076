"""Reversal: the way back of a swap, with what was imported since."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from traceback import clear_frames
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from hotswap.generation import (
    Definitions,
    Earlier,
    EarlierCandidate,
    Late,
    managed,
    worlds,
)
from hotswap.shield import outlast
from hotswap.swap.adapting import Adapter
from hotswap.swap.drain import Drain, OldWorld, drain_of
from hotswap.swap.importers import Importers, hand_on, rebind
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Lineage
from hotswap.swap.migration import Undone, bring_back, undo
from hotswap.swap.nested import NestedCode
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.places import take_back
from hotswap.swap.registrations import forget_aliases, forget_answers, forget_twins
from hotswap.swap.renewal import Renewal
from hotswap.swap.settling import Settling
from hotswap.swap.standing_in import clashes, stand_ins
from hotswap.swap.writes import Writes

if TYPE_CHECKING:
    from hotswap.swap.preparation import Swap

__all__ = ["Recalled", "Reversal"]


class Recalled(NamedTuple):
    """The old versions of what was imported since a swap, for a rollback. `failed` says why there are none."""

    candidate: EarlierCandidate | None = None
    adapters: Sequence[Adapter] = ()
    failed: str = ""


class Reversal(Renewal):
    """The part of a swap that takes it back. Lives as long as the swap."""

    _importers: Importers
    _before: Lineage
    _definitions: tuple[dict[str, Definitions], dict[str, Definitions]]
    _pairing: Pairing
    _added: list[Any]
    _asked: list[type]
    """The classes about which abstract classes may have another answer."""
    drain: Drain | None = None
    """Tells of the calls of the generation that went last by this swap."""

    def _is_managed(self, name: str) -> bool:
        return managed(name, self._live.packages)

    @property
    def fresh(self) -> frozenset[str]:
        """The modules that nobody had imported when the swap was made, and that it has brought in."""
        return frozenset(self.new.keys() - self.old.keys())

    @property
    def ancestors(self) -> dict[int, tuple[Any, Any]]:
        """What names that are bound to what is live are bound to after the way back: id -> (it, what it leads to)."""
        modules = {id(o) for module in self.new.values() for o in (module, module.__dict__)}
        return {
            id(new): (new, old)
            for old, new in self._pairing.successors.values()
            if self._facts.is_new(new) or id(new) in modules
        }

    def leaving(self, modules: Mapping[str, ModuleType]) -> OldWorld:
        """Return what the code sees that goes when the swap is taken back; these modules go with it."""
        self._new_world.take_in(modules)
        return self._new_world

    def undo(self, inside: Callable[[], AbstractContextManager[None]]) -> Undone:
        """Run the inverse migrations of the live modules, in the block that `inside` makes. Nothing is written yet."""
        order = [name for name in self._candidate.world.finished if name in self.new]
        return undo(self.old, {name: self.new[name] for name in order}, self._candidate.patch.label, inside)

    def earlier(self, undone: Undone, gone: Mapping[str, ModuleType]) -> Earlier:
        """Return what the way back brings back, to be imported before it is made.

        Arguments:
            undone: what the old modules get by inverse migrations.
            gone: modules that were imported since, and of which there is no old version.
        """
        carried: dict[str, dict[str, Any]] = {}
        for name in self.old:
            facts = self.new[name].__dict__
            kept = {item: facts[item] for item in self._keeping.names.get(name, ()) if item in facts}
            carried[name] = kept | undone.values.get(name, {})
        definitions = {entry: known for entry, known in self._definitions[0].items() if entry in self.old}
        old = self.old | self._removed
        new = {**self.new, **gone}
        return stand_ins(old, new, definitions, self._writes.backward, carried, self._facts.known, self._live)

    def clash(self, swap: Swap) -> str:
        """Return why another swap can't be made in the same commit as the way back, or nothing if it can.

        Arguments:
            swap: leads what was imported since to its old version.
        """
        apart: list[tuple[int, Any]] = [(id(sys.modules), None), (id(worlds), None)]
        for name in swap.new:
            parent, _, child = name.rpartition(".")
            above = [modules[parent] for modules in (sys.modules, self.old) if parent in modules]
            apart += [(id(ModuleType.__getattribute__(package, "__dict__")), child) for package in above]
        found = clashes(self._writes.backward, swap._writes.forward, apart)
        return f"both versions would write to a {type(found[0]).__qualname__}" if found else ""

    def revert(
        self,
        late: Late,
        undone: Undone,
        drained: Callable[[Settling], None] = Settling.finish,
        returning: Swap | None = None,
    ) -> float:
        """Take the swap back, in one call like the first. Returns the seconds in which no other thread ran.

        Arguments:
            late: what was imported since the swap.
            undone: what the old modules get by inverse migrations.
            drained: as that of `commit`, for the calls of what was live until now.
            returning: leads what was imported since the swap to its old version, in the same call. It was made beside
                this one, and is ready.
        """
        extra = Writes()
        take_back(late, self.old, {} if returning is None else returning.new, extra)
        hand_on(undone.values, self.old, self._definitions[0], self._importers)
        bring_back(undone, self.old, extra)
        known = (self._importers, self._is_managed, self._keeping.has, lambda value: value, extra, undone.values)
        ancestors = self.ancestors
        survey = self._survey(ancestors) if returning is None else None  # what returns is swapped, too
        rebind(ancestors, self.new, self.old, *known, survey=survey)
        if returning is not None:
            self._lead_carried(returning, extra)
        self._new_world.begin()
        functions = self._crossings.returning
        functions += [] if returning is None else [pair.old for pair in returning._pairing.functions]
        self.drain = drain = drain_of(functions, partial(drained, self.settling_back))
        del functions
        forks = self._crossings.backward(self.settling_back, self.settling)
        try:
            pause = self._writes.revert(extra, *([] if returning is None else [returning._writes]), crossing=forks)
            self._gone_by(drain, forks, forward=False)
        except BaseException as error:
            clear_frames(error.__traceback__)  # whoever keeps it would keep the period, for whose sessions we wait
            self._new_world.reclaim()
            self._new_world.unwrap()
            raise
        finally:
            forks.landed()
        self.settling_back.installed(forks, drain)
        self.plan.warnings += outlast(
            {
                "what old calls had left behind may be led to what was taken back": self.settling.cancel,
                "calls in flight of unchanged modules may meet the next version": partial(
                    self._crossings.came_back, forward=False
                ),
                "effects of the import may have stayed": self._take_effects_back,
                "typing may remember dropped classes": forget_aliases,
                "abstract classes may remember dropped ones": lambda: forget_twins(
                    p.new for p in self._pairing.classes
                ),
                "modules that came back may see those that went": lambda: self._join(returning),
                "abstract classes may remember old answers": lambda: forget_answers(self._asked),
                "what calls in flight leave behind is not led back": self.settling_back.begin,
            }
        )
        self.settling_back.collapse_if_idle()
        return pause

    def _take_effects_back(self) -> None:
        self.plan.warnings += self._candidate.journal.take_back()

    def _join(self, returning: Swap | None) -> None:
        if returning is not None:
            self.settling_back.join(returning.settling)
            returning.settle_in()

    def _lead_carried(self, returning: Swap, writes: Writes) -> None:
        """Lead what the old modules get from the new ones (``global pdf`` in a function) to what is live then."""
        for name, module in self.old.items():
            facts = ModuleType.__getattribute__(module, "__dict__")
            for attribute in self._keeping.names.get(name, ()):
                value = self.new[name].__dict__.get(attribute)
                found = returning.successor(value)
                if found is not value:
                    writes.item(facts, attribute, found)

    def way_back(self, settling: Settling) -> tuple[NestedCode, Writes, bool]:
        """Return what is live if this swap is taken back, its writes, and whether a settling is its own."""
        return self.settling.nested, self._settled, settling is self.settling

    def going_back(self) -> Junction:
        """Return what tells who is on the generation that goes if this swap is taken back."""
        return self._crossings.back

    def lineage_after_revert(self) -> Lineage:
        """Return the lineage that holds once the swap has been taken back."""
        made = [pair.made for pair in self._pairing.functions if self._facts.is_new(pair.made)]
        caches = [pair.new for pair in self._pairing.functions if type(pair.new) is LRU_CACHE]
        caches += [new for _, new in self._pairing.caches if new is not None]
        return self._before.extended(made, caches, self._added, ())
