"""Logging: what a module body does to loggers and to their handlers.

A logger that it merely asks for is no effect. What it adds to loggers, takes off them, and sets of them while something
was loaded is put back, and made at the commit. Two things are not as in a process that starts:

| the module body | what becomes of it |
|---|---|
| closes living handlers, as `dictConfig` and `basicConfig(force=True)` do | nothing: they are kept open |
| configures logging, which disables the loggers that are there and are not named | they stay enabled |
| configures logging, which empties the loggers below one that is named | they stay as they are |

For when the process started, most of these did not exist yet, and are set up by modules that do not run again.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome
from hotswap.effects.log_deeds import Entries, Fact, Name
from hotswap.effects.log_handlers import LOCK, NAMES, REFERENCES, KeptOpen, Successors, handler_facts, has

__all__ = ["Loggers"]

_FACTS = ("level", "propagate", "disabled")
_FRESH: dict[str, Any] = {"level": logging.NOTSET, "propagate": True, "disabled": False}
"""What they are in a logger that is new."""

_MANY = 5
"""How many names of loggers a sentence has."""


class Loggers:
    """The loggers as they were before loading, and their handlers, which are kept open meanwhile.

    Arguments:
        is_ours: whether the calling thread works for the candidate.
    """

    def __init__(self, is_ours: Callable[[], bool]) -> None:
        # Configuring logging forgets all handlers, this one too. Nothing else tells that it was done.
        self._probe = logging.NullHandler()
        with LOCK:
            self._references = list(REFERENCES)
            self._names = dict(NAMES.items())
            self._before = {id(logger): (logger, *_state(logger)) for logger in _loggers()}
        living = [reference() for reference in self._references if type(reference) is weakref.ref]
        living += [handler for _, _, handlers, copy, *_ in self._before.values() for handler in copy]
        self._handlers = {
            id(handler): (handler, handler_facts(handler), handler.filters, list(handler.filters))
            for handler in living
            if handler is not None and handler is not self._probe and issubclass(type(handler), logging.Handler)
        }
        self._kept_open = [KeptOpen(handler, is_ours) for handler, *_ in self._handlers.values()]

    def end(self) -> None:
        """Keep handlers open no more."""
        while self._kept_open:
            self._kept_open.pop().end()

    def changed(self) -> list[Deed]:
        """Put back what differs now, and return it."""
        with LOCK:
            after = {id(logger): (logger, *_state(logger)) for logger in _loggers()}
            configured = not any(reference() is self._probe for reference in list(REFERENCES))
            names = dict(NAMES.items())
            self._put_back_references()
            successors = self._successors(after)
            found: list[Deed] = [successors]
            disabled: list[str] = []
            for key, (logger, facts, handlers, copy, filters, filters_copy) in after.items():
                was = self._before.get(key, (logger, _FRESH, handlers, [], filters, []))
                title = f"the logger {logger.name!r}"
                # Below a logger that is configured anew, the others get a list of their own, which is empty.
                emptied = configured and key in self._before and handlers is not was[2]
                logger.__dict__.update(handlers=was[2], filters=was[4])
                before, stays = was[3], []
                if emptied:
                    came = {walk.class_name(type(handler)) for handler in copy}
                    stays = [h for h in before if not has(copy, h) and walk.class_name(type(h)) not in came]
                found += _entries(logger, "handlers", title, before, [*stays, *copy], successors)
                found += _entries(logger, "filters", title, was[5], filters_copy, successors)
                left = bool(stays)
                for name, value in facts.items():
                    there = was[1][name]
                    if value == there:
                        continue
                    _set(logger, name, there)
                    if name == "disabled" and value and configured and key in self._before:
                        disabled.append(logger.name)
                    elif emptied and value == _FRESH[name] and name != "disabled":
                        left = True
                    else:
                        found.append(Fact(logger, name, there, value, title, _set))
                if left:
                    what = f"empties {title}, which is below one that it configures: it stays as it is"
                    found.append(Deed("logging", what, Outcome.UNDONE))
            found += self._changed_handlers(successors)
            found += self._changed_names(names, successors)
        if disabled:
            more = f" and {len(disabled) - _MANY} more" if len(disabled) > _MANY else ""
            some = ", ".join(map(repr, disabled[:_MANY]))
            what = f"disables loggers that are there already ({some}{more}): they stay enabled"
            found.append(Deed("logging", what, Outcome.UNDONE))
        return found if len(found) > 1 else []

    def _put_back_references(self) -> None:
        """Show the handlers again that are closed when the process ends."""
        since = [one for one in REFERENCES if not has(self._references, one)]
        REFERENCES[:] = [one for one in self._references if one() is not None and one() is not self._probe] + since

    def _successors(self, after: dict[int, tuple[Any, ...]]) -> Successors:
        """Find out which handlers and filters were taken off to be put on again, as they are."""
        removed: list[Any] = []
        added: list[Any] = []
        for key, (logger, _, _, copy, _, filters) in after.items():
            _, _, _, there, _, there_filters = self._before.get(key, (logger, None, None, [], None, []))
            for was, now in ((there, copy), (there_filters, filters)):
                removed += [item for item in was if not has(now, item) and not has(removed, item)]
                added += [item for item in now if not has(was, item) and not has(added, item)]
        return Successors(removed, [item for item in added if id(item) not in self._handlers])

    def _changed_handlers(self, successors: Successors) -> list[Deed]:
        found: list[Deed] = []
        for handler, facts, filters, copy in self._handlers.values():
            title = f"a {walk.class_name(type(handler))}"
            now = list(handler.filters)
            handler.filters = filters
            found += _entries(handler, "filters", title, copy, now, successors)
            for name, value in handler_facts(handler).items():
                there = facts.get(name)
                if value is there or (type(value) is type(there) and type(value) in (int, str) and value == there):
                    continue
                handler.__dict__[name] = there
                found.append(Fact(handler, name, there, value, title, _write))
        return found

    def _changed_names(self, names: dict[str, Any], successors: Successors) -> list[Deed]:
        found: list[Deed] = []
        for name, handler in names.items():
            if self._names.get(name) is not handler:
                NAMES.pop(name, None)
                found.append(Name(name, handler, successors))
        for name, handler in self._names.items():
            NAMES[name] = handler
        return found


def _loggers() -> list[logging.Logger]:
    known = [
        entry for entry in list(logging.root.manager.loggerDict.values()) if issubclass(type(entry), logging.Logger)
    ]
    return [logging.root, *known]  # type: ignore[list-item]  # place holders were left out


def _state(logger: logging.Logger) -> tuple[dict[str, Any], list[Any], list[Any], list[Any], list[Any]]:
    """Its facts, and its handlers and its filters, each as the list that it is and as a copy."""
    facts = {name: logger.__dict__.get(name) for name in _FACTS}
    return facts, logger.handlers, list(logger.handlers), logger.filters, list(logger.filters)


def _entries(
    owner: Any, attribute: str, title: str, before: list[Any], after: list[Any], successors: Successors
) -> list[Deed]:
    """Put a list of handlers or filters back, and return what was done to it."""
    living: list[Any] = getattr(owner, attribute)
    if not walk.same_items(living, before):
        living[:] = before
    removed = [item for item in before if not has(after, item)]
    added = [item for item in after if not has(before, item)]
    return [Entries(owner, attribute, title, removed, added, successors)] if removed or added else []


def _set(logger: logging.Logger, name: str, value: Any) -> None:
    if name == "level":
        logging.Logger.setLevel(logger, value)  # loggers below remember the level that holds for them
    else:
        logger.__dict__[name] = value


def _write(handler: logging.Handler, name: str, value: Any) -> None:
    handler.__dict__[name] = value
