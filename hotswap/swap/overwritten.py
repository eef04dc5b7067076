"""Overwritten: names and attributes of what a patch leaves alone that its modules set, ``conf.LIMIT = 50``.

What only the old version set stays: nobody knows what stood there before. The plan names it. But where a module itself
says, by one plain statement, what a name of its own stands for, ``LIMIT = 5``, the name gets that back. Names that
others imported from there, ``from .conf import LIMIT``, follow what is set.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.effects import Holding
from hotswap.generation import GONE, Live, ModuleView
from hotswap.patch import Unit
from hotswap.swap.contents import Kept
from hotswap.swap.plan import Fate, NameChange, Plan
from hotswap.swap.revisions import Revisions
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.withdrawals import Assigned, Withdrawals
from hotswap.swap.writes import Writes

__all__ = ["Overwritten"]

_MISSING: Any = object()
_NAMES: Any = vars(ModuleType)["__dict__"]


class Overwritten:
    """What is set in modules that the patch leaves alone. Lives as long as a swap is prepared.

    Arguments:
        live: the managed modules as they run.
        search: finds what statements have set that are gone.
        holdings: what the candidate's import has set.
    """

    def __init__(self, live: Live, search: Withdrawals, holdings: Iterable[Holding]) -> None:
        self._live, self._search = live, search
        self.modules: dict[str, ModuleType] = {}
        """The modules of which names are set."""
        self.given: dict[str, dict[str, Any]] = {}
        """What they are about to get: module -> name -> value."""
        self._made: set[tuple[int, Any]] = set()
        for holding in holdings:
            if issubclass(type(holding.twin), dict):
                self._made |= {(id(holding.living), name) for name in holding.twin}
            if holding.names and not walk.is_class(holding.living) and type(holding.living) is dict:
                for name, value in holding.twin.items():
                    self._give(holding.living, name, value)

    def _give(self, facts: dict[str, Any], name: str, value: Any) -> None:
        entry = self._live.get(str(facts.get("__name__")))
        if entry is not None and value is not GONE and _NAMES.__get__(entry.module) is facts:
            self.modules[entry.name] = entry.module
            self.given.setdefault(entry.name, {})[name] = value

    def settle(
        self, revisions: Revisions, claimed: Container[int], known: Iterable[Kept], writes: Writes, plan: Plan
    ) -> None:
        """Give names back that only the old version has set, and say of all else that it stays.

        Arguments:
            revisions: knows the statements of both versions, and is told of elements that stay.
            claimed: ids of what an adapter looks after.
            known: the containers that are merged.
            writes: receives the writes.
            plan: receives what becomes of names, and warnings.
        """
        for place, left in self._search.lasting(known):
            revisions.warn(place, left, departed=True)
        gone = {(id(one.holder), one.attribute): one for one in self._search.assigned()}
        again = {(id(one.holder), one.attribute) for one in self._set_anew(revisions.stated_by_all() if gone else ())}
        for key, one in gone.items():
            spaces = (one.holder, _attributes(one.holder))
            if key in again or any((id(space), one.attribute) in self._made for space in spaces):
                continue  # the candidate's import has set it, too
            if not _is_there(one) or _is_claimed(one.holder, claimed):
                continue
            said = self._said(one)
            if said is _MISSING:
                why = "the statement is gone, and nobody knows what was there before"
                plan.warnings.append(f"{one.where} stays as the old version has set it: {why}")
                continue
            facts = _NAMES.__get__(one.holder)
            writes.item(facts, one.attribute, said)
            self._give(facts, one.attribute, said)
            why = "the statement that set it is gone"
            plan.names.append(NameChange(str(facts["__name__"]), one.attribute, Fate.CHANGED, why))

    def _set_anew(self, stated: Iterable[tuple[str, Mapping[str, Any], Iterable[Unit]]]) -> Iterator[Assigned]:
        for module, facts, units in stated:
            names = {name: self._living(value) for name, value in list(facts.items())}
            for unit in units:
                yield from self._search.set_by(unit, module, names)

    def _living(self, value: Any) -> Any:
        """The live module that a candidate sees through a view."""
        if type(value) is not ModuleView:
            return value
        entry = self._live.get(_NAMES.__get__(value)["_hotswap"][0])
        return value if entry is None else entry.module

    def _said(self, one: Assigned) -> Any:
        """What a module itself says that its name stands for, if the name has what the old version has set."""
        entry = self._live.get(one.where.partition(":")[0]) if issubclass(type(one.holder), ModuleType) else None
        if entry is None or entry.source is None or entry.module is not one.holder:
            return _MISSING
        now, then = _NAMES.__get__(entry.module).get(one.attribute), _constant(one.value)
        if type(now) is not type(then) or type(now) not in UNIQUE_NEVER or now != then:
            return _MISSING  # somebody has set it since
        if self._setters(one.attribute) > 1:
            return _MISSING
        return _own_constant(entry.source, one.attribute)

    def _setters(self, name: str) -> int:
        """In how many live modules something of that name may be set as an attribute."""
        said = re.compile(rf"\.\s*{re.escape(name)}\b[^=\n]*=(?!=)|setattr\s*\(")
        return sum(1 for entry in self._live if entry.source is not None and said.search(entry.source))


def _attributes(holder: Any) -> Any:
    """The namespace of a module, or the attributes of an object."""
    return _NAMES.__get__(holder) if issubclass(type(holder), ModuleType) else walk.instance_dict(holder)


def _is_claimed(holder: Any, claimed: Container[int]) -> bool:
    """Whether somebody looks after an object, or after its attributes."""
    return id(holder) in claimed or id(walk.instance_dict(holder)) in claimed


def _is_there(one: Assigned) -> bool:
    """Whether a holder has an attribute, as far as that can be seen without running its code."""
    if issubclass(type(one.holder), ModuleType):
        return one.attribute in _NAMES.__get__(one.holder)
    if walk.is_class(one.holder):
        return one.attribute in walk.class_dict(one.holder)
    if one.attribute in (walk.instance_dict(one.holder) or {}):
        return True
    # A slot, or what a property or a `__setattr__` keeps under another name.
    return any({one.attribute, "__setattr__"} & walk.class_dict(cls).keys() for cls in walk.mro(type(one.holder))[:-1])


def _constant(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else _MISSING
    except ValueError:
        return _MISSING


def _own_constant(source: str, name: str) -> Any:
    """What the only statement of a source that binds a name binds it to, if that is a plain value."""
    tree = ast.parse(source)
    bound = [node for node in ast.walk(tree) if _binds(node, name)]
    values = [
        _constant(statement.value)
        for statement in tree.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and target.id == name
    ]
    if len(bound) == len(values) == 1 and type(values[0]) in UNIQUE_NEVER:
        return values[0]
    return _MISSING


def _binds(node: ast.AST, name: str) -> bool:
    """Whether a part of a source may bind a name of the module."""
    match node:
        case ast.Name(id=found, ctx=ast.Store() | ast.Del()) | ast.FunctionDef(name=found) | ast.ClassDef(name=found):
            return found == name
        case ast.AsyncFunctionDef(name=found) | ast.ExceptHandler(name=found):
            return found == name
        case ast.alias(name=found, asname=local):
            return found == "*" or (local or found).partition(".")[0] == name
        case ast.Name(id="globals" | "vars" | "exec"):
            return True
        case _:
            return False
