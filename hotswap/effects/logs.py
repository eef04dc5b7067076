"""Logging: handlers and filters that a module body adds to loggers, and the levels that it sets.

A logger that it merely asks for is no effect. Handlers that were added while something was loaded are taken off again,
and put on at the commit, unless the logger has a handler of the same class then: that is the one that the running
version put on when it was imported, and a restart would have one of them, not two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from hotswap.effects.facts import Deed, Outcome

__all__ = ["Loggers"]

_FACTS = ("level", "propagate", "disabled")
_FRESH = (logging.NOTSET, True, False)
"""What they are in a logger that is new."""


class Loggers:
    """The loggers as they were before loading."""

    def __init__(self) -> None:
        self._before = {id(logger): (logger, _facts(logger), *_holds(logger)) for logger in _loggers()}

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        found: list[Deed] = []
        for logger in _loggers():
            _, facts, handlers, filters = self._before.get(id(logger), (logger, _FRESH, [], []))
            now_handlers, now_filters = _holds(logger)
            for handler in now_handlers:
                if not _has(handlers, handler):
                    logger.removeHandler(handler)
                    found.append(_Added(logger, handler, "handler"))
            for handler in handlers:
                if not _has(now_handlers, handler):
                    logger.addHandler(handler)
                    found.append(_Removed(logger, handler))
            for item in now_filters:
                if not _has(filters, item):
                    logger.removeFilter(item)
                    found.append(_Added(logger, item, "filter"))
            for name, before, after in zip(_FACTS, facts, _facts(logger), strict=True):
                if before != after:
                    _set(logger, name, before)
                    found.append(_Fact(logger, name, after))
        return found


def _loggers() -> list[logging.Logger]:
    known = [
        entry for entry in list(logging.root.manager.loggerDict.values()) if issubclass(type(entry), logging.Logger)
    ]
    return [logging.root, *known]  # type: ignore[list-item]  # place holders were left out


def _facts(logger: logging.Logger) -> tuple[Any, ...]:
    return tuple(logger.__dict__.get(name) for name in _FACTS)


def _holds(logger: logging.Logger) -> tuple[list[Any], list[Any]]:
    return list(logger.handlers), list(logger.filters)


def _has(items: list[Any], item: Any) -> bool:
    return any(item is other for other in items)


def _set(logger: logging.Logger, name: str, value: Any) -> None:
    if name == "level":
        logger.setLevel(value)  # loggers below remember the level that holds for them
    else:
        setattr(logger, name, value)


class _Added(Deed):
    """A handler or a filter that was added."""

    def __init__(self, logger: logging.Logger, item: Any, what: str) -> None:
        super().__init__("logging", f"adds a {type(item).__name__} to the logger {logger.name!r}", Outcome.UNDONE)
        self._logger, self._item, self._what = logger, item, what
        self._made: list[Any] = []

    def make(self, living: Callable[[Any], Any]) -> None:
        handlers, filters = _holds(self._logger)
        item = living(self._item)
        kind = living(type(item))
        there = handlers if self._what == "handler" else filters
        if any(type(other) is kind for other in there):
            return
        (self._logger.addHandler if self._what == "handler" else self._logger.addFilter)(item)
        self._made.append(item)

    def take_back(self) -> None:
        while self._made:
            item = self._made.pop()
            (self._logger.removeHandler if self._what == "handler" else self._logger.removeFilter)(item)

    def drop(self) -> None:
        # A handler of the candidate's own class is the candidate's business: closing it would run its code.
        if type(self._item).__module__.partition(".")[0] == "logging" and self._what == "handler":
            self._item.close()


class _Removed(Deed):
    """A handler that was taken off."""

    def __init__(self, logger: logging.Logger, handler: Any) -> None:
        what = f"takes a {type(handler).__name__} off the logger {logger.name!r}"
        super().__init__("logging", what, Outcome.UNDONE)
        self._logger, self._handler = logger, handler
        self._made = False

    def make(self, living: Callable[[Any], Any]) -> None:
        self._made = _has(self._logger.handlers, self._handler)
        self._logger.removeHandler(self._handler)

    def take_back(self) -> None:
        if self._made:
            self._logger.addHandler(self._handler)
        self._made = False


class _Fact(Deed):
    """A level or a switch of a logger."""

    def __init__(self, logger: logging.Logger, name: str, after: Any) -> None:
        value = logging.getLevelName(after) if name == "level" else repr(after)
        super().__init__("logging", f"sets {name} of the logger {logger.name!r} to {value}", Outcome.UNDONE)
        self._logger, self._name, self._after = logger, name, after
        self._made: list[Any] = []

    def make(self, living: Callable[[Any], Any]) -> None:
        self._made.append(self._logger.__dict__.get(self._name))
        _set(self._logger, self._name, self._after)

    def take_back(self) -> None:
        while self._made:
            there = self._made.pop()
            if self._logger.__dict__.get(self._name) == self._after:
                _set(self._logger, self._name, there)
