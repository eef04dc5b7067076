"""Unfollowed: calls of methods on kept objects that differ, ``app.configure(debug=True)``, and have no effect.

What a method does can't be done again to the living object: it would have to be run. What it puts into containers is
merged, and adapters follow what they know. Of plain values the twin shows what the new version's calls have set; so
where these are others, and the call may have set them, the plan says that it has no effect.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Container, Iterable, Iterator
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.generation import Called
from hotswap.swap.assignments import MISSING, in_slot, reached
from hotswap.swap.beside import Beside, told
from hotswap.swap.setters import definition_of
from hotswap.swap.writes import Writes
from hotswap.walk import UNIQUE_NEVER

__all__ = ["unfollowed"]

_CALLS = 16
"""How many methods are read that a method calls of its own object."""


def unfollowed(
    kept: Iterable[Beside],
    translate: Callable[[Any], Any],
    is_adapted: Callable[[Any, Any], bool],
    writes: Writes,
) -> Iterator[str]:
    """Yield a warning for each call of a method that differs and has no effect on a kept object.

    Arguments:
        kept: the objects, and the calls that differ.
        translate: gives the living object for a dropped twin.
        is_adapted: tells whether an adapter brings an object up to date, by (living, twin).
        writes: knows what is written anyway.
    """
    written = writes.items
    for one in kept:
        if not one.called or is_adapted(one.living, one.twin):
            continue
        methods: dict[str, set[str]] = {}
        for called in one.called:
            living, twin = reached(one.living, called.path), reached(one.twin, called.path)
            if living is twin or MISSING in (living, twin) or translate(type(twin)) is not type(living):
                continue
            names = _differing(living, twin, written)
            if not names or issubclass(type(living), logging.Handler) or walk.is_container(type(living)):
                continue  # handlers and containers have rules of their own
            found = {name for name in names if _may_set(type(living), called, name, (living, twin))}
            methods.setdefault(".".join(filter(None, (told(called.path), called.method))), set()).update(found)
        for method, some in methods.items():
            if some:
                yield (
                    f"{one.place} is kept, and a statement calls its {method} otherwise than before: what that sets "
                    f"stays as it is ({', '.join(sorted(some))})"
                )


def _differing(living: Any, twin: Any, written: Container[tuple[int, Any]]) -> list[str]:
    """The attributes with plain values that differ in two objects, and are not written."""
    ours, theirs = _attributes(living), _attributes(twin)
    holder = id(walk.instance_dict(living))
    return [
        name
        for name in dict.fromkeys((*ours, *theirs))
        if (holder, name) not in written and _is_other(ours.get(name, MISSING), theirs.get(name, MISSING))
    ]


def _attributes(o: Any) -> dict[str, Any]:
    slots = {slot.__name__: in_slot(slot, o) for slot in walk.slot_descriptors(type(o))}
    return slots | {name: value for name, value in list((walk.instance_dict(o) or {}).items()) if type(name) is str}


def _is_other(one: Any, other: Any) -> bool:
    if not all(value is MISSING or type(value) in UNIQUE_NEVER for value in (one, other)):
        return False
    return one is not other and (type(one) is not type(other) or bool(one != other))


def _may_set(cls: type, called: Called, name: str, pair: tuple[Any, Any]) -> bool:
    """Whether a call may set an attribute: its method says so, or hides what it sets and the call has words of it."""
    stored = _stored(cls, called.method)
    if stored is not None:
        return name in stored
    if called.words is None:
        return True
    values = [_attributes(one).get(name, MISSING) for one in pair]
    return (str, name) in called.words or any((type(value), value) in called.words for value in values)


def _stored(cls: type, method: str) -> set[str] | None:
    """The attributes of its object that a method sets, with the methods of it that it calls; None if it hides that."""
    found: set[str] = set()
    known, waiting = {method}, [method]
    while waiting:
        definition = definition_of(walk.inherited(cls, waiting.pop()))
        if definition is None or not definition.args.args or len(known) > _CALLS:
            return None
        own = definition.args.args[0].arg
        inside: set[int] = set()
        for node in ast.walk(definition):
            match node:
                case ast.Attribute(value=ast.Name(id=name) as inner, attr=attribute) if name == own:
                    if attribute == "__dict__":
                        return None
                    inside.add(id(inner))
                    if isinstance(node.ctx, ast.Store):
                        found.add(attribute)
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=other)) if name == own:
                    waiting += [other] if other not in known and _is_method(cls, other) else []
                    known.add(other)
                case _:
                    continue
        # Returning it, as methods do that are called in a chain, sets nothing.
        inside |= {id(node.value) for node in ast.walk(definition) if isinstance(node, ast.Return)}
        if any(isinstance(n, ast.Name) and n.id == own and id(n) not in inside for n in ast.walk(definition)):
            return None  # it hands on the object
    return found


def _is_method(cls: type, name: str) -> bool:
    return type(walk.inherited(cls, name)) is FunctionType
