"""Which objects did the candidate create?

`gc.freeze()` sets aside everything that exists; what `gc.get_objects()` shows afterwards was created since. So the
cost depends on what was loaded, not on the size of the heap.

Assumes: the collector of CPython. Objects that other threads create meanwhile are seen too; `owned` keeps only those
that can be reached from the candidate's modules. Where the application has frozen objects itself, unfreezing would
undo its work, so nothing is frozen and `owned` follows references alone, which it can do because it never leaves
through a module, function or class that is not the candidate's.
"""

from __future__ import annotations

import abc
import gc
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hotswap import walk

__all__ = ["Young", "detach", "reachable", "watch_young"]

_FROZEN_AT_START = 4096
"""CPython 3.12 starts with a few hundred frozen objects of its own; an application that freezes has many more."""

_HEAP = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: not written in C."""

_lock = threading.Lock()
_windows = 0


class Young:
    """What was created while a window was open: `objects` once it is closed, or None where that can't be known."""

    def __init__(self) -> None:
        self.objects: list[object] | None = None


@contextmanager
def watch_young() -> Iterator[Young]:
    """Note the objects that are created in this block. Windows may overlap; each then sees the others' objects too."""
    global _windows  # noqa: PLW0603 - the collector is one for the process, and so is the count of its users
    young = Young()
    with _lock:
        mine = _windows > 0 or gc.get_freeze_count() < _FROZEN_AT_START
        if mine:
            if not _windows:
                gc.freeze()
            _windows += 1
    try:
        yield young
    finally:
        if mine:
            with _lock:
                young.objects = gc.get_objects()
                _windows -= 1
                if not _windows:
                    gc.unfreeze()


def reachable(roots: Iterable[object], among: Iterable[object]) -> list[object]:
    """Return those of the objects in `among` that can be reached from `roots` through others of them."""
    inside = {id(o): o for o in among}
    found: dict[int, object] = {}
    stack = list(roots)
    while stack:
        for referent in gc.get_referents(stack.pop()):
            key = id(referent)
            if key in inside and key not in found:
                found[key] = referent
                stack.append(referent)
    return list(found.values())


def detach(cls: type) -> None:
    """Take a dropped class out of `__subclasses__()` of its bases, which live on.

    The class itself dies with the next collection; until then a framework that walks the subclasses of a base must
    not find it.
    """
    for base in _above(cls):
        # The shell has to add to the layout what the present base adds: nothing, or a dict and weak references.
        for body in ({}, {"__slots__": ()}):
            try:
                type.__setattr__(cls, "__bases__", (type("Detached", (base,), body),))
            except TypeError:
                continue  # the layout does not fit: the next shell, or the next base above, may
            return
    # The layout forbids it (slots, several solid bases): the class stays listed until it is collected. So does every
    # class straight below one that is written in C.


def _above(cls: type) -> Iterator[type]:
    """The classes that may stand above a shell: first what is written in C, then what has the layout of a base.

    Only those that run no code of anybody's when a class is made below them.
    """
    bases = walk.mro(cls)[1:]
    yield next((base for base in bases if not base.__flags__ & _HEAP), object)
    for base in bases[1:]:
        hooks = (name in walk.class_dict(b) for b in walk.mro(base)[:-1] for name in ("__init_subclass__",))
        if base.__flags__ & _HEAP and type(base) in (type, abc.ABCMeta) and not any(hooks):
            yield base
