"""Aliases: entries of `sys.modules` below a managed package that are not the module of that name.

A module body may put anything there: another module under a second name (``sys.modules[__name__ + ".old"] = new``, or
somebody else's module, as a package does that once carried its own copies), an object that is no module, or None, which
forbids an import. Such an entry is no module of the package: nothing is loaded in its place, and what it leads to is
not touched. It goes with the module body that sets it.
"""

from __future__ import annotations

import ast
from collections.abc import Container
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.generation.paths import path_of
from hotswap.generation.selves import last_part
from hotswap.patch import parse

if TYPE_CHECKING:
    from hotswap.generation.live import Live

__all__ = ["home_of", "is_alias", "is_made", "name_of", "unset"]


def is_alias(name: str, entry: object) -> bool:
    """Return whether what `sys.modules` has under a name is something else than the module of that name."""
    if not issubclass(type(entry), ModuleType):
        return True
    facts = ModuleType.__getattribute__(entry, "__dict__")
    names = _names(facts)
    return name not in names and "__main__" not in names  # a program that goes by its module's name is that module


def name_of(module: ModuleType) -> str:
    """Return the name under which a module was loaded, or "" if it does not tell."""
    return next(iter(_names(ModuleType.__getattribute__(module, "__dict__"))), "")


def is_made(name: str, module: ModuleType) -> bool:
    """Return whether a module was made by a statement, and not loaded from anywhere."""
    if is_alias(name, module):
        return False
    facts = ModuleType.__getattribute__(module, "__dict__")
    return facts.get("__spec__") is None and facts.get("__file__") is None


def _names(facts: dict[str, Any]) -> list[str]:
    spec = facts.get("__spec__")
    told = (spec.name if type(spec) is ModuleSpec else None, facts.get("__name__"))
    return [name for name in told if type(name) is str]


def home_of(name: str, parent: object) -> ModuleSpec | None:
    """Return where a submodule lies that put something else in its own place, or None if there is no such module."""
    path = path_of(parent)
    return PathFinder.find_spec(name, path) if path else None


def unset(live: Live, going: Container[str]) -> frozenset[str]:
    """Return the aliases that go unless they are set again: all module bodies that may have set them go.

    Arguments:
        live: the managed modules.
        going: the modules that are loaded anew, or removed.
    """
    if not live.aliases:
        return frozenset()
    setters: dict[str, list[str]] = {}
    for entry in live:
        if entry.source is not None and "modules" in entry.source and _sets(entry.source):
            setters.setdefault(entry.name.partition(".")[0], []).append(entry.name)
    return frozenset(
        name
        for name in live.aliases
        if (mine := setters.get(name.partition(".")[0])) and all(setter in going for setter in mine)
    )


def _sets(source: str) -> bool:
    """Whether a source has a statement that sets an entry of ``sys.modules``, or of ``modules``."""
    try:
        statements = parse(source)
    except (SyntaxError, ValueError):
        return False
    for node in (inner for statement in statements for inner in ast.walk(statement)):
        if not isinstance(node, (ast.Subscript, ast.Attribute)) or last_part(node.value) != "modules":
            continue
        filled = isinstance(node, ast.Attribute) and node.attr in ("update", "setdefault")
        if filled or (isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)):
            return True
    return False
