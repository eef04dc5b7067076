"""Properties: what their setters say, so that it is known where what a statement sets is kept.

``app.key = 2`` sets the attribute ``_key``, or an item of a dict. The code of the setter names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.patch import Word

__all__ = ["said_by_setters"]

_FSET: Any = vars(property)["fset"]


def said_by_setters(names: Set[str], kinds: Iterable[type]) -> dict[str, frozenset[Word]]:
    """Return what the setters of properties, and of other data descriptors, say: names and constants.

    Arguments:
        names: those of the properties.
        kinds: the classes that are looked at, with their bases.
    """
    found: dict[str, frozenset[Word]] = {}
    for cls in {base for kind in kinds for base in walk.mro(kind)} if names else ():
        facts = walk.class_dict(cls)
        for name in names & facts.keys():
            said = frozenset(_said(facts[name]))
            if said:
                found[name] = found.get(name, frozenset()) | said
    return found


def _said(descriptor: Any) -> Iterator[Word]:
    setter: Any = None
    if issubclass(type(descriptor), property):
        setter = _FSET.__get__(descriptor)
    else:
        bases = walk.mro(type(descriptor))
        setter = next((walk.class_dict(base)["__set__"] for base in bases if "__set__" in walk.class_dict(base)), None)
    while type(setter) is FunctionType and "__wrapped__" in setter.__dict__:
        setter = setter.__dict__["__wrapped__"]
    if type(setter) is FunctionType:
        yield from ((str, name) for name in setter.__code__.co_names)
        # One descriptor keeps several attributes by the names that it was made with.
        made = (walk.instance_dict(descriptor) or {}).values()
        yield from (
            (type(value), value) for value in (*setter.__code__.co_consts, *made) if type(value) in walk.UNIQUE_NEVER
        )
