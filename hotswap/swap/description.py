"""Description: the plan of a swap in words, for whoever reads it before anything is touched."""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Candidate, Definitions, Kind
from hotswap.swap.bodies import equal_code, same_code
from hotswap.swap.calls import running_in
from hotswap.swap.defaults import parameters
from hotswap.swap.forwarding import KIND_FLAGS
from hotswap.swap.importers import Importers
from hotswap.swap.kin import is_nested
from hotswap.swap.migration import HOOKS
from hotswap.swap.nested import NestedCode, lacking, line_of
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import resolved
from hotswap.swap.plan import Fate, NameChange, Plan
from hotswap.swap.state import PLAIN

__all__ = ["describe", "left_alone", "same_objects"]

_LOOKED_INTO = (tuple, list, dict, set, frozenset, deque, functools.partial)
_DEEP = 4
_MANY = 1_000
_NAMED = 4
"""How deep, and into how many objects, is looked for functions that no name leads to; and how many are named."""


def describe(
    plan: Plan,
    pairing: Pairing,
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    importers: Importers,
    nested: tuple[NestedCode, NestedCode],
) -> None:
    """Add to a plan what becomes of each name, and warnings of what will not be as after a restart.

    Arguments:
        plan: receives them; it has the names that keep or change their objects.
        pairing: what takes the place of what.
        definitions: what the old and the new sources say.
        old, new: the modules of both generations.
        importers: knows what other modules imported by name.
        nested: the nested code of both generations.
    """
    migrated = {(change.module, change.name) for change in plan.names if change.fate is Fate.MIGRATED}
    plan.names += (
        change for change in _names(pairing, definitions, old, new) if (change.module, change.name) not in migrated
    )
    plan.warnings += pairing.replaced
    plan.warnings += _left_behind(plan, pairing, old, new)
    plan.warnings += dict.fromkeys(_closures_left(*nested))
    plan.warnings += _still_imported(plan, importers, _passed_on(definitions[0], old, new), new)
    for name, module in old.items():
        for thread, place in running_in(module):
            plan.warnings.append(
                f"thread {thread} is running {place} in {name}: that call goes on in the old body, and with the old "
                f"functions and methods that it calls; see in_flight() of the rollout, and its handover"
            )


def left_alone(candidate: Candidate, packages: tuple[str, ...]) -> Iterator[str]:
    """Say what of a patch does not become live: packages of others, and new modules that need what is not there."""
    outside = {name.partition(".")[0] for name in candidate.patch.sources} - {*packages}
    if outside:
        which = ", ".join(sorted(outside))
        yield f"the patch holds {which} too, which this patcher does not manage: left as it is"
    for name, missing in candidate.left.items():
        yield f"{name} is new and needs {missing}, which is not installed; nobody imports it, so it was left unloaded"


def _names(
    pairing: Pairing,
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
) -> Iterator[NameChange]:
    """What is added, changed and removed."""
    paired = {pair.key: pair for pair in pairing.functions}
    for name, module in new.items():
        if name not in old:
            continue
        before, after = old[name].__dict__, module.__dict__
        source = definitions[1].get(name) or Definitions()
        for attribute in source.bindings:
            if source.kind(attribute) is Kind.IMPORT or attribute in HOOKS:
                continue
            pair = paired.get(f"{name}:{attribute}")
            if attribute not in before and attribute in after:
                yield NameChange(name, attribute, Fate.ADDED)
            elif pair is not None and not same_code(pair.old, pair.new):
                yield NameChange(name, attribute, Fate.CHANGED)
        for attribute in (definitions[0].get(name) or Definitions()).bindings:
            if attribute in before and attribute not in after and attribute not in HOOKS:
                yield NameChange(name, attribute, Fate.REMOVED, "who still holds it keeps the old code")


def same_objects(
    names: Iterable[NameChange],
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    translate: Callable[[Any], Any],
) -> Iterator[NameChange]:
    """Say of the names whose definition changed, but not the object that it leads to, that they are kept.

    Arguments:
        names: what becomes of names.
        old, new: the modules of both generations.
        translate: gives the living object for a dropped twin: a member of an enumeration, say.
    """
    for change in names:
        if change.fate is Fate.REPLACED and change.module in old and change.module in new:
            living, value = resolved(old[change.module], change.name), resolved(new[change.module], change.name)
            if living is not None and living is not value and translate(value) is living:
                yield replace(change, fate=Fate.KEPT, why="the new definition leads to the same object")
                continue
        yield change


