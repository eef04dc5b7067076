"""Clones in the globals of old modules: put there by a swap, and led to the new code when old calls have drained."""

from __future__ import annotations

import gc
from collections.abc import Container, Iterable, Mapping
from types import CellType, CodeType, FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

from hotswap import walk
from hotswap.generation import gate, seen_through, worlds
from hotswap.swap.begun import another
from hotswap.swap.cloning import Cloning
from hotswap.swap.drain import OldWorld
from hotswap.swap.forked_attributes import cloned
from hotswap.swap.forwarding import code_of, facade, forwarder, identity_of, identity_ops, target_of, ways_of
from hotswap.swap.fronts import give
from hotswap.swap.parts import LRU_CACHE, cell_contents, functions_behind
from hotswap.swap.signatures import show
from hotswap.swap.ways import PrivateWays, Ways
from hotswap.swap.writes import Op, Writes

if TYPE_CHECKING:
    from hotswap.swap.junctions import Junction
    from hotswap.swap.settling import Settling

__all__ = ["lead_back", "lead_clones", "leave"]

_SET_CELL = CellType.__dict__["cell_contents"].__set__
_CODE: Any = vars(FunctionType)["__code__"]


def leave(
    world: OldWorld,
    codes: Mapping[int, CodeType],
    settling: Settling,
    attributes: Iterable[Any] = (),
    with_them: Settling | None = None,
    twins: Mapping[int, Any] = MappingProxyType({}),
) -> tuple[list[Op], list[Op]]:
    """Return the writes that put private clones and views into the globals of modules, and those that undo it.

    Arguments:
        world: of the generation that goes: its modules, and what its code imports meanwhile.
        codes: id of a function -> the copy of its code that its clone runs.
        settling: notes the clones.
        attributes: what classes lose by the swap. Its functions are cloned where forks need it, but for decorators'
            wrappers: what these wrap is in cells, which they have in common with the clones.
        with_them: what has to be settled of other modules of that generation, which go in the same commit: their
            clones are made already, and what they hold of these modules is replaced, too.
        twins: id of a cache or partial object that stayed over the swap -> that of this generation, of which its clone
            is made.
    """
    others, done = ([], set()) if with_them is None else (with_them.functions, with_them.places)
    cloning = Cloning(codes, {**world.views, **{id(function): clone for function, clone in others}})
    originals = {id(wrapper): original for wrapper, original in gate.originals()}
    there: list[Op] = []
    back: list[Op] = []
    for facts in world.namespaces():
        there.append((dict.__setitem__, worlds, id(facts), world))
        back.append((dict.pop, worlds, id(facts), None))
        for name, held in list(facts.items()):
            if (id(facts), name) in done:
                continue
            value = seen_through(originals.get(id(held), held))  # what a candidate has taken is a wrapper, or a view
            clone = cloning.clone(twins.get(id(value), value))
            if clone is not value:
                there.append((dict.__setitem__, facts, name, clone))
                back.append((dict.__setitem__, facts, name, value))
                settling.names.append((facts, name, clone))
    for value in attributes:
        if _is_wrapper(value, codes):
            cloned(value, cloning)
    ours = {id(facts) for facts in world.namespaces()}
    for cell, value, clone, facts in cloning.cells:
        if id(facts) in ours:  # another wrapper may be at work without anything of this generation: only forks tell
            there.append((_SET_CELL, cell, clone))
        back.append((_SET_CELL, cell, value))
    settling.functions, settling.cells, settling.cloning = cloning.functions, cloning.cells, cloning
    return there, back


def _is_wrapper(value: Any, codes: Container[int]) -> bool:
    """Whether an attribute of a class is, or has in it, a function that holds one of ours in a cell."""
    cells = (cell for function in functions_behind(value) for cell in function.__closure__ or ())
    return any(id(cell_contents(cell)) in codes for cell in cells)


def lead_back(settling: Settling) -> list[FunctionType]:
    """Have clones, and what stands for them, lead to what their originals are or lead to; return them.

    Somebody may have got hold of one before the swap was taken back.
    """
    led: list[FunctionType] = []
    for original, clone in settling.functions:
        # A fork leads on by who calls: what came back may have gone once more, and its calls are in flight.
        aim = target_of(original.__code__) if ways_of(original.__code__) is None else original
        aim = original if aim is None else aim
        outside = identity_of(aim, code_of(aim)) if type(aim) is FunctionType else None
        front = settling.fronts.get(id(clone), (clone, clone))[1]
        for one in {id(one): one for one in (clone, front) if type(one) is FunctionType}.values():
            for write, *arguments in identity_ops(one, facade(one, aim, outside), identity_of(one)):
                write(*arguments)
            led.append(one)
    return led


