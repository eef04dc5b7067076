"""Parts: what the entries of registries lead to, and what becomes of living instances."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.adapters.ordering import matched, ordered
from hotswap.swap import DROPPED, Facts, Op

__all__ = [
    "WHOLE",
    "bound_twins",
    "definition",
    "drop",
    "let_go",
    "merge_list",
    "name_of",
    "names_of",
    "replace_items",
    "replace_list",
]

WHOLE = slice(None)


def definition(value: Any) -> Any:
    """Return the function or class that somebody wrote, behind wrappers, partials, methods and instances."""
    for _ in range(32):
        kind = type(value)
        if kind is functools.partial:
            value = value.func
        elif kind is MethodType:
            value = value.__func__
        elif kind is FunctionType and "__wrapped__" in value.__dict__:
            value = value.__dict__["__wrapped__"]
        elif kind is FunctionType or walk.is_class(value):
            return value
        else:
            return kind
    return value


def name_of(value: Any) -> str:
    """Return where the definition of a callable stands, as ``module:qualified.name``."""
    found = definition(value)
    if walk.is_class(found):
        return f"{walk.class_dict(found).get('__module__')}:{walk.class_name(found)}"
    return f"{found.__module__}:{found.__qualname__}"


def names_of(facts: Facts, wanted: Any) -> set[str]:
    """Return how the modules that change or go call an object: by a name of theirs, or by one of a module in them."""
    found: set[str] = set()
    for module in (*facts.old.values(), *facts.removed.values()):
        for name, value in list(module.__dict__.items()):
            if value is wanted:
                found.add(name)
            elif issubclass(type(value), ModuleType):
                found.update(inner for inner, held in list(value.__dict__.items()) if held is wanted)
    return found


def drop(facts: Facts, twin: Any) -> None:
    """Mark the twin of a kept object: it is not living, although the collector has not come by yet."""
    facts.writes.both([(dict.__setitem__, twin.__dict__, DROPPED, True)], [], again=True)


def bound_twins(
    old: Mapping[str, ModuleType], new: Mapping[str, ModuleType], kinds: tuple[type, ...]
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield (module, name, living, twin) for names that stand for an object of some classes in both versions."""
    for name, module in old.items():
        if name in new:
            after = new[name].__dict__
            for attribute, living in list(module.__dict__.items()):
                twin = after.get(attribute)
                if twin is not living and issubclass(type(living), kinds) and issubclass(type(twin), kinds):
                    yield name, attribute, living, twin


def let_go(facts: Facts, value: Any) -> None:
    """Give a function that goes code of its own.

    The functions that a loop makes share one code object. Those that are registered again leave it; the way back holds
    this one, and nobody would ever know that no call of the old code is left.
    """
    function = definition(value)
    if type(function) is not FunctionType or facts.successor(function) is not function:
        return
    if function.__module__ not in facts.old or "<locals>" in function.__code__.co_qualname:
        return
    own = function.__code__.replace()
    facts.writes.hold_code(function)
    facts.writes.both([(setattr, function, "__code__", own)], [])


def replace_list(facts: Facts, living: list[Any], before: list[Any], wanted: list[Any]) -> None:
    """Add the write that gives a living list other items, whatever was put in or taken out meanwhile.

    Arguments:
        facts: receives the write.
        living: the list.
        before: what stood in it when `wanted` was made out.
        wanted: what is to stand in it.
    """
    facts.claim(living)
    stay = {id(entry) for entry in wanted}
    for entry in before:
        if id(entry) not in stay:
            let_go(facts, entry)

    def late(forward: bool) -> list[Op]:
        now = list(living)
        there, then = (before, wanted) if forward else (wanted, before)
        facts.writes.hold(now)
        if walk.same_items(now, there) or walk.same_items(now, then):
            return [(list.__setitem__, living, WHOLE, list(then))]
        kept = {id(entry) for entry in there}
        present = {id(entry) for entry in now}
        # What is in both directions and was taken out since stays out; what was put in since stays in.
        after = [entry for entry in then if id(entry) in present or id(entry) not in kept]
        after += [entry for entry in now if id(entry) not in kept]
        return [(list.__setitem__, living, WHOLE, after)]

    facts.writes.late(late, again=True)


def merge_list(
    facts: Facts,
    living: list[Any],
    new: list[Any],
    key: Callable[[Any], Hashable],
    *,
    whole: bool = False,
    put: Callable[[Any], bool] = lambda _: False,
) -> None:
    """Add the write that brings a living list of functions up to date.

    Arguments:
        facts: receives the write, and knows what is gone.
        living: the list.
        new: what the candidate registered for it, in order.
        key: tells which of both are the same.
        whole: whether everything that is not registered again goes; otherwise what is gone goes.
        put: tells whether a statement that has run again had put a function there: then it is gone too.
    """
    before = list(living)
    pairs = matched(before, new, key)
    taken = set(pairs.values())
    gone = {
        index
        for index, function in enumerate(before)
        if index not in taken and (whole or any(map(facts.is_gone, (function, definition(function)))) or put(function))
    }
    if new or gone:
        replace_list(facts, living, before, ordered(before, new, pairs, gone))


def replace_items(facts: Facts, living: dict[Any, Any], wanted: dict[Any, Any], missing: Any) -> None:
    """Add the writes that give a living dict other items; keys whose value is `missing` go.

    Keys are written one by one, so that what others have put in meanwhile stays.
    """
    facts.claim(living)
    for key, value in wanted.items():
        if living.get(key, missing) is not value:
            let_go(facts, living.get(key))
        if value is missing:
            facts.writes.drop(living, key)
        elif living.get(key, missing) is not value:
            facts.writes.item(living, key, value)
