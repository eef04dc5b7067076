"""What a candidate did to loggers and handlers, and how it is made again.

| the module body | at the commit |
|---|---|
| takes a handler off and puts one on that is configured alike | the living one stays, and the other is closed |
| takes one off and puts another one on | the same |
| puts one on | the same, unless there is another one of the same class: the running version put it on at its import |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Effect, Outcome
from hotswap.effects.log_handlers import LOCK, NAMES, REFERENCES, Successors, alike, has

__all__ = ["Entries", "Fact", "Name"]


class Entries(Deed):
    """Handlers or filters that were added and removed.

    Arguments:
        owner: a logger, or a handler that has filters.
        attribute: the name of its list.
        title: what it is called in a sentence.
        removed, added: the entries, in their order.
        successors: which of them stay.
    """

    def __init__(
        self,
        owner: Any,
        attribute: str,
        title: str,
        removed: list[Any],
        added: list[Any],
        successors: Successors,
    ) -> None:
        super().__init__("logging", f"changes {attribute} of {title}", Outcome.UNDONE)
        self._owner, self._attribute, self._title = owner, attribute, title
        self._removed, self._added, self._successors = removed, added, successors
        self._there: list[Any] | None = None
        self._made: list[Any] = []

    @property
    def silent(self) -> bool:  # type: ignore[override]  # it is known when somebody asks, as successors are
        """Whether it puts something in the place of something else, which is told for all loggers at once."""
        return not self._told()

    def fact(self, allowed: Iterable[str]) -> Effect:
        """Say which of them stay."""
        self.what = self._told()
        return super().fact(allowed)

    def _told(self) -> str:
        there = list(getattr(self._owner, self._attribute))
        instead = self._successors.instead
        added = [item for item in self._added if id(item) not in instead or not has(there, instead[id(item)][1])]
        gone = [old for _, old in instead.values()]
        removed = [item for item in self._removed if not has(gone, item)]
        return _told(self._attribute, self._title, removed, added, self._successors)

    def puts(self, owner: Any, attribute: str, living: Any) -> bool:
        """Whether it puts a living entry, or what takes its place, on the list of an object."""
        if owner is not self._owner or attribute != self._attribute:
            return False
        instead = self._successors.instead
        return any(self._successors.of(item, lambda o: instead.get(id(o), (o, o))[1]) is living for item in self._added)

    def make(self, living: Callable[[Any], Any]) -> None:
        """Make it again, in the list as it is now."""
        with LOCK:
            entries: list[Any] = getattr(self._owner, self._attribute)
            self._there = list(entries)
            entries[:] = self._made = self._after(self._there, living)

    def _after(self, there: list[Any], living: Callable[[Any], Any]) -> list[Any]:
        """The entries once it is live.

        Arguments:
            there: the entries now.
            living: gives the object that is live after the swap for one of the candidate.
        """
        coming = [self._successors.of(item, living) for item in self._added]
        going = [item for item in self._removed if not has(coming, item)]
        # What was taken off makes room for one of its class each. What else is of a class that is there is there.
        free = list(going)
        present = [item for item in there if not has(self._removed, item) and not has(coming, item)]
        come: list[Any] = []
        for item in coming:
            kind = living(type(item))
            if has(there, item) or _take(free, kind, living) or not _take(present, kind, living):
                self._lead(item)
                come.append(item)
        if not going and all(has(there, item) for item in come):
            return there
        return [item for item in there if not has(going, item) and not has(come, item)] + come

    def _lead(self, item: Any) -> None:
        """Give a handler of the candidate's that hands on to another one the living one, if that stays."""
        target = item.__dict__.get("target") if issubclass(type(item), logging.Handler) else None
        if target is not None and self._successors.is_kept(target):
            item.__dict__["target"] = self._successors.of(target, lambda one: one)

    def settle(self) -> None:
        """Close the twins of handlers that stay."""
        for item in self._added:
            if self._successors.is_kept(item):
                _close(item)

    def take_back(self) -> None:
        """Put back what was there; what others have added or taken off since stays so."""
        there, self._there = self._there, None
        if there is None:
            return
        with LOCK:
            entries: list[Any] = getattr(self._owner, self._attribute)
            since = [item for item in entries if not has(self._made, item)]
            gone = [item for item in self._made if not has(entries, item)]
            entries[:] = [item for item in there if not has(gone, item)] + since
        self._made = []

    def drop(self) -> None:
        """Close the candidate's handlers."""
        for item in self._added:
            _close(item)


