"""The garbage collector: switched off for as long as somebody of ours needs it off, and asked what it knows.

A collection in the middle of a swap would run finalizers there, and one of the whole heap would stop every thread for
as long as the heap is large. So it is off while a candidate is loaded, while a swap is prepared, and in the commit;
what was made meanwhile is collected afterwards, when the program next makes objects.

Guarantees: blocks may overlap in several threads; when the last one ends, the collector is on again if the program had
it on, or has switched it on meanwhile, also if an interrupt (Ctrl-C, the end of a time limit) comes at the very edge of
a block. Nobody is disturbed by being looked at: a tuple that is being built in another thread must not be held by
anybody else, or its builder fails with a `SystemError` (`tests/cpython` proves it), and `gc.get_objects` holds
everything. So it is asked, and what it says is sorted, in one C call; of tuples only the identities leave that call.

Assumes: nobody else switches the collector off meanwhile, for that can't be told from our having done so: it is on
again afterwards. That no other thread runs within the C call holds with the GIL only.
"""

from __future__ import annotations

import gc
import operator
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, compress, repeat, starmap
from typing import Any

__all__ = ["FEW", "is_wanted", "known_objects", "objects_of", "referrers_of", "switched_off"]

FEW = 32
"""For how many objects what refers to them is asked for: every reference in the heap is compared with all of them, with
the GIL held, and with thousands (all code of a generation, which a debugger holds) that would take seconds."""


class _Switch:
    def __init__(self) -> None:
        # Reentrant: a collection that begins while it is held may run a finalizer that comes here.
        self._lock = threading.RLock()
        self._held: set[int] = set()
        self._found: set[bool | None] = set()
        """Whether it was on, as each hold has found it."""

    @property
    def wanted(self) -> bool:
        with self._lock:
            return gc.isenabled() or (bool(self._held) and True in self._found)

    def hold(self, key: int) -> None:
        with self._lock:
            if not self._held:
                self._found.clear()
            self._held.add(key)
            # One C call: the program may switch it on at any time, and what is not seen here would be lost.
            self._found.update(map(operator.call, (gc.isenabled, gc.disable)))

    def release(self, key: int) -> None:
        """End a hold; may be called again, if it is not known how far the first call came."""
        with self._lock:
            if key in self._held:
                if len(self._held) == 1 and True in self._found:
                    gc.enable()
                self._held.discard(key)


_switch = _Switch()


def is_wanted() -> bool:
    """Whether the program has the collector on, whatever we did to it for the moment."""
    return _switch.wanted


class _Hold:
    """Why the collector is off. It ends at the latest when nobody has it any more: an interrupt may come anywhere."""

    def begin(self) -> None:
        _switch.hold(id(self))

    def end(self) -> None:
        _switch.release(id(self))

    __del__ = end


@contextmanager
def switched_off() -> Iterator[None]:
    """Have the collector off in this block."""
    hold = _Hold()
    try:
        hold.begin()
        yield
    finally:
        hold.end()


def known_objects(generation: int | None = None) -> tuple[list[object], list[int]]:
    """Return the objects that the collector knows, but for tuples, and the identities of the tuples.

    Arguments:
        generation: of the collector; None for all of them.
    """
    everything: list[object] = []
    others: list[object] = []
    tuples: list[int] = []
    _in_one_call(
        gc.get_objects,
        () if generation is None else (generation,),
        everything,
        (others.extend, compress(everything, map(operator.is_not, map(type, everything), repeat(tuple)))),
        (tuples.extend, map(id, compress(everything, map(operator.is_, map(type, everything), repeat(tuple))))),
    )
    # These lists are among the objects; a list that holds itself would keep all of them until a collection.
    own = {id(everything), id(others), id(tuples)}
    found = [o for o in others if id(o) not in own]
    others.clear()
    return found, tuples


def objects_of(kinds: Iterable[type]) -> list[Any]:
    """Return the objects of some types that the collector knows, not of types below them. Tuples are none of them."""
    return _sorted_out(gc.get_objects, (), kinds)


def referrers_of(objects: Iterable[object], kinds: Iterable[type]) -> list[Any]:
    """Return what of some types refers to one of some objects. Tuples are none of them."""
    return _sorted_out(gc.get_referrers, tuple(objects), kinds)


def _sorted_out(ask: Callable[..., Any], about: tuple[object, ...], kinds: Iterable[type]) -> list[Any]:
    everything: list[object] = []
    found: list[Any] = []
    wanted = frozenset(id(kind) for kind in kinds if kind is not tuple)
    # By identities: a metaclass may have a hash of its own, which would be run.
    sorting = found.extend, compress(everything, map(wanted.__contains__, map(id, map(type, everything))))
    with switched_off():  # on CPython 3.11 a collection, and with it a finalizer, may begin in any allocation
        _in_one_call(ask, about, everything, sorting)
    return found


def _in_one_call(
    ask: Callable[..., Any], about: tuple[object, ...], everything: list[object], *sorting: tuple[Any, ...]
) -> None:
    """Ask, sort what is said, and forget it, while no other thread runs.

    Arguments:
        ask, about: what is called with what.
        everything: an empty list, of which the sorting tells where it goes; it is empty again afterwards.
        sorting: C functions, each with its arguments.
    """
    steps = ((everything.extend, chain.from_iterable(starmap(ask, (about,)))), *sorting, (everything.clear,))
    deque(starmap(operator.call, steps), maxlen=0)
