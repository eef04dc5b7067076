"""The files of the generations that run or may run again, and the finder that shows the live ones."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hotswap.generation.files import PatchFinder, Tree
from hotswap.generation.live import Live

__all__ = ["Shelf", "ShelfMark"]


@dataclass(frozen=True)
class ShelfMark:
    """What was live at one time: the tree, and for each module that came from a patch the tree that it came from."""

    tree: Tree | None
    origins: dict[str, Tree]


class Shelf:
    """Keeps the trees. Lives as long as a patcher, which calls it under its lock.

    The finder is on `sys.meta_path` only while a patch is live; modules that are imported already never ask it.
    """

    def __init__(self) -> None:
        self._finder = PatchFinder()
        self._origins: dict[str, Tree] = {}
        self._trees: list[Tree] = []
        self._bases: dict[str, str] = {}

    @property
    def tree(self) -> Tree | None:
        """The live tree, or None while the code on disk is live."""
        return self._finder.tree

    def mark(self) -> ShelfMark:
        """Return what it takes to come back to what is live now."""
        return ShelfMark(self.tree, dict(self._origins))

    def base_paths(self, live: Live) -> dict[str, str]:
        """Return where the packages lie on disk, apart from patches: module name -> directory."""
        if self.tree is None:
            self._bases.clear()
        for name in live.packages:
            if live.get(name) is None and name not in self._bases and self.tree is None:
                spec = importlib.util.find_spec(name)  # it lies there, although nobody has imported it yet
                if spec is not None and spec.submodule_search_locations:
                    self._bases[name] = next(iter(spec.submodule_search_locations))
        for entry in live:
            if entry.package and entry.name not in self._bases and entry.name not in self._origins:
                path: list[Any] = list(entry.module.__dict__.get("__path__", ()))
                if path and isinstance(path[0], str):
                    self._bases[entry.name] = path[0]
        return self._bases

    def put(self, tree: Tree, modules: Iterable[str], removed: Iterable[str]) -> None:
        """Make a tree the live one.

        Arguments:
            tree: the tree of the generation that went live.
            modules: the names of the modules that were loaded from it.
            removed: the names of the modules that it took away.
        """
        self._trees.append(tree)
        self._origins.update(dict.fromkeys(modules, tree))
        for name in removed:
            self._origins.pop(name, None)
        self._show(tree)

    def put_back(self, mark: ShelfMark) -> None:
        """Make what was live at `mark` live again."""
        self._origins = dict(mark.origins)
        self._show(mark.tree)

    def retire(self, marks: Iterable[ShelfMark]) -> None:
        """Delete the files that neither the live generation nor those of `marks` run."""
        kept = {id(self.tree), *map(id, self._origins.values())}
        for mark in marks:
            kept |= {id(mark.tree), *map(id, mark.origins.values())}
        for tree in [tree for tree in self._trees if id(tree) not in kept]:
            self._trees.remove(tree)
            tree.remove()

    def _show(self, tree: Tree | None) -> None:
        self._finder.tree = tree
        if tree is None:
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
        elif self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)
        importlib.invalidate_caches()