def _take(items: list[Any], kind: type, living: Callable[[Any], Any]) -> bool:
    """Whether there is one of a class, which is then taken."""
    for position, item in enumerate(items):
        if living(type(item)) is kind:
            del items[position]
            return True
    return False


def _close(handler: Any) -> None:
    """Close a handler of the candidate's. One of a class of its own is its business: closing it would run its code."""
    if not issubclass(type(handler), logging.Handler):
        return
    if walk.class_home(type(handler)).partition(".")[0] != "logging":
        with LOCK:  # nor is it to be run when the process ends, or when somebody configures logging
            REFERENCES[:] = [reference for reference in REFERENCES if reference() is not handler]
        return
    name = handler.__dict__.get("_name")
    there = NAMES.get(name)
    handler.close()
    if there is not None and there is not handler:
        NAMES[name] = there  # the living handler of the same name, which went with this one


def _told(attribute: str, title: str, removed: Iterable[Any], added: Iterable[Any], successors: Successors) -> str:
    kept = [successors.kept[id(item)][1] for item in added if successors.is_kept(item)]
    come = [item for item in added if not successors.is_kept(item)]
    going = [item for item in removed if not has(kept, item)]
    words = [f"adds {_classes(come)} to {title}"] if come else []
    words += [f"takes {_classes(going)} off {'it' if words else title}"] if going else []
    words += [f"sets up {attribute} of {title} again ({_classes(kept)}), as they are: they stay"] if kept else []
    return ", and ".join(words)


def _classes(items: Iterable[Any]) -> str:
    return " and ".join(f"a {walk.class_name(type(item))}" for item in items)


class Fact(Deed):
    """An attribute that was set: a level or a switch of a logger, a level or a formatter of a handler.

    Arguments:
        owner: the logger or the handler.
        name: of the attribute.
        there: its value before.
        after: its value.
        title: what the owner is called in a sentence.
        write: sets it.
    """

    def __init__(
        self, owner: Any, name: str, there: Any, after: Any, title: str, write: Callable[[Any, str, Any], None]
    ) -> None:
        if name == "level":
            value = logging.getLevelName(after)
        else:
            value = repr(after) if type(after) in (bool, str) else f"a {walk.class_name(type(after))}"
        super().__init__("logging", f"sets {name.lstrip('_')} of {title} to {value}", Outcome.UNDONE)
        self._owner, self._name, self._there, self._after, self._write = owner, name, there, after, write
        self._made: list[Any] = []
        self._is_alike: bool | None = None

    @property
    def silent(self) -> bool:  # type: ignore[override]  # it is compared when somebody asks, as successors are
        """Whether what was there is configured alike, and stays."""
        if self._is_alike is None:
            self._is_alike = alike(self._there, self._after)
        return self._is_alike

    def make(self, living: Callable[[Any], Any]) -> None:
        """Set it."""
        if self.silent:
            return
        self._made.append(self._owner.__dict__.get(self._name))
        if type(self._after) not in (int, bool, str):
            self._after = living(self._after)
        self._write(self._owner, self._name, self._after)

    def take_back(self) -> None:
        """Set what was there, unless somebody has set it since."""
        while self._made:
            there = self._made.pop()
            now = self._owner.__dict__.get(self._name)
            if now is self._after or (type(now) is int is type(self._after) and now == self._after):
                self._write(self._owner, self._name, there)


class Name(Deed):
    """A name under which a handler was entered.

    Arguments:
        name: the name.
        handler: the handler.
        successors: which handler stays in whose place.
    """

    silent = True

    def __init__(self, name: str, handler: Any, successors: Successors) -> None:
        super().__init__("logging", f"enters a handler under the name {name!r}", Outcome.UNDONE)
        self._title, self._handler, self._successors = name, handler, successors
        self._made: list[tuple[Any, Any]] = []

    def make(self, living: Callable[[Any], Any]) -> None:
        """Enter the handler that is live."""
        with LOCK:
            handler = self._successors.of(self._handler, living)
            self._made.append((NAMES.get(self._title), handler))
            NAMES[self._title] = handler

    def take_back(self) -> None:
        """Enter the one that was, unless somebody has entered another one."""
        with LOCK:
            while self._made:
                there, handler = self._made.pop()
                if NAMES.get(self._title) is handler:
                    if there is None:
                        del NAMES[self._title]
                    else:
                        NAMES[self._title] = there

    def drop(self) -> None:
        """Forget it."""
        self._handler = None