def lead_clones(
    settling: Settling, writes: Writes, undo: Writes | None, outsides: Mapping[int, dict[str, Any]], *, alone: bool
) -> list[FunctionType]:
    """Add the writes that lead clones to where their originals lead now; return the clones.

    Arguments:
        settling: what has drained.
        writes: receives the writes.
        undo: receives them, too, if they are to be taken back with the swap.
        outsides: those that closures are about to get, by the id of the closure.
        alone: whether no closure stays old. Then loops that were handed over get functions that are live by the names
            of their modules, and not what leads to these: so they are the same to `pickle`, which finds them by name.
    """
    # Code that stays old, or is suspended in a closure, goes on with helpers that are old: fresh clones, which nobody
    # else can have got hold of.
    fresh = Cloning({id(clone): clone.__code__ for _, clone in settling.functions}, {})
    ops: list[Op] = []
    back: list[Op] = []
    # Where nobody runs in its namespaces they need not lead on: by way of them each generation would keep the next.
    junction = settling.junction
    handed = junction is not None and ((junction.handed_over and junction.leads_on) or bool(junction.foreign))
    originals = {id(clone): original for original, clone in settling.functions}
    for facts, name, clone in settling.names:
        front = settling.fronts.get(id(clone), (clone, clone))[1]
        held = facts.get(name)
        if held is clone or held is front:
            live = _live(originals.get(id(clone))) if handed and alone else None
            ops.append((dict.__setitem__, facts, name, live or (front if handed else fresh.clone(clone))))
            back.append((dict.__setitem__, facts, name, front))
        if type(clone) is LRU_CACHE:
            writes.hold([list(part.items()) for part in gc.get_referents(clone) if type(part) is dict])
            ops.append((clone.cache_clear,))
    going = {id(original) for original in originals.values()}
    over = junction is not None and junction.handed_over
    for facts in settling.world.lent.values() if over and alone else ():  # loops that began earlier, and go on
        for name, held in list(facts.items()):
            live = _live(held) if id(held) in going else None
            if live is not None:
                ops.append((dict.__setitem__, facts, name, live))
                back.append((dict.__setitem__, facts, name, held))
    fronts = settling.fronts
    ours = {id(facts) for facts in settling.world.namespaces()}
    lasting = set[int]()
    for cell, value, clone, facts in settling.cells:
        front = fronts.get(id(clone), (clone, clone))[1]
        held = cell_contents(cell)
        if held is clone or held is front:
            is_ours = id(facts) in ours
            # A call of a wrapper of another module goes on with what is live, and so does one that an earlier swap has
            # handed over: it runs the code of an earlier version of the wrapper, with the same cell.
            if alone and (not is_ours or (held is not clone and not handed)):
                then = value
            elif handed or (held is not clone and not is_ours):
                then = front  # as that does, but for closures that stay old
                lasting.add(id(clone))
            else:
                then = fresh.clone(clone)
            ops.append((_SET_CELL, cell, then))
            back.append((_SET_CELL, cell, front))
    led = []
    for clone, front in fronts.values():
        ways = ways_of(front.__code__) if type(front) is FunctionType else front.ways
        if type(ways) is PrivateWays:
            # Loops that were handed over call it for as long as they run, and closures that stay old, too.
            ops += give(front, ways, fresh.clone(clone))
            back += give(front, ways, ways.value)
            writes.hold(clone)
        if handed and type(front) is FunctionType:
            led.append(front)
    to_lead = [(clone, clone, original) for original, clone in settling.functions]
    if not handed:
        others = ((key, *one) for key, one in fronts.items() if key in originals and key not in lasting)
        to_lead += [(front, clone, originals[key]) for key, clone, front in others]
    forks: list[Op] = []
    copies: list[tuple[CodeType, CodeType]] = []
    for one, clone, original in to_lead:
        aim = target_of(original.__code__)
        if aim is None:
            continue  # it is live again
        now = identity_of(one)
        if not walk.is_forwarder(one.__code__):
            # Calls that run it are waited for: nothing may hold it but the writes, in which it must not die.
            writes.hold(one.__code__)
            now["__code__"] = another(junction, original, one, copies)
        outside = outsides.get(id(aim)) or (identity_of(aim) if type(aim) is FunctionType else None)
        then = facade(one, aim, outside)
        if junction is not None and not junction.over:
            forks += _forked(one, fresh.clone(clone), aim, then, junction)
        ops += identity_ops(one, then, now)
        back += identity_ops(one, now)
        writes.hold(now)
        led.append(one)
    if junction is not None:
        junction.copied(copies)
    writes.both([*ops, *forks], back)
    if undo is not None:
        undo.both(ops, back)
    return led


def _live(original: FunctionType | None) -> FunctionType | None:
    """The function to which one that has gone leads now; None if there is none."""
    aim = None if original is None else target_of(original.__code__)
    return aim if type(aim) is FunctionType else None


def _forked(one: FunctionType, old: FunctionType, aim: Any, then: dict[str, Any], junction: Junction) -> list[Op]:
    """The writes by which what is led on leads calls that have begun before to what it has been.

    Arguments:
        one: what is led on.
        old: runs what it has run.
        aim: what it leads to.
        then: what it looks like then.
        junction: its generation.
    """
    ways = Ways([(junction, old)], aim, aim)
    junction.fork(one)
    looks = code_of(aim) if type(aim) is FunctionType else None
    return [(_CODE.__set__, one, forwarder(one, ways, looks, anything=True)), *show(one, ways, looks, then)]
