"""What the sources of two versions say about mappings: which statements are for SQLAlchemy, and which differ."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import sqlalchemy
from sqlalchemy.orm import decl_api

from hotswap import walk
from hotswap.generation import Definitions, Kind, unchanged

__all__ = [
    "MANAGER",
    "OF_THE_BASE",
    "calls_to_sqlalchemy",
    "can_be_added",
    "changed_data",
    "is_mapped",
    "is_mapping",
    "listeners",
    "mentions",
    "same",
    "under_mapped_classes",
]

MANAGER = "_sa_class_manager"
OF_THE_BASE = ("registry", "metadata", "_sa_registry")
_OF_THE_MAPPING = ("__tablename__", "__table__", "__table_args__", "__mapper_args__", "__abstract__", *OF_THE_BASE)
_ORDINARY = ("sqlalchemy.ext.hybrid", "sqlalchemy.ext.associationproxy")
"""Descriptors that the mapper knows nothing of."""

_MAPS = re.compile(
    r"(?:id|attr)='(?:\w*Mapped|\w*[cC]olumn|relationship|column_property|composite|synonym|deferred|declared_attr"
    r"|query_expression|backref|dynamic_loader)'"
)
_HOOKS = re.compile(r"(?:id|attr)='(?:validates|reconstructor|listens_for|declared_attr)'")
_DECLARES = re.compile(r"(?:id|attr)='declared_attr'")
_LISTENS = re.compile(r"(?:id|attr)='listens_for'")


def listeners(old: Definitions, new: Definitions) -> list[dict[str, tuple[str, ...]]]:
    """Return the decorators that register a listener, by function, in both versions; not those on a new class."""
    added = new.classes.keys() - old.classes.keys()
    return [
        {
            name: binding.head
            for name, binding in body.bindings.items()
            if any(map(_LISTENS.search, binding.head)) and not any(mentions(text, added) for text in binding.head)
        }
        for body in (old, new)
    ]


def calls_to_sqlalchemy(module: ModuleType, old: Definitions, new: Definitions) -> list[dict[str, tuple[str, ...]]]:
    """Return the statements that tell SQLAlchemy something, by the name on which they call, in both versions."""
    return [
        {name: b.touches for name, b in body.bindings.items() if b.touches and _configures(module, name, body)}
        for body in (old, new)
    ]


def under_mapped_classes() -> set[int]:
    """Return the ids of the mapped classes, and of the bases and mixins from which they have parts of their mapping."""
    from sqlalchemy.orm import mapperlib

    found: set[int] = set()
    for registry in list(mapperlib._all_registries()):
        for mapper in list(registry.mappers):
            found.update(id(base) for base in walk.mro(mapper.class_) if not base.__module__.startswith("sqlalchemy."))
    return found - {id(object)}


def _configures(module: ModuleType, name: str, definitions: Definitions) -> bool:
    """Whether calls on a name tell SQLAlchemy something: `event.listen(...)`, `tags.append_column(...)`."""
    origin = definitions.froms.get(name, (definitions.modules.get(name, ""), ""))[0]
    return origin.partition(".")[0] == "sqlalchemy" or type(module.__dict__.get(name)) in (
        sqlalchemy.Table,
        decl_api.registry,
    )


def changed_data(old: Definitions, new: Definitions) -> set[str]:
    """Return the names of the data that differ."""
    return {
        name
        for name in old.bindings.keys() & new.bindings.keys()
        if Kind.DATA in (old.kind(name), new.kind(name)) and not unchanged(name, old, new)
    }


def mentions(text: str, names: Iterable[str]) -> bool:
    """Whether the dump of a statement has one of some names in it: `NAME`, or `module.NAME`."""
    for name in names:
        first, _, last = name.partition(".")
        attribute = rf"(?:, ctx=Load\(\))?\), attr='{last}'" if last else ""
        if re.search(f"id='{first}'{attribute}", text):
            return True
    return False


def same(name: str, before: Definitions, after: Definitions, foreign: set[str]) -> bool:
    """Whether an attribute of a class is the same in both versions."""
    return name in before.bindings and name in after.bindings and unchanged(name, before, after, foreign)


def is_mapping(cls: type, name: str, before: Definitions, after: Definitions) -> bool:
    """Whether an attribute that differs is part of the mapping, in the one or in the other version."""
    bindings = [body.bindings[name] for body in (before, after) if name in body.bindings]
    if name in _OF_THE_MAPPING or is_mapped(walk.class_dict(cls).get(name)):
        return True
    if name == "__init__" and len(bindings) == 1:
        return True  # SQLAlchemy has wrapped the one that was there
    if all(binding.kind is Kind.FUNCTION for binding in bindings):
        heads = [" ".join(binding.head) for binding in bindings]
        if any(map(_DECLARES.search, heads)):
            return True
        return any(map(_HOOKS.search, heads)) and (len(heads) == 1 or heads[0] != heads[1])
    return any(_MAPS.search(text) for binding in bindings for text in binding.text)


def is_mapped(value: Any) -> bool:
    """Whether the value of an attribute of a class is SQLAlchemy's: a column, a relationship, what became of them."""
    origin = str(type(value).__module__)
    return origin.startswith("sqlalchemy.") and not origin.startswith(_ORDINARY)


def can_be_added(cls: type, name: str, before: Definitions, after: Definitions) -> bool:
    """Whether an attribute of the mapping is new: a column, a relationship. Others have no place for it yet."""
    binding = after.bindings.get(name)
    if binding is None or binding.kind is not Kind.DATA or name in before.bindings or name in _OF_THE_MAPPING:
        return False
    return MANAGER in walk.class_dict(cls) and not any(name in walk.class_dict(base) for base in walk.mro(cls))
