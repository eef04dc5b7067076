"""Columns, relationships and other attributes that a patch adds to a class that is mapped already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.orm import decl_base

__all__ = ["add", "is_column", "load_when_read", "scanned"]

_OLD, _NEW = "_ClassScanMapperConfig", "_DeclarativeMapperConfig"  # in SQLAlchemy 2.0 and 2.1
_SCANNING: Any = getattr(decl_base, _NEW, None) or getattr(decl_base, _OLD)

_ATTRIBUTES = (sqlalchemy.Column, orm.MappedColumn, orm.ColumnProperty, orm.RelationshipProperty, orm.SynonymProperty)
_WITHOUT_A_VALUE = (("deferred", True), ("instrument", True))


class _Scan(_SCANNING):  # type: ignore[misc]  # which one, depends on the release
    """Reads what a class body says of a mapping, and maps nothing."""

    def _nothing(self, *arguments: Any) -> None:
        """Leave a step out."""

    _setup_table = _setup_inheriting_mapper = _setup_inheriting_columns = _nothing
    _extract_declared_columns = _early_mapping = _nothing


def scanned(cls: type, registry: Any) -> dict[str, Any]:
    """Return what the body of a class says of its mapping, with the types that its annotations tell.

    Arguments:
        cls: a class of the candidate.
        registry: that of the living class; it knows which types stand for which annotations, and is left alone.
    """
    own = object.__new__(type(registry))
    own.__dict__.update(registry.__dict__)
    own.__dict__.update(_class_registry={}, _managers={}, metadata=sqlalchemy.MetaData())
    arguments: tuple[Any, ...] = (None, {}) if _SCANNING.__name__ == _OLD else ()
    return dict(_Scan(own, cls, cls.__dict__, *arguments).properties)


def add(living: Any, name: str, value: Any) -> str:
    """Add an attribute to a mapped class; return why that can't be done, or an empty text.

    The mapper configures it when all classes of the candidate are there.
    """
    attribute: Any = value
    if not isinstance(value, _ATTRIBUTES):
        return f"{name} is none of a column, a relationship, a column property and a synonym"
    columns = [value] if isinstance(value, sqlalchemy.Column) else getattr(value, "columns", ())
    if isinstance(value, orm.MappedColumn):
        columns = [value.column]
    if any(isinstance(column, sqlalchemy.Column) and column.primary_key for column in columns):
        return f"{name} is part of the primary key, by which sessions know their rows"
    mapper = living.__mapper__
    mapper.configured = False
    mapper.registry._flag_new_mapper(mapper)
    decl_base._add_attribute(living, name, attribute)
    return ""


def is_column(value: Any) -> bool:
    """Whether an attribute is a column of the table."""
    return isinstance(value, (sqlalchemy.Column, orm.MappedColumn))


def load_when_read(living: Any, names: Iterable[str]) -> None:
    """Have rows that were loaded without an added column load it when it is read.

    To SQLAlchemy a column that a row does not have is one without a value.
    """
    mapper = living.__mapper__
    for name in names:
        prop = mapper._props.get(name)
        implementation = mapper.class_manager[name].impl if type(prop) is orm.ColumnProperty else None
        if implementation is not None and implementation.callable_ is None:
            implementation.callable_ = prop._get_strategy(_WITHOUT_A_VALUE)._load_for_state
