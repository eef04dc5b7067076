"""The files of the generations that run or may run again, and the finder that shows the live ones."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec, PathFinder

from hotswap.generation.booted import BootedFinder, joined
from hotswap.generation.files import PatchFinder, Tree
from hotswap.generation.live import Live, LiveModule
from hotswap.generation.paths import places_of

__all__ = ["Late", "Shelf", "ShelfMark", "source_of"]


@dataclass(frozen=True)
class ShelfMark:
    """What was live at one time: the tree, and for each module that came from a patch the tree that it came from."""

    tree: Tree | None
    origins: dict[str, Tree]


@dataclass(frozen=True)
class Late:
    """What was imported after a swap that is to be taken back.

    `returning` are modules that the generation before has with another text, or that the swap itself brought in:
    their old version is to be loaded. `moved` are modules that it has with the same text: they stay, and lie where it
    has them. `stay` are those that lie in neither, such as plug-ins: they stay where they are. `dropped` are modules
    that it does not have, or whose old version can't be loaded, each with the reason: whoever imports them next gets
    what is there then. `texts` are those of the generation before, of what returns and of what has moved.
    """

    dropped: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, ModuleSpec] = field(default_factory=dict)
    stay: tuple[str, ...] = ()
    returning: Mapping[str, ModuleSpec] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def without(self, failed: Mapping[str, str]) -> Late:
        """Return the same without the old versions of some modules, each with the reason: they are dropped instead."""
        dropped = {**self.dropped, **failed}
        for name in sorted((*self.moved, *self.returning), key=lambda name: name.count(".")):
            parent = name.rpartition(".")[0]
            if parent in dropped and name not in dropped:
                dropped[name] = f"{parent} is not there any more"
        moved = {name: spec for name, spec in self.moved.items() if name not in dropped}
        returning = {name: spec for name, spec in self.returning.items() if name not in dropped}
        return replace(self, dropped=dropped, moved=moved, returning=returning)


_UNREADABLE = "its old version has no source that can be read"


class Shelf:
    """Keeps the trees. Lives as long as a patcher, which calls it under its lock.

    The finder is on `sys.meta_path` only while a patch is live; modules that are imported already never ask it.

    Arguments:
        finders: those of the generations on which the process came up, as far as they were patched.
    """

    def __init__(self, finders: Sequence[BootedFinder] = ()) -> None:
        booted = joined(finders)
        self._finder = PatchFinder() if booted is None else booted
        self._origins: dict[str, Tree] = {}
        self._trees: list[Tree] = []
        self._bases: dict[str, list[str]] = {}
        if booted is not None and booted.tree is not None:
            self._origins = dict.fromkeys(booted.tree.sources, booted.tree)
            self._trees = [booted.tree]
            self._bases = {package: places for package, places in booted.places.items() if places}

    @property
    def tree(self) -> Tree | None:
        """The live tree, or None while the code on disk is live."""
        return self._finder.tree

    def mark(self) -> ShelfMark:
        """Return what it takes to come back to what is live now."""
        return ShelfMark(self.tree, dict(self._origins))

    def base_paths(self, live: Live) -> dict[str, list[str]]:
        """Return where the packages lie on disk, apart from patches: module name -> directories."""
        if self.tree is None:
            self._bases.clear()
        for name in live.packages:
            if live.get(name) is None and name not in self._bases and self.tree is None:
                spec = importlib.util.find_spec(name)  # it lies there, although nobody has imported it yet
                if spec is not None and spec.submodule_search_locations:
                    places = list(spec.submodule_search_locations)
                    self._bases[name] = places[:1] if spec.origin is not None else places
        for entry in live:
            if entry.package and entry.name not in self._bases and entry.name not in self._origins:
                places = places_of(entry.module)
                if places:
                    self._bases[entry.name] = places
        return self._bases

    def late(self, mark: ShelfMark, known: Container[str], fresh: Container[str], live: Live) -> Late:
        """Return what was imported since a swap, as far as it came from its files.

        Arguments:
            mark: what was live before the swap.
            known: the modules that were imported before it.
            fresh: the modules that it has brought in: they go with it, unless their old version is loaded.
            live: the managed modules as they run now.
        """
        tree = self.tree
        dropped: dict[str, str] = {}
        moved: dict[str, ModuleSpec] = {}
        returning: dict[str, ModuleSpec] = {}
        texts: dict[str, str] = {}
        stay: list[str] = []
        inside = () if tree is None else (tree.directory + os.sep,)
        for entry in sorted(live, key=lambda entry: entry.name.count(".")):
            name, new = entry.name, entry.name in fresh
            if name in known or not entry.plain:
                continue
            if not new and not _place(entry).startswith(inside):
                stay.append(name)
                continue
            parent = name.rpartition(".")[0]
            gone = parent in dropped or (parent in fresh and parent not in returning and parent not in moved)
            spec = None if gone else self.spec(name, mark.tree)
            text = None if spec is None else source_of(spec)
            space = spec is not None and spec.origin is None and spec.submodule_search_locations is not None
            if spec is not None and space and entry.namespace:
                moved[name] = spec
            elif spec is not None and text is not None and not entry.namespace:
                (moved if text == entry.source and not new else returning)[name] = spec
                texts[name] = text
            elif not new:
                dropped[name] = "the version that came back has no such module" if spec is None else _UNREADABLE
        return Late(dropped, moved, tuple(stay), returning, texts)

    def stragglers(self, known: Container[str], live: Live) -> list[str]:
        """Return the modules that were imported from the old version while a swap was made, and are another in the new.

        Arguments:
            known: the modules that were imported when the swap was prepared.
            live: the managed modules as they run now.
        """
        found = []
        for entry in live:
            spec = self.tree.spec(entry.name) if self.tree is not None and entry.name not in known else None
            if spec is not None and not entry.namespace and source_of(spec) != entry.source:
                found.append(entry.name)
        return found

    def spec(self, name: str, tree: Tree | None) -> ModuleSpec | None:
        """Return where a module lies in a tree, or on disk."""
        root, *folders = name.split(".")[:-1] or [name]
        found = tree.spec(name) if tree is not None else None
        if found is not None:
            return found
        if "." not in name:
            return PathFinder.find_spec(name)
        if tree is not None and root in tree.roots:
            places = [os.path.join(tree.directory, root)]
        elif root in self._bases:
            places = self._bases[root]
        else:
            return None
        return PathFinder.find_spec(name, [os.path.join(place, *folders) for place in places])

    def put(self, tree: Tree, modules: Iterable[str], removed: Iterable[str]) -> None:
        """Make a tree the live one.

        Arguments:
            tree: the tree of the generation that went live.
            modules: the names of the modules that were loaded from it.
            removed: the names of the modules that it took away.
        """
        if tree not in self._trees:  # it may come back
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


def _place(entry: LiveModule) -> str:
    """Where a module says that it lies: its file, or its folder."""
    facts = entry.module.__dict__
    place = facts.get("__file__") or next(iter(facts.get("__path__") or ()), "")
    return place if isinstance(place, str) else ""


def source_of(spec: ModuleSpec) -> str | None:
    """The text that a module would be loaded from, or None if there is none that can be read."""
    try:
        found = spec.loader.get_source(spec.name)  # type: ignore[union-attr]  # without one it is an AttributeError
    except (ImportError, OSError, SyntaxError, UnicodeError, AttributeError):
        return None
    return found if isinstance(found, str) else None
