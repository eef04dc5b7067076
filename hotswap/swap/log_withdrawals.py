"""Log withdrawals: what statements have put on loggers, and are gone from the modules that change.

After a restart the logger would not have it. The candidate's import shows only what the new version puts there; so what
goes is read from the statements that are gone: the logger and the handler or filter that their names stand for.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.patch import Unit

__all__ = ["log_withdrawals"]

_LISTS = {"addHandler": "handlers", "addFilter": "filters"}
_FACTS = ("level", "propagate", "disabled")

Removed = tuple[Any, str, Any]
"""A logger, the name of its list, and what goes from it."""


def log_withdrawals(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    withdrawn: Callable[[str], Iterable[Unit]],
    stated: Callable[[str], Iterable[Unit]],
) -> tuple[list[Removed], list[str]]:
    """Return what goes from loggers, and a warning for each statement whose effect stays.

    Arguments:
        old: the modules that change or go.
        new: those that take their place.
        withdrawn: gives the statements of an old module that the new version has not.
        stated: gives the statements of a new module.
    """
    removed: list[Removed] = []
    warnings: dict[str, None] = {}
    gone: dict[tuple[int, str], tuple[str, Any]] = {}
    for name, module in old.items():
        facts = ModuleType.__getattribute__(module, "__dict__")
        for unit in withdrawn(name):
            for owner, what, value in _said(unit, facts):
                if what in _FACTS:
                    gone[id(owner), what] = name, owner
                    continue
                items = list(owner.__dict__.get(what, ()))
                found = _found(value, facts, items)
                if found is not None:
                    removed.append((owner, what, found))
                elif items and value is not None and not isinstance(value, (ast.Name, ast.Attribute)):
                    kind = "handler" if what == "handlers" else "filter"
                    told = f"{name}: the statement that has put a {kind} without a name on the logger"
                    warnings[f"{told} {owner.name!r} is gone: it stays there"] = None
    if gone:
        for name, module in new.items():
            for unit in stated(name):
                for owner, what, _ in _said(unit, module.__dict__):
                    gone.pop((id(owner), what), None)
    for (_, what), (name, owner) in gone.items():
        if owner.__dict__.get(what) != {"level": logging.NOTSET, "propagate": True, "disabled": False}[what]:
            told = f"{name}: the statement that has set the {what} of the logger {owner.name!r} is gone"
            warnings[f"{told}: it stays as it is, since nobody can tell what it was before"] = None
    return removed, list(warnings)


def _said(unit: Unit, facts: Mapping[str, Any]) -> Iterator[tuple[Any, str, ast.expr | None]]:
    """What a statement does to loggers: (logger, list or attribute, what is added, if that can be told)."""
    if unit.later:
        return
    for node in (inner for one in unit.nodes for inner in ast.walk(one)):
        owner: Any = None
        match node:
            case ast.Call(func=ast.Attribute(value=above, attr=method)) if method in _LISTS or method == "setLevel":
                owner = _value(above, facts)
                what, value = _LISTS.get(method, "level"), node.args[0] if node.args else None
            case ast.Assign(targets=[ast.Attribute(value=above, attr=what)]) if what in _FACTS:
                owner, value = _value(above, facts), None
            case _:
                continue
        if issubclass(type(owner), logging.Logger):
            yield owner, what, value


def _value(node: ast.expr, facts: Mapping[str, Any]) -> Any:
    """What a name, an attribute of a module, or ``logging.getLogger(...)`` stands for; None if nobody can tell."""
    match node:
        case ast.Name(id=name):
            return facts.get(name)
        case ast.Attribute(value=above, attr=name):
            held = _value(above, facts)
            found = ModuleType.__getattribute__(held, "__dict__") if issubclass(type(held), ModuleType) else None
            return (found if found is not None else walk.instance_dict(held) or {}).get(name)
        case ast.Call(func=ast.Name(id="getLogger") | ast.Attribute(attr="getLogger"), args=[]):
            return logging.root
        case ast.Call(func=ast.Name(id="getLogger") | ast.Attribute(attr="getLogger"), args=[argument]):
            title: Any = argument.value if isinstance(argument, ast.Constant) else _value(argument, facts)
            return logging.root.manager.loggerDict.get(title) if type(title) is str else None
        case _:
            return None


def _found(node: ast.expr | None, facts: Mapping[str, Any], items: list[Any]) -> Any:
    """The one of some handlers or filters that an expression has put there, or None."""
    if isinstance(node, ast.Lambda):
        return next((item for item in items if _is_from(item, node, facts)), None)
    value = _value(node, facts) if node is not None else None
    return next((item for item in items if item is value), None)


def _is_from(item: Any, node: ast.Lambda, facts: Mapping[str, Any]) -> bool:
    if type(item) is not FunctionType or item.__globals__ is not facts:
        return False
    return item.__code__.co_name == "<lambda>" and item.__code__.co_firstlineno == node.lineno
