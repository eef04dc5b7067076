"""Rebuilding: instances that the candidate made of a class whose slots changed, made again of the living class.

Elsewhere such an instance just changes its class. CPython refuses that where the layouts in memory differ: the twin
has real slots for what are shadow slots of the living class. CPython 3.11 also refuses it where they only seem to. So
the living class gets an instance of its own with the same values, made without running any code, and the candidate's
references are led to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hotswap import walk
from hotswap.swap.bases import can_rebase
from hotswap.swap.plan import Change
from hotswap.swap.slots import is_slot, shape_differs

__all__ = ["Rebuilding", "new_classes_refused"]

_MADE: dict[type, Callable[..., Any]] = {
    object: object.__new__,
    dict: dict.__new__,
    list: list.__new__,
    set: set.__new__,
}
"""The types written in C whose objects hold nothing that can't be copied."""


class Rebuilding:
    """Makes instances of living classes for those of their twins. Lives as long as a swap is prepared.

    Arguments:
        twins: id of a twin -> (it, the living class).
        shadows: id of a living class -> the descriptors that it is to get for slots, by name.
    """

    def __init__(self, twins: Mapping[int, tuple[Any, Any]], shadows: Mapping[int, Mapping[str, Any]]) -> None:
        self._twins = twins
        self._shadows = shadows
        self.pairs: list[tuple[Any, Any]] = []

    @property
    def needed(self) -> bool:
        """Whether the shape of any class differs."""
        pairs = [pair for pair in self._twins.values() if walk.is_class(pair[0]) and walk.is_class(pair[1])]
        return any(shape_differs(living, twin) or _is_fixed(twin) for twin, living in pairs)

    def wants(self, kind: type) -> bool:
        """Whether instances of a twin have to be made again."""
        found = self._twins.get(id(kind))
        if found is None or found[0] is not kind or not walk.is_class(found[1]) or _c_type(kind) not in _MADE:
            return False
        living = [self._twins.get(id(base), (base, base))[1] for base in walk.mro(kind)]
        if any(map(shape_differs, living, walk.mro(kind))):
            return id(found[1]) in self._shadows  # a class whose change is refused gets no descriptors
        return any(_is_fixed(base) for base in walk.mro(kind) if id(base) in self._twins)

    def make(self, instance: Any) -> Any:
        """Make an empty instance of the living class."""
        kind = type(instance)
        made = _MADE[_c_type(kind)](self._twins[id(kind)][1])
        self.pairs.append((instance, made))
        return made

    def fill(self, translate: Callable[[Any], Any]) -> None:
        """Give all that were made the values of those that they stand for."""
        self.fill_slots(translate)
        for instance, made in self.pairs:
            # Last: hashing what lies in a set may ask for the slots of another one.
            if isinstance(made, dict):
                items = list(dict.items(instance))
                dict.update(made, [(translate(key), translate(value)) for key, value in items])
            elif isinstance(made, list):
                list.extend(made, map(translate, list.__iter__(instance)))
            elif isinstance(made, set):
                set.update(made, map(translate, set.__iter__(instance)))

    def fill_slots(self, translate: Callable[[Any], Any]) -> None:
        """Give all that were made the attributes: their hashes may follow these. It may be done again."""
        for instance, made in self.pairs:
            self._fill_slots(instance, made, translate)

    def _fill_slots(self, instance: Any, made: Any, translate: Callable[[Any], Any]) -> None:
        for base in walk.mro(type(instance)):
            living = self._twins.get(id(base), (base, base))[1]
            shadows = self._shadows.get(id(living), {})
            for name, slot in walk.class_items(base):
                if not is_slot(slot):
                    continue
                try:
                    value = translate(slot.__get__(instance))
                except AttributeError:
                    continue  # it has none
                target = shadows.get(name, walk.class_dict(living).get(name))
                if is_slot(target):
                    target.__set__(made, value)
                elif (facts := walk.instance_dict(made)) is not None:
                    facts[name] = value  # it serves the slot
        facts, own = walk.instance_dict(instance), walk.instance_dict(made)
        if facts is not None and own is not None:
            own.update((name, translate(value)) for name, value in facts.items())


def new_classes_refused(classes: Iterable[type], translate: Callable[[Any], Any]) -> Iterator[Change]:
    """Find the new classes that can't stand below the living class, since their bases have slots that it has not.

    Arguments:
        classes: the classes that the candidate made and that have no counterpart.
        translate: gives the living object for a twin.
    """
    for cls in classes:
        before = walk.fact(cls, "__bases__")
        bases = tuple(translate(base) for base in before)
        if any(map(shape_differs, bases, before)) and not can_rebase(cls, bases):
            home, name = str(walk.class_dict(cls).get("__module__")), walk.class_name(cls)
            sentence = "it is new, and made below a class with other slots than the living one has"
            yield Change("reference-left", home, name, sentence)


def _is_fixed(cls: type) -> bool:
    """Whether no instance can change its class although the layouts are the same.

    CPython 3.11 counts the room for weak references only where a class has no slots beside it.
    """
    if sys.version_info >= (3, 12) or "__weakref__" not in walk.class_dict(cls):
        return False
    return any(is_slot(value) for _, value in walk.class_items(cls))


def _c_type(cls: type) -> type:
    return next(base for base in walk.mro(cls) if walk.is_written_in_c(base))
