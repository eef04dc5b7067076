"""FastAPI: overridden dependencies, and what becomes of those that statements of modules have put there.

``app.dependency_overrides[get_db] = fake_db`` of a changed module says what the import has put in, and so do `update`,
`setdefault`, ``|=`` and an assignment. Where the new version says another function, or nothing, the entry follows, as
long as it is what the old statement said. What the program has put there stays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.adapters.overlay import Recorded
from hotswap.adapters.statements import read_by
from hotswap.generation import Kind
from hotswap.swap import Facts, Op

__all__ = ["MISSING", "Since", "changed_overrides", "hashes_quietly", "recorded"]

MISSING: Any = object()
"""Stands for an override that goes."""

_MARK = "attr='dependency_overrides', ctx="
_PATH = r"Name\(id='(\w+)', ctx=Load\(\)\)"
_NAMED = rf"(?:{_PATH}|Attribute\(value={_PATH}, attr='(\w+)', ctx=Load\(\)\))"
_SAID = re.compile(rf"{re.escape(_MARK)}Load\(\)\), slice={_NAMED}, ctx=Store\(\)\)\], value=(?:{_NAMED})?")
"""In the dump of a statement: the key, and the function if it has a name."""

_WHOLE = re.compile(rf"{re.escape(_MARK)}(?:Load\(\)\), attr='(?:update|setdefault)'|Store\(\)\))")
"""In the dump of a statement that puts several there, or one of which the dump does not tell at once which."""


def recorded(_: Any, overrides: Mapping[Any, Any]) -> Recorded:
    """Return a copy of the overrides that knows what was put into it."""
    return Recorded(overrides)


@dataclass(frozen=True, slots=True)
class _Said:
    """What a statement has put there: one key and one function, or any that it reads (`MISSING`)."""

    key: Any
    value: Any
    names: dict[str, Any]
    reads: frozenset[int]

    def has(self, key: Any) -> bool:
        """Whether it has put something there for a dependency."""
        return id(key) in self.reads if self.key is MISSING else key is self.key

    def means(self, value: Any) -> bool:
        """Whether a function is one that it has put there; a lambda has no name, nor has what a call makes."""
        if self.value is not MISSING:
            return value is self.value
        if self.key is MISSING and id(value) in self.reads:
            return True
        if type(value) is functools.partial:
            return id(value.func) in self.reads or self.means(value.func)
        if type(value) is not FunctionType or value.__globals__ is not self.names:
            return False
        name = value.__code__.co_qualname
        return name == "<lambda>" or "<locals>" in name


def changed_overrides(
    facts: Facts, living: Any, twin: Any, put: Mapping[Any, Any], defaults: Mapping[Any, Any]
) -> Iterator[tuple[Any, Any]]:
    """Yield what becomes of the overrides of a living application: its key, and the function or `MISSING`.

    Arguments:
        facts: knows the statements.
        living: the application.
        twin: what the candidate made in its place, or None.
        put: what the candidate has put into the overrides of the living one.
        defaults: what it would have put there if nothing had been there.
    """
    overrides = living.dependency_overrides
    said, functions = list(_said(facts, living)), list(_said_by_functions(facts))
    made = getattr(twin, "dependency_overrides", None) or {}
    everything = [*made.items(), *defaults.items(), *put.items()]
    new = {facts.translate(key): value for key, value in everything if hashes_quietly(key)}
    known = []
    for key, value in [item for item in list(overrides.items()) if hashes_quietly(item[0])]:
        now = facts.successor(key)
        known.append(now)
        before = [one for one in said if one.has(key)]
        by_function = any(one.has(key) and one.means(value) for one in functions)
        # If the import of the new version puts it there, so did that of the old one.
        is_said = any(one.means(value) for one in before) or (by_function and now in new)
        if now in new and (now in put or is_said):
            yield now, new[now]
        elif now in new or before or by_function:
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
    for key, value in new.items():
        there = any(key is one for one in known)
        before = [one for one in said if one.has(key) or one.has(facts.predecessor(key))]
        if not there and (key in put or not before):
            yield key, value


class Since:
    """Leads the overrides set while a swap was live, when it is taken back; those set since, when it is made again.

    Arguments:
        facts: knows what leads back, and receives the writes.
        living: the application.
        made: the overrides that an assignment of the new version gives it, if there is one.
    """

    def __init__(self, facts: Facts, living: Any, made: Any) -> None:
        self._ways: tuple[Callable[[Any], Any], ...] = facts.predecessor, facts.successor
        self._writes, self._inside, self._made = facts.writes, living.__dict__, made
        self._overrides = living.dependency_overrides
        self._before = dict(self._overrides)
        self._written: dict[Any, Any] = {}
        self._undo: list[Op] = []
        self._was_made = False

    def note(self, key: Any, value: Any) -> None:
        """Note what the swap writes."""
        self._written[key] = value

    def ops(self, forward: bool) -> Iterator[Op]:
        """Yield the writes, from what is there now."""
        if self._writes.undoing:
            yield from self._undo
            return
        self._undo, was_made, self._was_made = [], self._was_made, True
        if forward and not was_made:
            return  # what was there then has writes of its own
        there = self._inside.get("dependency_overrides")
        if type(there) is not dict:
            return
        target = self._overrides if there is self._made else there
        self._writes.hold(dict(there))
        lead = self._ways[forward]
        for key, value in [item for item in list(there.items()) if hashes_quietly(item[0])]:
            same = not forward and self._written.get(key, self._before.get(key, MISSING)) is value
            then = lead(key)
            if same or (target is there and then is key and lead(value) is value and key not in self._written):
                continue
            if then is not key:
                yield (dict.pop, target, key, None)
            yield (dict.__setitem__, target, then, lead(value))
            self._undo += [_restoring(target, each, there) for each in (key, then)]
        for key in [key for key in self._written if key not in there]:
            # The program has taken it out: the old one, for which it stood, goes too.
            then = lead(key)
            if then in self._before:
                yield (dict.pop, target, then, None)
                self._undo.append(_restoring(target, then, there))


def _restoring(table: dict[Any, Any], key: Any, there: Mapping[Any, Any]) -> Op:
    """The write that gives a table what is there now under a key, or nothing."""
    return (dict.__setitem__, table, key, there[key]) if key in there else (dict.pop, table, key, None)


def _said(facts: Facts, living: Any) -> Iterator[_Said]:
    """What statements of the old version have put there."""
    for module, text in facts.statements(living):
        if _MARK in text:
            yield from _said_in((facts.old.get(module) or facts.removed[module]).__dict__, text)


def _said_in(names: dict[str, Any], text: str) -> Iterator[_Said]:
    reads = frozenset(read_by(names, text))
    for found in _SAID.finditer(text):
        key = _resolved(names, *found.groups()[:3])
        if key is not MISSING:
            yield _Said(key, _resolved(names, *found.groups()[3:]), names, reads)
    if _WHOLE.search(text):
        yield _Said(MISSING, MISSING, names, reads)


def _said_by_functions(facts: Facts) -> Iterator[_Said]:
    """What functions of the old version put there that the new one has not, or has otherwise: if they were called."""
    before, after = facts.definitions
    for module in (*facts.old, *facts.removed):
        bindings = getattr(before.get(module), "bindings", {})
        others = getattr(after.get(module), "bindings", {})
        for name, binding in bindings.items():
            if binding.kind is Kind.FUNCTION and (name not in others or others[name].text != binding.text):
                names = (facts.old.get(module) or facts.removed[module]).__dict__
                for text in binding.text:
                    if _MARK in text:
                        yield _Said(MISSING, MISSING, names, frozenset(read_by(names, text)))


def _resolved(names: dict[str, Any], plain: str | None, root: str | None, attribute: str | None) -> Any:
    if plain is not None:
        return names.get(plain, MISSING)
    held = names.get(root or "")
    return held.__dict__.get(attribute or "", MISSING) if issubclass(type(held), ModuleType) else MISSING


def hashes_quietly(key: Any) -> bool:
    """Whether a function can be looked up in a dict without running code of its own."""
    return type(key) is FunctionType or (walk.is_class(key) and type(key) is type)
