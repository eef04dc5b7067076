"""Finding: where the modules lie that a candidate loads."""

from __future__ import annotations

from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

from hotswap.generation.files import spec_again
from hotswap.generation.paths import added_places, with_places

if TYPE_CHECKING:
    from hotswap.generation.candidate_world import CandidateWorld

__all__ = ["find"]


def find(world: CandidateWorld, name: str) -> ModuleSpec:
    """Return where a module of a candidate lies. Raises ModuleNotFoundError if there is no such module."""
    candidate, live = world.candidate, world.live_modules
    affected = live.get(name) if name in candidate.selection.affected else None
    if affected is not None and affected.source is not None:
        spec = candidate.tree.spec(name) or spec_again(name, affected.module, affected.source)
        candidate.definitions[name] = affected.definitions
    else:
        spec = candidate.tree.spec(name) if name not in candidate.removed else None
        spec = spec or _beside(world, name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return with_places(spec, added_places(live, name))


def _beside(world: CandidateWorld, name: str) -> ModuleSpec | None:
    """Where a module lies that the patch does not hold, or None."""
    tree, parent = world.candidate.tree, name.rpartition(".")[0]
    whole = name.partition(".")[0] in tree.complete
    if not parent:
        return None if whole else PathFinder.find_spec(name)
    path = getattr(world.present(parent), "__path__", None)
    if path is None:
        raise ModuleNotFoundError(f"No module named {name!r}; {parent!r} is not a package", name=name)
    if whole and parent not in world.own:  # its own folder is that of the old version
        path = added_places(world.live_modules, parent, tree.package_path(parent))
    return PathFinder.find_spec(name, list(path))
