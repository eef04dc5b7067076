"""Handlers, filters and formatters that modules hold under names: loggers have what the names stand for.

| the definition of the name | at the commit |
|---|---|
| is the same | the living object stays, and gets what statements set of it otherwise than before |
| is another one | the new object takes the place of the living one, which is not closed, wherever that is |

A rollback takes both back. "Wherever" is on loggers and on handlers: their filters, formatters and targets.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Effect, Outcome
from hotswap.effects.log_deeds import Entries, Fact
from hotswap.effects.log_handlers import LOCK, REFERENCES, Successors, alike, has

__all__ = ["Named", "Replacements", "following", "withdrawals"]

_SETTERS = {"setLevel": "level", "setFormatter": "formatter", "setStream": "stream", "setTarget": "target"}
"""The methods of handlers that set an attribute, and which."""

_FILTERS = frozenset({"addFilter", "removeFilter"})

_LEVEL = re.compile(
    r"attr='setLevel', ctx=Load\(\)\), args=\[(?:Constant\(value=(?P<value>\d+|'\w+')\)"
    r"|Attribute\(value=Name\(id='logging', ctx=Load\(\)\), attr='(?P<name>\w+)')"
)
"""In the dump of a statement: a level that is written down, as ``logging.INFO`` or as a number or a word."""

_UNKNOWN: Any = object()


@dataclass(frozen=True, slots=True)
class Named:
    """An object that is kept under its name, and its twin of the candidate.

    `place` is its name, ``module:name``; `before` and `after` are the dumps of the statements of both versions that
    change the object in place; `otherwise` are those of the new version that read what has changed.
    """

    place: str
    twin: Any
    living: Any
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    otherwise: frozenset[str] = frozenset()


class Replacements(Deed):
    """What takes the place of living handlers, filters and formatters, because their names stand for other ones now.

    Arguments:
        pairs: what the names stood for, and what they stand for in the new version.
    """

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        super().__init__("logging", "replaces handlers", Outcome.UNDONE)
        self.of = {id(old): (old, new) for old, new in pairs}
        # Nothing else is noted: this outlives the way back, and names may stand for a lot of data.
        self.of = {id(old): (old, new) for _, _, old, new, _ in self._places()}
        self._made: list[Callable[[], None]] = []

    @property
    def silent(self) -> bool:  # type: ignore[override]  # what is on a logger may change until somebody asks
        """Whether nothing has one of them."""
        return next(self._places(), None) is None

    def fact(self, allowed: Iterable[str]) -> Effect:
        """Say where they are."""
        self.what = "; ".join(
            f"puts a {walk.class_name(type(new))} in the place of a {walk.class_name(type(old))} {where}"
            for _, _, old, new, where in self._places()
        )
        return super().fact(allowed)

    def _places(self) -> Iterator[tuple[Any, Any, Any, Any, str]]:
        """Where the living objects are: (list or namespace, key of the namespace, old, new, where in words)."""
        if not self.of:
            return
        known = [one for one in list(logging.root.manager.loggerDict.values()) if issubclass(type(one), logging.Logger)]
        handlers = {id(one): one for reference in list(REFERENCES) if (one := reference()) is not None}
        for logger in (logging.root, *known):
            where = f"on the logger {logger.name!r}"  # type: ignore[union-attr]  # place holders were left out
            for attribute, fits in (("handlers", _is_handler), ("filters", _is_filter)):
                entries = logger.__dict__.get(attribute)
                for old, new in self._found(entries, fits):
                    yield entries, None, old, new, where
            handlers |= {id(one): one for one in logger.__dict__.get("handlers", ()) if _is_handler(one)}
        for handler in handlers.values():
            where, facts = f"of a {walk.class_name(type(handler))}", handler.__dict__
            for old, new in self._found(facts.get("filters"), _is_filter):
                yield facts["filters"], None, old, new, where
            for attribute, fits in (("formatter", _is_formatter), ("target", _is_handler)):
                for old, new in self._found([facts.get(attribute)], fits):
                    yield facts, attribute, old, new, where

    def _found(self, entries: Any, fits: Callable[[Any], bool]) -> list[tuple[Any, Any]]:
        found = [self.of[id(entry)] for entry in entries if id(entry) in self.of] if type(entries) is list else []
        return [(old, new) for old, new in found if fits(new)]

    def make(self, living: Callable[[Any], Any]) -> None:
        """Put the new ones there. A thread that goes through a list meets the one or the other, and none twice."""
        with LOCK:
            for holder, key, old, new, _ in list(self._places()):
                self._made.append(_put(holder, key, old, living(new)))

    def take_back(self) -> None:
        """Put the old ones back, where nobody has put something else since."""
        with LOCK:
            while self._made:
                self._made.pop()()

    def drop(self) -> None:
        """Forget them."""
        self.of, self._made = {}, []


def _put(holder: Any, key: Any, old: Any, new: Any) -> Callable[[], None]:
    """Put an object in the place of another one in a list or a namespace; return what undoes it."""
    if key is not None:
        holder[key] = new
        return lambda: holder.update({key: old}) if holder.get(key) is new else None
    there = has(holder, new)
    _exchange(holder, old, None if there else new)

    def undo() -> None:
        if there and not has(holder, old):
            holder.append(old)
        else:
            _exchange(holder, new, None if has(holder, old) else old)

    return undo


def _exchange(entries: list[Any], one: Any, other: Any) -> None:
    """Put another object in the place of one of a list, or none at all; nothing is done if it is not there."""
    for position, entry in enumerate(entries):
        if entry is one:
            entries[position : position + 1] = [] if other is None else [other]
            return


def _is_handler(value: Any) -> bool:
    return issubclass(type(value), logging.Handler)


def _is_filter(value: Any) -> bool:
    return callable(value) or any("filter" in walk.class_dict(base) for base in walk.mro(type(value)))


def _is_formatter(value: Any) -> bool:
    return any("format" in walk.class_dict(base) for base in walk.mro(type(value)))


class _Stated(Entries):
    """The filters of a handler that is kept, or what is on a logger, as the statements of the new version have them."""

    def _after(self, there: list[Any], living: Callable[[Any], Any]) -> list[Any]:
        return [item for item in there if not has(self._removed, item)] + [living(item) for item in self._added]


def withdrawals(items: Iterable[tuple[Any, str, Any]]) -> list[Deed]:
    """Return what takes handlers and filters off loggers. They are not closed: a rollback puts them on again.

    Arguments:
        items: each a logger, the name of its list, and what goes.
    """
    found: dict[tuple[int, str], tuple[Any, list[Any]]] = {}
    for logger, attribute, item in items:
        gone = found.setdefault((id(logger), attribute), (logger, []))[1]
        gone += [] if has(gone, item) else [item]
    return [
        _Stated(logger, attribute, f"the logger {logger.name!r}", gone, [], Successors([], []))
        for (_, attribute), (logger, gone) in found.items()
    ]


def following(named: Named) -> tuple[list[Deed], list[str]]:
    """Return what brings a kept handler up to date with the statements of the new version.

    Only what these say otherwise than those of the old version is followed: the rest may have been set at run time.

    Returns the deeds; and a sentence for each statement that has no effect, because it can't be followed, or because
    the program has set something else since.
    """
    twin, living = named.twin, named.living
    if not _is_handler(twin) or not _is_handler(living):
        return [], []
    name = named.place.rpartition(":")[2]
    before, after = (_calls(name, statements) for statements in (named.before, named.after))
    changed = {
        method
        for method in before.keys() | after.keys()
        if before.get(method) != after.get(method) or not named.otherwise.isdisjoint(after.get(method, ()))
    }
    found: list[Deed] = []
    left: list[str] = []
    for method in sorted(changed):
        told = f"{named.place} is kept, and a statement calls its {method} otherwise than before"
        if method in _SETTERS:
            attribute = _SETTERS[method]
            there, will = living.__dict__.get(attribute), twin.__dict__.get(attribute)
            was = _set_before(method, before.get(method, ()), living)
            if was is not _UNKNOWN and not alike(there, was):
                left.append(f"{told}: it keeps what the program has set since")
            elif not alike(there, will):
                found.append(Fact(living, attribute, there, will, named.place, _write))
        elif method not in _FILTERS:
            left.append(f"{told}: that stays as it is")
    if not changed.isdisjoint(_FILTERS):
        found += _filters(named, len(before.get("addFilter", ())))
    return found, left


def _calls(name: str, statements: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The methods of an object that statements call, by name, each with these statements."""
    found: dict[str, tuple[str, ...]] = {}
    pattern = rf"Call\(func=Attribute\(value=Name\(id='{re.escape(name)}', ctx=Load\(\)\), attr='(\w+)'"
    for statement in statements:
        for method in re.findall(pattern, statement):
            found[method] = (*found.get(method, ()), statement)
    return found


def _set_before(method: str, statements: tuple[str, ...], living: Any) -> Any:
    """What the old version has set, where its text says so."""
    if not statements:
        plain = walk.class_home(type(living)).partition(".")[0] == "logging"
        return {"setLevel": logging.NOTSET, "setFormatter": None}.get(method, _UNKNOWN) if plain else _UNKNOWN
    found = _LEVEL.search(statements[-1]) if method == "setLevel" else None
    if found is None:
        return _UNKNOWN
    value = found["name"] or ast.literal_eval(found["value"])
    return value if type(value) is int else logging.getLevelNamesMapping().get(value, _UNKNOWN)


def _filters(named: Named, count: int) -> list[Deed]:
    """What brings the filters up to date. The import of the old version has added the first ones, before others did."""
    there, will = list(named.living.filters), list(named.twin.filters)
    added = [item for item in will if not any(alike(item, one) for one in there)]
    removed = [item for item in there[:count] if not any(alike(item, one) for one in will)]
    if not added and not removed:
        return []
    return [_Stated(named.living, "filters", named.place, removed, added, Successors([], []))]


def _write(handler: logging.Handler, name: str, value: Any) -> None:
    handler.__dict__[name] = value
