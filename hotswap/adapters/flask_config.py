"""Flask: what statements of modules put into `app.config`, and what becomes of it.

What the old version put there, and the new one does not, goes; what somebody has altered since stays. That is told by
the text of the statement, if the value stands in it, and by the object that it comes from: ``from_object(Settings)``.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap import Facts

__all__ = ["MISSING", "changed_config", "recorded", "were_put"]

MISSING: Any = object()
"""Stands for a setting that goes."""
_UNKNOWN: Any = object()

_PUT = "_put_by_the_candidate"
_PLAIN = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?[\w.]+"
_VALUE = rf"(?:Constant\(value=(?P<value>{_PLAIN})\))?"
_SOURCE = re.compile(
    r"attr='(?:from_object|from_mapping|update)', ctx=Load\(\)\), args=\[Name\(id='(\w+)', ctx=Load\(\)\)"
)
"""In a dump: what the settings are taken from."""


def recorded(_: Any, config: Any) -> Any:
    """Return a copy of a configuration that knows what was put into it."""
    made, kind = copy.copy(config), type(config)
    made.__class__ = type(kind.__name__, (kind,), {"__setitem__": _set, "setdefault": _set_default, "update": _update})
    made.__dict__[_PUT] = set()
    return made


def _set(config: Any, key: Any, value: Any) -> None:
    config.__dict__[_PUT].add(key)
    dict.__setitem__(config, key, value)


def _set_default(config: Any, key: Any, default: Any = None) -> Any:
    config.__dict__[_PUT].add(key)
    return dict.setdefault(config, key, default)


def _update(config: Any, *others: Any, **more: Any) -> None:
    for key, value in dict(*others, **more).items():
        config[key] = value


def were_put(config: Any) -> dict[str, Any]:
    """Return what was put into such a copy."""
    known: Any = config.__dict__[_PUT] if config is not None else ()
    return {key: config[key] for key in known if key in config}


def changed_config(facts: Facts, app: Any, put: dict[str, Any], twin: Any) -> dict[str, Any]:
    """Return what becomes of settings of a living application: their values, or `MISSING`.

    Arguments:
        facts: knows the statements.
        app: the application.
        put: what the candidate put into the configuration of the living application.
        twin: what it made in place of the application, or None.
    """
    living, before = app.config, _Before(facts, app)
    defaults = dict(type(app).default_config)
    came = [text for text in facts.came(app) if "attr='config'" in text]
    new = {**(twin.config if twin is not None else {}), **put}
    wanted = dict(put)
    for key in new.keys() - put.keys():
        there, value = living.get(key, MISSING), new[key]
        if any(_stated(key).search(text) for text in came):
            wanted[key] = value
        elif there is MISSING:
            if not before.has(key) and key not in defaults:
                wanted[key] = value
        elif before.has(key) and not _is_same(there, value) and before.is_unaltered(key, there):
            wanted[key] = value
    for key in [key for key in list(living) if type(key) is str and key not in new]:
        if before.has(key) and before.is_unaltered(key, living[key]):
            wanted[key] = defaults.get(key, MISSING)
    return {key: value for key, value in wanted.items() if living.get(key, MISSING) is not value}


class _Before:
    """What statements of the old version put into a configuration."""

    def __init__(self, facts: Facts, app: Any) -> None:
        self._texts: list[str] = []
        self._sources: list[dict[str, Any]] = []
        for module, text in facts.statements(app):
            if "attr='config'" in text:
                self._texts.append(text)
                names = (facts.old.get(module) or facts.removed[module]).__dict__
                self._sources += [_settings(names.get(name)) for name in _SOURCE.findall(text)]

    def has(self, key: str) -> bool:
        """Whether a statement put a setting there."""
        return any(True for _ in self._values(key))

    def is_unaltered(self, key: str, value: Any) -> bool:
        """Whether a setting still has the value that a statement gave it, or one that can't be told."""
        found = list(self._values(key))
        return not found or any(one is _UNKNOWN or _is_same(one, value) for one in found)

    def _values(self, key: str) -> Iterator[Any]:
        yield from (source[key] for source in self._sources if key in source)
        for text in self._texts:
            for found in _stated(key).finditer(text):
                yield _UNKNOWN if found["value"] is None else ast.literal_eval(found["value"])


@functools.lru_cache(maxsize=256)
def _stated(key: str) -> re.Pattern[str]:
    """How a statement gives a setting a value."""
    name = re.escape(repr(key))
    return re.compile(
        rf"(?:arg={name}, value=|slice=Constant\(value={name}\), ctx=Store\(\)\)\], value="
        rf"|attr='setdefault', ctx=Load\(\)\), args=\[Constant\(value={name}\), ){_VALUE}"
        rf"|Dict\(keys=\[[^\]]*Constant\(value={name}\)"
    )


def _settings(source: Any) -> dict[str, Any]:
    """What an object has that settings are taken from: a dict, a module or a class with its bases."""
    if type(source) is dict:
        return dict(source)
    if walk.is_class(source):
        found: dict[str, Any] = {}
        for cls in reversed(walk.mro(source)):
            found.update(walk.class_dict(cls))
    else:
        found = (
            dict(source.__dict__) if issubclass(type(source), ModuleType) else dict(walk.instance_dict(source) or {})
        )
    return {key: value for key, value in found.items() if type(key) is str and key.isupper()}


def _is_same(one: Any, other: Any) -> bool:
    """Whether two settings are the same, as far as that is seen without running code."""
    kind = type(one)
    if one is other:
        return True
    return kind is type(other) and kind in (str, int, float, bool, bytes) and bool(one == other)
