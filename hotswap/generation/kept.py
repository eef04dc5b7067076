"""`hotswap.keep`: module-level objects that outlive every version.

Guarantees: an object is remembered by the name of a module and a name of its own, once for the process; whoever asks
again, in whatever version, gets the same object. What a candidate asks for anew is noted with the candidate, and
remembered for all when it goes live: the swap does that, and a rollback takes it back.

Assumes: single dict operations are atomic, with the GIL and without. The factory is code of others, so it runs under
no lock: two threads that ask for the same new name at the same time may both call it, and get the same one of the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar, cast

from hotswap.generation.isolation import World, worlds

__all__ = ["keep", "registry"]

T = TypeVar("T")

registry: dict[tuple[str, str], Any] = {}
"""The registry: (module, name) -> the object. What is in it lives as long as the process."""

_MISSING: Any = object()


def keep(name: str, factory: Callable[[], T], *, module: str | None = None) -> T:
    """Return a module-level object that survives every swap: ``CACHE = hotswap.keep("cache", dict)``.

    The first time, `factory` is called and its object remembered. From then on every version of the module gets that
    very object, whatever its definition says; it is never dropped. It works without a patcher, too.

    A candidate gets the living object, not a twin: what its module body writes into it, it writes into what is live.
    What a candidate makes is remembered when it goes live, and forgotten if it is rejected or rolled back.

    Arguments:
        name: of the object, within its module.
        factory: makes the object; called without arguments, under no lock. Two threads that ask for a new name at the
            same time may both call it, and get the same object.
        module: dotted name of the module that the object belongs to; by default the one that calls. It goes on
            belonging to it if the module is renamed and still gives the old name here.

    Raises TypeError or ValueError for arguments that can't be meant, and what `factory` raises; nothing is remembered
    then.
    """
    caller = sys._getframe(1)
    owner = caller.f_globals.get("__name__") if module is None else module
    for given, title in ((name, "name"), (owner, "module")):
        if not isinstance(given, str):
            raise TypeError(f"the {title} of what is kept must be text, not {type(given).__name__}")
        if not given:
            raise ValueError(f"the {title} of what is kept must not be empty")
    if not callable(factory):
        raise TypeError(f"the factory of {name!r} must be callable, such as dict, not {type(factory).__name__}")
    key = (cast("str", owner), name)
    found = registry.get(key, _MISSING)
    if found is _MISSING:
        world = _candidate(caller)
        place = registry if world is None or world.kept is None else world.kept
        found = place.get(key, _MISSING)
        if found is _MISSING:
            found = place.setdefault(key, factory())
    return cast("T", found)


def _candidate(frame: FrameType | None) -> World | None:
    """The candidate for which somebody asks, straight or through a helper of live code: any frame above may be its."""
    while frame is not None:
        world = worlds.get(id(frame.f_globals))
        if world is not None and world.kept is not None and not world.live:
            return world
        frame = frame.f_back
    return None
