"""FastAPI: what it derives from functions and models, and keeps.

The tables of routes are Starlette's, and its adapter cares for them. A route of FastAPI has looked at the signature of
its function, at those of its dependencies and at the models in them when it was made. So a route that uses something
changed is replaced by one that looks again when it is first used, after the swap. Routes of included routers are
derived by FastAPI itself, when the version of a router changes; the document of the API too.
"""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import fastapi.routing
from fastapi import FastAPI
from fastapi.datastructures import Default
from fastapi.dependencies import models
from fastapi.dependencies.utils import get_typed_return_annotation
from fastapi.params import Depends
from fastapi.routing import APIRoute, APIRouter, APIWebSocketRoute

from hotswap import walk
from hotswap.adapters.fastapi_overrides import MISSING, Since, changed_overrides, hashes_quietly, recorded
from hotswap.adapters.overlay import Overlay, Recorded, copied, same
from hotswap.adapters.parts import definition, merge_list, name_of
from hotswap.swap import Adapter, Facts, Op

__all__ = ["FastAPIAdapter", "renewed"]

_MISSING: Any = object()

_DERIVED = frozenset(
    {
        "_embed_body_fields",
        "app",
        "body_field",
        "dependant",
        "is_json_stream",
        "is_sse_stream",
        "response_field",
        "response_fields",
        "stream_item_field",
        "stream_item_type",
    }
)
"""Attributes of a route that FastAPI derives from its function and from models."""

_STEP = 1 << 20
"""How far the version of a router moves in a swap. FastAPI adds up those of included routers, which may go."""


class FastAPIAdapter(Adapter):
    """Adapts what FastAPI has beyond Starlette."""

    roots = (FastAPI, APIRouter, Depends)

    def __init__(self) -> None:
        events = {"on_startup": copied, "on_shutdown": copied, "lifespan_context": same}
        self._overlay = Overlay(
            {
                APIRouter: {
                    **events,
                    "_routes_version": same,
                    "_low_priority_routes": copied,
                    "_frontend_routes": same,
                },
                FastAPI: {"dependency_overrides": recorded, "openapi_schema": same},
            }
        )
        self._living: list[Any] = []

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living applications and routers."""
        return self._overlay.block()

    def staged(self) -> None:
        """Find the living applications, routers and dependencies."""
        self._living = [found for found in self.instances() if not self._overlay.owns(found)]

    def aside(self) -> Iterable[object]:
        """Return what was registered on living objects."""
        for living in self._overlay.touched():
            yield [*self._functions(living, "on_startup"), *self._functions(living, "on_shutdown")]
            put, defaults = self._overrides(living)
            yield {**defaults, **put}

    def swap(self, facts: Facts) -> None:
        """Have what is derived derived again, and bring events, overrides and dependencies up to date."""
        twins = {id(pair.living): pair.twin for pair in facts.kept}
        for living in self._living:
            kind = type(living)
            if issubclass(kind, APIRouter):
                facts.writes.late(_Counting(facts, living.__dict__).ops, again=True)
                for name in ("on_startup", "on_shutdown"):
                    self._events(facts, living, name, twins.get(id(living)))
                self._frontend(facts, living)
            elif issubclass(kind, FastAPI):
                facts.writes.late(_Forgetting(facts, living.__dict__).ops, again=True)
                self._overridden(facts, living, twins.get(id(living)))
            else:
                successor = facts.successor(living.dependency)
                if successor is not living.dependency and "dependency" in (walk.instance_dict(living) or {}):
                    facts.writes.item(living.__dict__, "dependency", successor, again=True)
        caches = [value for value in list(models.__dict__.values()) if hasattr(value, "cache_clear")]
        facts.writes.late(lambda _: list(_cleared(facts, caches)), again=True)

    def _functions(self, living: Any, name: str) -> list[Any]:
        before = {id(function) for function in living.__dict__.get(name) or ()}
        return [function for function in self._overlay.aside(living, name) or () if id(function) not in before]

    def _overrides(self, living: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """What the candidate has put into the overrides, and what it would have put there if nothing had been there."""
        aside = self._overlay.aside(living, "dependency_overrides")
        if type(aside) is Recorded:
            return {key: aside[key] for key in aside.registered if key in aside}, aside.defaults
        return dict(aside) if type(aside) is dict else {}, {}

    def _events(self, facts: Facts, living: Any, name: str, twin: Any) -> None:
        table = living.__dict__.get(name)
        if type(table) is not list:
            return
        new = [*(getattr(twin, name, None) or []), *self._functions(living, name)]
        merge_list(facts, table, new, name_of)

    def _overridden(self, facts: Facts, living: Any, twin: Any) -> None:
        """Overrides are looked up by function: those of a function that changed hold for its successor too."""
        overrides = living.dependency_overrides
        facts.claim(overrides)
        since = Since(facts, living, getattr(twin, "dependency_overrides", None))
        for key, value in list(changed_overrides(facts, living, twin, *self._overrides(living))):
            if value is MISSING:
                facts.writes.drop(overrides, key)
            elif hashes_quietly(key):
                facts.writes.item(overrides, key, value)
                since.note(key, value)
        facts.writes.late(since.ops, again=True)

    def _frontend(self, facts: Facts, living: Any) -> None:
        aside = self._overlay.aside(living, "_low_priority_routes")
        if aside is not None and len(aside) != len(living.__dict__.get("_low_priority_routes") or ()):
            facts.plan.warnings.append("a frontend that is added to a living router is served after a restart only")


class _Counting:
    """Moves the version of a router, on the way back too: FastAPI derives the routes that include it again."""

    def __init__(self, facts: Facts, inside: dict[str, Any]) -> None:
        self._writes, self._inside = facts.writes, inside

    def ops(self, forward: bool) -> Iterator[Op]:
        """Yield the write."""
        version = self._inside.get("_routes_version")
        if type(version) is int:
            yield (dict.__setitem__, self._inside, "_routes_version", version + _STEP)


class _Forgetting:
    """Forgets the document of the API: the next who asks for it gets a new one."""

    def __init__(self, facts: Facts, inside: dict[str, Any]) -> None:
        self._writes, self._inside = facts.writes, inside

    def ops(self, forward: bool) -> Iterator[Op]:
        """Yield the write."""
        self._writes.hold(self._inside.get("openapi_schema"))
        yield (dict.__setitem__, self._inside, "openapi_schema", None)


def _cleared(facts: Facts, caches: list[Any]) -> Iterator[Op]:
    """What FastAPI remembers of functions: whether one is a coroutine function, say."""
    for cache in caches:
        # Nothing may die in the commit: what is remembered is held until it is over.
        facts.writes.hold([list(part.items()) for part in gc.get_referents(cache) if type(part) is dict])
        yield (cache.cache_clear,)


# --- routes ----------------------------------------------------------------------------------------------------------


def renewed(route: Any, router: Any, facts: Facts) -> Any:
    """Return a route that looks at its function again when it is first used, or the route itself if nothing changed.

    Arguments:
        route: what stands in a table of routes; anything but a route of FastAPI comes back as it is.
        router: the living router.
        facts: knows what changed.
    """
    if not issubclass(type(route), (APIRoute, APIWebSocketRoute)) or "dependant" not in route.__dict__:
        return route
    changed = {id(cls) for pair in facts.classes for cls in pair}
    if not (_uses(route.dependant, facts, changed) or any(_mentions(field, changed) for field in _fields(route))):
        return route
    inside = {name: facts.translate(value) for name, value in route.__dict__.items() if name not in _DERIVED}
    if "response_model" in inside and inside["response_model"] == _annotated(route.endpoint):
        del inside["response_model"]
    if inside.get("description") and inside["description"] == _described(route.endpoint):
        del inside["description"]
    inside["endpoint"] = facts.successor(route.endpoint)
    inside.setdefault("dependency_overrides_provider", getattr(router, "dependency_overrides_provider", None))
    kind: Any = type(route)
    copy: Any = object.__new__(type(kind.__name__, (kind,), {"__getattr__": _looked_at, "__module__": kind.__module__}))
    copy.__dict__.update(inside)
    return copy


_looking = threading.RLock()
"""Guards the first look of a route. FastAPI's own code runs under it, and what models run while they are analysed."""


