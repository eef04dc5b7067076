"""Dispatching: what was registered at run time with `functools.singledispatch` functions and methods goes on.

Such a function keeps its table of implementations in a cell, and the new version comes with a table of its own: it has
what the import of the new version registers. Entries that the old import did not make are written into it at the
commit, and a rollback writes into the old table what was registered since.

For the old version no one has noted what its import registered, so this is told from the entry: an implementation from
elsewhere, or a function of the module that no decorator stands at, was registered at run time, unless the statements
that register something (``f.register(int, g)``) differ.
"""

from __future__ import annotations

import abc
import builtins
import functools
from collections.abc import Callable, Container, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.generation import Binding, Definitions
from hotswap.swap.forwarding import target_of
from hotswap.swap.holders import hashes_quietly
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import cell_contents, is_empty
from hotswap.swap.writes import Op, Writes

__all__ = ["carry_registrations", "implementations"]

_SET_CELL = CellType.__dict__["cell_contents"].__set__
_MISSING: Any = object()
_CODE = "singledispatch.<locals>.wrapper"
_WRAPPERS = 16
"""How many functions around one another are looked into."""


class _Table(NamedTuple):
    """The implementations of a dispatching function, what it remembers, and whether abstract classes are among them."""

    entries: dict[Any, Any]
    cache: dict[Any, Any]
    token: CellType


def _table(function: Any) -> _Table | None:
    if type(function) is not FunctionType or function.__globals__.get("__name__") != "functools":
        return None
    dispatch = _cells(function).get("dispatch") if function.__code__.co_qualname == _CODE else None
    inner = {} if dispatch is None else _cells(cell_contents(dispatch))
    if not inner.keys() >= {"registry", "dispatch_cache", "cache_token"}:
        return None
    data = (walk.instance_dict(cell_contents(inner["dispatch_cache"])) or {}).get("data")
    registry = cell_contents(inner["registry"])
    return _Table(registry, data, inner["cache_token"]) if type(data) is type(registry) is dict else None


def implementations(function: FunctionType) -> list[Any]:
    """Return the implementations of a function, if it is one that dispatches."""
    table = _table(function)
    return [] if table is None else list(table.entries.values())


def _cells(function: Any) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def carry_registrations(
    pairing: Pairing,
    modules: tuple[Mapping[str, ModuleType], Mapping[str, ModuleType]],
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
    gone: Container[int],
    writes: Writes,
) -> None:
    """Add the writes that carry such registrations, in both directions.

    Arguments:
        pairing: what takes the place of what.
        modules: those of both generations.
        definitions: what the old and the new sources say.
        gone: the ids of the classes and functions that the new version has not.
        writes: receives the writes; they are made out when the time comes.
    """
    backward = {id(pair.made): (pair.made, pair.back) for pair in pairing.functions if pair.made is not None}
    for pair in pairing.functions:
        tables = _table(pair.old), _table(pair.made)
        if tables[0] is None or tables[1] is None:
            continue
        origins = _Origins(modules, definitions, pair.key, pairing.places, gone)
        writes.late(_Carrying(tables[0], tables[1], origins.followed, _back(modules[1], backward), writes).ops)


def _back(new: Mapping[str, ModuleType], backward: Mapping[int, tuple[Any, Any]]) -> Callable[[Any, Any], Any]:
    """What an implementation that was registered with the new version is in the old one."""
    ours = {id(module.__dict__) for module in new.values()}

    def followed(_: Any, value: Any) -> Any:
        found = backward.get(id(value))
        if found is not None and found[0] is value:
            return found[1]
        only_new = type(value) is FunctionType and id(value.__globals__) in ours
        return _MISSING if only_new and not _is_nested(value) else value

    return followed


