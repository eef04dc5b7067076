"""Withdrawals: registries of modules that did not change, into which a statement has put something that is gone now.

The candidate's import shows only what the new version registers. What it does not register any more stands in
containers that nobody has looked at: so they are looked for from the statements that are gone, by the names in them.
Nothing is asked for anything on the way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Kind, Live, LiveModule
from hotswap.patch import Place, Unit, words_of
from hotswap.swap.contents import Kept
from hotswap.swap.keys import is_quiet

__all__ = ["Withdrawals"]

_MANY = 10_000
"""A dict of an unchanged module with more entries is filled by the program."""

_NAMES: Any = vars(ModuleType)["__dict__"]


class Withdrawals:
    """Finds the registries. Lives as long as a swap is prepared.

    Arguments:
        live: the managed modules as they run.
        modules: those that change or go.
        withdrawn: gives the statements of a module that the new version has not.
        gone: ids of the functions and classes that are gone.
    """

    def __init__(
        self,
        live: Live,
        modules: Mapping[str, ModuleType],
        withdrawn: Callable[[str], Iterable[Unit]],
        gone: Container[int],
    ) -> None:
        self._live, self._modules, self._withdrawn, self._gone = live, modules, withdrawn, gone
        self._known: dict[str, list[tuple[dict[Any, Any], Place]]] = {}
        # What is kept of these is brought up to date anyway; what is replaced or migrated stays as it is.
        self._theirs = {id(value) for entry in live if entry.name in modules for value in self._own(entry)}

    def found(self, known: Iterable[Kept]) -> tuple[dict[int, Place], list[Kept]]:
        """Return the places of the registries, by their ids, and those that nobody knows yet, each with an empty twin.

        Arguments:
            known: the containers that are merged anyway.
        """
        there = {id(kept.living) for kept in known}
        found = list(self._found())
        others = [
            Kept(walk.kind_of(living)(), living, place=place) for living, place in found if id(living) not in there
        ]
        return {id(living): place for living, place in found}, others

    def _own(self, entry: LiveModule) -> Iterator[Any]:
        """The objects that a module has not imported from anywhere, be it by a star, and that are no definitions."""
        starred = [self._live.get(name) for name in entry.definitions.stars]
        spaces = [_NAMES.__get__(other.module) for other in starred if other is not None]
        for name, value in list(_NAMES.__get__(entry.module).items()):
            imported = entry.definitions.kind(name) is Kind.IMPORT or any(value is facts.get(name) for facts in spaces)
            if not (imported or walk.is_class(value)):
                yield value

    def _found(self) -> Iterator[tuple[dict[Any, Any], Place]]:
        """The dicts that have an entry of which such a statement speaks, and where they are."""
        reached: dict[int, tuple[dict[Any, Any], Place, list[Unit]]] = {}
        for name, module in self._modules.items():
            facts = _NAMES.__get__(module)
            for unit in self._withdrawn(name):
                for holder, place in self._reached(unit, name, facts):
                    units = reached.setdefault(id(holder), (holder, place, []))[2]
                    if not units or units[-1] is not unit:
                        units.append(unit)
        reached.pop(id(sys.modules), None)  # what stands there has its own rules: see `places`
        for holder, place, units in reached.values():
            if dict.__len__(holder) <= _MANY and self._speak(units, holder):
                yield holder, place

    def _speak(self, units: list[Unit], holder: dict[Any, Any]) -> bool:
        """Whether one of some statements speaks of the key of an entry, or of what is gone."""
        words = frozenset(word for unit in units for word in unit.words)
        for key, value in list(dict.items(holder)):
            if id(value) in self._gone or id(key) in self._gone:
                return True
            if is_quiet(key) and (said := words_of(key)) <= words and any(said <= unit.words for unit in units):
                return True
        return False

    def _reached(self, unit: Unit, module: str, facts: dict[str, Any]) -> Iterator[tuple[dict[Any, Any], Place]]:
        """The dicts that the names in a statement lead to."""
        for node in unit.nodes:
            for inner in ast.walk(node):
                if isinstance(inner, (ast.Name, ast.Attribute)):
                    path = _path(inner)
                    value, where = self._resolved(facts, module, path)
                    yield from self._dicts(value, where, path[-1] if path else "")

    def _resolved(self, facts: dict[str, Any], module: str, path: list[str]) -> tuple[Any, str]:
        """What a path of names stands for in a namespace, and where that is; None if nobody can tell."""
        value: Any = facts.get(path[0]) if path else None
        where = f"{module}:{path[0]}" if path else ""
        for name in path[1:]:
            if id(value) in self._theirs:
                break
            if issubclass(type(value), ModuleType):
                where = f"{_NAMES.__get__(value).get('__name__')}:{name}"
                value = _NAMES.__get__(value).get(name)
            else:
                where = f"{where}.{name}"
                value = walk.class_dict(value).get(name) if walk.is_class(value) else _attribute(value, name)
        return (None, where) if id(value) in self._theirs else (value, where)

    def _dicts(self, value: Any, where: str, name: str) -> Iterator[tuple[dict[Any, Any], Place]]:
        """The dicts that an object consists of, and those of the module that a function or a class comes from."""
        kind = type(value)
        if issubclass(kind, dict):
            yield value, Place(where, name)
        elif walk.is_class(value):
            for cls in walk.mro(value):
                ours = walk.is_written_in_c(cls) or walk.class_home(cls) in self._modules
                found = () if ours else walk.class_items(cls)
                home = f"{walk.class_home(cls)}:{walk.class_name(cls)}"
                yield from _inside(found, home, ".")
            yield from self._beside(walk.class_home(value))
        elif kind is FunctionType:
            yield from self._beside(str(value.__globals__.get("__name__")))
        elif not (issubclass(kind, ModuleType) or walk.is_written_in_c(kind)):
            for attribute, part in list((walk.instance_dict(value) or {}).items()):
                if issubclass(type(part), dict):
                    yield part, Place(f"{where}.{attribute}", attribute, attribute=True)
            yield from self._dicts(kind, where, name)

    def _beside(self, home: str) -> list[tuple[dict[Any, Any], Place]]:
        if home not in self._known:
            entry = self._live.get(home) if home not in self._modules else None
            items = () if entry is None else list(_NAMES.__get__(entry.module).items())
            self._known[home] = list(_inside(items, home, ":"))
        return self._known[home]


def _inside(items: Iterable[tuple[str, Any]], home: str, mark: str) -> Iterator[tuple[dict[Any, Any], Place]]:
    for name, value in items:
        if issubclass(type(value), dict) and not name.startswith("__"):
            yield value, Place(f"{home}{mark}{name}", name)


def _path(node: ast.expr) -> list[str]:
    """The names of ``app.state.table``; none of an attribute of anything else than a name."""
    if isinstance(node, ast.Attribute):
        above = _path(node.value)
        return [*above, node.attr] if above else []
    return [node.id] if isinstance(node, ast.Name) else []


def _attribute(value: Any, name: str) -> Any:
    return (walk.instance_dict(value) or {}).get(name)
