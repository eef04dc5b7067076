"""Beside: what statements of the two versions do otherwise to an object that is kept."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hotswap.generation import Assigned, Binding, Called, Step

__all__ = ["Beside", "Setting", "beside", "told", "value_of"]


@dataclass(frozen=True, slots=True)
class Setting:
    """An attribute, or an item, that statements set otherwise than before, or not any more.

    `path` leads there; `before` are the values that the old version may have set, `...` among them if one of them is
    not known; `after` are the statements of the new version.
    """

    path: tuple[Step, ...]
    before: tuple[Any, ...]
    after: tuple[Assigned, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """A kept object, its name ``module:name``, its twin, and the statements that differ, of both versions."""

    place: str
    twin: Any
    living: Any
    settings: tuple[Setting, ...]
    called: tuple[Called, ...]


def beside(
    place: str,
    pair: tuple[Any, Any],
    bindings: tuple[Binding, Binding],
    facts: Mapping[str, Any],
    otherwise: Container[str],
) -> Beside | None:
    """Return which statements on an object that is kept differ; None if none do.

    Arguments:
        place: its name, ``module:name``.
        pair: the twin, and the living object.
        bindings: of the name, old and new.
        facts: the namespace of the old module.
        otherwise: the statements of the new version, as dumps, that read what has changed.
    """
    old, new = bindings
    paths = dict.fromkeys(one.path for one in (*old.assigned, *new.assigned))
    settings = []
    for path in paths:
        before, after = ([one for one in binding.assigned if one.path == path] for binding in bindings)
        same = [one.text for one in before] == [one.text for one in after]
        if not same or any(one.statement in otherwise for one in after):
            settings.append(Setting(path, tuple(value_of(one, facts) for one in before), tuple(after)))
    texts = [{one.text for one in binding.called} for binding in bindings]
    called = [one for one in old.called if one.text not in texts[1]]
    called += [one for one in new.called if one.text not in texts[0]]
    return Beside(place, *pair, tuple(settings), tuple(called)) if settings or called else None


def value_of(assigned: Assigned, facts: Mapping[str, Any]) -> Any:
    """Return what a statement has set, as far as that is written there, or stands under the name that is; or `...`.

    Arguments:
        assigned: the statement.
        facts: the namespace of its module.
    """
    if assigned.value is not ... or not assigned.name:
        return assigned.value
    first, *others = assigned.name.split(".")
    value = facts.get(first, ...)
    for name in others:
        value = value.__dict__.get(name, ...) if issubclass(type(value), ModuleType) else ...
    return value


def told(path: tuple[Step, ...]) -> str:
    """What a path is in a sentence: ``db.options['a']``."""
    return "".join(f"[{step.name!r}]" if step.is_item else f".{step.name}" for step in path).removeprefix(".")
