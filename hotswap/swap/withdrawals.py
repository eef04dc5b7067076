"""Withdrawals: what statements that are gone have put into registries, and set in objects, of unchanged modules.

The candidate's import shows only what the new version registers. What it does not register any more stands in
containers that nobody has looked at: so they are looked for from the statements that are gone, by the names in them.
Nothing is asked for anything on the way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.generation import Kind, Live, LiveModule
from hotswap.patch import Place, Unit, words_of
from hotswap.swap.contents import Kept
from hotswap.swap.keys import elements, is_quiet, size
from hotswap.swap.leaves import is_spelled
from hotswap.swap.registry import is_definition
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Assigned", "Withdrawals"]

_MANY = 10_000
"""A dict of an unchanged module with more entries is filled by the program."""

_NAMES: Any = vars(ModuleType)["__dict__"]


class Assigned(NamedTuple):
    """What a statement sets: an attribute of a holder, where that is, in words, and the value if it is a single one."""

    holder: Any
    attribute: str
    where: str
    value: ast.expr | None


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
        self._known: dict[str, list[tuple[Any, Place]]] = {}
        self._reached_by: list[tuple[Any, Place, list[Unit]]] | None = None
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

    def lasting(self, known: Iterable[Kept]) -> Iterator[tuple[Place, list[Any]]]:
        """Yield the lists and sets that keep elements of such statements: where each is, and the elements.

        A function may have put the same in since, a second time: so nobody takes them out.

        Arguments:
            known: the containers that are merged anyway. What has a place there is told of by the merge.
        """
        twins = {id(kept.living): None if kept.place else kept.twin for kept in known}
        for holder, place, units in self._holders():
            if issubclass(type(holder), dict) or size(holder) > _MANY or twins.get(id(holder), ()) is None:
                continue
            again = set(map(words_of, elements(twins[id(holder)]))) if id(holder) in twins else set()
            left = [value for value in elements(holder) if words_of(value) not in again and self._put(units, value)]
            if left:
                yield place, list({id(value): value for value in left}.values())

    def assigned(self) -> Iterator[Assigned]:
        """Yield the attributes and names of what is not of the changed modules that such statements have set."""
        for name, module in self._modules.items():
            for unit in self._withdrawn(name):
                yield from self.set_by(unit, name, _NAMES.__get__(module))

    def set_by(self, unit: Unit, module: str, facts: Mapping[str, Any]) -> Iterator[Assigned]:
        """Yield the attributes and names that a statement sets in what is not of the changed modules.

        Arguments:
            unit: the statement.
            module: the name of its module.
            facts: the names of that.
        """
        for owner, attribute, value in (found for node in unit.nodes for found in _targets(node)):
            holder, where = self._resolved(facts, module, _path(owner))
            if holder is None or type(holder) in UNIQUE_NEVER or self._is_changed(holder):
                continue
            mark = "." if not issubclass(type(holder), ModuleType) else ":"
            where = where if mark == "." else str(_NAMES.__get__(holder).get("__name__"))
            yield Assigned(holder, attribute, f"{where}{mark}{attribute}", value)

    def _is_changed(self, holder: Any) -> bool:
        """Whether something is of a changed module, by what it says of itself."""
        if issubclass(type(holder), ModuleType):
            return _NAMES.__get__(holder).get("__name__") in self._modules
        if type(holder) is FunctionType:
            return holder.__globals__.get("__name__") in self._modules
        return walk.is_class(holder) and walk.class_home(holder) in self._modules

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
        for holder, place, units in self._holders():
            if issubclass(type(holder), dict) and dict.__len__(holder) <= _MANY and self._speak(units, holder):
                yield holder, place

    def _holders(self) -> list[tuple[Any, Place, list[Unit]]]:
        """The containers to which the names in such statements lead: each, where it is, and the statements."""
        if self._reached_by is not None:
            return self._reached_by
        reached: dict[int, tuple[Any, Place, list[Unit]]] = {}
        for name, module in self._modules.items():
            facts = _NAMES.__get__(module)
            for unit in self._withdrawn(name):
                for holder, place in self._reached(unit, name, facts):
                    units = reached.setdefault(id(holder), (holder, place, []))[2]
                    if not units or units[-1] is not unit:
                        units.append(unit)
        reached.pop(id(sys.modules), None)  # what stands there has its own rules: see `places`
        self._reached_by = list(reached.values())
        return self._reached_by

    def _speak(self, units: list[Unit], holder: dict[Any, Any]) -> bool:
        """Whether one of some statements speaks of the key of an entry, or of what is gone."""
        words = frozenset(word for unit in units for word in unit.words)
        for key, value in list(dict.items(holder)):
            if id(value) in self._gone or id(key) in self._gone:
                return True
            if is_quiet(key) and (said := words_of(key)) <= words and any(said <= unit.words for unit in units):
                return True
        return False

    def _put(self, units: list[Unit], value: Any) -> bool:
        """Whether one of some statements may have put an element in: it says what that is."""
        told = is_spelled(value) or is_definition(value)
        return told and any(words_of(value) <= unit.words for unit in units)

    def _reached(self, unit: Unit, module: str, facts: Mapping[str, Any]) -> Iterator[tuple[Any, Place]]:
        """The containers that the names in a statement lead to."""
        for node in unit.nodes:
            for inner in ast.walk(node):
                if isinstance(inner, (ast.Name, ast.Attribute)):
                    path = _path(inner)
                    value, where = self._resolved(facts, module, path)
                    yield from self._containers(value, where, path[-1] if path else "")

    def _resolved(self, facts: Mapping[str, Any], module: str, path: list[str]) -> tuple[Any, str]:
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

    def _containers(self, value: Any, where: str, name: str) -> Iterator[tuple[Any, Place]]:
        """The containers that an object consists of, and those of the module that a function or a class comes from."""
        kind = type(value)
        if walk.is_container(kind):
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
                if walk.is_container(type(part)):
                    yield part, Place(f"{where}.{attribute}", attribute, attribute=True)
            yield from self._containers(kind, where, name)

    def _beside(self, home: str) -> list[tuple[Any, Place]]:
        if home not in self._known:
            entry = self._live.get(home) if home not in self._modules else None
            items = () if entry is None else list(_NAMES.__get__(entry.module).items())
            self._known[home] = list(_inside(items, home, ":"))
        return self._known[home]


def _inside(items: Iterable[tuple[str, Any]], home: str, mark: str) -> Iterator[tuple[Any, Place]]:
    for name, value in items:
        if walk.is_container(type(value)) and not name.startswith("__"):
            yield value, Place(f"{home}{mark}{name}", name)


def _targets(node: ast.AST) -> Iterator[tuple[ast.expr, str, ast.expr | None]]:
    """The attributes that a statement sets: of what, the name, and to what, if that is one value."""
    for inner in ast.walk(node):
        match inner:
            case ast.Assign(targets=targets, value=value):
                single = value if all(isinstance(target, (ast.Attribute, ast.Name)) for target in targets) else None
                for part in (part for target in targets for part in ast.walk(target)):
                    if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                        yield part.value, part.attr, single
            case ast.AnnAssign(target=ast.Attribute(value=owner, attr=name), value=value) if value is not None:
                yield owner, name, value
            case ast.AugAssign(target=ast.Attribute(value=owner, attr=name)):
                yield owner, name, None
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, ast.Constant(value=str() as name), value]):
                yield owner, name, value
            case _:
                pass  # it sets nothing


def _path(node: ast.expr) -> list[str]:
    """The names of ``app.state.table``; none of an attribute of anything else than a name."""
    if isinstance(node, ast.Attribute):
        above = _path(node.value)
        return [*above, node.attr] if above else []
    return [node.id] if isinstance(node, ast.Name) else []


def _attribute(value: Any, name: str) -> Any:
    return (walk.instance_dict(value) or {}).get(name)
