"""Belonging: from which world the code in a frame imports, and by which it sees modules.

Guarantees: the registries are read and written with single dict operations, which are atomic with the GIL and on
free-threaded builds. So a commit can register and unregister.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotswap.generation.isolation import World

__all__ = ["asking", "between", "later", "world_of", "worlds"]

worlds: dict[int, World] = {}
"""The registry: id of a module's globals -> the world that its code imports from. A world keeps these globals alive."""

later: dict[int, tuple[World, ...]] = {}
"""Id of a module's globals -> more worlds: of later generations, to which calls that run in these were handed over."""

between: set[int] = {id(globals())}
"""The ids of the globals of our own code that stands between who asks a module and its view."""


def world_of(frame: FrameType, key: int) -> World | None:
    """Return the world of the generation to which the code in a frame belongs; None if that is what is live.

    Arguments:
        frame: the frame.
        key: the id of the globals of that code: somebody may stand between it and who asks.
    """
    world = worlds.get(key)
    if world is not None and world.holds(frame):
        return world
    return next((other for other in later.get(key, ()) if other.holds(frame)), None) if later else None


def asking() -> FrameType:
    """Return the frame that asks a module or a view of one: our own, of which this is called, are passed over."""
    frame = sys._getframe(1)
    while id(frame.f_globals) in between and frame.f_back is not None:
        frame = frame.f_back
    return frame
