"""Starlette, and what FastAPI shares with it: routes, middleware and exception handlers of applications and routers.

An application and a router stay the objects that they are, since a server holds them. What the candidate registers,
on a twin of its own or on the living object, is put into the living tables at the swap, in the order of a fresh start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import FunctionType, ModuleType
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from hotswap import walk
from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import Overlay, Recorded, copied
from hotswap.adapters.parts import bound_twins, definition, drop, let_go, name_of, replace_items, replace_list
from hotswap.adapters.starlette_statements import ends, is_registered_here
from hotswap.adapters.statements import Statements
from hotswap.swap import Adapter, Facts, Fate, Kept, NameChange

__all__ = ["StarletteAdapter"]

_MISSING: Any = object()

_TABLES = ("router", "routes", "user_middleware", "exception_handlers", "middleware_stack", "state")
"""Attributes that are brought up to date, or that live on; the others are taken over from the twin."""

_ROUTES = (
    *("add_api_route", "add_api_websocket_route", "add_route", "add_websocket_route", "api_route", "route"),
    *("delete", "get", "head", "options", "patch", "post", "put", "trace", "websocket", "websocket_route"),
)
"""Methods that add routes."""

_LIVES_ON = frozenset(
    {
        *_TABLES,
        # FastAPI's: what was overridden at run time, what is computed again, and what counts changes.
        "dependency_overrides",
        "openapi_schema",
        "webhooks",
        "_openapi_routes_version",
        "_native_telemetry",
        "_routes_version",
        "_low_priority_routes",
        "_frontend_routes",
    }
)


def _recorded(_: Any, handlers: Any) -> Any:
    return Recorded(handlers)


def _nothing(_: Any, __: Any) -> None:
    """The stack of middleware, as a body that adds some has to see it: not built yet."""


class StarletteAdapter(Adapter):
    """Adapts the tables of Starlette; that of an APIRouter is one too."""

    roots = (Starlette, Router)

    def __init__(self) -> None:
        self._overlay = Overlay(
            {
                Router: {"routes": copied},
                Starlette: {"user_middleware": copied, "exception_handlers": _recorded, "middleware_stack": _nothing},
            }
        )
        self._living: list[Any] = []

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living tables."""
        return self._overlay.block()

    def aside(self) -> Iterable[object]:
        """Return what was registered on living objects."""
        return [_Registered(self._overlay, living).everything() for living in self._overlay.touched()]

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are applications, or both routers: a server, or another router, holds the living one."""
        return type(twin) is type(living) and issubclass(type(living), (Starlette, Router))

    def staged(self) -> None:
        """Find the living applications and routers: which of them a change concerns is known when the swap is made."""
        self._living = [found for found in self.instances() if not self._overlay.owns(found)]

    def swap(self, facts: Facts) -> None:
        """Bring routes, middleware and handlers up to date."""
        kept = {id(pair.living): pair for pair in facts.kept if issubclass(type(pair.living), (Starlette, Router))}
        spoken: dict[int, list[str]] = {id(living): facts.went(living) for living in self._living}
        names = {
            id(living): f"{module}:{name}"
            for module, name, living, _ in bound_twins(facts.old, facts.new, (Starlette, Router))
        }
        holders: dict[int, list[Any]] = {id(living): [living] for living in self._living}
        for app in [living for living in self._living if issubclass(type(living), Starlette)]:
            router = id(app.router)
            holders.setdefault(router, [app.router]).append(app)
            spoken[router] = spoken.get(router, []) + spoken[id(app)]
            if id(app) in names:
                names.setdefault(router, names[id(app)])
            pair = kept.get(id(app))
            if pair is not None and router not in kept:
                facts.redirect(pair.twin.router, app.router)
                kept[router] = Kept(pair.twin.router, app.router, pair.touched)
        for living in self._living:
            pair = kept.get(id(living))
            twin = pair.twin if pair is not None else None
            change = _Change(facts, living, twin, _Registered(self._overlay, living), spoken[id(living)])
            change.holders = holders[id(living)]
            if issubclass(type(living), Router):
                change.routes(names.get(id(living), ""))
            else:
                change.application()
            if pair is not None:
                drop(facts, pair.twin)
                if pair.touched:
                    change.attributes()


class _Registered:
    """What module bodies of the candidate have put into the tables of one living object."""

    def __init__(self, overlay: Overlay, living: Any) -> None:
        self._overlay, self._living = overlay, living

    def entries(self, name: str) -> list[Any]:
        """The new entries of a list."""
        aside = self._overlay.aside(self._living, name) or []
        before = {id(entry) for entry in self._living.__dict__.get(name) or ()}
        return [entry for entry in aside if id(entry) not in before]

    def items(self, name: str) -> dict[Any, Any]:
        """The new items of a dict."""
        aside = self._overlay.aside(self._living, name) or {}
        before = self._living.__dict__.get(name) or {}
        again = aside.registered if isinstance(aside, Recorded) else set()
        return {key: value for key, value in aside.items() if key in again or before.get(key, _MISSING) is not value}

    def everything(self) -> list[Any]:
        """All of it, in a list of its own."""
        found = [*self.entries("routes"), *self.entries("user_middleware")]
        handlers = self.items("exception_handlers")
        return [*found, *handlers.keys(), *handlers.values()]


class _Change:
    """Makes out what becomes of one living application or router."""

    def __init__(self, facts: Facts, living: Any, twin: Any, registered: _Registered, went: list[str]) -> None:
        self.facts, self.living, self.twin, self.registered = facts, living, twin, registered
        self.went = went
        self.holders: list[Any] = [living]

    def _new(self, name: str) -> list[Any]:
        own = list(getattr(self.twin, name)) if self.twin is not None else []
        return [*own, *self.registered.entries(name)]

    # --- routes --------------------------------------------------------------------------------------------------

    def routes(self, where: str) -> None:
        """Bring a table of routes up to date, and say what becomes of each."""
        living, new = list(self.living.routes), self._new("routes")
        pairs = matched(living, new, self._key)
        taken = set(pairs.values())
        put = Statements(self.facts, self.holders, _ROUTES).put
        gone = {index for index, route in enumerate(living) if index not in taken and self._is_gone(route, put)}
        # What leads to another function under the same path has its place as well.
        left = [index for index in range(len(new)) if index not in pairs]
        places = sorted(gone)
        again = matched([living[i] for i in places], [new[i] for i in left], _path)
        self._describe(where, living, new, pairs, {left[i]: places[j] for i, j in again.items()}, gone)
        pairs.update({left[i]: places[j] for i, j in again.items()})
        for index in (*pairs.values(), *gone):
            let_go(self.facts, _endpoint(living[index]))
        wanted = [self._renewed(route) for route in ordered(living, new, pairs, gone)]
        if new or gone or any(a is not b for a, b in zip(wanted, living, strict=True)):
            replace_list(self.facts, self.living.routes, living, wanted)

    def _renewed(self, route: Any) -> Any:
        """A route of FastAPI that has looked at what changes is replaced by one that looks again."""
        if "fastapi" not in sys.modules:
            return route
        from hotswap.adapters.fastapi import renewed

        return renewed(route, self.living, self.facts)

    def _key(self, route: Any) -> Hashable:
        inside = walk.instance_dict(route) or {}
        router = inside.get("original_router")
        if router is not None:
            return (
                type(route).__name__,
                id(self.facts.translate(router)),
                getattr(route.include_context, "prefix", ""),
            )
        if "endpoint" in inside:
            return (*_path(route), name_of(inside["endpoint"]))
        return _path(route)

    def _is_gone(self, route: Any, put: Callable[[Any, Callable[[str], bool]], bool]) -> bool:
        """Whether a route that is not registered any more has to go.

        It may have been registered by a module that did not change. So it goes with its function, or with a statement
        of a changed module that spoke of it.
        """
        inside = walk.instance_dict(route) or {}
        endpoint, router = inside.get("endpoint"), inside.get("original_router")
        if endpoint is not None and (self.facts.is_gone(endpoint) or self.facts.is_gone(definition(endpoint))):
            return True
        if is_registered_here(self.facts, self.holders, route):
            return True
        if endpoint is not None and put(endpoint, lambda text: ends(str(inside.get("path")), text)):
            return True
        if router is not None:
            return any(label in text for label in self._labels(router) for text in self.went if "router" in text)
        path = inside.get("path", inside.get("host"))
        return any(f"Constant(value={path!r}" in text for text in self.went)

    def _labels(self, router: Any) -> Iterator[str]:
        """How statements of changed modules call a router, in dumps of syntax trees."""
        for module in self.facts.old.values():
            for name, value in list(module.__dict__.items()):
                if value is router:
                    yield f"Name(id={name!r},"
                elif type(value) is ModuleType or issubclass(type(value), ModuleType):
                    for attribute, inner in list(value.__dict__.items()):
                        if inner is router:
                            yield f"Attribute(value=Name(id={name!r}, ctx=Load()), attr={attribute!r},"

    def _describe(
        self,
        where: str,
        living: list[Any],
        new: list[Any],
        pairs: dict[int, int],
        again: dict[int, int],
        gone: set[int],
    ) -> None:
        module, _, name = where.partition(":")
        for index, route in enumerate(new):
            if index in pairs or index in again:
                old = living[pairs.get(index, again.get(index, 0))]
                before, after = _endpoint(old), _endpoint(route)
                if index in pairs and (before is after or _same_code(before, after)):
                    continue
                fate = Fate.CHANGED
            else:
                fate = Fate.ADDED
            at, called = module or self._home(route), name or "routes"
            self._tell(NameChange(at, called, fate, f"route {_told(route)}"))
        for index in sorted(gone - set(again.values())):
            at, called = module or self._home(living[index]), name or "routes"
            self._tell(NameChange(at, called, Fate.REMOVED, f"route {_told(living[index])}"))

    def _tell(self, change: NameChange) -> None:
        if change not in self.facts.plan.names:
            self.facts.plan.names.append(change)

    def _home(self, route: Any) -> str:
        endpoint = _endpoint(route)
        return name_of(endpoint).partition(":")[0] if endpoint is not None else type(self.living).__module__

    # --- applications --------------------------------------------------------------------------------------------

    def application(self) -> None:
        """Bring middleware and handlers up to date; the stack is built again by the next request, if it has to be."""
        stale = self._middleware()
        stale |= self._handlers()
        stack = self.living.__dict__.get("middleware_stack")
        if stale:
            # Also if none was built yet: a request that comes before a rollback builds one.
            self.facts.writes.late(_Stack(self.facts, self.living.__dict__, stack).ops)

    def _middleware(self) -> bool:
        """Middleware is added in front: the last that was added is the first in the list."""
        living, new = list(self.living.user_middleware), self._new("user_middleware")
        pairs = matched(living, new, self._middleware_key)
        taken = set(pairs.values())
        gone = {index for index, entry in enumerate(living) if index not in taken and self._middleware_is_gone(entry)}
        # One that is added as before is the same one, with what it remembers.
        kept = [
            living[pairs[i]] if i in pairs and self._alike(living[pairs[i]], entry) else entry
            for i, entry in enumerate(new)
        ]
        wanted = ordered(living, kept, pairs, gone)
        if len(wanted) == len(living) and all(a is b for a, b in zip(wanted, living, strict=True)):
            self.facts.claim(self.living.user_middleware)
            return False
        replace_list(self.facts, self.living.user_middleware, living, wanted)
        return True

    def _middleware_key(self, entry: Middleware) -> Hashable:
        cls = self.facts.translate(entry.cls)
        return (id(cls) if walk.is_class(cls) else name_of(cls), *sorted(map(name_of, _functions(entry))))

    def _middleware_is_gone(self, entry: Middleware) -> bool:
        parts = [definition(entry.cls), *map(definition, _functions(entry))]
        called = f"{getattr(parts[0], '__name__', '')!r}"
        named = (f"id={called}", f"attr={called}")
        return any(map(self.facts.is_gone, parts)) or any(label in text for label in named for text in self.went)

    def _alike(self, before: Middleware, after: Middleware) -> bool:
        """Whether middleware is added with the same arguments. What compares by code of its own counts as different."""
        one = [*before.args, *sorted(before.kwargs.items(), key=lambda item: item[0])]
        other = [*after.args, *sorted(after.kwargs.items(), key=lambda item: item[0])]
        return len(one) == len(other) and all(map(self._same, one, other))

    def _same(self, before: Any, after: Any) -> bool:
        if self.facts.successor(before) is self.facts.translate(after) or before is after:
            return True
        kind = type(before)
        if kind is not type(after):
            return False
        if kind in (tuple, list):
            return len(before) == len(after) and all(map(self._same, before, after))
        return kind in (str, bytes, int, float, bool) and bool(before == after)

    def _handlers(self) -> bool:
        living = self.living.exception_handlers
        new = dict(self.twin.exception_handlers) if self.twin is not None else {}
        new.update(self.registered.items("exception_handlers"))
        wanted = {self.facts.translate(key): value for key, value in new.items()}
        put = Statements(self.facts, self.holders, ("add_exception_handler", "exception_handler")).put
        for key, value in list(living.items()):
            if key not in wanted and (any(map(self.facts.is_gone, (definition(value), key))) or put(value)):
                wanted[key] = _MISSING
        stale = any(
            self.facts.successor(living.get(key, _MISSING)) is not value and living.get(key, _MISSING) is not value
            for key, value in wanted.items()
        )
        replace_items(self.facts, living, wanted, _MISSING)
        return stale

    # --- settings ------------------------------------------------------------------------------------------------

    def attributes(self) -> None:
        """Take over the other attributes of the twin: title, debug, lifespan, prefix."""
        own = self.living.__dict__
        for name, value in list(self.twin.__dict__.items()):
            if name not in _LIVES_ON and own.get(name, _MISSING) is not value:
                self.facts.writes.item(own, name, self.facts.translate(value))


class _Stack:
    """Has the stack of middleware built anew by the next request. Lives as long as the swap can be taken back."""

    def __init__(self, facts: Facts, inside: dict[str, Any], before: Any) -> None:
        self._writes, self._inside, self._before = facts.writes, inside, before

    def ops(self, forward: bool) -> Iterator[tuple[Any, ...]]:
        """Yield the write; in the other direction the old stack stands again."""
        self._writes.hold(self._inside.get("middleware_stack"))
        yield (dict.__setitem__, self._inside, "middleware_stack", None if forward else self._before)


def _functions(entry: Middleware) -> list[Any]:
    """The functions among the arguments of middleware: ``dispatch`` of what `app.middleware` made."""
    return [value for value in (*entry.args, *entry.kwargs.values()) if type(value) is FunctionType]


def _path(route: Any) -> tuple[Any, ...]:
    """What a request has to look like."""
    inside = walk.instance_dict(route) or {}
    methods: Any = inside.get("methods")
    return (
        type(route).__name__,
        inside.get("path", inside.get("host")),
        frozenset(methods) if type(methods) in (set, frozenset, list, tuple) else None,
    )


def _endpoint(route: Any) -> Any:
    return (walk.instance_dict(route) or {}).get("endpoint")


def _same_code(before: Any, after: Any) -> bool:
    one, other = definition(before), definition(after)
    return bool(getattr(one, "__code__", one) == getattr(other, "__code__", other))


def _told(route: Any) -> str:
    if isinstance(route, Route):
        return f"{','.join(sorted((route.methods or {'*'}) - {'HEAD'})) or 'HEAD'} {route.path}"
    if isinstance(route, WebSocketRoute):
        return f"WEBSOCKET {route.path}"
    if isinstance(route, Mount):
        return f"mount {route.path or '/'}"
    if isinstance(route, Host):
        return f"host {route.host}"
    return f"{type(route).__name__}" if isinstance(route, BaseRoute) else name_of(route)
