"""Attributes that somebody set on a function at run time go on with the function that takes its place.

``handler.hits = 1`` is kept in the function's own dict. The import of the new version makes a new dict, so what the
import does not set would be gone. What an import sets is decided by the decorators and by statements beside the
definition (``handler.route = "/"``): where these are the same in both versions, what the new function lacks was set at
run time. Where they differ, nobody can tell, and nothing is carried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from hotswap.generation import Definitions
from hotswap.swap.bodies import Bodies
from hotswap.swap.pairs import FunctionPair
from hotswap.swap.signatures import Shown
from hotswap.swap.writes import Op, Writes

__all__ = ["carry_attributes"]


def carry_attributes(
    functions: Iterable[FunctionPair],
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]],
    bodies: Bodies,
    writes: Writes,
) -> None:
    """Add the writes that carry such attributes, in both directions.

    Arguments:
        functions: the pairs of old and new functions.
        definitions: what the old and the new sources say.
        bodies: knows what a function is while it is live.
        writes: receives the writes; they are made out when the time comes.
    """
    for pair in functions:
        if type(pair.new) is not FunctionType or pair.made is not pair.new or not bodies.is_new(pair.new):
            continue
        before, after = (_binding(found, pair.key) for found in definitions)
        if before is not None and before == after:
            # These very dicts: the outside of a function leads to another one while it forwards.
            writes.late(_carrying(bodies.of(pair.old)["__dict__"], pair.new.__dict__, writes))


def _binding(definitions: Mapping[str, Definitions], key: str) -> tuple[object, ...] | None:
    """What decides about the attributes that an import gives a function: decorators, and statements beside it."""
    module, _, path = key.partition(":")
    found: Definitions | None = definitions.get(module)
    *classes, name = path.split(".")
    for part in classes:
        found = None if found is None else found.classes.get(part)
    binding = None if found is None else found.bindings.get(name)
    return None if binding is None else (binding.kind, binding.head, binding.touches)


def _carrying(old: dict[str, Any], new: dict[str, Any], writes: Writes) -> Callable[[bool], Iterator[Op]]:
    imported = frozenset(new)

    def late(forward: bool) -> Iterator[Op]:
        source, target = (old, new) if forward else (new, old)
        for name, value in list(source.items()):
            if type(value) is Shown or name in imported or name == "__wrapped__":
                continue
            if target.get(name, writes) is not value:
                writes.hold(target.get(name))
                yield (dict.__setitem__, target, name, value)

    return late