def _left_behind(
    plan: Plan, pairing: Pairing, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]
) -> Iterator[str]:
    """Who holds an old object and will not reach what takes its place as it would after a restart."""
    for key, _ in pairing.lost:
        place, _, path = key.partition(":")
        if path.partition(".")[0] in new[place].__dict__:
            yield f"{key} has no counterpart in the new version; who still holds it keeps the old code"
    for cache, successor in pairing.caches:
        if successor is None:
            inner = cache.__wrapped__
            yield f"{inner.__module__}:{inner.__qualname__} is no lru_cache any more; who holds it goes on remembering"
    for pair in pairing.functions:
        if pair.made is None:
            yield f"{pair.key} was a function and becomes a {walk.class_name(type(pair.new))}; old references call it"
        elif (pair.old.__code__.co_flags ^ pair.made.__code__.co_flags) & KIND_FLAGS:
            yield f"{pair.key} changes its kind (plain, generator, coroutine); old references show the old kind"
    for change in plan.names:
        if change.fate in (Fate.REPLACED, Fate.MIGRATED) and not change.name.startswith("__"):
            living = resolved(old[change.module], change.name)
            if living is resolved(new[change.module], change.name):
                continue  # a migration took it over
            nameless = _nameless(living, change.module, pairing)
            if nameless:
                yield (
                    f"{change.module}:{change.name} is a new object; who holds the old one elsewhere, or one of its "
                    f"functions that no name leads to ({', '.join(nameless)}), keeps it"
                )
            elif (
                living is not None and type(living) not in PLAIN and not walk.is_class(living) and not _is_part(living)
            ):
                yield f"{change.module}:{change.name} is a new object; who holds the old one elsewhere keeps it"


def _nameless(root: Any, module: str, pairing: Pairing) -> list[str]:
    """The functions of a module in tuples, lists and the like, partials and instances that are led nowhere."""
    found: dict[int, str] = {}
    level = [root]
    for _ in range(_DEEP):
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is FunctionType:
                if id(value) not in pairing.places and value.__module__ == module and not is_nested(value.__code__):
                    found[id(value)] = line_of(value)
            elif kind in _LOOKED_INTO or (walk.class_home(kind) == module and not walk.is_class(value)):
                inner += gc.get_referents(value)
        level = [value for value in inner[:_MANY] if not issubclass(type(value), ModuleType)]
    return list(dict.fromkeys(found.values()))[:_NAMED]


def _is_part(value: Any) -> bool:
    """Whether a value is a part of a class (a property, the description of a field) that is reached through it."""
    return any(name in walk.class_dict(base) for base in walk.mro(type(value)) for name in ("__get__", "__set__"))


def _closures_left(old: NestedCode, new: NestedCode) -> Iterator[str]:
    """Which closures of old functions can't be led to the new code, if there are some: nobody looks for them now.

    What went away is not named: most of it is a helper that never left its function.
    """
    for code, place in old:
        found = new.counterpart(place)
        if found is None or not place.can_be_held or equal_code(code, found[0]):
            continue
        positional, by_name = parameters(code)
        reason = lacking(place, found[0], code.co_freevars, (*positional, *by_name))
        if reason:
            yield f"{place} {reason}; one that was made before the swap, and that no name leads to, keeps the old code"


def _passed_on(
    definitions: Mapping[str, Definitions], old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]
) -> set[tuple[str, str]]:
    """The names that a module had from an ``import *``, and has not any more, with the module."""
    return {
        (name, attribute)
        for name, module in new.items()
        if name in old and (source := definitions.get(name)) is not None and source.stars
        for attribute in old[name].__dict__.keys() - module.__dict__.keys() - source.bindings.keys()
    }


def _still_imported(
    plan: Plan, importers: Importers, gone_too: set[tuple[str, str]], new: Mapping[str, ModuleType]
) -> Iterator[str]:
    """Which modules have imported a name that is removed: they go on with the old object, and would not start anew."""
    # An adapter also says so of what is in an object: the route of a router that stays.
    removed = gone_too | {
        (change.module, change.name)
        for change in plan.names
        if change.fate is Fate.REMOVED and (change.module not in new or change.name not in new[change.module].__dict__)
    }
    gone = {name for name, state in plan.modules.items() if state == "removed"}
    lazy = {name for name, module in new.items() if "__getattr__" in module.__dict__}
    for name, module in list(sys.modules.items()) if removed or gone or lazy else ():
        if plan.modules.get(name) in ("changed", "removed") or not issubclass(type(module), ModuleType):
            continue
        definitions = importers.definitions(name, module)
        if definitions is None:
            continue
        facts = ModuleType.__getattribute__(module, "__dict__")
        stars = ((star, attribute) for star in definitions.stars for origin, attribute in removed if origin == star)
        by_star = [pair for pair in stars if pair[1] in facts and not definitions.hides(pair[1])]
        for origin, attribute in (*(taken for _, taken in definitions.imports()), *by_star):
            if (origin, attribute) in removed or origin in gone or f"{origin}.{attribute}" in gone:
                yield f"{name} has imported {attribute} from {origin}, which removes it: it keeps the old object"
            elif (
                origin in lazy and attribute not in new[origin].__dict__ and f"{origin}.{attribute}" not in sys.modules
            ):
                yield f"{name} has imported {attribute} from {origin}, whose __getattr__ makes it: it keeps what it got"
