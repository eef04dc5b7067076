"""Virtual subclasses: classes of the candidate that it registered with a living abstract class.

They stay registered while the candidate is staged, so that its checks find what they will find when it is live; nobody
else has instances of these classes yet. A rejection takes them out. CPython keeps the registrations of a class as weak
references in a set that only the collector shows. Source: `Modules/_abc.c`.
"""

from __future__ import annotations

import abc
import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Deed, Outcome

__all__ = ["Registration", "registrations"]


def registrations(classes: Iterable[type]) -> Iterator[Registration]:
    """Return where classes of a candidate are registered outside of it."""
    ours = {id(cls): cls for cls in classes}
    # A class that no abstract class has met has no such reference: then there is nothing to look for.
    if not any(
        walk.callback_of(reference) is not None for cls in ours.values() for reference in weakref.getweakrefs(cls)
    ):
        return
    for base in _abstract_classes():
        if id(base) in ours:
            continue
        for reference in list(_registry(base)):
            cls: Any = reference()
            if id(cls) in ours:
                yield Registration(base, cls, reference)


def _abstract_classes() -> Iterator[Any]:
    return (cls for cls in walk.descendants(object) if "_abc_impl" in walk.class_dict(cls))


def _registry(base: Any) -> set[Any]:
    """The set in which CPython keeps what is registered with an abstract class; empty if there is nothing."""
    impl = walk.class_dict(base)["_abc_impl"]
    try:
        dumped = abc._get_dump(base)[0]  # type: ignore[attr-defined]
    except TypeError:
        return set()  # the attribute is something else: no abstract class of CPython's
    parts = [part for part in gc.get_referents(impl) if type(part) is set]
    return parts[0] if dumped and parts else set()


class Registration(Deed):
    """A class of the candidate that is registered with a living abstract class.

    Arguments:
        base: the abstract class.
        cls: the class of the candidate.
        reference: what stands for it in the registry.
    """

    def __init__(self, base: Any, cls: type, reference: Any) -> None:
        what = f"registers {walk.class_name(cls)} with the abstract class {walk.class_name(base)}"
        super().__init__("registrations", what, Outcome.HELD)
        self._base, self._cls, self._reference = base, cls, reference
        self._added: Any = None

    def ops(self, living: Callable[[Any], Any], forward: bool) -> list[tuple[Any, ...]]:
        """Return the writes of a commit, or of the way back; each is idempotent."""
        registry = _registry(self._base)
        cls = living(self._cls)
        if cls is self._cls:
            return [(set.add if forward else set.discard, registry, self._reference)]
        # A twin is dropped; the living class is registered, most often since the running version was imported.
        if forward and self._added is None and not any(reference() is cls for reference in registry):
            self._added = weakref.ref(cls)
        writes: list[tuple[Any, ...]] = [(set.discard, registry, self._reference)]
        if self._added is not None:
            writes.append((set.add if forward else set.discard, registry, self._added))
        return writes

    def drop(self) -> None:
        """Take it out: the candidate is discarded."""
        set.discard(_registry(self._base), self._reference)
