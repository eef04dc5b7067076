"""Whereabouts: where an object is, in words, from what leads to it. No code of the objects is run for that."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import CellType, FrameType, FunctionType, ModuleType
from typing import Any

from hotswap import walk

__all__ = ["place_of"]

_ITEMS: dict[type, Callable[[Any], Iterator[Any]]] = {list: list.__iter__, tuple: tuple.__iter__, deque: deque.__iter__}


def place_of(way: Sequence[Any]) -> str:
    """Return where the last of some objects is: ``shop.app:app.routes[3].body``.

    Arguments:
        way: objects, each of which refers to the next; the first one lives by itself.
    """
    place = _start(way[0])
    attributes = type(way[0]) is dict  # of a module: whatever else lives by itself has no name
    for holder, held in pairwise(way):
        if held is _namespace(holder):
            attributes = True
            continue
        step = _attribute(holder, held) or _item(holder, held, attributes=attributes)
        attributes = False
        place += step if ":" in place or not step.startswith(".") else f":{step[1:]}"
    return place


def _start(first: Any) -> str:
    """What something is that lives by itself."""
    kind = type(first)
    if kind is FunctionType:
        return f"{first.__module__}:{first.__qualname__}"
    if walk.is_class(first):
        return f"{walk.class_home(first)}:{walk.class_name(first)}"
    if kind is FrameType:
        return f"{first.f_code.co_qualname}, line {first.f_lineno}"
    facts = _namespace(first) if issubclass(kind, ModuleType) else first
    if type(facts) is dict and type(facts.get("__name__")) is str:
        return str(facts["__name__"])
    return "a running call or a C library"


def _namespace(holder: Any) -> Any:
    """The dict in which the attributes of an object are."""
    if issubclass(type(holder), ModuleType):
        return ModuleType.__getattribute__(holder, "__dict__")
    if walk.is_class(holder):
        return gc.get_referents(walk.class_space(holder))[0]
    return walk.instance_dict(holder)


def _attribute(holder: Any, held: Any) -> str:
    """Under which name an object has another one: that of an attribute or a slot."""
    return next((f".{name}" for name, value in _attributes(holder) if value is held), "")


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    kind = type(holder)
    yield from [(name, value) for name, value in list((_namespace(holder) or {}).items()) if type(name) is str]
    if kind is FunctionType:
        yield from (("__closure__", holder.__closure__), ("__defaults__", holder.__defaults__))
    for slot in () if walk.is_written_in_c(kind) or walk.is_class(holder) else walk.slot_descriptors(kind):
        try:
            yield slot.__name__, slot.__get__(holder)
        except (AttributeError, TypeError):
            continue  # an empty slot, or one of a C type that hides behind this descriptor


def _item(holder: Any, held: Any, *, attributes: bool) -> str:
    """Where in a container another object is, or what it is in an object that has no names for its parts."""
    kind = type(holder)
    if issubclass(kind, dict):
        for key, value in list(dict.items(holder)):
            if value is held:
                if type(key) is str:
                    return f".{key}" if attributes else f"[{key!r}]"
                return f"[{key}]" if type(key) is int else f"[{walk.class_name(type(key))}]"
            if key is held:
                return "[key]"
    for base, items in _ITEMS.items():
        if issubclass(kind, base):
            return f"[{next((i for i, item in enumerate(items(holder)) if item is held), '')}]"
    return "" if kind is CellType else f".<{walk.class_name(type(held))}>"
