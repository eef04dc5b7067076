"""Handlers and filters of loggers: kept open while a candidate is loaded, and compared by how they are configured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome

__all__ = ["LOCK", "NAMES", "REFERENCES", "KeptOpen", "Successors", "alike", "forget_handlers", "handler_facts", "has"]

LOCK: Any = logging._lock  # type: ignore[attr-defined]  # who configures logging holds it
REFERENCES: list[Any] = logging._handlerList  # type: ignore[attr-defined]
"""Weak references to all handlers, which are closed when the process ends, or when logging is configured."""
NAMES: Any = logging._handlers  # type: ignore[attr-defined]
"""Handlers by their names."""

_NOTHING: Any = object()

_FACTS = ("level", "formatter", "_name", "target")
"""The attributes of a handler that configure it, and that can be set."""

_STATE = frozenset(
    ("lock", "_closed", "buffer", "rolloverAt", "sock", "socket", "retryTime", "retryPeriod", "dev", "ino", "listener")
)
"""The attributes of handlers of the standard library that have come to be in its use, and say nothing of how."""

_DEEP = 16
"""How many steps from a handler objects are compared."""


def forget_handlers(kind: type) -> None:
    """Have `logging` forget the handlers of a class that is dropped: nobody is to close them when the process ends.

    Arguments:
        kind: the class; of others nothing is forgotten.
    """
    if logging.Handler in walk.mro(kind):
        with LOCK:
            REFERENCES[:] = [reference for reference in REFERENCES if type(reference()) is not kind]
            for name, handler in list(NAMES.items()):
                if type(handler) is kind:
                    NAMES.pop(name, None)


class KeptOpen:
    """Stands in the place of `close` of a living handler: what works for a candidate does not close it.

    Configuring logging closes all handlers there are. Most can't be opened again as they were: a file that is written
    anew would lose what is in it, a buffer is dropped, a thread ends.

    Arguments:
        handler: the handler.
        is_ours: whether the calling thread works for the candidate.
    """

    def __init__(self, handler: logging.Handler, is_ours: Callable[[], bool]) -> None:
        self._handler, self._is_ours = handler, is_ours
        self._there = handler.__dict__.get("close", _NOTHING)
        self._over = False
        handler.__dict__["close"] = self

    def __call__(self) -> None:
        """Close it, if somebody else wants it."""
        if not self._over and self._is_ours():
            return
        if self._there is _NOTHING:
            type(self._handler).close(self._handler)
        else:
            self._there()

    def end(self) -> None:
        """Put back what was there, unless somebody has put something else there."""
        self._over = True
        facts, there = self._handler.__dict__, self._there
        if facts.get("close") is self:
            while type(there) is KeptOpen and there._over:  # another patcher's, which has ended meanwhile
                there = there._there
            if there is _NOTHING:
                del facts["close"]
            else:
                facts["close"] = there


def handler_facts(handler: logging.Handler) -> dict[str, Any]:
    """Return how a handler is configured. The file of one that rotates is no part of that."""
    facts = walk.instance_dict(handler) or {}
    names = (*_FACTS, "stream") if type(handler) is logging.StreamHandler else _FACTS
    return {name: facts[name] for name in names if name in facts}


def has(items: list[Any], item: Any) -> bool:
    """Whether an object is in a list, without asking it whether it is equal to another one."""
    return any(item is other for other in items)


def same_class(one: type, other: type) -> bool:
    """Whether two classes are the same, or one is that of a candidate and the other the living one."""
    return one is other or (
        walk.class_name(one) == walk.class_name(other) and walk.class_home(one) == walk.class_home(other)
    )


def alike(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two handlers, filters or formatters are configured alike. Runs no code of theirs."""
    if one is other:
        return True
    kind = type(one)
    if not same_class(kind, type(other)) or depth > _DEEP:
        return False
    if kind in (str, bytes, int, float, bool):
        return bool(one == other)
    if kind in (list, tuple) or (issubclass(kind, (list, tuple)) and walk.class_home(kind) == "logging.config"):
        return len(one) == len(other) and all(alike(a, b, depth + 1) for a, b in zip(one, other, strict=True))
    if kind is dict:
        return (
            all(type(key) is str for key in (*one, *other))
            and one.keys() == other.keys()
            and all(alike(one[key], other[key], depth + 1) for key in one)
        )
    if kind is FunctionType:
        plain = "<" not in one.__qualname__ and one.__closure__ is None is other.__closure__
        return plain and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
    if not issubclass(kind, (logging.Handler, logging.Filter, logging.Formatter, logging.PercentStyle)) and not (
        depth == 0 and _is_plain(kind)
    ):
        return False
    mine, theirs = walk.instance_dict(one), walk.instance_dict(other)
    if mine is None or theirs is None:
        return False
    state = _STATE | {"stream"} if issubclass(kind, logging.FileHandler) else _STATE
    return alike(
        {name: value for name, value in mine.items() if name not in state},
        {name: value for name, value in theirs.items() if name not in state},
        depth + 1,
    )


