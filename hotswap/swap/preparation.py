"""Preparation: everything that a swap will write is found out, tried and listed before anything is touched.

A half-done plan is the worst outcome. So `prepare` only looks and makes lists; `Swap.commit` (see `advance`) rewrites
what nobody but the candidate owns, and then makes all other writes in one C call; `Swap.revert` (see `reversal`) is
the same in the other direction, with writes that were made out in advance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Candidate, Definitions, Live, worlds
from hotswap.swap.abstract import AbstractMethods
from hotswap.swap.adapting import Adapter, Facts, adapt, adapted_by, families_of, functions_by, stays_of
from hotswap.swap.advance import Advance
from hotswap.swap.assignments import assign
from hotswap.swap.bodies import Bodies, same_code
from hotswap.swap.caches import describe_caches, empty_caches
from hotswap.swap.calling import followed
from hotswap.swap.classes import transplant, unsupported_class_changes
from hotswap.swap.clones import leave
from hotswap.swap.contents import Kept, inside
from hotswap.swap.crossings import Crossings
from hotswap.swap.description import describe, left_alone, same_objects
from hotswap.swap.dispatching import carry_registrations
from hotswap.swap.drain import OldWorld
from hotswap.swap.fates import Fates, fresh_definitions
from hotswap.swap.forwarding import facade, identity_of, identity_ops, target_of
from hotswap.swap.function_attributes import carry_attributes
from hotswap.swap.importers import Importers, hand_out, rebind
from hotswap.swap.installing import asked
from hotswap.swap.kin import is_nested
from hotswap.swap.lineage import Lineage, Reference
from hotswap.swap.log_withdrawals import log_withdrawals
from hotswap.swap.losses import gone_classes, gone_functions, gone_objects, without_successor
from hotswap.swap.merging import merge
from hotswap.swap.nested import NestedCode, functions_in
from hotswap.swap.outliving import announce, outlive, wishes_of
from hotswap.swap.overwritten import Overwritten
from hotswap.swap.pairing import pair_modules
from hotswap.swap.places import lead_modules, put_aliases, put_in_place, relocate
from hotswap.swap.plan import Plan
from hotswap.swap.rebuilding import new_classes_refused
from hotswap.swap.references import Redirection
from hotswap.swap.refusals import refusals
from hotswap.swap.registers import register
from hotswap.swap.registrations import answers_change
from hotswap.swap.remaining import remaining
from hotswap.swap.renewal import Past
from hotswap.swap.reversal import Reversal
from hotswap.swap.revisions import Revisions
from hotswap.swap.settling import Settling
from hotswap.swap.state import is_made, keep_state
from hotswap.swap.supplements import Wording, supplement
from hotswap.swap.tables import Tables, earlier, leads_of
from hotswap.swap.unfollowed import unfollowed
from hotswap.swap.withdrawals import Withdrawals
from hotswap.swap.wrappers import let_go_of_wrappers, pair_wrappers
from hotswap.swap.writes import Op, Writes

__all__ = ["Swap"]

_SET_CLASS = object.__dict__["__class__"].__set__


class Swap(Advance):
    """One change of generations: the plan of it, and the way there and back. Lives until the next one is permanent.

    Arguments:
        live: the managed modules as they run now.
        candidate: what is to become live.
        importers: knows what other modules imported by name.
        lineage: the functions of earlier generations.
        adapters: know the registries of frameworks, and what the candidate has registered.
        beside: a swap that is taken back in the same commit, by its `revert`, if there is one.

    Making one changes nothing in the process.
    """

    def __init__(
        self,
        live: Live,
        candidate: Candidate,
        importers: Importers,
        lineage: Lineage,
        adapters: Sequence[Adapter] = (),
        beside: Reversal | None = None,
    ) -> None:
        self._live, self._candidate, self._importers = live, candidate, importers
        self._before = lineage
        self._adapters = adapters
        self.new: dict[str, ModuleType] = dict(candidate.modules)
        self.old: dict[str, ModuleType] = {
            name: entry.module for name in self.new if (entry := live.get(name)) is not None and entry.own
        }
        self._removed = {
            name: entry.module for name in candidate.removed if (entry := live.get(name)) is not None and entry.own
        }
        self._definitions: tuple[dict[str, Definitions], dict[str, Definitions]] = (
            {entry.name: entry.definitions for entry in live if entry.name in self.old},
            candidate.definitions,
        )
        self._beside = beside
        self._old_world = OldWorld(live.packages, self.old) if beside is None else beside.leaving(self.old)
        self._new_world = OldWorld(live.packages, self.new)
        self._writes = Writes()
        self._leaving, self._returning, self._names, self._settled = Writes(), Writes(), Writes(), Writes()
        self._pasts = Past(), Past()
        self._aims: dict[int, tuple[Reference, Any, Any]] = {}
        # Taken now: once forwarders stand in the old functions, their nested code can't be found in them.
        both = ((self.old, self._old_world), (self.new, self._new_world))
        self.settling, self.settling_back = (Settling(NestedCode(functions_in(m)), w) for m, w in both)
        journal = self._journal = candidate.journal
        self.plan = Plan(candidate.patch.label, modules=self._modules())
        self.plan.warnings += left_alone(candidate, live.packages)
        # The namespaces of modules stand for nothing that is live: each generation has its own.
        self._owned = {id(o) for o in candidate.owned} - {id(module.__dict__) for module in self.new.values()}
        self._pairing = pair_modules(
            self.old, self.new, *self._definitions, lineage.lost, self._removed, functions_by(adapters)
        )
        pair_wrappers(self._pairing, self._staying(self.old), self.settling.nested, self.settling_back.nested)
        self._unmake_impossible_returns()
        # Looked up now: once they are superseded, modules show what took their place.
        lost = (function for _, function in self._pairing.lost)
        self._gone = [*without_successor(self._pairing, self.old | self._removed, self.new), *lost]
        self._added = list(without_successor(self._pairing, self.new, self.old))
        wishes = wishes_of(candidate, stays_of(adapters))
        self._why, known = wishes.why, (self.old, self.new, *self._definitions, candidate.selection)
        self._keeping = keep_state(*known, self._owned, self._writes, wishes)
        replaced = self._keeping.replaced(self.old, self.new)
        self.plan.warnings += journal.lead(self._keeping.named.values(), replaced)
        self._old_world.stragglers += [(straggler, True) for straggler in self._keeping.stragglers]
        self._new_world.stragglers = [(straggler, False) for straggler in self._keeping.stragglers]
        self._facts = Bodies(self._pairing, self.new, self._owned)
        twins = {id(pair.new): (pair.new, pair.old) for pair in self._pairing.classes}
        twins.update(self._keeping.twins | self._keeping.led)
        self._pairing.keep(self._keeping.twins)
        aside = [*(container for adapter in adapters for container in adapter.aside()), *journal.registered]
        self._also = {} if beside is None else beside.ancestors
        leads = {**self._pairing.successors, **self._also, **candidate.leads}
        self._redirection = Redirection(candidate.owned, self.new, twins, leads, aside)
        sides = (self._old_world, self._new_world), (self._gone, self._added), self._ancestors
        self._crossings = Crossings(self._pairing, self._facts, self._writes, self._redirection.translate, *sides)
        self._asked = []
        self._build()

    # --- looking -------------------------------------------------------------------------------------------------

    def _modules(self) -> dict[str, str]:
        states = {entry.name: "unchanged" for entry in self._live}
        states.update({name: "changed" if name in self.old else "new" for name in self.new})
        states.update(dict.fromkeys(self._candidate.removed, "removed"))
        return states

    def _build(self) -> None:
        self.plan.unsupported += refusals(self._live, self._candidate, self._pairing)
        translate = self._redirection.translate
        containers = [Kept(*pair, key in self._keeping.touched) for key, pair in self._keeping.twins.items()]
        attributes: list[tuple[type, str]] = []
        shadows: dict[int, dict[str, Any]] = {}
        for pair in self._pairing.classes:
            refused = unsupported_class_changes(pair, translate, families_of(self._adapters))
            self.plan.unsupported += refused
            if not refused:
                module = pair.key.partition(":")[0]
                there = module, self._definitions[1][module], self.new[module]
                selection = self._candidate.selection
                outside, lasting = selection.changed_names(*there), selection.lasting(*there)
                how = (same_code, outside, lasting, self._is_made, self._why, *adapted_by(self._adapters))
                done = transplant(pair, translate, self._writes, *how)
                self.plan.names += done.changes
                self.plan.warnings += done.warnings
                self.plan.unsupported += done.refused
                self._redirection.twins.update(done.kept)
                shadows[id(pair.old)] = done.shadows
                stated = {name for body in pair.bodies for name in body.bindings}
                self._crossings.add(done.written, done.before, done.members, stated)
                self._asked += [pair.old] if answers_change(pair, done.written, translate) else []
                containers += [Kept(*pair) for pair in done.kept.values()]
                attributes += [(pair.old, name) for name in done.same]
        twins = self._redirection.twins
        new = [o for o in self._candidate.owned if walk.is_class(o) and id(o) not in twins]
        self.plan.unsupported += new_classes_refused(new, translate)  # type: ignore[arg-type]  # they are classes
        self._writes.late(AbstractMethods(self._pairing.classes).ops)
        self._redirection.make_again(shadows)
        lost = {id(function) for _, function in self._pairing.lost} | gone_classes(self._pairing, self.old, self.new)
        fresh = fresh_definitions(self.new, *self._definitions, self._candidate.selection, self._candidate.owned)
        again = {id(pair.old) for pair in self._pairing.classes if id(pair.new) in fresh}
        gone = lost | again | {id(pair.old) for pair in self._pairing.functions if id(pair.made) in fresh}
        gone |= {key for key, (_, new) in self._pairing.places.items() if id(new) in fresh}
        nowhere = lost | gone_functions(self._pairing, self.old, self.new, self._definitions[0])
        gone |= nowhere
        leads = leads_of(self._pairing, translate, self._is_made, self._also)
        self._writes.late(lambda forward: leads.passing(earlier(self._before, self._pairing) if forward else ()))
        objects = gone_objects(self.old, self.new, self._definitions)
        fates = Fates({**self._pairing.places, **self._also}, gone, fresh | again, leads, objects)
        fates = register(self._journal, containers, fates, self._pairing, self._facts, translate, self._writes)
        facts = Facts(
            self.old,
            self.new,
            self._removed,
            [(pair.old, pair.new) for pair in self._pairing.classes],
            containers,
            self._redirection,
            lambda value: followed(value, self._pairing.places),
            gone,
            ({entry.name: entry.definitions for entry in self._live}, self._candidate.definitions),
            self._writes,
            self.plan,
            self._candidate.owned,
            predecessor=leads.back.of,
        )
        before = self._writes.once
        claimed = adapt(self._adapters, facts)
        self._is_adapted = self._writes.once != before  # what they only look after, or may write again, is none
        kept_names, classes = self._keeping.names, self._pairing.classes
        revisions = self._revisions = Revisions(self._live, self._candidate, self.old, kept_names, classes)
        both, units = (self.old | self._removed, self.new), (revisions.withdrawn, revisions.stated)
        goes, untold = log_withdrawals(*both, *units)
        self.plan.warnings += untold
        self._journal.withdraw(goes)
        self.plan.effects = self._journal.effects
        nowhere.update(map(id, self._gone))
        search = Withdrawals(self._live, self.old | self._removed, revisions.withdrawn, nowhere)
        places, elsewhere = search.found(containers)
        placed = [kept.placed(revisions.places | places) for kept in containers]
        whole = [*placed, *inside(placed, translate)]
        registries = [kept for kept in whole if id(kept.living) not in claimed]
        tables = self._tables = Tables(leads, self.old, self.new, self._keeping.has, self._is_managed)
        tools = (translate, self._writes, revisions)
        merged = merge(registries, fates, *tools)
        less = replace(fates, gone=nowhere)  # somebody else may have registered there what only changes its decorators
        merged |= merge([kept for kept in elsewhere if id(kept.living) not in claimed | merged], less, *tools)
        beyond = Overwritten(self._live, search, self._journal.holdings)
        beyond.settle(revisions, claimed, registries, self._writes, self.plan)
        tables.add(whole, attributes, claimed | merged)
        self.plan.warnings += revisions.warnings
        lead_modules(whole, {**self._pairing.successors, **self._also}, self._writes)
        supplement(whole, translate, Wording(self._live, self._candidate), self._writes)
        self.plan.warnings += assign(self._keeping.beside, translate, self._writes)
        self.plan.warnings += remaining(both, facts.definitions, units, claimed, self._writes)
        self.plan.warnings += unfollowed(self._keeping.beside, translate, stays_of(self._adapters), self._writes)
        carry_attributes(self._pairing.functions, self._definitions, self._facts, self._writes)
        carry_registrations(self._pairing, (self.old, self.new), self._definitions, lost, self._writes)
        put_in_place(self.old, self.new, self._candidate.removed, self._writes)
        put_aliases(self._candidate, self.old, self.new, translate, self._writes)
        relocate(self._live, self._candidate, self._writes)
        self._function_writes()
        let_go_of_wrappers(self._pairing, self.old | self._removed, self._writes)
        pairs, led = list(self._keeping.twins.values()), (lambda: set(self._aims))
        empty_caches(self._pairing, lambda: self._before.caches, led, pairs, self._writes)
        describe_caches(pairs, self._writes)
        self._isolation_writes()
        self._writes.late(tables.ops)
        self._writes.late(lambda forward: self._redirection.live_ops(tables.led) if forward else ())
        self._writes.late(lambda _: leads.passing(()))
        self.plan.names += tables.told(self._keeping.changes)
        ways = (self._importers, self._is_managed, self._keeping.has, translate, self._writes)
        aside = () if self._beside is None else self._beside.new.values()
        names, beside = (*ways[:-1], self._names), (*aside, *self.new.values())
        self._rebind = lambda new, survey=None: rebind(
            self._pairing.successors, self.old, new, *names, aside=beside, survey=survey
        )
        self._writes.include(self._names)
        self.plan.names += self._rebind(self.new)
        swapped = (*aside, *self.old.values(), *self.new.values())
        self.plan.names += hand_out(beyond.modules, beyond.given, *ways, aside=swapped)
        self.plan.names = list(same_objects(self.plan.names, self.old, self.new, translate))
        self._stay(self.old)
        tables.leave_out(self._writes.forward)
        outlive(self._candidate, translate, self._writes)
        self._writes.include(self._settled)
        announce(self.plan, self._candidate)
        self._redirection.examine()
        self.plan.warnings += self._redirection.leftovers
        # A class that is refused anyway needs no second reason: that its instances can't follow.
        known = {(change.module, change.name) for change in self.plan.unsupported}
        self.plan.unsupported += [c for c in self._redirection.refused if (c.module, c.name) not in known]
        nested = self.settling.nested, self.settling_back.nested
        describe(self.plan, self._pairing, self._definitions, self.old, self.new, self._importers, nested)

    def _unmake_impossible_returns(self) -> None:
        """A class that can't return, as with another layout, is another one: nothing live depends on the old one."""
        twins = {id(pair.new): pair.old for pair in self._pairing.classes if not pair.returns}
        for pair in [pair for pair in self._pairing.classes if pair.returns]:
            refused = unsupported_class_changes(pair, lambda v: twins.get(id(v), v), families_of(self._adapters))
            if refused or not all(adapter.comes_back(pair.old, pair.new) for adapter in self._adapters):
                self._pairing.unmake(pair)
                self.plan.warnings.append(f"{pair.key} returns as a new class; objects of the old are not of it")

    def _is_made(self, value: Any) -> bool:
        return is_made(value, self._owned)

    # --- making lists --------------------------------------------------------------------------------------------

    def _function_writes(self) -> None:
        backward: set[int] = set()
        for pair in self._pairing.functions:
            before = self._facts.of(pair.old)
            new = self._facts.known(pair.new)
            if new is not None and new["__defaults__"]:
                new["__defaults__"] = self._redirection.translate(new["__defaults__"])
            after = facade(pair.old, pair.new, new)
            self._writes.both(identity_ops(pair.old, after, before), identity_ops(pair.old, before, after))
            self._writes.hold_code(pair.old)
            made = pair.made
            if made is not None and id(made) not in backward and self._facts.is_new(made):
                backward.add(id(made))
                back: Any = pair.back
                there = self._facts.of(made)
                after = facade(made, back, self._facts.known(back))
                # Clones run the code that is noted: with that of its own, its calls can be told from theirs.
                again = there if is_nested(there["__code__"]) else {**there, "__code__": there["__code__"].replace()}
                self._writes.back(identity_ops(made, after, there), identity_ops(made, again))
                self._facts.hold(again["__code__"])
                self._writes.hold_code(made)
        self._writes.late(self._ancestor_writes)

    def _ancestors(self, forward: bool) -> Iterator[tuple[FunctionType, Any, Any]]:
        """The functions of earlier generations, each with what it leads to before the writes and after them."""
        paired, aims = {id(pair.old) for pair in self._pairing.functions}, self._pairing.aims
        for reference, function in self._before.functions:
            known = self._aims.get(id(function))
            if known is None or known[0]() is not function:
                target = target_of(function.__code__)
                then = followed(target, aims)
                if id(function) in paired or then is target:
                    continue
                known = self._aims[id(function)] = (reference, target, then)
            yield (function, *(known[1:] if forward else known[:0:-1]))

    def _ancestor_writes(self, forward: bool) -> Iterator[Op]:
        """Point the functions of earlier generations at the newest one, whatever they lead to now."""
        for function, _, aim in self._ancestors(forward):
            self._writes.hold(function, identity_of(function))
            yield from asked(function, aim, facade(function, aim, self._facts.known(aim)))

    def _isolation_writes(self) -> None:
        """Old code keeps old code: clones and views in the globals of the generation that goes, in each direction."""
        with_them = None if self._beside is None else self._beside.settling_back
        lost, added = self._crossings.attributes(), self._crossings.attributes(forward=False)
        self._leaving.both(*leave(self._old_world, self._facts.codes, self.settling, lost, with_them))
        self._returning.back(*leave(self._new_world, self._facts.codes, self.settling_back, added))
        self._writes.include(self._leaving)
        self._writes.include(self._returning)
        for module in self.new.values():
            self._writes.both([(dict.pop, worlds, id(module.__dict__), None)], [])

    def lineage_after_commit(self, before: Lineage | None = None) -> Lineage:
        """Return the lineage that holds once the swap has been made: what was live is earlier now.

        Arguments:
            before: that of the swap that was taken back in the same commit, if there was one.
        """
        functions = [pair.old for pair in self._pairing.functions]
        caches = [old for old, _ in self._pairing.caches]
        returned = (*(old for old, _ in self._pairing.places.values()), *(pair.old for pair in self._pairing.classes))
        return (before or self._before).extended(functions, caches, self._gone, returned)

    def successor(self, value: Any) -> Any:
        """Return what names that are bound to a value are bound to after the swap."""
        found = self._pairing.successors.get(id(value))
        return found[1] if found is not None and found[0] is value else value
