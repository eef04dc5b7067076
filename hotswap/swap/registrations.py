"""Registrations: the virtual subclasses of abstract base classes.

CPython keeps them, and what `isinstance` has found out so far, in one object per class, `_abc_impl`. A swap puts that
of the twin in its place: it has what the new version registers while it is imported, and remembers no answers of the
old one. What was registered at run time is added to it before. Source: `Modules/_abc.c` of CPython.
"""

from __future__ import annotations

import abc
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hotswap import walk
from hotswap.swap.pairs import ClassPair
from hotswap.swap.ways import Changed

__all__ = ["ATTRIBUTE", "Registrations", "answers_change", "forget_aliases", "forget_answers", "forget_twins"]

ATTRIBUTE = "_abc_impl"
"""Where CPython keeps them; other implementations have no such attribute."""

_SET = type.__setattr__


class Registrations:
    """The registrations of an old class and of its twin. Lives as long as the swap can be taken back.

    Arguments:
        old: the class, which stays.
        twin: its twin, which nobody but the candidate sees; it carries what the old class is to get.
        translate: gives the living object for a twin.
    """

    def __init__(self, old: Any, twin: Any, translate: Callable[[Any], Any]) -> None:
        self._old, self._twin, self._translate = old, twin, translate
        self._before = walk.class_dict(old)[ATTRIBUTE]
        self._after = walk.class_dict(twin)[ATTRIBUTE]
        self._new: set[int] = set()

    def ops(self, forward: bool) -> Iterator[tuple[Any, ...]]:
        """Complete what the old class is to get, and yield the write that gives it."""
        wanted = self._after if forward else self._before
        _SET(self._twin, ATTRIBUTE, wanted)
        if forward:
            for cls in _registered(self._twin):
                self._register(self._translate(cls))
        for cls in _registered(self._old):
            if forward or id(cls) not in self._new:
                self._register(cls)
        if forward:
            self._new = {id(cls) for cls in _registered(self._twin)}
        yield (_SET, self._old, ATTRIBUTE, wanted)

    def _register(self, cls: Any) -> None:
        try:
            abc.ABCMeta.register(self._twin, cls)
        except Exception:  # noqa: BLE001 - a hook of the class (`__subclasshook__`) ran and failed
            return  # the class does not count as registered, as it would not after a restart either


def _registered(cls: Any) -> list[Any]:
    return _held(cls, 0)


def _held(cls: Any, which: int) -> list[Any]:
    """What an abstract class holds: 0 is for what is registered with it, 1 for what it knows to be below it."""
    dump: Callable[[Any], tuple[set[Any], set[Any], set[Any], int]] = abc._get_dump  # type: ignore[attr-defined]
    return [held for reference in dump(cls)[:2][which] if (held := reference()) is not None]


def forget_twins(twins: Iterable[type]) -> None:
    """Have dropped abstract classes forget what they know: a base asks its subclasses, and may find them listed yet."""
    for twin in twins:
        if ATTRIBUTE in walk.class_dict(twin):
            # Not `abc._abc_init`, which asks all that is in the class whether it is abstract, and so runs code.
            fresh = abc.ABCMeta("Forgotten", (), {})
            _SET(twin, ATTRIBUTE, walk.class_dict(fresh)[ATTRIBUTE])


def forget_answers(changed: Iterable[type] = ()) -> None:
    """Have all abstract classes forget what they have found out, and may be otherwise now.

    A registration anywhere invalidates what is no subclass of theirs. What is one is remembered for good: those that
    know a class which changed, or one below it, forget all. A thread that is just asking may still note its answer.

    Arguments:
        changed: the classes that got or lost a method (`Sized` asks for `__len__`), or a base.
    """
    known = {id(cls) for one in changed for cls in (one, *walk.descendants(one))}
    for cls in walk.descendants(object) if known else ():
        if ATTRIBUTE in walk.class_space(cls) and any(id(one) in known for one in _held(cls, 1)):
            abc._reset_caches(cls)  # type: ignore[attr-defined]  # `typeshed` has what is public

    class Fresh(abc.ABC):  # noqa: B024 - it needs no methods
        """Nobody keeps it."""

    Fresh.register(type("Registered", (), {}))


def answers_change(pair: ClassPair, changed: Iterable[Changed], translate: Callable[[Any], Any]) -> bool:
    """Whether abstract classes may have another answer about a class once it is swapped.

    That asks what the class has, and what it is below. An attribute that is None stands for no such method, whatever is
    above.

    Arguments:
        pair: the class and its twin.
        changed: the attributes that change.
        translate: gives the living object for a twin.
    """
    if any((one.was is none) != (one.will is none) for one in changed for none in (walk.MISSING, None)):
        return True
    bases = [translate(base) for base in walk.fact(pair.new, "__bases__")]
    return not walk.same_items(bases, walk.fact(pair.old, "__bases__"))


def forget_aliases() -> None:
    """Have `typing` forget which aliases it has made: ``List[Rate]`` of a dropped class among them.

    Of ``Box[int, str]``, too, it would answer from memory where a class with one type parameter has to refuse.
    """
    for cleanup in getattr(typing, "_cleanups", ()):
        cleanup()
