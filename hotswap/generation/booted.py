"""What a process was booted on: patched generations that are there before the first module of it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from hotswap.generation.files import PatchFinder, Tree

__all__ = ["BootedFinder", "ask_finders", "booted", "joined"]


def ask_finders(
    fullname: str,
    path: Sequence[str] | None = None,
    target: ModuleType | None = None,
    *,
    passed: Callable[[object], bool],
) -> ModuleSpec | None:
    """Return what the finders find now; None for nothing.

    Arguments:
        fullname, path, target: as of `find_spec`.
        passed: says of a finder whether it is passed by.
    """
    specs = (finder.find_spec(fullname, path, target) for finder in list(sys.meta_path) if not passed(finder))
    return next((spec for spec in specs if spec is not None), None)


class BootedFinder(PatchFinder):
    """Finds the modules of a generation that was live in an earlier process. Lives as long as the process.

    A patcher of its packages takes it over, and shows later generations by it.

    Arguments:
        tree: the files of the generation.
        places: where its packages lie on disk: package -> folders.
        rollout: the id of the rollout that made it.
        watched: takes the spec of each module that is found while the generation is live, and returns it; or None.
    """

    def __init__(
        self,
        tree: Tree,
        places: Mapping[str, Sequence[str]],
        rollout: str,
        watched: Callable[[ModuleSpec], ModuleSpec] | None = None,
    ) -> None:
        super().__init__()
        self.tree: Tree | None = tree
        self._first, self._watched = tree, watched
        self.places = {package: list(folders) for package, folders in places.items()}
        self.rollout = rollout
        self.packages = frozenset(tree.roots)
        self.taken = False
        """Whether a patcher has it."""
        self.is_over: Callable[[], bool] | None = None
        """Asked before a package is imported; where it is, something else shows it by now."""
        self.whole: BootedFinder | None = None
        """What shows the same, and more, in its place."""

    def shows_first(self) -> bool:
        """Whether the generation on which the process came up is live, and no patch over it."""
        shown = self.whole or self
        return shown.tree is shown._first

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the tree, or of one on disk that the tree lies over; else None.

        The latter is found in the tree too, by a link. But it is the code on disk, with its file and its bytecode.
        """
        if fullname in self.packages and self.is_over is not None and not self.taken and self.is_over():
            # Whoever goes through the finders goes on after this one, where what shows it now does not stand.
            return ask_finders(fullname, path, target, passed=lambda finder: finder is self)
        found = self._found(fullname, path, target)
        if found is None or self._watched is None or not self.shows_first():
            return found
        return self._watched(found)

    def _found(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        found, tree = super().find_spec(fullname, path, target), self.tree
        root, *folders = fullname.split(".")[:-1] or [fullname]
        if found is not None or tree is None or root not in self.places or root in tree.complete or not path:
            return found
        inside = tree.package_path(fullname.rpartition(".")[0])
        if inside not in path:
            return None
        return PathFinder.find_spec(fullname, [os.path.join(place, *folders) for place in self.places[root]])


class _Joined(Tree):
    """The trees of several rollouts as one: each of them was made permanent by a process that did not know the others.

    They lie in one directory, and have no package in common.
    """

    def __init__(self, parts: Sequence[Tree]) -> None:
        self._parts, self._regular = parts, frozenset()
        self.directory = parts[0].directory
        self.roots = frozenset(root for part in parts for root in part.roots)
        self.versions = {root: version for part in parts for root, version in part.versions.items()}
        self.sources = {name: source for part in parts for name, source in part.sources.items()}
        self.files = {path: data for part in parts for path, data in part.files.items()}
        self.extensions = {name: path for part in parts for name, path in part.extensions.items()}
        self.complete = frozenset(root for part in parts for root in part.complete)
        self.retold = {info: version for part in parts for info, version in part.retold.items()}

    def remove(self) -> None:
        for part in self._parts:
            part.remove()


def booted(packages: Sequence[str]) -> list[BootedFinder]:
    """Return what shows the generations of these packages that this process was booted on, unless a patcher has them.

    The newest comes first.
    """
    found = [finder for finder in sys.meta_path if isinstance(finder, BootedFinder) and not finder.taken]
    return [finder for finder in found if finder.tree is not None and finder.packages <= {*packages}]


def joined(finders: Sequence[BootedFinder]) -> BootedFinder | None:
    """Have one finder show what several do, and return it; None for none. A patcher has it from now on."""
    for finder in finders:
        finder.taken = True
    trees = [finder.tree for finder in finders if finder.tree is not None]
    if len(trees) < 2:
        return finders[0] if finders else None
    places = {package: folders for finder in finders for package, folders in finder.places.items()}

    def watched(spec: ModuleSpec) -> ModuleSpec:
        root = spec.name.partition(".")[0]
        watches = [finder._watched for finder in finders if root in finder.packages and finder._watched is not None]
        return watches[0](spec) if watches else spec

    whole = BootedFinder(_Joined(trees), places, finders[0].rollout, watched)
    whole.taken = True
    sys.meta_path.insert(0, whole)
    for finder in finders:
        finder.whole = whole
        sys.meta_path.remove(finder)
    return whole