def _is_plain(kind: type) -> bool:
    """Whether all that instances of a class have is in their `__dict__`."""
    return not walk.is_written_in_c(kind) and not any(walk.slot_descriptors(cls) for cls in walk.mro(kind))


class Successors(Deed):
    """Which living object stays, because the one that was to take its place is configured alike.

    They are compared when somebody asks first. Looking at the attributes of an object may give it a dict that it had
    not had, and while it is found out who holds what of the candidate, that would look like somebody else's.

    Arguments:
        removed: living handlers and filters that were taken off some logger.
        added: those of the candidate that were put on one.
    """

    silent = True

    def __init__(self, removed: list[Any], added: list[Any]) -> None:
        super().__init__("logging", "puts on what is there already", Outcome.UNDONE)
        self._removed, self._added = removed, added
        self._kept: dict[int, tuple[Any, Any]] | None = None
        self._named: dict[int, tuple[Any, Any]] = {}
        self.instead: dict[int, tuple[Any, Any]] = {}
        """Id of one of the candidate -> (it, the living one whose place it takes), where a name says so."""

    def lead(self, kept: Iterable[tuple[Any, Any]], replaced: Iterable[tuple[Any, Any]]) -> None:
        """Learn what names say: that comes before any likeness.

        Arguments:
            kept: those of the candidate that are dropped, each with the living one.
            replaced: living ones, each with the one of the candidate that takes its place.
        """
        # Nothing else is noted: this outlives the way back, and names may stand for a lot of data.
        came, gone = ({id(item) for item in items} for items in (self._added, self._removed))
        self._kept, self._named = None, {id(twin): (twin, living) for twin, living in kept if id(twin) in came}
        self.instead = {id(new): (new, old) for old, new in replaced if id(new) in came or id(old) in gone}

    @property
    def kept(self) -> dict[int, tuple[Any, Any]]:
        """Id of the one of the candidate -> (it, the living one)."""
        if self._kept is None:
            self._kept = {id(item): self._named[id(item)] for item in self._added if id(item) in self._named}
            settled = {id(living) for _, living in (*self._named.values(), *self.instead.values())}
            free = [item for item in self._removed if id(item) not in settled]
            for item in self._added:
                if id(item) in self._kept or id(item) in self.instead:
                    continue
                for position, living in enumerate(free):
                    if alike(living, item):
                        self._kept[id(item)] = (item, living)
                        del free[position]
                        break
        return self._kept

    def drop(self) -> None:
        """Forget them."""
        self._removed, self._added, self._kept = [], [], {}
        self._named, self.instead = {}, {}

    def of(self, item: Any, living: Callable[[Any], Any]) -> Any:
        """Return what is live after the swap for one of the candidate."""
        return self.kept[id(item)][1] if id(item) in self.kept else living(item)

    def is_kept(self, item: Any) -> bool:
        """Whether a living one stays in its place."""
        return id(item) in self.kept