class _Carrying:
    """The writes for one function.

    Arguments:
        old, new: the tables.
        there, back: give for a class and its implementation what the other version is to get.
        writes: holds what must not die in the commit.
    """

    def __init__(
        self,
        old: _Table,
        new: _Table,
        there: Callable[[Any, Any], Any],
        back: Callable[[Any, Any], Any],
        writes: Writes,
    ) -> None:
        self._old, self._new, self._there, self._back, self._writes = old, new, there, back, writes
        self._known: dict[Any, Any] | None = None
        """What the import of the new version has registered, and what the swap adds to it."""

    def ops(self, forward: bool) -> Iterator[Op]:
        """Make out the writes for the one or the other direction."""
        source, target = (self._old, self._new) if forward else (self._new, self._old)
        if self._known is None:
            self._known = self._added()
        for cls, value in self._known.items() if forward else list(source.entries.items()):
            if not hashes_quietly(cls):
                continue
            if not forward:
                # What the swap has put there is in the old table as it should be.
                value = value if self._known.get(cls, _MISSING) is not value else _MISSING
                value = self._back(cls, value) if value is not _MISSING else value
            before = target.entries.get(cls, _MISSING)
            if value is not _MISSING and value is not before:
                self._writes.hold(before)
                yield (dict.__setitem__, target.entries, cls, value)
        if cell_contents(source.token) is not None and cell_contents(target.token) is None:
            # From now on it forgets its answers when something is registered with an abstract class.
            yield (_SET_CELL, target.token, abc.get_cache_token())
        self._writes.hold(list(target.cache.items()))
        yield (dict.clear, target.cache)

    def _added(self) -> dict[Any, Any]:
        """The new table as it is to be."""
        wanted = dict(self._new.entries)
        for cls, value in list(self._old.entries.items()):
            if hashes_quietly(cls) and cls not in wanted:
                value = self._there(cls, value)
                if value is not _MISSING:
                    wanted[cls] = value
        return wanted


class _Origins:
    """Tells which entries of a table were made at run time, and what they are in the new version.

    Arguments:
        modules, definitions: of both generations.
        key: names the dispatching function.
        places: what takes the place of old functions and classes.
        gone: those that the new version has not.
    """

    def __init__(
        self,
        modules: tuple[Mapping[str, ModuleType], Mapping[str, ModuleType]],
        definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
        key: str,
        places: Mapping[int, tuple[Any, Any]],
        gone: Container[int],
    ) -> None:
        self._old, self._definitions, self._places, self._gone = modules[0], definitions, places, gone
        module, _, path = key.removesuffix(".dispatcher").partition(":")
        bindings = self._bindings(module, path)
        self._is_steady = _touches(bindings[0]) == _touches(bindings[1])
        named = (*vars(builtins).values(), *list(self._old[module].__dict__.values())) if module in self._old else ()
        self._named = {id(value) for value in named}

    def followed(self, cls: Any, value: Any) -> Any:
        """What an entry is in the new version; a marker if the import of the old one had made it."""
        if id(cls) in self._gone:
            return _MISSING
        origin = self._origin(value)
        if origin is None:
            return _MISSING if not self._is_steady and id(value) in self._named else value
        place = self._places.get(id(origin))
        if _is_nested(origin):
            return value
        if type(origin) is FunctionType:
            if target_of(origin.__code__) is not None:
                return value  # it leads to its successor by itself
            before, after = self._bindings(str(origin.__globals__["__name__"]), origin.__code__.co_qualname)
            if any(found is None or found.head != ("",) for found in (before, after)):
                return _MISSING
        if place is None or not self._is_steady:
            return _MISSING
        return place[1] if origin is value else value

    def _origin(self, value: Any) -> Any:
        """The function or class of the old modules in an entry: itself, or in the wrappers around it."""
        nested, stack, seen = None, [value], 0
        while stack and seen < _WRAPPERS:
            current, seen = stack.pop(), seen + 1
            if walk.is_class(current):
                if walk.class_dict(current).get("__module__") in self._old:
                    return current
            elif type(current) is FunctionType:
                if self._is_ours(current) and not _is_nested(current):
                    return current
                nested = current if self._is_ours(current) else nested
                held = (cell_contents(cell) for cell in current.__closure__ or () if not is_empty(cell))
                stack += [inner for inner in held if type(inner) is FunctionType]
            elif type(current) in (MethodType, staticmethod, classmethod):
                stack.append(current.__func__)
            elif type(current) is functools.partial:
                stack.append(current.func)
        return nested

    def _is_ours(self, function: FunctionType) -> bool:
        return function.__globals__.get("__name__") in self._old

    def _bindings(self, module: str, path: str) -> list[Binding | None]:
        found: list[Binding | None] = []
        *classes, name = path.split(".")
        for definitions in self._definitions:
            body = definitions.get(module)
            for part in classes:
                body = None if body is None else body.classes.get(part)
            found.append(None if body is None else body.bindings.get(name))
        return found


def _touches(binding: Binding | None) -> tuple[str, ...]:
    return () if binding is None else binding.touches


def _is_nested(value: Any) -> bool:
    """Whether a function or class was made by a function, and so by nothing that has a successor of its own."""
    return "<locals>" in (walk.class_name(value) if walk.is_class(value) else value.__code__.co_qualname)