def _looked_at(route: Any, name: str) -> Any:
    """Derive what is missing, on first use."""
    kind: Any = type(route).__mro__[1]
    if name not in _DERIVED and name not in ("response_model", "description"):
        raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
    with _looking:
        if name not in route.__dict__:
            given = {
                parameter: route.__dict__[parameter]
                for parameter in inspect.signature(kind.__init__).parameters
                if parameter in route.__dict__
            }
            if issubclass(kind, APIRoute):
                given.setdefault("response_model", Default(None))
            # Another object is filled first: whoever finds an attribute finds all of them.
            made: Any = object.__new__(kind)
            kind.__init__(made, **given)
            route.__dict__.update({key: value for key, value in made.__dict__.items() if key not in route.__dict__})
            route.__class__ = kind
    return route.__dict__[name]


def _annotated(endpoint: Any) -> Any:
    """What FastAPI takes for the model of the response if it is not told."""
    try:
        return get_typed_return_annotation(endpoint)
    except (NameError, TypeError, ValueError):
        return _MISSING


def _described(endpoint: Any) -> str:
    return inspect.cleandoc(endpoint.__doc__ or "").split("\f")[0].strip()


def _uses(dependant: Any, facts: Facts, changed: set[int]) -> bool:
    """Whether a route or dependency calls something that changes, or takes a model that does."""
    called = dependant.call
    if called is not None and (facts.successor(called) is not called or id(definition(called)) in changed):
        return True
    fields = [
        field
        for name in ("path_params", "query_params", "header_params", "cookie_params", "body_params")
        for field in getattr(dependant, name)
    ]
    if any(_mentions(field, changed) for field in fields):
        return True
    return any(_uses(inner, facts, changed) for inner in dependant.dependencies)


def _fields(route: Any) -> Iterator[Any]:
    for name in ("response_field", "stream_item_field", "body_field"):
        if route.__dict__.get(name) is not None:
            yield route.__dict__[name]
    yield from (route.__dict__.get("response_fields") or {}).values()


def _mentions(field: Any, changed: set[int]) -> bool:
    """Whether the schema of a field speaks of a class that changes."""
    adapter = getattr(field, "_type_adapter", None)
    stack: list[Any] = [getattr(adapter, "core_schema", None)]
    seen: set[int] = set()
    while changed and stack:
        value = stack.pop()
        if id(value) in changed:
            return True
        if type(value) in (dict, list, tuple) and id(value) not in seen:
            seen.add(id(value))
            stack += value.values() if type(value) is dict else value
    return False


BY_REFERENCE = hasattr(fastapi.routing, "_IncludedRouter")
"""Whether an application refers to the routers that it includes; older versions of FastAPI copy their routes."""
