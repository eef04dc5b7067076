"""Closures: inner functions that somebody holds, and clones that old code has handed out, are led to the new code.

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
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from hotswap.swap.adrift import body_of, strays
from hotswap.swap.clones import lead_clones
from hotswap.swap.cloning import InCell
from hotswap.swap.doubles import stand_in
from hotswap.swap.forwarding import closure_facade, code_of, forwarder, identity_of, identity_ops, target_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Noted, Reference
from hotswap.swap.lingering import Lingering
from hotswap.swap.made import MadeWith, cells_of, function_of
from hotswap.swap.nested import NestedCode, Place, functions_in, lacking
from hotswap.swap.parts import cell_contents
from hotswap.swap.settling import Settled, Settling
from hotswap.swap.signatures import show
from hotswap.swap.ways import ClosureWays
from hotswap.swap.writes import Op, Writes

__all__ = ["Closures"]

Going: TypeAlias = Callable[[], Junction]

_CODE: Any = vars(FunctionType)["__code__"]


class Closures:
    """Leads closures and clones to the newest code. Lives as long as its patcher; keeps no closure alive."""

    def __init__(self) -> None:
        self._made_with: Noted[MadeWith] = Noted()
        self._cells: dict[int, InCell] = {}
        self._fronts: dict[int, tuple[Any, Any]] = {}
        # The functions that run new code in the place of closures, each with the closure that leads to it.
        self._owners: Noted[Reference] = Noted()
        # Those that run their old code, for calls that are old.
        self._stand_ins: Noted[bool] = Noted()

    def settle(
        self,
        settling: Settling,
        modules: Mapping[str, ModuleType],
        before: NestedCode | None,
        undo: Writes | None,
        earlier: Iterable[FunctionType],
        *,
        own: bool,
        going: Going | None,
        busy: Container[int] | None = None,
    ) -> tuple[Settled, list[FunctionType]]:
        """Lead what old code left behind to what is live.

        Arguments:
            settling: what has drained.
            modules: the live modules.
            before: the nested code that is live again if the last swap is taken back; None if it can't be.
            undo: the writes of that swap, or None.
            earlier: functions of earlier generations. Those that lead to a closure look like it, as they did before.
            own: whether the settling belongs to that swap, so that what is old now is what is live then.
            going: tells of the generation that goes if that swap is taken back.
            busy: None if these calls have ended. Otherwise the ids of nested code that calls which go on may have made
                closures of: other closures that are held by now are led, for everybody else; the rest is left to later.

        Returns what was done, and the clones that lead to a successor now.
        """
        began = time.perf_counter()
        writes = Writes()
        self._cells, self._fronts = {id(entry.cell): entry for entry in settling.cells}, settling.fronts
        live = NestedCode(functions_in({name: modules[name] for name in settling.nested.modules if name in modules}))
        led: list[str] = []
        left: list[str] = []
        staying: list[FunctionType] = []
        defaults: list[str] = []
        outsides: dict[int, dict[str, Any]] = {}
        followers: dict[int, list[FunctionType]] = {}
        for function in earlier:
            followers.setdefault(id(target_of(function.__code__)), []).append(function)
        early = busy is not None
        for closure, place in self._found(settling.nested):
            if busy is not None and id(_own_code(closure)) in busy:
                continue
            target = self._made(closure, place, live)
            if type(target) is str:
                if not early and not settling.nested.names(closure):  # the plan has said what becomes of names
                    left.append(f"{place} {target}")
                    staying.append(closure)
                continue
            outside = outsides[id(closure)] = closure_facade(closure, target, identity_of(target))
            _dress(closure, outside, writes)
            if settling.junction is not None and not settling.junction.over:
                between = self._between(closure, place, settling.junction)
                fork, ways = self._fork(closure, target, outside["__code__"], settling.junction, between)
                shown = show(closure, ways, code_of(target), outside)
                writes.both([(_CODE.__set__, closure, fork), *shown], ())
            follow = followers.get(id(closure), [])
            for function in follow:
                _dress(function, closure_facade(function, closure, outside), writes)
            if undo is not None:
                raw = _raw(closure) if own else None
                undo.late(self._way_back(closure, place, raw, before, undo, follow, going))
            led.append(str(place))
            _, unknown = self._made_with[closure].under(live.header(target.__code__))
            if unknown:
                defaults.append(f"{place} keeps its default of {', '.join(unknown)}: the new one can't be known")
        clones = [] if early else lead_clones(settling, writes, undo if own else None, outsides, alone=not staying)
        writes.apply()
        self._cells, self._fronts = {}, {}
        if staying:
            settling.lingering = Lingering(settling.world, settling.nested, staying)
        wrapped = settling.lingering is not None and settling.lingering.wrapped
        if settling.early is not None:
            led, defaults = [*settling.early.led, *led], [*settling.early.defaults, *defaults]
        duration = time.perf_counter() - began
        return Settled(tuple(led), tuple(left), tuple(defaults), len(clones), wrapped, duration), clones

    def armed(
        self, nested: NestedCode, coming: NestedCode, known: Container[int], undo: Writes, going: Going
    ) -> list[tuple[FunctionType, FunctionType, FunctionType]]:
        """Return the closures that are led where a candidate is armed.

        Each with what runs its own code meanwhile, and what runs that of the candidate. It passes over the heap.

        Arguments:
            nested: the nested code that is live.
            coming: that of the candidate.
            known: the ids of functions that the swap leads (decorators' wrappers are closures, too), and of nested code
                that calls which go on may have made closures of.
            undo: the writes that are made when the swap is taken back.
            going: as that of `settle`.
        """
        armed = []
        for closure, place in self._found(nested):
            is_left = id(closure) in known or id(_own_code(closure)) in known
            target = None if is_left else self._made(closure, place, coming)
            if type(target) is FunctionType:
                armed.append((closure, self._stand_in(closure), target))
                undo.late(self._way_back(closure, place, _raw(closure), nested, undo, (), going))
        return armed

    def _stand_in(self, closure: FunctionType) -> FunctionType:
        made = stand_in(closure, _own_code(closure))
        self._stand_ins[made] = True
        return made

    def _found(self, nested: NestedCode) -> Iterator[tuple[FunctionType, Place]]:
        """The closures that run nested code, or led to it until now."""
        besides = [stray.facts for stray in strays(code for code, _ in nested)]
        for function in nested.referrers(besides):
            code = body_of(_own_code(function))
            place = nested.place(code)
            if place is None or not place.can_be_held or self._stand_ins.get(function):
                continue  # a generator that is suspended holds the function that it runs, since CPython 3.14
            owner = self._owners.get(function)
            if owner is None:
                if self._made_with.get(function) is None:
                    self._made_with[function] = MadeWith.of(function, nested.header(code))
                yield function, place
                continue
            closure = owner()
            if closure is not None and target_of(_own_code(closure)) is function:
                yield closure, place

    def _way_back(
        self,
        closure: FunctionType,
        place: Place,
        raw: dict[str, Any] | None,
        before: NestedCode | None,
        undo: Writes,
        followers: Iterable[FunctionType],
        going: Going | None,
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
                    then = closure_facade(held, target, identity_of(target))
            undo.hold(held, present)
            yield from identity_ops(held, then)
            if not forward and then is not present and going is not None:
                yield from self._forked_back(held, then, going())
            for follower in filter(None, (known() for known in following)):
                if target_of(follower.__code__) is held:
                    outside = identity_of(follower)
                    undo.hold(follower, outside)
                    yield from identity_ops(follower, outside if forward else closure_facade(follower, held, then))

        return late

    def _original(self, cell: CellType) -> CellType:
        """What new code gets for a cell that holds a private clone, on which old code that is suspended goes on."""
        found = self._cells.get(id(cell))
        if found is None:
            return cell
        _, front = self._fronts.get(id(found.clone), (None, found.clone))
        held = cell_contents(cell)
        return CellType(found.value) if held is found.clone or held is front else cell

    def _made(self, closure: FunctionType, place: Place, there: NestedCode) -> Any:
        """Return a function that runs the counterpart of a closure with what it was made with, or why there is none.

        It is noted whose it is.
        """
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
        made = function_of(closure, code, facts, replace(made_with, defaults=defaults), cells)
        self._owners[made] = Reference(closure)
        return made

    def _between(self, closure: FunctionType, place: Place, junction: Junction) -> list[tuple[Junction, FunctionType]]:
        """What calls and sessions get that are of generations which came after one, and have gone since."""
        found = []
        for other in [one for one in list(Junction.in_flight) if one.packages == junction.packages and one.serves]:
            nested = other.nested
            if nested is not None and other.number > junction.number and place.module in nested.modules:
                made = self._made(closure, place, nested)
                if type(made) is FunctionType:
                    found.append((other, made))
        return found

    def _fork(
        self,
        closure: FunctionType,
        new: FunctionType,
        plain: CodeType,
        junction: Junction,
        between: Iterable[tuple[Junction, FunctionType]] = (),
        *,
        goes: bool = False,
    ) -> tuple[CodeType, ClosureWays]:
        """Return code by which a closure leads calls in flight to what it has been, and others to something else.

        As long as it has that it is in a circle through code, where the collector does not look. Returns what it asks,
        too.

        Arguments:
            closure: the closure, as it has been.
            new: what others get.
            plain: the code that it has when there are no such calls any more.
            junction: the generation of these calls. Those of earlier ones get what they got.
            between: what those of later ones get.
            goes: whether that generation is about to go: its number is not that of the newest yet.
        """
        standing = ways_of(closure.__code__)
        old = {id(other): (other, value) for other, value in ([] if standing is None else standing.lasting)}
        if id(junction) not in old:
            led = target_of(closure.__code__) if standing is None else standing.new
            old[id(junction)] = junction, led or self._stand_in(closure)
        old.update((id(other), (other, value)) for other, value in between)
        newest_first = sorted(old.values(), key=lambda way: (goes and way[0] is junction, way[0].number), reverse=True)
        ways = ClosureWays(newest_first, new, plain, new)
        for generation, _ in ways.old:
            generation.fork(closure)
        return forwarder(closure, ways, code_of(new), anything=True), ways

    def _forked_back(self, closure: FunctionType, then: dict[str, Any], junction: Junction) -> Iterator[Op]:
        """Yield the writes by which a closure that is led back is a fork, if something is in flight.

        Arguments:
            closure: the closure.
            then: what it looks like when it is led back.
            junction: the generation of the calls that are in flight then.
        """
        if junction.attributes or junction.functions or junction.fronts:
            back = target_of(then["__code__"])
            new = stand_in(closure, then["__code__"], then) if back is None else back
            yield (_CODE.__set__, closure, self._fork(closure, new, then["__code__"], junction, goes=True)[0])


def _own_code(closure: FunctionType) -> CodeType:
    """The code that a closure has when nothing old is in flight, and no candidate is armed."""
    ways = ways_of(closure.__code__)
    return ways.plain if type(ways) is ClosureWays else closure.__code__


def _raw(closure: FunctionType) -> dict[str, Any] | None:
    """What makes the outside of a closure that runs code of its own; None of one that was led on."""
    code = _own_code(closure)
    return None if target_of(code) is not None else {**identity_of(closure), "__code__": code}


def _dress(function: FunctionType, outside: dict[str, Any], writes: Writes) -> None:
    """Add the writes that give a function another outside."""
    now = identity_of(function)
    writes.both(identity_ops(function, outside, now), identity_ops(function, now))
    writes.hold(now)
