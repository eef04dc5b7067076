"""Gates: what SQLAlchemy makes in threads that load a candidate is led to the adapter. Other threads are not led.

Guarantees: other threads map classes, make tables and register listeners as ever. Assumes: the names at which
SQLAlchemy 2.0 and 2.1 look up what maps a class, makes a table, registers a listener.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import sqlalchemy
import sqlalchemy.event.api
import sqlalchemy.util.typing
from sqlalchemy.orm import decl_api, events, instrumentation, mapperlib

from hotswap import walk
from hotswap.adapters.gates import Gates
from hotswap.adapters.sqlalchemy_aside import VIEWED, Aside, Seen

__all__ = ["Led", "gates"]


class Led(Protocol):
    """What the gates ask of an adapter."""

    put_aside: Aside | None
    modules: Mapping[str, ModuleType]

    def is_ours(self, value: Any) -> bool:
        """Whether a class or a function is of the candidate."""

    def is_below(self, cls: type, base: type) -> bool:
        """Whether a class of the candidate is a subclass of a living one, by way of its twin."""

    def living_bases(self, cls: Any) -> list[type]:
        """Return the living classes whose twins are bases of a class of the candidate."""

    def map(self, original: Callable[..., Any], registry: Any, cls: Any, arguments: Any, options: Any) -> Any:
        """Map a class of the candidate."""

    def table(self, make: Callable[..., Any], name: Any, metadata: Any, arguments: Any, options: Any) -> Any:
        """Return the table of a name."""

    def listens(self, target: Any, function: Any) -> bool:
        """Whether a listener of the candidate has to be registered."""


class _Gates:
    """Stands at the names while a candidate is loaded."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._names = Gates(self._open)
        self._views = Gates(self._open_views)

    @property
    def _led(self) -> Led | None:
        return getattr(self._here, "adapter", None)

    @contextmanager
    def lead(self, adapter: Led) -> Iterator[None]:
        """Lead this thread to an adapter in this block."""
        outer = self._led, getattr(self._here, "views", 0)
        self._names.hold()
        self._here.adapter, self._here.views = adapter, 0
        try:
            if adapter.put_aside is not None:
                self.view()
            yield
        finally:
            views = self._here.views
            self._here.adapter, self._here.views = outer
            self._views.release(views)
            self._names.release()

    def view(self) -> None:
        """From now on, show this thread what its adapter has put aside, until the block ends.

        Other threads meanwhile pay for a Python function with each attribute of a mapper that they read.
        """
        self._here.views += 1
        self._views.hold()

    def _open(self) -> None:
        configurator: Any = getattr(decl_api, "_ORMClassConfigurator", decl_api)

        def mapping(original: Callable[..., Any]) -> Callable[..., Any]:
            def map_class(registry: Any, cls: Any, *arguments: Any, **options: Any) -> Any:
                adapter = self._led
                if adapter is None or not adapter.is_ours(cls):
                    return original(registry, cls, *arguments, **options)
                return adapter.map(original, registry, cls, arguments, options)

            return map_class

        def making(original: Callable[..., Any]) -> Callable[..., Any]:
            def make_table(*arguments: Any, **options: Any) -> Any:
                adapter = self._led
                if adapter is None or len(arguments) < 2:
                    return original(*arguments, **options)
                name, metadata, *rest = arguments
                return adapter.table(original, name, metadata, rest, options)

            return make_table

        def keying(original: Callable[..., Any]) -> Callable[..., Any]:
            def event_key(target: Any, identifier: str, function: Any) -> Any:
                adapter = self._led
                if adapter is None or not adapter.is_ours(function) or adapter.listens(target, function):
                    return original(target, identifier, function)
                return _NoListener()

            return event_key

        def populating(original: Callable[..., Any]) -> Callable[..., Any]:
            def populate(cls: Any, subject: Any) -> None:
                adapter = self._led
                original(cls, subject)
                if adapter is not None and adapter.is_ours(cls):
                    for living in adapter.living_bases(cls):
                        _listen(original.__self__.all_holds.get(living, {}), subject)  # type: ignore[attr-defined]  # bound

            return populate

        def is_subclass(cls: type, base: Any) -> bool:
            adapter = self._led
            return builtins.issubclass(cls, base) or (adapter is not None and adapter.is_below(cls, base))

        for name in ("_as_declarative", "_mapper"):
            self._wrap(configurator, name, mapping)
        self._wrap(sqlalchemy.Table, "_new", making)
        self._wrap(sqlalchemy.event.api, "_event_key", keying)
        for hold in (events._InstanceEventsHold, events._MapperEventsHold):
            self._wrap(hold, "populate", populating)
        self._names.put(mapperlib, "issubclass", is_subclass)
        self._names.put(sqlalchemy.util.typing, "sys", _Sys(lambda: self._led))

    def _wrap(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        made: Any = wrap(getattr(owner, name))
        self._names.put(owner, name, staticmethod(made) if walk.is_class(owner) else made)

    def _open_views(self) -> None:
        here = self._here

        def seen(living: Any) -> Seen | None:
            adapter = getattr(here, "adapter", None)
            return None if adapter is None or adapter.put_aside is None else adapter.put_aside.look(living)

        def get(living: Any, name: str) -> Any:
            found = seen(living)
            return object.__getattribute__(living, name) if found is None else found.get(name)

        def put(living: Any, name: str, value: Any) -> None:
            found = seen(living)
            object.__setattr__(living, name, value) if found is None else found.set(name, value)

        def delete(living: Any, name: str) -> None:
            found = seen(living)
            object.__delattr__(living, name) if found is None else found.delete(name)

        def install(manager: Any, name: str, value: Any) -> None:
            if seen(manager) is None:
                original(manager, name, value)
            else:
                here.adapter.put_aside.install(manager.class_, name, value)

        def items(method: Any) -> Callable[..., Any]:
            def call(manager: Any, *arguments: Any) -> Any:
                found = seen(manager)
                return method(manager if found is None else found.items, *arguments)

            return call

        for cls in VIEWED:
            for name, function in (("__getattribute__", get), ("__setattr__", put), ("__delattr__", delete)):
                self._views.put(cls, name, function)
        manager: Any = instrumentation.ClassManager
        original = manager.install_descriptor
        self._views.put(manager, "install_descriptor", install)
        for name in ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__", "__len__"):
            self._views.put(manager, name, items(getattr(dict, name)))
        for name in ("get", "keys", "values", "items", "pop", "setdefault", "update"):
            self._views.put(manager, name, items(getattr(dict, name)))


def _listen(held: Mapping[Any, tuple[Any, ...]], subject: Any) -> None:
    """Have a new class hear what is told to listeners on a living base of its own, which it does not have yet."""
    for key, raw, propagate, retval, more in list(held.values()):
        if propagate:
            key.with_dispatch_target(subject).listen(raw=raw, propagate=False, retval=retval, **more)


gates = _Gates()


class _Sys:
    """Stands for `sys` where SQLAlchemy looks for the names in annotations: in the candidate's own modules."""

    def __init__(self, led: Callable[[], Led | None]) -> None:
        self._led = led

    def __getattr__(self, name: str) -> Any:
        adapter = self._led()
        if name != "modules" or adapter is None:
            return getattr(sys, name)
        return ChainMap(dict(adapter.modules), sys.modules)


class _NoListener:
    """Stands for a listener of the candidate: the living one, which leads to its code, is registered already."""

    def listen(self, *arguments: Any, **options: Any) -> None:
        """Do nothing."""
