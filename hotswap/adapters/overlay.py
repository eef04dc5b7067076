"""Overlays: while a module body of the candidate runs, its thread works with copies of living registries.

A registry is an attribute of an instance: ``router.routes``. For as long as a block is open, a data descriptor stands
in the class of the instance. To the thread of the block it shows a copy, and keeps there what the thread puts in; to
every other thread it shows what the instance has. So the methods of the framework need not be known, only the names of
the attributes.

Objects that the thread makes itself in the block belong to the candidate; they are not overlaid.

Guarantees: no other thread sees what is put aside. Assumes: the attributes are plain ones, kept in the `__dict__` of
the instance, and set by its `__init__`; a body that registers from a thread of its own is not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hotswap import walk

__all__ = ["Overlay", "Recorded", "copied", "same"]

_MISSING: Any = object()

Show = Callable[[Any, Any], Any]
"""Makes what the thread sees of an attribute, of the instance and the value that it has."""


def copied(_: Any, value: Any) -> Any:
    """Return a copy of a list, dict or set, and of those in it; anything else as it is."""
    kind = type(value)
    if kind is list:
        return [copied(None, item) for item in list(value)]
    if kind is set:
        return set(value)
    if issubclass(kind, dict):
        made = value.copy() if kind is not dict else dict(value)
        for key, item in list(made.items()):
            made[key] = copied(None, item)
        return made
    return value


class Recorded(dict[Any, Any]):
    """A copy of a dict that knows what was put into it: items that were there as well."""

    def __init__(self, items: Mapping[Any, Any]) -> None:
        super().__init__(items)
        self.registered: set[Any] = set()
        self.defaults: dict[Any, Any] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.registered.add(key)
        super().__setitem__(key, value)

    def update(self, *others: Any, **more: Any) -> None:
        """Put items into it, as `dict.update` does."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def __ior__(self, others: Any) -> Recorded:  # type: ignore[misc]  # it is as strict as `dict.update`
        self.update(others)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Put an item into it if there is none; `defaults` notes what it would have put there otherwise."""
        if key in self:
            self.defaults[key] = default
        else:
            self[key] = default
        return self[key]


def same(_: Any, value: Any) -> Any:
    """Return the value itself: the thread may put another one aside, and sees what all see until then."""
    return value


class Overlay:
    """What one candidate has put aside. Lives as long as its adapter.

    Arguments:
        shown: class -> name of an attribute -> what makes the copy of it. Subclasses are overlaid too.
    """

    def __init__(self, shown: Mapping[type, Mapping[str, Show]]) -> None:
        self._shown = shown
        self._aside: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._own: dict[int, Any] = {}

    @contextmanager
    def block(self) -> Iterator[None]:
        """Show copies to the thread that is in this block."""
        thread = threading.get_ident()
        with _lock:  # none of them may be taken out between being found and being entered
            views = [_view(cls, name) for cls, attributes in self._shown.items() for name in attributes]
            for view in views:
                view.enter(thread, self)
        try:
            yield
        finally:
            for view in views:
                view.leave(thread)

    def owns(self, instance: Any) -> bool:
        """Whether the candidate made an object."""
        return id(instance) in self._own

    def made(self) -> list[Any]:
        """Return the objects that the candidate made."""
        return list(self._own.values())

    def is_living(self, instance: Any) -> bool:
        """Whether an object that the candidate did not make was there before: it has some of the attributes already."""
        names = [name for cls in walk.mro(type(instance)) for name in self._shown.get(cls, ())]
        return any(name in instance.__dict__ for name in names)

    def own(self, instance: Any) -> None:
        """Note an object that the candidate makes."""
        self._own[id(instance)] = instance

    def touched(self) -> list[Any]:
        """Return the living objects of which something was looked at, each once."""
        return list({id(instance): instance for instance, _ in self._aside.values()}.values())

    def aside(self, instance: Any, name: str, default: Any = None) -> Any:
        """Return what stands aside for an attribute of a living object, or the default if nobody looked at it."""
        return self._aside.get((id(instance), name), (None, default))[1]

    def show(self, instance: Any, name: str, value: Any) -> Any:
        """Return what the thread sees of an attribute; it is copied when it is seen first."""
        key = (id(instance), name)
        if key not in self._aside:
            makers = [self._shown[cls][name] for cls in walk.mro(type(instance)) if name in self._shown.get(cls, ())]
            self._aside[key] = (instance, makers[0](instance, value))
        return self._aside[key][1]

    def forget(self, instance: Any, name: str) -> None:
        """Let the thread see an attribute as it is now, when it looks again."""
        self._aside.pop((id(instance), name), None)

    def put(self, instance: Any, name: str, value: Any) -> None:
        """Put a new value of an attribute aside."""
        self._aside[id(instance), name] = (instance, value)


class _View:
    """Stands in a class for one attribute while a block is open. Guards its own going in and out by `_lock`."""

    __slots__ = ("_default", "_open", "cls", "name")

    def __init__(self, cls: type, name: str) -> None:
        self.cls, self.name = cls, name
        self._default: Any = _MISSING
        self._open: dict[int, list[Overlay]] = {}

    def enter(self, thread: int, overlay: Overlay) -> None:
        """Show an overlay to a thread."""
        with _lock:
            if not self._open:
                self._default = self.cls.__dict__.get(self.name, _MISSING)
                setattr(self.cls, self.name, self)
            self._open.setdefault(thread, []).append(overlay)

    def leave(self, thread: int) -> None:
        """Show the thread what it saw before."""
        with _lock:
            self._open[thread].pop()
            if not self._open[thread]:
                del self._open[thread]
            if not self._open:
                if self._default is _MISSING:
                    delattr(self.cls, self.name)
                else:
                    setattr(self.cls, self.name, self._default)
                del _views[self.cls, self.name]

    def _overlay(self, instance: Any) -> Overlay | None:
        overlays = self._open.get(threading.get_ident())
        return overlays[-1] if overlays and not overlays[-1].owns(instance) else None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self if self._default is _MISSING else self._default
        value = instance.__dict__.get(self.name, self._default)
        if value is _MISSING:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
        overlay = self._overlay(instance)
        if overlay is None and value is self._default and hasattr(type(value), "__get__"):
            return value.__get__(instance, owner)  # a cached property that nobody has asked for yet
        return value if overlay is None else overlay.show(instance, self.name, value)

    def __set__(self, instance: Any, value: Any) -> None:
        overlay = self._overlay(instance)
        if overlay is not None and overlay.is_living(instance):
            overlay.put(instance, self.name, value)
            return
        if overlay is not None:
            overlay.own(instance)
        instance.__dict__[self.name] = value

    def __delete__(self, instance: Any) -> None:
        if self._overlay(instance) is None:
            del instance.__dict__[self.name]


_views: dict[tuple[type, str], _View] = {}
"""What stands in classes now."""

_lock = threading.RLock()


def _view(cls: type, name: str) -> _View:
    with _lock:
        return _views.setdefault((cls, name), _View(cls, name))
