"""Discovery: the adapters for the frameworks that this process uses."""

from __future__ import annotations

import importlib.metadata
import sys

from hotswap import walk
from hotswap.errors import PlanError
from hotswap.swap import Adapter

__all__ = ["GROUP", "adapters"]

GROUP = "hotswap.adapters"
"""The group of the entry points; the name of each is the top-level module of the framework."""


def adapters() -> list[Adapter]:
    """Make one of each adapter whose framework is imported.

    Raises PlanError if one can't be made: without it, a swap would leave the registries of its framework half old.
    """
    points = importlib.metadata.entry_points(group=GROUP)
    return [_made(point) for point in sorted(points, key=lambda point: point.name) if point.name in sys.modules]


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
