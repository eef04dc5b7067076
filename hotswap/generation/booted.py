"""What a process was booted on: a patched generation that is there before the first module of it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from hotswap.generation.files import PatchFinder, Tree

__all__ = ["BootedFinder", "booted"]


class BootedFinder(PatchFinder):
    """Finds the modules of a generation that was live in an earlier process. Lives as long as the process.

    A patcher of its packages takes it over, and shows later generations by it.

    Arguments:
        tree: the files of the generation.
        places: where its packages lie on disk: package -> folders.
        rollout: the id of the rollout that made it.
    """

    def __init__(self, tree: Tree, places: Mapping[str, Sequence[str]], rollout: str) -> None:
        super().__init__()
        self.tree: Tree | None = tree
        self.places = {package: list(folders) for package, folders in places.items()}
        self.rollout = rollout
        self.packages = frozenset(tree.roots)
        self.taken = False
        """Whether a patcher has it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the tree, or of one on disk that the tree lies over; else None.

        The latter is found in the tree too, by a link. But it is the code on disk, with its file and its bytecode.
        """
        found, tree = super().find_spec(fullname, path, target), self.tree
        root, *folders = fullname.split(".")[:-1] or [fullname]
        if found is not None or tree is None or root not in self.places or root in tree.complete or not path:
            return found
        inside = tree.package_path(fullname.rpartition(".")[0])
        if inside not in path:
            return None
        return PathFinder.find_spec(fullname, [os.path.join(place, *folders) for place in self.places[root]])


def booted(packages: Sequence[str]) -> BootedFinder | None:
    """Return what shows the generation of these packages that this process was booted on, unless a patcher has it."""
    found = [finder for finder in sys.meta_path if isinstance(finder, BootedFinder) and not finder.taken]
    mine = [finder for finder in found if finder.packages <= {*packages}]
    return mine[0] if len(mine) == 1 else None
