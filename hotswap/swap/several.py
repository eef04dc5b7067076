"""Several generations have something in flight at once: what each of them gets of what changes once more."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation.live import managed
from hotswap.swap.adrift import Stray
from hotswap.swap.apart import Apart
from hotswap.swap.cloning import Cloning
from hotswap.swap.forked_attributes import cloned
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import is_nested

__all__ = ["concerns", "filled", "has_come_back", "is_apart", "meet", "of_earlier", "together", "unclaimed"]


def unclaimed(junction: Junction, known: Iterable[Stray]) -> list[Stray]:
    """Return the code of calls that are of a generation, of those that run a body of its functions.

    One that has not been handed over since an earlier swap is of the generation that went then.
    """
    others = Junction.in_flight - {junction}
    return [one for one in known if not any(other.has(one.code, id(one.facts), None) for other in others)]


def meet(
    junction: Junction, going: Mapping[str, ModuleType], changed: frozenset[str], staying: Mapping[str, ModuleType]
) -> None:
    """Have generations that went before know modules that were imported since: of theirs, these are the first.

    Arguments:
        junction: the generation that goes.
        going: its modules that are about to change.
        changed: the names of these, and of modules that come.
        staying: those that do not change.
    """
    modules = {**staying, **going}
    for one in list(Junction.in_flight):
        if one is not junction and one.packages == junction.packages and one.changed is not None:
            known = one.changed
            one.staying |= {id(module.__dict__) for name, module in modules.items() if name not in known}
            one.changed |= changed


def concerns(junction: Junction, modules: Iterable[str]) -> bool:
    """Whether somebody who is on another generation than that which goes may come to what changes.

    Arguments:
        junction: that which goes.
        modules: the names of its modules.
    """
    if Apart.standing:  # who is on a candidate that was disarmed comes to it by forks, whatever has changed
        return True
    names = frozenset(modules)
    for one in list(Junction.in_flight):
        # For calls in flight of an earlier swap these modules stayed, and are as they were. Of an earlier version of
        # them closures may be left that are the same in this one.
        stayed = not one.staying.isdisjoint(junction.spaces)
        if one.serves and (stayed or (one.nested is not None and not names.isdisjoint(one.nested.modules))):
            return True
    return False


def filled(
    last: tuple[Junction, Any],
    before: list[tuple[Junction, Any]],
    lend: Callable[[Junction, tuple[Junction, Any]], Any],
    wanted: Callable[[Junction], bool],
    *,
    is_around: bool = False,
) -> list[tuple[Junction, Any]]:
    """The ways to old generations, the newest first: all that have something in flight.

    For one that no fork knows, something is what it was for the next that went: the swap between did not change it. But
    a generation that was brought back goes more than once, and gets the same each time.

    Arguments:
        last: the way of the generation that goes.
        before: those of earlier ones that forks know.
        lend: gives for one that none knows what it gets, by the way of the next.
        wanted: whether such a one may come to it.
        is_around: whether it is around functions, as a partial object: those that a generation got are known.
    """
    known = {id(junction) for junction, _ in before}
    unknown = (junction for junction in [*Junction.in_flight, *Apart.standing] if id(junction) not in known)
    # Another patcher's generations know nothing of these packages.
    ours = (junction for junction in unknown if junction.packages == last[0].packages)
    others = [junction for junction in ours if junction.serves and wanted(junction)]
    rest = [*before, *((junction, None) for junction in others)]
    rest.sort(key=lambda way: way[0].number, reverse=True)
    old = [last]
    for junction, value in rest:
        if junction is last[0]:
            continue
        if id(junction) not in known:
            same = [way for way in old if not (is_around or way[0].spaces.isdisjoint(junction.spaces))]
            if not same and _is_later(junction, old):
                continue
            value = same[-1][1] if same else lend(junction, old[-1])
        old.append((junction, value))
    return old


def _is_later(junction: Junction, following: list[tuple[Junction, Any]]) -> bool:
    """Whether a function came with a later version of a module that changed: an old generation gets what is live.

    Arguments:
        junction: the old generation, which never got anything by a fork.
        following: the ways to those that went after it, the newest first.
    """
    function = walk.function_behind(following[-1][1])
    if type(function) is not FunctionType:
        return False
    space = id(function.__globals__)
    return not junction.is_home(space) and any(space in later.spaces for later, _ in following)


def has_come_back(junction: Junction, value: Any) -> bool:
    """Whether a function is of an earlier version, and the generation that goes had none: nobody got it of that.

    Arguments:
        junction: that which goes.
        value: the function, or the method or property that has it, or a clone.
    """
    function = walk.function_behind(value)
    if type(function) is not FunctionType or is_nested(function.__code__):
        return False
    facts = function.__globals__
    return not junction.is_home(id(facts)) and managed(str(facts.get("__name__")), junction.packages)


def of_earlier(junction: Junction, value: Any, before: list[tuple[Junction, Any]]) -> list[tuple[Junction, Any]]:
    """The ways of what has come back: to those generations that had it, the newest first.

    Arguments:
        junction: the generation that goes.
        value: the function, or the method or property that has it, or a clone.
        before: the ways that forks know.
    """
    function: FunctionType = walk.function_behind(value)
    space = id(function.__globals__)
    known = {id(junction), *(id(one) for one, _ in before)}
    ours = (one for one in list(Junction.in_flight) if one.packages == junction.packages and one.serves)
    # Each gets another clone: this one is led on as soon as nothing of the generation that goes is in flight.
    had = [
        (one, cloned(value, Cloning({id(function): function.__code__}, {})))
        for one in ours
        if id(one) not in known and one.is_home(space)
    ]
    return sorted([*before, *had], key=lambda way: way[0].number, reverse=True)


def together(old: list[tuple[Junction, Any]], more: list[tuple[Junction, Any]]) -> list[tuple[Junction, Any]]:
    """The ways to old generations, the newest first, and those of a function that comes back, which it had itself."""
    first, *rest = old
    known = {id(junction) for junction, _ in old}
    rest += [(junction, value) for junction, value in more if id(junction) not in known]
    return [first, *sorted(rest, key=lambda way: way[0].number, reverse=True)]


def is_apart(going: Any, coming: Any, code: CodeType | None, outside: Mapping[str, Any] | None) -> bool:
    """Whether no call that one function takes is one that the other takes, by the number of the arguments.

    Then a cache that both stand under has no entry for both, and either may ask it.

    Arguments:
        going: the function of the generation that goes.
        coming: what takes its place.
        code: the code that it has then.
        outside: what it looks like then, if it does not look like that now.
    """
    if type(going) is not FunctionType or type(coming) is not FunctionType or code is None:
        return False
    facts = outside or {"__defaults__": coming.__defaults__, "__kwdefaults__": coming.__kwdefaults__}
    least, most = _arguments(going.__code__, going.__defaults__, going.__kwdefaults__)
    least_then, most_then = _arguments(code, facts["__defaults__"], facts["__kwdefaults__"])
    return most < least_then or most_then < least


def _arguments(code: CodeType, defaults: Any, by_name: Any) -> tuple[int, float]:
    """How many arguments a function takes, at least and at most."""
    count = code.co_argcount + code.co_kwonlyargcount
    anything = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return count - len(defaults or ()) - len(by_name or ()), math.inf if anything else count
