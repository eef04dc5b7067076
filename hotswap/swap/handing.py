"""Handing over: calls of a generation that has gone are led to what is live, where their body is the same there.

A call is handed over to the newest version if its body is still the same as that of its code there. What a version in
between has changed stays where it is: no version is left whose body it could be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.swap.adrift import Stray, known, note
from hotswap.swap.apart import Apart
from hotswap.swap.bodies import equal_code, unchanged
from hotswap.swap.forwarding import code_of, target_of
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import is_nested, kin
from hotswap.swap.narrowing import named
from hotswap.swap.nested import NestedCode, functions_in
from hotswap.swap.stragglers import GoesOn

__all__ = ["body_in", "hand_over", "keep_changed"]


def hand_over(
    junction: Junction, nested: NestedCode, running: Iterable[CodeType], modules: Mapping[str, ModuleType]
) -> list[GoesOn]:
    """Have unchanged code of a generation call the new from now on, by one store.

    Returns the calls that go on, of which it is known where they run.

    Arguments:
        junction: the generation.
        nested: its nested code.
        running: the code that calls in flight run.
        modules: the live modules.
    """
    live = {name: modules[name] for name in nested.modules if name in modules}
    there: NestedCode | None = None
    if any(id(ModuleType.__getattribute__(module, "__dict__")) not in junction.others for module in live.values()):
        there = NestedCode(functions_in(live))
        _keep_nested(junction, nested, there)
    over: list[tuple[CodeType, dict[str, Any]]] = []
    # Whose they have been: of nested code that is noted anew as soon as the call is handed over in which it was made.
    known_as = [(code, _stray(junction, nested, code)) for code in running]
    for code, stray in known_as:
        if id(code) not in junction.same and id(code) not in junction.shared:
            continue
        newest = None
        if stray is not None and type(stray.body) is FunctionType:
            newest = _newest(stray.body, code)
        elif stray is not None:
            there = there or NestedCode(functions_in(live))
            found = unchanged(stray.body, nested, there)
            newest = None if found is None else _Newest(found, found, there.facts_of(found))
        if stray is None or newest is None or (id(code) in Junction.wrappers and junction.is_parted(code, None)):
            junction.keep(code)
            continue
        note(stray._replace(body=newest.body))
        # What the call makes of nested code, and calls, is of the version that it was handed over to.
        for one, same in _nested_pairs(code, newest.code):
            note(Stray(one, same, stray.facts))
        for armed in list(Junction.about_to_go):
            if armed.armed and not armed.over and id(newest.facts) in armed.spaces:
                _take_over(armed, code, newest.code)
        for other in {*Junction.in_flight, *Apart.standing} - {junction}:
            other.give_up(code, stray.facts)
        over.append((code, stray.facts))
        junction.leads_on = junction.leads_on or id(stray.facts) in junction.spaces
    if len(over) < len(known_as) or (junction.keeper is not None and junction.keeper() is not None):
        junction.led = frozenset(name for code, _ in over for name in named(code))
    junction.handed_over = True
    # Now they are none of its calls any more, whatever becomes of their text. Before it nobody was to see a difference.
    for code, facts in over:
        for one in walk.codes_in(code):
            junction.strays.pop(id(one), None)
        junction.give_up(code, facts)
    handed = {id(code) for code, _ in over}
    return [GoesOn(code, stray.facts, id(code) not in handed) for code, stray in known_as if stray is not None]


def keep_changed(junction: Junction, running: Iterable[CodeType]) -> None:
    """Have what stands in code that calls run, and that is not the same in the next version, stay old with it.

    Arguments:
        junction: the generation.
        running: the code that calls in flight run.
    """
    for code in running:
        if id(code) not in junction.same and id(code) not in junction.shared:
            junction.keep(code)


def _take_over(armed: Junction, code: CodeType, body: CodeType) -> None:
    """Have a generation over which a candidate is armed know the code of a call that is handed over to it.

    Arguments:
        armed: the generation.
        code: the code.
        body: what is the same in it.
    """
    for one, other in zip(walk.codes_in(code), walk.codes_in(body), strict=True):
        armed.stray(one)
        if any(id(same) in armed.same for same in (other, *kin(other))):
            armed.same |= {id(one)}


class _Newest(NamedTuple):
    """What a call is handed over to.

    Attributes:
        body: whose body it is then: a function, or nested code.
        code: what is the same there.
        facts: the globals of that.
    """

    body: FunctionType | CodeType
    code: CodeType
    facts: dict[str, Any]


def _keep_nested(junction: Junction, nested: NestedCode, there: NestedCode) -> None:
    """Have nested code stay old that is not the same in what is live: another version has come meanwhile."""
    gone = [code for code, _ in nested if id(code) in junction.same and unchanged(code, nested, there) is None]
    ours = {id(one) for code in gone for one in (code, *kin(code))}
    junction.same -= ours - Junction.wrappers.keys()  # of those it is known since when


def _nested_pairs(code: CodeType, same: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code that is nested in some code, each with what stands in its place in the same code."""
    if same is not code:
        yield from islice(zip(walk.codes_in(code), walk.codes_in(same), strict=True), 1, None)


def _stray(junction: Junction, nested: NestedCode, code: CodeType) -> Stray | None:
    """Whose body some code is."""
    reference = junction.owners.get(id(code)) if id(code) in junction.shared else None
    owner = None if reference is None else reference()
    if owner is not None:
        return Stray(code, owner, owner.__globals__)
    place = nested.place(code)
    return known(code) if place is None else Stray(code, code, nested.facts(place))


def _newest(function: FunctionType, code: CodeType) -> _Newest | None:
    """What a function leads to, if the body of that is the same as some code, or has it in it."""
    aim = target_of(function.__code__)
    newest = function if aim is None else aim
    same = _same_in(newest, code) if type(newest) is FunctionType else None
    return None if same is None else _Newest(same if is_nested(same) else newest, same, newest.__globals__)


def body_in(function: FunctionType, code: CodeType) -> FunctionType | CodeType:
    """Return what some code is the body of, that is the same as that of a function, or stands in it.

    What runs nested code is waited for, and found again, by that: there may be any number of functions of it.
    """
    same = _same_in(function, code) if is_nested(code) else None
    return function if same is None else same


def _same_in(function: FunctionType, code: CodeType) -> CodeType | None:
    return next((one for one in walk.codes_in(code_of(function)) if equal_code(one, code)), None)
