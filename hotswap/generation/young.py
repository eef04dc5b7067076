"""Which objects did the candidate create?

The collector keeps what was created since its last run in a generation of its own. So before a candidate is loaded the
youngest generation is emptied (that is one collection of a few hundred objects), and while it is loaded the collector
is off: afterwards the youngest generation is what was created since. The cost depends on what was loaded, not on the
size of the heap, and the objects then grow old like all others, so that retired generations are collected in time.

`gc.freeze` and `gc.unfreeze` would tell the same, but they move the whole heap to the oldest generation without
counting it, and full collections, which free retired generations, become rare. They are used only where the
application has switched the collector off: then the youngest generation may hold the whole heap.

Assumes: the collector of CPython. Objects that other threads create meanwhile are seen too; `owned` keeps only those
that can be reached from the candidate's modules. A collection that somebody asks for meanwhile is noticed by
`gc.callbacks`, and what was young is noted before it.
"""

from __future__ import annotations

import abc
import contextlib
import gc
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hotswap import collector, walk
from hotswap.effects import forget_handlers

__all__ = ["Young", "detach", "reachable", "watch_young"]

_FROZEN_AT_START = 4096
"""CPython 3.12 starts with a few hundred frozen objects of its own; an application that freezes has many more."""


class _Mark:
    """Is as old as a window. Who holds it, and is not ours, passes over the heap, and holds everything."""


class Young:
    """What was created while a window was open: `objects` once it is closed, or None where that can't be known.

    Tuples are not among them, since others may be building them; `tuples` has their identities. One that has such an
    identity, and can be reached, is young: if not that very tuple, then one that was made after it had died.

    It can't where the application has switched the collector off and has frozen objects itself: unfreezing would undo
    its work. Then `reachable` has to do alone, which it can because it never leaves through a module, function or
    class that is not the candidate's.
    """

    def __init__(self) -> None:
        self.mark: object = None
        self.objects: list[object] | None = None
        self.tuples: set[int] = set()
        self.noted: list[object] = []
        self.before: list[object] = []
        """What another window had seen when this one was opened; kept, so that no new object gets the place of one."""


class _Windows:
    """The open windows of the process. They may overlap; each then sees the others' objects too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Young] = []
        self._collecting = True

    def open(self, young: Young) -> None:
        """Begin to watch."""
        with self._lock:
            first = not self._open
            if first:
                self._collecting = collector.is_wanted()
                if not self._collecting and gc.get_freeze_count() >= _FROZEN_AT_START:
                    return
            if self._collecting and first:
                gc.collect(0)
            if self._collecting:
                # In a second window nothing is collected: what another thread makes between the callback and the
                # collection would be lost. Nor is it while another thread collects, and runs a finalizer there.
                young.before, _ = collector.known_objects(0)
            self._open.append(young)
            if first and self._collecting:
                gc.callbacks.append(self._note)
            elif first:
                gc.freeze()

    def close(self, young: Young) -> None:
        """End it, and say what was created."""
        with self._lock:
            if young not in self._open:
                return
            try:
                found, tuples = collector.known_objects(0 if self._collecting else None)
                found += young.noted
                young.noted.clear()
                before = {*map(id, young.before)}
                young.objects = list({id(o): o for o in found if id(o) not in before}.values())
                young.before.clear()
                young.tuples.update(tuples)
            finally:
                self._open.remove(young)
                if not self._open and self._collecting:
                    with contextlib.suppress(ValueError):  # an interrupt came before it was there
                        gc.callbacks.remove(self._note)
                elif not self._open:
                    gc.unfreeze()

    def _note(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            objects, tuples = collector.known_objects(0)
            for window in self._open:
                window.noted += objects
                window.tuples.update(tuples)


_windows = _Windows()


@contextmanager
def watch_young() -> Iterator[Young]:
    """Note the objects that are created in this block."""
    young = Young()
    with collector.switched_off():
        try:
            _windows.open(young)
            young.mark = _Mark()  # of the youngest generation, as all that comes
            yield young
        finally:
            _windows.close(young)


def reachable(roots: Iterable[object], young: Young) -> list[object]:
    """Return the young objects that can be reached from `roots` through others of them."""
    inside = {id(o) for o in young.objects or ()}
    found: dict[int, object] = {}
    stack = list(roots)
    while stack:
        for referent in gc.get_referents(stack.pop()):
            key = id(referent)
            if (key in inside or (type(referent) is tuple and key in young.tuples)) and key not in found:
                found[key] = referent
                stack.append(referent)
    return list(found.values())


def detach(cls: type) -> None:
    """Take a dropped class out of `__subclasses__()` of its bases, which live on.

    The class itself dies with the next collection; until then a framework that walks the subclasses of a base must
    not find it. An object of it has lost what it inherits by then, so `logging` is not to close it.
    """
    forget_handlers(cls)
    written_in_c, *others = _above(cls)
    if not _detach_below(cls, written_in_c) and not _detach_by_mirror(cls):
        any(_detach_below(cls, base) for base in others)
    # What the layout still forbids (several solid bases) stays listed until it is collected. So does every class
    # straight below one that is written in C.


def _detach_below(cls: type, base: type) -> bool:
    """Put a class below a shell that stands below a class: one that runs no code of anybody's then."""
    # The shell has to add to the layout what the present base adds: nothing, or a dict and weak references.
    for body in ({}, {"__slots__": ()}):
        try:
            type.__setattr__(cls, "__bases__", (type("Detached", (base,), body),))
        except TypeError:
            continue  # the layout does not fit: the next shell may
        return True
    return False


