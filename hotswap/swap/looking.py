"""Looking for the living instances of classes, wherever they are held: once for all adapters of a rollout.

A walk over the heap holds the GIL, 13 ns for each object that the collector knows. So it is done once, while a patch is
staged and never in a commit, and for all classes together.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

from hotswap import collector, walk
from hotswap.namespaces import held_by, imported

__all__ = ["DROPPED", "Look"]

DROPPED = "_hotswap_dropped"
"""Marks the twin of a kept object in its `__dict__`: it is not living, although the collector has not come by yet."""

_FROZEN_AT_START = 4096
"""CPython 3.12 starts with a few hundred frozen objects of its own; an application that freezes has many more."""

_DEEP = 8
"""How far objects that the collector does not show are followed: application, router, list, mount, application."""

_ENDS = (FunctionType, ModuleType, type)
"""Where following ends: these lead everywhere."""


class Look:
    """One walk over the heap. Lives as long as the candidate that it is made for.

    Arguments:
        roots: the classes whose instances may be asked for.
    """

    def __init__(self, roots: Iterable[type]) -> None:
        self._roots = tuple(dict.fromkeys(roots))
        self._found: list[Any] | None = None

    def instances(self, classes: Iterable[type]) -> list[Any]:
        """Return the living instances of some of the classes, and of their subclasses. The first call walks."""
        if self._found is None:
            self._found = _instances(self._roots)
        wanted = _with_subclasses(classes)
        return [one for one in self._found if id(type(one)) in wanted]


def _with_subclasses(classes: Iterable[type]) -> dict[int, type]:
    return {id(cls): cls for root in classes for cls in (root, *walk.descendants(root))}


def _instances(roots: tuple[type, ...]) -> list[Any]:
    every = _with_subclasses(roots)
    witness = _hidden.witness
    if len(every) <= collector.FEW:
        seen = collector.referrers_of((*every.values(), *witness), (*every.values(), list))
    else:
        seen = collector.objects_of(every.values()) + collector.referrers_of(witness, (list,))
    found = [one for one in seen if id(type(one)) in every]
    if not any(one is witness for one in seen):
        _hidden.forget()
    known = {id(one) for one in found}
    found += [one for one in _hidden.instances(roots, frozenset(every)) if id(one) not in known]
    return [one for one in found if DROPPED not in (walk.instance_dict(one) or {})]


class _Hidden:
    """What an application has hidden from the collector by freezing it. Lives as long as the process.

    It is looked for once, from the modules, and again only when more was frozen: what is frozen only becomes less.
    To ask how much is frozen would take CPython a walk over it, so a witness tells: if it is hidden too, more was.

    Attributes:
        witness: a list that holds an object of its own; whoever looks for what refers to that finds the list.
    """

    def __init__(self) -> None:
        self.witness: list[object] = []  # nothing refers to nothing: the first look finds that it has to look
        self._any = False
        self._known: dict[tuple[int, ...], list[weakref.ref[Any]]] = {}

    def forget(self) -> None:
        """More was frozen: look again."""
        self.witness = [object()]
        self._any = gc.get_freeze_count() > _FROZEN_AT_START
        self._known.clear()

    def instances(self, roots: tuple[type, ...], kinds: frozenset[int]) -> list[Any]:
        """Return the instances of some classes; `kinds` has the ids of their subclasses too."""
        key = tuple(map(id, roots))
        if self._any and key not in self._known:
            self._known[key] = [weakref.ref(one) for one in _led_to_by_modules(kinds)]
        return [one for reference in self._known.get(key, ()) if (one := reference()) is not None]


_hidden = _Hidden()


def _led_to_by_modules(kinds: frozenset[int]) -> list[Any]:
    level = [value for value in held_by(facts for _, _, facts in imported()) if id(type(value)) in kinds]
    found: dict[int, Any] = {}
    for _ in range(_DEEP):
        found.update((id(one), one) for one in level if id(type(one)) in kinds)
        inner = {id(one): one for holder in level for one in gc.get_referents(holder)}
        level = [one for key, one in inner.items() if key not in found and not issubclass(type(one), _ENDS)]
    return list(found.values())
