"""Settling: what old code left in the hands of others is led to the new code, once old calls have drained.

Two things can't be led in the commit. Closures that old functions made long ago have no name; one `gc.get_referrers` of
the old globals, to which every function refers, finds them. That costs less than one full collection. And the private
clones, on which old calls went on, must stay old until those calls have ended; they may have been handed out meanwhile.

A closure is paired by the place of its code (`nested`). The new code runs in a function of its own, with the cells and
the defaults of the old closure, and the old closure forwards to it. A closure whose counterpart needs what the old one
does not have (another free variable, another parameter) stays wholly old: it has the old globals, and in them the
clones are replaced by fresh ones that nobody leads away.

Guarantees: everything is found out before the first write; the writes are made by one C call, like those of a swap, and
are added to the swap that can be taken back, so that a rollback takes them back too. A settling whose swap was rolled
back does nothing. One that comes late, after newer swaps, leads to the newest code: there are no chains.

Assumes: nobody commits or reverts meanwhile; whoever runs it holds the lock for that.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Protocol

from hotswap.swap.adrift import Stray, body_of, note, strays
from hotswap.swap.begun import begun, outlasting
from hotswap.swap.clones import lead_back, lead_clones
from hotswap.swap.drain import Cloning, Drain, OldWorld
from hotswap.swap.forks import Forks
from hotswap.swap.forwarding import closure_facade, identity_of, identity_ops, target_of
from hotswap.swap.handing import hand_over
from hotswap.swap.junctions import Junction
from hotswap.swap.lending import staying
from hotswap.swap.lineage import Reference
from hotswap.swap.lingering import Lingering
from hotswap.swap.made import MadeWith, cells_of, function_of
from hotswap.swap.narrowing import Spelled, narrow
from hotswap.swap.nested import NestedCode, Place, functions_in, lacking
from hotswap.swap.parts import cell_contents
from hotswap.swap.signatures import own_attributes
from hotswap.swap.variables import Variables
from hotswap.swap.ways import PrivateWays
from hotswap.swap.writes import Op, Writes

__all__ = ["Closures", "Settled", "Settling"]

_SET_CELL = CellType.__dict__["cell_contents"].__set__
_SET_VALUE: Any = vars(PrivateWays)["value"].__set__


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling has done.

    Arguments:
        led: the closures that lead to new code now, as ``module:qualified.name``, one entry for each object.
        left: the closures that stay old, each with the reason.
        defaults: those that lead to new code with a default of the old, because the new one can't be known.
        clones: how many private clones lead to new code now.
        wrapped: whether imports go on being wrapped, as long as somebody holds one of those that stay old.
        duration: seconds that it took, most of them with the GIL held.
    """

    led: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    clones: int = 0
    wrapped: bool = False
    duration: float = 0.0


class Waiting(Protocol):
    """Who waits for the calls in flight."""

    def end(self) -> None:
        """They have drained: wait no longer."""


