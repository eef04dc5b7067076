"""Discovery: the adapters for the frameworks that this process uses."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

from hotswap import walk
from hotswap.errors import PlanError
from hotswap.swap import Adapter, Look

__all__ = ["GROUP", "adapters"]

GROUP = "hotswap.adapters"
"""The group of the entry points; the name of each is the top-level module of the framework."""


def adapters() -> list[Adapter]:
    """Make one of each adapter whose framework is imported.

    Raises PlanError if one can't be made: without it, a swap would leave the registries of its framework half old.
    """
    points = _points(importlib.metadata.entry_points, tuple(sys.path))
    made = [_made(point) for point in points if point.name in sys.modules]
    look = Look(root for adapter in made for root in adapter.roots)
    for adapter in made:
        adapter.look, adapter.together = look, made
    return made


@functools.lru_cache(maxsize=1)
def _points(entry_points: Callable[..., Any], _: tuple[str, ...]) -> list[importlib.metadata.EntryPoint]:
    """All entry points of the group. They are read once for each search path: that takes longer than staging."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _made(point: importlib.metadata.EntryPoint) -> Adapter:
    try:
        factory = point.load()
        if not (walk.is_class(factory) and issubclass(factory, Adapter)):
            raise TypeError(f"{point.value} is not a subclass of hotswap.adapters.Adapter")
        made: Adapter = factory()
    except Exception as error:
        origin = f" of {point.dist.name} {point.dist.version}" if point.dist is not None else ""
        raise PlanError(
            f"the adapter {point.value}{origin} for {point.name} can't be used: {type(error).__name__}: {error}",
            advice="mend or uninstall it, and stage the patch again; the service goes on meanwhile",
        ) from error
    made.library = point.name
    return made
