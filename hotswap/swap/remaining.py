"""Remaining: what statements that are gone have set of objects in modules that do not change, or put into lists there.

Those modules do not run again. So nothing tells what would be there otherwise, and the plan says that it stays.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Kind, Step, assigned_in, called_in
from hotswap.patch import Unit
from hotswap.swap.assignments import MISSING, is_alike, kept_in, reached
from hotswap.swap.beside import told, value_of
from hotswap.swap.writes import Writes

__all__ = ["remaining"]

_ADDING = ("add", "append", "appendleft", "extend", "extendleft", "insert", "update")
"""The methods of lists and sets that put something in."""


def remaining(
    modules: tuple[Mapping[str, ModuleType], Mapping[str, ModuleType]],
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
    units: tuple[Callable[[str], Iterable[Unit]], Callable[[str], Iterable[Unit]]],
    claimed: Container[int],
    writes: Writes,
) -> Iterator[str]:
    """Yield a warning for each of what stays although its statement is gone.

    Arguments:
        modules: those that change or go, and those that take their place.
        definitions: of both.
        units: give the statements of an old module that are gone, and those of a new one.
        claimed: ids of the containers that adapters bring up to date.
        writes: knows what is written anyway.
    """
    written = writes.items
    again = {
        key
        for name, module in modules[1].items()
        for unit in units[1](name)
        for key, _, _ in _said(unit, module.__dict__, definitions[1].get(name))
    }
    found: dict[str, None] = {}
    for name, module in modules[0].items():
        facts = ModuleType.__getattribute__(module, "__dict__")
        for unit in units[0](name):
            for key, what, is_there in _said(unit, facts, definitions[0].get(name)):
                if is_there and key not in again and key not in written and key[0] not in claimed:
                    found[f"{name}: the statement that has {what}"] = None
    yield from found


def _said(
    unit: Unit, facts: Mapping[str, Any], definitions: Definitions | None
) -> Iterator[tuple[tuple[int, str], str, bool]]:
    """What a statement does to imported objects: (of which, and what), in words, and whether that is there still."""
    if definitions is None or unit.later:
        return
    for statement in unit.nodes:
        if not isinstance(statement, ast.stmt):
            continue
        for name, assigned in assigned_in(statement):
            *above, last = assigned.path
            holder = _holder(name, above, facts, definitions)
            if last.is_item or holder is MISSING or walk.is_class(holder):
                continue
            before, there = value_of(assigned, facts), kept_in(holder, last)
            is_there = bool(there) and (before is ... or any(one is before or is_alike(one, before) for one in there))
            what = f"set {name}.{told(assigned.path)} is gone: it stays as it is"
            yield (id(walk.instance_dict(holder)), str(last.name)), what, is_there
        for name, called in called_in(statement):
            holder = _holder(name, called.path, facts, definitions) if called.path else MISSING
            if called.method in _ADDING and issubclass(type(holder), (list, set, deque)):
                what = f"put something into {name}.{told(called.path)} is gone: that stays there"
                yield (id(holder), called.text), what, len(holder) > 0


def _holder(name: str, path: Iterable[Step], facts: Mapping[str, Any], definitions: Definitions) -> Any:
    """What a path leads to from an imported name; the objects of the module itself are kept, or made anew."""
    if definitions.kind(name) is not Kind.IMPORT and name not in facts.keys() - definitions.bindings.keys():
        return MISSING
    return reached(facts.get(name, MISSING), path)