@dataclass
class Settling:
    """What has to be settled when the calls of one generation have drained. Lives until then.

    Arguments:
        nested: the nested code of that generation.
        world: what that generation sees of modules.
        names: what stands for private clones in its globals: (namespace, name, clone).
        cells: the cells of decorators' wrappers that hold private clones: (cell, original, clone).
        functions: every function that was cloned, with its clone.
        cloning: has made them.
        fronts: what stands for clones under the names of old modules while something is in flight: id -> (clone, it).
        forks: what the commit has installed beside them, if calls were in flight.
        junction: tells who gets what, if so.
        drain: waits for the calls in flight.
        handover: hands them over, if there are any.
        made: the swap was made.
        cancelled: the swap was taken back.
        lingering: keeps the world for closures that stay old, if there are any.
    """

    nested: NestedCode
    world: OldWorld
    names: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    cells: list[tuple[CellType, Any, Any]] = field(default_factory=list)
    functions: list[tuple[FunctionType, FunctionType]] = field(default_factory=list)
    cloning: Cloning | None = None
    fronts: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    forks: Forks | None = None
    junction: Junction | None = None
    drain: Drain | None = None
    handover: Waiting | None = None
    _nested_too: bool = True
    made: bool = False
    cancelled: bool = False
    lingering: Lingering | None = None

    @property
    def places(self) -> set[tuple[int, str]]:
        """The names that stand for private clones: id of a namespace, and name."""
        return {(id(facts), name) for facts, name, _ in self.names}

    def refresh(self) -> None:
        """Give the clones the defaults and attributes that their originals have now."""
        for function, clone in self.functions:
            clone.__defaults__ = function.__defaults__
            clone.__dict__.clear()
            clone.__dict__.update(own_attributes(function.__dict__))

    def join(self, other: Settling) -> None:
        """Take in what has to be settled with it: modules that go in the same commit, in the same world."""
        self.nested.join(other.nested)
        self.names += other.names
        self.cells += other.cells
        self.functions += other.functions
        self.fronts |= other.fronts

    def cancel(self) -> None:
        """Note that the swap was taken back. The clones run what is live again."""
        self.cancelled = True
        for original, clone in self.functions:
            note(Stray(clone.__code__, original, original.__globals__))
        self.names, self.cells, self.cloning = [], [], None
        # Of a swap that was prepared, and not made, nobody has got hold of anything; but it knows the clones of earlier
        # times, which may be in flight.
        if self.made and (self.junction is None or self.junction.over):
            self.lead_back()
        if self.lingering is not None:
            self.lingering.end()

    def lead_back(self) -> list[FunctionType]:
        """Lead what somebody may have got hold of to what is live, once the swap was taken back and all has drained.

        Nobody may make a swap meanwhile. Returns what was led.
        """
        led = lead_back(self)
        self.functions = []
        self.fronts.clear()
        return led

    def installed(self, forks: Forks, drain: Drain) -> None:
        """Note what waits for the calls in flight, and the forks of the commit, if there are any."""
        self.made, self.drain = True, drain
        if forks.stand:
            self.forks, self.junction = forks, forks.junction
            drain.begun = lambda: begun(self._clones)

    @property
    def _clones(self) -> list[tuple[FunctionType, FunctionType]]:
        """What calls in flight may have called: its own clones, and those that were lent to them."""
        lending = None if self.junction is None else self.junction.lending
        return [*self.functions, *(() if lending is None else lending.clones())]

    def goes_on(self) -> bool:
        """Whether calls go on that old calls have begun; they are waited for then. Nobody may make a swap meanwhile."""
        drain, junction = self.drain, self.junction
        if drain is None or junction is None or self.cancelled or drain.drained.is_set():
            return False
        if not drain.is_over:
            return True
        first, self._nested_too = self._nested_too, False
        others = junction.foreign.keys() | (junction.same if junction.handed_over else ())
        plain = [code for code in self.nested.codes() if first and id(code) not in others]
        return drain.again(outlasting(junction, self._clones, self.nested, nested_too=first), plain)

    def over(self) -> None:
        """The last call has ended. Never waits, and may be called again."""
        self.world.drained()
        self.functions = self._clones
        if self.junction is not None:
            self.junction.lending = None
        drain, self.drain = self.drain, None
        if drain is not None:
            drain.end()

    @property
    def same(self) -> frozenset[int]:
        """The ids of the code of that generation that is the same in the one that came, modules that stay included."""
        return frozenset() if self.junction is None else self.junction.same.union(self.junction.shared)

    @property
    def handed_over(self) -> bool:
        """Whether unchanged code of that generation calls the new."""
        return self.junction is not None and self.junction.handed_over

    def hand_over(self, running: Iterable[CodeType], modules: Mapping[str, ModuleType]) -> None:
        """Have unchanged code of that generation call the new from now on. Nobody may make a swap meanwhile.

        Arguments:
            running: the code that calls in flight run.
            modules: the live modules.
        """
        if self.junction is not None:
            hand_over(self.junction, self.nested, running, modules)

    def narrow(self, calls: Sequence[Variables]) -> None:
        """Keep only the forks that some calls may still come to: they go on for long. Nobody may make a swap meanwhile.

        Arguments:
            calls: what they hold.
        """
        if self.junction is not None:
            stayed = staying(self.junction)
            spelled = Spelled(self.junction, self._clones, self.names, self.world.namespaces(), stayed)
            narrow(self.junction, calls, spelled)

    def collapse(self) -> None:
        """Take the forks away: no call of that generation is left. Nobody may make a swap meanwhile."""
        forks, self.forks = self.forks, None
        if forks is not None:
            forks.settle()

    def finish(self) -> None:
        """Take the forks away, and end: where nobody settles what drains."""
        if self.goes_on():
            return
        self.over()
        self.collapse()
        self.end()

    def end(self) -> None:
        """Everything was led to new code, or never will be: nothing needs the old world any more."""
        self.world.end()