def _detach_by_mirror(cls: type) -> bool:
    """Put a class below a mirror of its base: plain classes with the same slots, level by level, that nobody knows.

    CPython takes a mirror for the base only if both stand right below the same class. So while the class is moved, the
    mirror stands below the real bases; it is plain, and its metaclass runs nobody's code.
    """
    base = walk.fact(cls, "__base__")
    if base is None or walk.is_written_in_c(base):
        return False
    levels = [(base, _mirror(base))]
    while not walk.is_written_in_c(walk.fact(levels[-1][0], "__base__")):
        levels.append((walk.fact(levels[-1][0], "__base__"), walk.fact(levels[-1][1], "__base__")))
    below = list(reversed(levels[:-1]))
    attached: list[tuple[type, tuple[type, ...]]] = []
    try:
        for real, mirror in below:
            attached.append((mirror, mirror.__bases__))
            mirror.__bases__ = (walk.fact(real, "__base__"),)
        type.__setattr__(cls, "__bases__", (levels[0][1],))
    except TypeError:
        return False
    finally:
        for mirror, bases in reversed(attached):
            mirror.__bases__ = bases
    return True


def _mirror(base: type) -> type:
    """Make a plain class with the layout of another one: the same slots on every level."""
    if walk.is_written_in_c(base):
        return base
    slots: Any = walk.class_dict(base).get("__slots__")
    names = (slots,) if type(slots) is str else tuple(slots) if type(slots) in (tuple, list) else None
    return type("Detached", (_mirror(walk.fact(base, "__base__")),), {} if names is None else {"__slots__": names})


def _above(cls: type) -> Iterator[type]:
    """The classes that may stand above a shell: first what is written in C, then what has the layout of a base.

    Only those that run no code of anybody's when a class is made below them.
    """
    bases = walk.mro(cls)[1:]
    yield next((base for base in bases if walk.is_written_in_c(base)), object)
    for base in bases[1:]:
        hooks = (name in walk.class_dict(b) for b in walk.mro(base)[:-1] for name in ("__init_subclass__",))
        if not walk.is_written_in_c(base) and type(base) in (type, abc.ABCMeta) and not any(hooks):
            yield base
