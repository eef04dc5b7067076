"""FastAPI: overridden dependencies, and what becomes of those that statements of modules have put there.

``app.dependency_overrides[get_db] = fake_db`` of a changed module says what the import has put in. Where the new
version says another function, or nothing, the entry follows, as long as it is what the old statement said. What the
program has put there stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.adapters.overlay import Recorded
from hotswap.swap import Facts

__all__ = ["MISSING", "changed_overrides", "hashes_quietly", "recorded"]

MISSING: Any = object()
"""Stands for an override that goes."""

_PATH = r"Name\(id='(\w+)', ctx=Load\(\)\)"
_NAMED = rf"(?:{_PATH}|Attribute\(value={_PATH}, attr='(\w+)', ctx=Load\(\)\))"
_SAID = re.compile(
    rf"attr='dependency_overrides', ctx=Load\(\)\), slice={_NAMED}, ctx=Store\(\)\)\], value=(?:{_NAMED})?"
)
"""In the dump of a statement: the key, and the function if it has a name."""


def recorded(_: Any, overrides: Mapping[Any, Any]) -> Recorded:
    """Return a copy of the overrides that knows what was put into it."""
    return Recorded(overrides)


def changed_overrides(facts: Facts, living: Any, twin: Any, put: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield what becomes of the overrides of a living application: its key, and the function or `MISSING`.

    Arguments:
        facts: knows the statements.
        living: the application.
        twin: what the candidate made in its place, or None.
        put: what the candidate has put into the overrides of the living one.
    """
    overrides = living.dependency_overrides
    said = list(_said(facts, living))
    made = getattr(twin, "dependency_overrides", None) or {}
    new = {facts.translate(key): value for key, value in [*made.items(), *put.items()] if hashes_quietly(key)}
    known = []
    for key, value in [item for item in list(overrides.items()) if hashes_quietly(item[0])]:
        now = facts.successor(key)
        known.append(now)
        before = [one for one in said if one[0] is key]
        is_said = any(_is_meant(value, *one) for _, *one in before)
        if now in new and (now in put or is_said):
            yield now, new[now]
        elif now in new or before:
            if now not in new and is_said:
                yield key, MISSING
                continue
            if facts.successor(value) is not facts.successor(new.get(now)):
                name = getattr(now, "__qualname__", "a function")
                facts.plan.warnings.append(
                    f"dependency_overrides keeps what it has for {name}: the new version registers something else, or"
                    " nothing, but the program may have changed what the old one registered"
                )
        if now is not key and now not in new:
            yield now, value
    out = [facts.successor(key) for key, *_ in said]
    for key, value in new.items():
        if not any(key is one for one in known) and (key in put or not any(key is one for one in out)):
            yield key, value


def _said(facts: Facts, living: Any) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """What statements of the old version have put there: the key, the function if it has a name, and where."""
    for module, text in facts.statements(living):
        names = (facts.old.get(module) or facts.removed[module]).__dict__
        for found in _SAID.finditer(text):
            key = _resolved(names, *found.groups()[:3])
            if key is not MISSING:
                yield key, _resolved(names, *found.groups()[3:]), names


def _resolved(names: dict[str, Any], plain: str | None, root: str | None, attribute: str | None) -> Any:
    if plain is not None:
        return names.get(plain, MISSING)
    held = names.get(root or "")
    return held.__dict__.get(attribute or "", MISSING) if issubclass(type(held), ModuleType) else MISSING


def _is_meant(value: Any, said: Any, names: dict[str, Any]) -> bool:
    """Whether a function is the one that a statement has put there; a lambda has no name."""
    if said is not MISSING:
        return value is said
    kind = type(value)
    return kind is FunctionType and value.__code__.co_qualname == "<lambda>" and value.__globals__ is names


def hashes_quietly(key: Any) -> bool:
    """Whether a function can be looked up in a dict without running code of its own."""
    return type(key) is FunctionType or (walk.is_class(key) and type(key) is type)