class Closures:
    """Leads closures and clones to the newest code. Lives as long as its patcher; keeps no closure alive."""

    def __init__(self) -> None:
        self._made_with: weakref.WeakKeyDictionary[FunctionType, MadeWith] = weakref.WeakKeyDictionary()
        self._cells: dict[int, tuple[CellType, Any, Any]] = {}
        # The functions that run new code in the place of closures, each with the closure that leads to it.
        self._owners: weakref.WeakKeyDictionary[FunctionType, Reference] = weakref.WeakKeyDictionary()

    def settle(
        self,
        settling: Settling,
        modules: Mapping[str, ModuleType],
        before: NestedCode | None,
        undo: Writes | None,
        earlier: Iterable[FunctionType],
        *,
        own: bool,
    ) -> tuple[Settled, list[FunctionType]]:
        """Lead what old code left behind to what is live.

        Arguments:
            settling: what has drained.
            modules: the live modules.
            before: the nested code that is live again if the last swap is taken back; None if it can't be.
            undo: the writes of that swap, or None.
            earlier: functions of earlier generations. Those that lead to a closure look like it, as they did before.
            own: whether the settling belongs to that swap, so that what is old now is what is live then.

        Returns what was done, and the clones that lead to a successor now.
        """
        began = time.perf_counter()
        writes = Writes()
        self._cells = {id(entry[0]): entry for entry in settling.cells}
        live = NestedCode(functions_in({name: modules[name] for name in settling.nested.modules if name in modules}))
        led: list[str] = []
        left: list[str] = []
        staying: list[FunctionType] = []
        defaults: list[str] = []
        outsides: dict[int, dict[str, Any]] = {}
        followers: dict[int, list[FunctionType]] = {}
        for function in earlier:
            followers.setdefault(id(target_of(function.__code__)), []).append(function)
        for closure, place in self._found(settling.nested):
            target = self._made(closure, place, live)
            if type(target) is str:
                if not settling.nested.names(closure):  # the plan has said what becomes of names
                    left.append(f"{place} {target}")
                    staying.append(closure)
                continue
            self._owners[target] = Reference(closure)
            now = identity_of(closure)
            outside = outsides[id(closure)] = closure_facade(closure, target, identity_of(target))
            _dress(closure, outside, writes)
            follow = followers.get(id(closure), [])
            for function in follow:
                _dress(function, closure_facade(function, closure, outside), writes)
            if undo is not None:
                raw = now if own and target_of(now["__code__"]) is None else None
                undo.late(self._way_back(closure, place, raw, before, undo, follow))
            led.append(str(place))
            _, unknown = self._made_with[closure].under(live.header(target.__code__))
            if unknown:
                defaults.append(f"{place} keeps its default of {', '.join(unknown)}: the new one can't be known")
        clones = lead_clones(settling, writes, undo if own else None, outsides)
        writes.apply()
        self._cells = {}
        if staying:
            settling.lingering = Lingering(settling.world, settling.nested, staying)
        wrapped = settling.lingering is not None and settling.lingering.wrapped
        duration = time.perf_counter() - began
        return Settled(tuple(led), tuple(left), tuple(defaults), len(clones), wrapped, duration), clones

    def _found(self, nested: NestedCode) -> Iterator[tuple[FunctionType, Place]]:
        """The closures that run nested code, or led to it until now."""
        besides = [stray.facts for stray in strays(code for code, _ in nested)]
        for function in nested.referrers(besides):
            code = body_of(function.__code__)
            place = nested.place(code)
            if place is None or not place.can_be_held:
                continue  # a generator that is suspended holds the function that it runs, since CPython 3.14
            owner = self._owners.get(function)
            if owner is None:
                self._made_with.setdefault(function, MadeWith.of(function, nested.header(code)))
                yield function, place
                continue
            closure = owner()
            if closure is not None and target_of(closure.__code__) is function:
                yield closure, place

    def _way_back(
        self,
        closure: FunctionType,
        place: Place,
        raw: dict[str, Any] | None,
        before: NestedCode | None,
        undo: Writes,
        followers: Iterable[FunctionType],
    ) -> Callable[[bool], Iterator[Op]]:
        """Return what makes out the writes that lead a closure back, and those that lead to it. It keeps none alive.

        It gets back its own code, if that is what was live before, or else is led to that.
        """
        reference, following = Reference(closure), [*map(Reference, followers)]

        def late(forward: bool) -> Iterator[Op]:
            held = reference()
            if held is None:
                return
            present = then = identity_of(held)
            if not forward and raw is not None:
                then = raw
            elif not forward and before is not None:
                target = self._made(held, place, before)
                if type(target) is FunctionType:
                    self._owners[target] = reference
                    then = closure_facade(held, target, identity_of(target))
            undo.hold(held, present)
            yield from identity_ops(held, then)
            for follower in filter(None, (known() for known in following)):
                if target_of(follower.__code__) is held:
                    outside = identity_of(follower)
                    undo.hold(follower, outside)
                    yield from identity_ops(follower, outside if forward else closure_facade(follower, held, then))

        return late

    def _original(self, cell: CellType) -> CellType:
        """What new code gets for a cell that holds a private clone, on which old code that is suspended goes on."""
        found = self._cells.get(id(cell))
        return CellType(found[1]) if found is not None and cell_contents(cell) is found[2] else cell

    def _made(self, closure: FunctionType, place: Place, there: NestedCode) -> Any:
        """Return a function that runs the counterpart of a closure with what it was made with, or why there is none."""
        found = there.counterpart(place)
        if found is None:
            return "has no counterpart in the new version"
        code, facts = found
        made_with = self._made_with[closure]
        cells = {name: self._original(cell) for name, cell in cells_of(closure).items()}
        reason = lacking(place, code, cells, made_with.parameters)
        if reason:
            return reason
        defaults, _ = made_with.under(there.header(code))
        return function_of(closure, code, facts, replace(made_with, defaults=defaults), cells)


def _dress(function: FunctionType, outside: dict[str, Any], writes: Writes) -> None:
    """Add the writes that give a function another outside."""
    now = identity_of(function)
    writes.both(identity_ops(function, outside, now), identity_ops(function, now))
    writes.hold(now)
