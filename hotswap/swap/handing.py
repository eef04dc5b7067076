"""Handing over: calls of a generation that has gone are led to what is live, where their body is the same there.

A call is handed over to the newest version if its body is still the same as that of its code there. What a version in
between has changed stays where it is: no version is left whose body it could be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FunctionType, ModuleType

from hotswap import walk
from hotswap.swap.adrift import Stray, known, note
from hotswap.swap.bodies import equal_code
from hotswap.swap.forwarding import code_of, target_of
from hotswap.swap.nested import NestedCode, functions_in
from hotswap.swap.ways import Junction

__all__ = ["hand_over"]


def hand_over(
    junction: Junction, nested: NestedCode, running: Iterable[CodeType], modules: Mapping[str, ModuleType]
) -> None:
    """Have unchanged code of a generation call the new from now on, by one store.

    Arguments:
        junction: the generation.
        nested: its nested code.
        running: the code that calls in flight run.
        modules: the live modules.
    """
    there: NestedCode | None = None
    for code in running:
        if id(code) not in junction.same and id(code) not in junction.shared:
            continue
        stray = _stray(junction, nested, code)
        body = None if stray is None else stray.body
        if type(body) is FunctionType:
            body = _newest(body, code)
        elif body is not None:
            if there is None:
                there = NestedCode(functions_in({name: modules[name] for name in nested.modules if name in modules}))
            body = _counterpart(nested, there, body)
        if stray is None or body is None:
            junction.keep(code)
        else:
            note(stray._replace(body=body))
            # What the call makes of nested code, and calls, is of the version that it was handed over to.
            for one, there_of in _nested_pairs(code, body):
                note(Stray(one, there_of, stray.facts))
            junction.leads_on = junction.leads_on or id(stray.facts) in junction.spaces
    junction.handed_over = True


def _nested_pairs(code: CodeType, body: FunctionType | CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code that is nested in some code, each with what stands in its place in the same code of a body."""
    bodies = [body] if type(body) is CodeType else walk.codes_in(code_of(body))
    same = next((one for one in bodies if equal_code(one, code)), None)
    if same is not None and same is not code:
        yield from islice(zip(walk.codes_in(code), walk.codes_in(same), strict=True), 1, None)


def _stray(junction: Junction, nested: NestedCode, code: CodeType) -> Stray | None:
    """Whose body some code is."""
    reference = junction.owners.get(id(code)) if id(code) in junction.shared else None
    owner = None if reference is None else reference()
    if owner is not None:
        return Stray(code, owner, owner.__globals__)
    place = nested.place(code)
    return known(code) if place is None else Stray(code, code, nested.facts(place))


def _newest(function: FunctionType, code: CodeType) -> FunctionType | None:
    """What a function leads to, if the body of that is the same as some code, or has it in it."""
    aim = target_of(function.__code__)
    newest = function if aim is None else aim
    if type(newest) is not FunctionType:
        return None
    return newest if any(equal_code(one, code) for one in walk.codes_in(code_of(newest))) else None


def _counterpart(nested: NestedCode, there: NestedCode, code: CodeType) -> CodeType | None:
    """What stands in the place of nested code, if it is the same."""
    place = nested.place(code)
    found = None if place is None else there.counterpart(place)
    return found[0] if found is not None and equal_code(found[0], code) else None
