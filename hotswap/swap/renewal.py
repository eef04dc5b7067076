"""Renewal: a swap is made again, there and back, as often as somebody likes, and nothing is loaded for it.

Most of what a swap writes is the same each time, or is made out when the time comes. What tells the generations apart
is spent with each time, and renewed here before the next one: the junction, the world that old code imports, the
private clones in its globals, and the copies of code by which its calls are known. Names of other modules are looked
for anew.

Guarantees: a call that went on while its generation came back, and goes again, is waited for again, and gets its own.
Assumes: nobody makes a swap meanwhile.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap.clock import HAS_THREADS
from hotswap.effects import Journal
from hotswap.generation import Candidate, Live, worlds
from hotswap.namespaces import Survey
from hotswap.periods import Keeper
from hotswap.swap.bodies import Bodies
from hotswap.swap.calls import unused
from hotswap.swap.clones import leave
from hotswap.swap.crossings import Crossings
from hotswap.swap.drain import Drain, OldWorld
from hotswap.swap.forks import Forks
from hotswap.swap.forwarding import SupersededModule, code_of
from hotswap.swap.kin import is_nested
from hotswap.swap.lineage import Reference
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.plan import Plan
from hotswap.swap.settling import Settling
from hotswap.swap.state import Keeping
from hotswap.swap.tables import Tables
from hotswap.swap.writes import Op, Writes

__all__ = ["Past", "Renewal"]

_SET_CLASS = object.__dict__["__class__"].__set__


class Past:
    """What may be in flight of one generation since it went. Lives as long as the swap.

    Attributes:
        drain: tells of its calls, since it went last; None if it has not gone.
    """

    def __init__(self) -> None:
        self.drain: Drain | None = None
        self._codes: list[weakref.ref[CodeType]] = []
        self._clones: list[tuple[FunctionType, Reference]] = []

    def note(self, codes: Iterable[CodeType], clones: Iterable[tuple[FunctionType, FunctionType]]) -> None:
        """Note what its calls run, and the clones that they may have left with others. Nothing is kept alive."""
        self._codes += map(weakref.ref, codes)
        # Those of earlier times are told with the new ones: noted once more, they would be twice as many for each flip.
        noted = {id(clone) for _, known in self._clones if (clone := known()) is not None}
        self._clones += ((function, Reference(clone)) for function, clone in clones if id(clone) not in noted)

    @property
    def waited_for(self) -> list[Any]:
        """What the last drain still waits for, or has given way for; sessions are waited for anyway."""
        last = self.drain
        return [] if last is None else [*last.given_up, *(o for o in last.waiting if type(o) is not Keeper)]

    def codes(self, present: Container[int] = ()) -> list[CodeType]:
        """The code that calls of earlier times still run.

        Arguments:
            present: the ids of the code that functions have now.
        """
        held = [(known, code) for known in self._codes if (code := known()) is not None and id(code) not in present]
        self._codes = [known for known, _ in held]
        idle = unused([code for _, code in held]) if held else set()
        return [code for _, code in held if id(code) not in idle]

    def clones(self) -> list[tuple[FunctionType, FunctionType]]:
        """The clones that somebody has kept, each with its original."""
        held = [(function, known, clone) for function, known in self._clones if (clone := known()) is not None]
        self._clones = [(function, known) for function, known, _ in held]
        return [(function, clone) for function, _, clone in held]

    def clear(self) -> None:
        """Forget it."""
        self.drain = None
        self._codes, self._clones = [], []


class Renewal:
    """The part of a swap that lets it be made again. Lives as long as the swap."""

    plan: Plan
    old: dict[str, ModuleType]
    new: dict[str, ModuleType]
    settling: Settling
    settling_back: Settling
    _live: Live
    _candidate: Candidate
    _crossings: Crossings
    _facts: Bodies
    _journal: Journal
    _keeping: Keeping
    _removed: dict[str, ModuleType]
    _pairing: Pairing
    _rebind: Callable[..., Any]
    _tables: Tables
    _old_world: OldWorld
    _new_world: OldWorld
    _writes: Writes
    _names: Writes
    _leaving: Writes
    _returning: Writes
    _settled: Writes
    _is_adapted: bool
    _pasts: tuple[Past, Past]
    """Of the candidate's generation, and of the one that was live before: by whether that one goes."""
    _is_warm = False
    _was_live = False

    @property
    def was_live(self) -> bool:
        """Whether it has been made."""
        return self._was_live

    @property
    def is_warm(self) -> bool:
        """Whether it can be made again: it was armed, and nothing of it can be done only once."""
        return self._is_warm and not self._journal.is_spent

    def keep_warm(self) -> None:
        """Have it be made again, if that can be done.

        It can't if a migration has run, since the next one would have to start from other values; if the import of
        the candidate has had an effect that can be made but once; or if an adapter has added writes of that kind.
        """
        if not self._is_warm and not (self._candidate.migrated or self._is_adapted):
            self._is_warm = True
            self._writes.copied = self._facts.held
        if self._is_warm:
            self._renew()

    def _renew(self) -> None:
        """Begin anew with what tells of the generation that goes when the swap is made, but for names of others."""
        self._renew_one(True, self._old_world, self.settling)
        self._old_world = world = OldWorld(self._live.packages, self.old)
        world.stragglers += [(straggler, True) for straggler in self._keeping.stragglers]
        self.settling = Settling(self.settling.nested, world)
        self._leaving.both(*leave(world, self._facts.codes, self.settling, self._crossings.attributes()))
        self.settling.functions += self._pasts[True].clones()
        self._stay(self.old)

    def _look_for_names(self) -> None:
        """Look anew for the names of other modules that have to be rebound."""
        shown = dict(self.new)
        for name, module in self.new.items():
            facts = ModuleType.__getattribute__(module, "__dict__")
            undone = self._returning.undone(facts)  # what is there for calls in flight is nothing for others
            if undone or type(module) is SupersededModule:  # one of these shows what is live
                shown[name] = ModuleType(name)
                shown[name].__dict__.update(facts | undone)
        self._names.clear()
        self._rebind(shown, self._survey(self._pairing.successors))

    def _survey(self, leads: Mapping[int, tuple[Any, Any]]) -> Survey:
        """Look at what names stand for, once for all who look for something when the swap is made.

        Arguments:
            leads: id of an object that is looked for -> (it, what takes its place).
        """
        self._tables.survey = survey = self._tables.look({type(one) for one, _ in leads.values()})
        return survey

    def renew_back(self) -> None:
        """Begin anew with what tells of the generation that goes when the swap is taken back, if it may be made again.

        Nothing is done for one that is taken back but once.
        """
        if not self._is_warm:
            return
        self._renew_one(False, self._new_world, self.settling_back)
        self._new_world = world = OldWorld(self._live.packages, self.new)
        world.stragglers += [(straggler, False) for straggler in self._keeping.stragglers]
        self.settling_back = Settling(self.settling_back.nested, world)
        added = self._crossings.attributes(forward=False)
        wrapped = (LRU_CACHE, partial)
        twins = {id(living): twin for twin, living in self._keeping.twins.values() if type(twin) in wrapped}
        self._returning.back(*leave(world, self._facts.codes, self.settling_back, added, twins=twins))
        self.settling_back.functions += self._pasts[False].clones()
        self._stay(self.new)

    def _stay(self, going: Container[str]) -> None:
        """Note the modules that stay: more may have been imported since."""
        self._crossings.share(self._staying(going))

    def _staying(self, going: Container[str]) -> dict[str, ModuleType]:
        left = (entry for entry in self._live if entry.own and entry.name not in going)
        return {entry.name: entry.module for entry in left if entry.name not in self._removed}

    def _renew_one(self, forward: bool, world: OldWorld, settling: Settling) -> None:
        past = self._pasts[forward]
        world.stragglers.clear()  # what was carried is noted anew
        if forward:
            self._settled.clear()
        (self._leaving if forward else self._returning).clear()
        settling.cancel()
        self._facts.renew()
        functions = self._crossings.going if forward else self._crossings.returning
        codes = [code for code in map(code_of, functions) if not is_nested(code)]
        self._crossings.renew(past.codes({*map(id, codes)}), forward=forward)
        past.note(codes, ())

    def _gone_by(self, drain: Drain, forks: Forks, *, forward: bool) -> None:
        """Note that the writes were made: from now on the calls of what goes are waited for."""
        settling = self.settling if forward else self.settling_back
        if forks.stand:
            drain.wait_for(forks.awaited)
        if forks.stand or not HAS_THREADS:
            ours = (code for code in settling.nested.codes() if id(code) not in forks.junction.foreign)
            drain.wait_for_nested([*forks.nested, *ours])
        # Before somebody asks what still runs: code that only the forks hold would have to be looked for on the heap.
        forks.landed()
        self._crossings.landed()
        if self._is_warm:
            self._went(drain, forward=forward)

    def _went(self, drain: Drain, *, forward: bool) -> None:
        """Note who waits for the generation that goes. It waits for what is left of earlier times, too."""
        past = self._pasts[forward]
        drain.wait_for([*past.waited_for, *past.codes()])
        last, past.drain = past.drain, drain
        if last is not None:
            last.give_way()  # one loop that goes on would keep what stands for it, once for each flip
        settling = self.settling if forward else self.settling_back
        past.note((clone.__code__ for _, clone in settling.functions), settling.functions)

    def _come_back(self) -> None:
        """Have the candidate be one again, which was live: it is armed once more.

        Its names stand for its own functions then, and not for clones. Who runs code of it still comes by these to its
        own generation, too: by their forks. What it knows as `sys` has none, and stays a view until the commit.
        """
        self._candidate.come_back()
        world = self._candidate.world
        # In one C call with the names: for a moment what its code reaches by way of a module would be what is live.
        ops: list[Op] = [(_SET_CLASS, module, ModuleType) for module in self.new.values()]
        ops += [
            (dict.__setitem__, worlds, id(ModuleType.__getattribute__(module, "__dict__")), world)
            for module in self.new.values()
        ]
        self._returning.undo(ops, but=(sys, sys.modules))

    def _cool(self) -> None:
        """It is not made any more. Whoever holds a module of it, and it is not live, is led to what is."""
        for name, module in self.new.items() if self._was_live else ():
            if name in self.old and sys.modules.get(name) is not module:
                _SET_CLASS(module, SupersededModule)
        for past in self._pasts:
            past.clear()
