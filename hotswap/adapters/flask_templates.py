"""Flask: the filters, tests and globals of the templates of an application."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

from jinja2 import defaults

from hotswap.adapters.parts import definition, name_of, replace_items
from hotswap.adapters.statements import Statements
from hotswap.swap import Facts

__all__ = ["TEMPLATES", "change_templates"]

_MISSING: Any = object()

TEMPLATES = ("filters", "globals", "tests")
"""Attributes of an environment."""

_DEFAULTS: dict[str, Mapping[str, Any]] = {
    name: defaults.__dict__[f"DEFAULT_{key}"]
    for name, key in (("filters", "FILTERS"), ("globals", "NAMESPACE"), ("tests", "TESTS"))
}

_OF_FLASK = frozenset({"config", "g", "get_flashed_messages", "request", "session", "url_for"})
"""Globals that Flask itself makes for each application."""


def change_templates(facts: Facts, holders: list[Any], living: Any, twin: Any, aside: Mapping[str, Any]) -> None:
    """Add the writes that bring the environment of an application up to date.

    Arguments:
        facts: receives the writes.
        holders: the application and its blueprints.
        living: the environment.
        twin: that of the twin of the application, or None.
        aside: what the candidate put into the living one, by the name of the attribute.
    """
    for name in TEMPLATES:
        table, new = living.__dict__[name], {}
        if twin is not None:
            own = {key: value for key, value in twin.__dict__[name].items() if not _is_default(name, key, value)}
            new = {key: value if _follows(facts, table.get(key), value) else table[key] for key, value in own.items()}
        put = aside[name]
        new.update({key: put[key] for key in put.registered if key in put} if put is not None else {})
        kind = name[:-1]
        verbs = [f"{prefix}template_{kind}" for prefix in ("", "add_", "app_", "add_app_")]
        statements = Statements(facts, holders, [*verbs, name])
        for key, value in list(table.items()):
            if key in new or _is_default(name, key, value):
                continue
            if facts.is_gone(definition(value)) or statements.put(value, key.__eq__):
                new[key] = _DEFAULTS[name].get(key, _MISSING)
        replace_items(facts, table, new, _MISSING)


def _follows(facts: Facts, before: Any, value: Any) -> bool:
    """Whether an entry of the twin takes the place of the living one; an extension's may be bound to the twin."""
    if before is None or name_of(value).partition(":")[0] in facts.new:
        return True
    return type(value) in (str, int, float, bool, FunctionType) and before is not value


def _is_default(name: str, key: Any, value: Any) -> bool:
    return _DEFAULTS[name].get(key, _MISSING) is value or (name == "globals" and key in _OF_FLASK)
