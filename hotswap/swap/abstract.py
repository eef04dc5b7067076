"""Abstract methods of subclasses that no patch holds: whether they may be instantiated depends on their bases.

`abc` works out which methods of a class are abstract once, when the class is made. A class of the patch gets what its
twin has. A subclass elsewhere, of a base that the patch changes, is not made anew, and so it is worked out again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.pairs import ClassPair
from hotswap.swap.writes import Op

__all__ = ["AbstractMethods"]

_NAME = "__abstractmethods__"
_WRAPPERS = (property, staticmethod, classmethod, functools.partialmethod, functools.singledispatchmethod)


class AbstractMethods:
    """The writes for all subclasses of swapped classes. Lives as long as the swap can be taken back.

    Arguments:
        pairs: the classes that are swapped.
    """

    def __init__(self, pairs: Iterable[ClassPair]) -> None:
        self._pairs = [
            pair for pair in pairs if _NAME in walk.class_dict(pair.old) and _NAME in walk.class_dict(pair.new)
        ]
        # Noted now: once the swap is made, old functions show the attributes of their successors.
        self._before: dict[int, Mapping[str, Any]] = {id(pair.old): _noted(pair.old) for pair in self._pairs}
        self._after: dict[int, Mapping[str, Any]] = {id(pair.old): _noted(pair.new) for pair in self._pairs}

    def ops(self, forward: bool) -> Iterator[Op]:
        """Make out the writes for the one or the other direction."""
        below = {id(cls): cls for pair in self._pairs for cls in walk.descendants(pair.old)}
        for cls in below.values():
            if id(cls) in self._after or _NAME not in walk.class_dict(cls):
                continue
            was, will = _abstract(cls, self._before), _abstract(cls, self._after)
            if was != will:
                yield (type.__setattr__, cls, _NAME, will if forward else was)


def _abstract(cls: type, namespaces: Mapping[int, Mapping[str, Any]]) -> frozenset[str]:
    """The abstract methods of a class, if classes had these namespaces."""
    known = namespaces.get(id(cls))
    if known is not None:
        found: frozenset[str] = known[_NAME]
        return found
    facts = walk.class_dict(cls)
    if _NAME not in facts:
        return frozenset()
    names = {name for name, value in facts.items() if _is_abstract(value)}
    for base in walk.fact(cls, "__bases__"):
        for name in _abstract(base, namespaces):
            if _stands_abstract(name, cls, namespaces):
                names.add(name)
    return frozenset(names)


def _stands_abstract(name: str, cls: type, namespaces: Mapping[int, Mapping[str, Any]]) -> bool:
    for above in walk.mro(cls):
        known = namespaces.get(id(above))
        if known is not None and name in known:
            return bool(known[name])
        if known is None and name in walk.class_dict(above):
            return _is_abstract(walk.class_dict(above)[name])
    return False


def _noted(cls: type) -> dict[str, Any]:
    """For each name of a class whether it is abstract; and the set of those that the class and its bases leave open."""
    noted: dict[str, Any] = {name: _is_abstract(value) for name, value in walk.class_items(cls)}
    noted[_NAME] = walk.class_dict(cls)[_NAME]
    return noted


def _is_abstract(value: Any) -> bool:
    if type(value) is FunctionType:
        return bool(value.__dict__.get("__isabstractmethod__", False))
    if type(value) in _WRAPPERS:
        return bool(getattr(value, "__isabstractmethod__", False))
    return bool((walk.instance_dict(value) or {}).get("__isabstractmethod__", False))
