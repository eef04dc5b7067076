"""Stand-ins: what was put in the place of a function or method at run time, by a mock or by instrumentation.

The swap puts the new function there, so the stand-in is gone from its place: the plan says so. What it replaced may
come back, or may be called by it; so it is looked for, and led to the new function like any other that somebody holds.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import collector, walk
from hotswap.generation import Definitions, Kind

__all__ = ["Replaced", "replaced_functions"]

_STEPS = 6
"""How many references are followed from a stand-in: two wrappers, each of which has a tuple of cells."""

_MOST = 256
"""How many objects are looked at for one stand-in."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was found.

    `places` are the keys of what was replaced, `told` what the plan says of it, `pairs` the functions that were
    replaced: key, function, successor.
    """

    places: frozenset[str]
    told: list[str]
    pairs: list[tuple[str, FunctionType, FunctionType]]


@dataclass(frozen=True, slots=True)
class _StandIn:
    """What stands in the place of a function.

    `key` names the place: module, colon, and the way to it. `value` stands there now, `made` is the new function.
    """

    key: str
    value: Any
    made: FunctionType

    def told(self, *, found: bool) -> str:
        """Return what the plan says of it."""
        end = (
            "what it had replaced leads to the new code"
            if found
            else "whoever puts the old one back puts back old code"
        )
        return f"{self.key} was replaced at run time; the patch puts the new one in its place, and {end}"


def replaced_functions(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    old_definitions: Mapping[str, Definitions],
    new_definitions: Mapping[str, Definitions],
) -> Replaced:
    """Return what was replaced at run time, where the source says that there is a function without decorators.

    Arguments:
        old, new: the modules of both generations. What the import itself has replaced is replaced in the new one too.
        old_definitions, new_definitions: what their sources say.
    """
    found = sorted(_stand_ins(old, new, old_definitions, new_definitions), key=lambda one: one.key)
    known = _originals(found, old)
    pairs = [(one.key, function, one.made) for one in found for function in known.get(one.key, ())]
    told = [one.told(found=one.key in known) for one in found]
    return Replaced(frozenset(one.key for one in found), told, pairs)


def _stand_ins(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    old_definitions: Mapping[str, Definitions],
    new_definitions: Mapping[str, Definitions],
) -> Iterator[_StandIn]:
    for name in old.keys() & new.keys() & old_definitions.keys() & new_definitions.keys():
        spaces = old[name].__dict__, new[name].__dict__
        yield from _inside(name, "", spaces, (old_definitions[name], new_definitions[name]))


def _inside(
    module: str,
    above: str,
    spaces: tuple[Mapping[str, Any], Mapping[str, Any]],
    bodies: tuple[Definitions, Definitions],
) -> Iterator[_StandIn]:
    """Yield the stand-ins of a module, or of a class and those in it; `above` is the way to it, with a dot."""
    names = bodies[0].bindings.keys() & bodies[1].bindings.keys()
    for name in [name for name in list(spaces[0]) if name in names and name in spaces[1]]:
        path, living, made = above + name, spaces[0][name], spaces[1][name]
        if all(_is_plain(name, body) for body in bodies):
            if living is not made and _is_own(made, module, path) and not _is_own(living, module, path):
                yield _StandIn(f"{module}:{path}", living, made)
        elif all(name in body.classes for body in bodies) and all(
            walk.is_class_of(cls, module) and walk.class_name(cls) == path for cls in (living, made)
        ):
            inner = walk.class_dict(living), walk.class_dict(made)
            yield from _inside(module, f"{path}.", inner, (bodies[0].classes[name], bodies[1].classes[name]))


def _is_plain(name: str, body: Definitions) -> bool:
    """Whether one statement binds a name, and is a function without decorators."""
    binding = body.bindings[name]
    plain = binding.text[0].startswith(("FunctionDef(", "AsyncFunctionDef("))
    return plain and binding.kind is Kind.FUNCTION and len(binding.text) == 1 and binding.head == ("",)


def _is_own(value: Any, module: str, path: str) -> bool:
    """Whether a value is the function that a module defines under a name, in this generation or an earlier one."""
    if type(value) is not FunctionType or value.__globals__.get("__name__") != module:
        return False
    return path in (value.__code__.co_qualname, value.__qualname__)


def _originals(found: Iterable[_StandIn], old: Mapping[str, ModuleType]) -> dict[str, list[FunctionType]]:
    """Return the functions that were replaced, by the key of their place, as far as they can be found.

    They are looked for in what stands there. A mock does not hold what it replaced; so where mocks may be about, that
    is in tests, all functions of the module are looked at.
    """
    known: dict[str, list[FunctionType]] = {}
    missing: list[_StandIn] = []
    for one in found:
        module, _, path = one.key.partition(":")
        inside = [value for value in _reached(one.value) if _is_own(value, module, path)]
        if inside:
            known[one.key] = inside
        else:
            missing.append(one)
    spaces = [old[module].__dict__ for module in {one.key.partition(":")[0] for one in missing}]
    if spaces and "unittest.mock" in sys.modules:
        ids = {id(space) for space in spaces}
        functions = [o for o in collector.referrers_of(spaces, (FunctionType,)) if id(o.__globals__) in ids]
        for one in missing:
            module, _, path = one.key.partition(":")
            held = [function for function in functions if _is_own(function, module, path)]
            if held:
                known[one.key] = held
    return known


def _reached(start: Any) -> Iterator[Any]:
    """Yield what an object refers to, within a few steps; the collector tells, so that no code of the object runs."""
    level, seen = [start], {id(start)}
    for _ in range(_STEPS):
        further: list[Any] = []
        for holder in level:
            facts = holder.__globals__ if type(holder) is FunctionType else None
            for value in gc.get_referents(holder):
                aside = value is facts or type(value) is CodeType or walk.is_class(value)
                if id(value) in seen or aside or issubclass(type(value), ModuleType) or len(seen) > _MOST:
                    continue
                seen.add(id(value))
                further.append(value)
                yield value
        level = further
