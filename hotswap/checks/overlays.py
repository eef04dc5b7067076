"""Overlays: a generation as a folder that a fresh interpreter, or a tool, takes in place of the code on disk.

An overlay is made for one check, and removed with it. It has the patch's files, links to the files on disk beside them,
and the texts that run where a file on disk was written anew since. Nobody else reads or writes it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

from hotswap.checks.kinds import staged
from hotswap.generation import Candidate, PatchFinder, Tree, passing_directory, remove_directory, unpack
from hotswap.patch import decode, encode
from hotswap.verification import Candidate as Given

__all__ = ["Overlay", "overlaid"]

_METADATA = ("METADATA", "entry_points.txt", "top_level.txt")


class Overlay:
    """The files of a candidate, and of what is live beside it. Lives as long as one run of a check.

    Attributes:
        folder: for whatever the check writes; it is removed with the overlay.
        roots: the top-level packages of the patch.
        new: where the candidate lies.
    """

    def __init__(self, candidate: Candidate, folder: Path) -> None:
        self._candidate = candidate
        self.folder = folder
        self.roots = sorted(candidate.tree.roots)
        self.new = self._copied(candidate.tree, "new")
        self._bring_up_to_date(self.new, candidate.sources, {*candidate.tree.sources})
        self._old: Path | None = None
        for root in self.roots:
            self._retell(root)

    @property
    def old(self) -> Path:
        """Where the live version lies, of the same packages."""
        if self._old is None:
            self._old = self._lay_live()
        return self._old

    def environment(self, generation: Path) -> dict[str, str]:
        """Return the variables for a process that runs a generation: those of this process, and what it takes.

        Arguments:
            generation: `new` or `old`.
        """
        facts = {
            "roots": {**self._others(), **{root: str(generation) for root in self.roots}},
            "path": _path(),
            "interpreter": [sys.prefix, *sys.version_info[:2]],
            "strays": str(self.folder / "strays"),
            "changed": sorted(self.changed),
            "reached": str(self.folder / "reached"),
            "places": self._places(generation),
        }
        told = self.folder / f"{generation.name}.json"
        told.write_text(json.dumps(facts), encoding="utf-8")
        scratch = self.folder / "t"  # short: paths of sockets may have a hundred characters
        scratch.mkdir(exist_ok=True)
        site = str(Path(__file__).parent / "child" / "site")
        mine = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        return {
            **mine,
            "PYTHONPATH": os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")])),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOTSWAP_CHECK_OVERLAY": str(told),
            "HOTSWAP_CHECK_DIRECT": "1",
            "TMPDIR": str(scratch),
        }

    @property
    def strays(self) -> list[str]:
        """What processes have imported from elsewhere, or run by a path elsewhere, although the overlay has it."""
        return self._noted("strays")

    @property
    def changed(self) -> set[str]:
        """The modules that the patch changes, adds or takes away."""
        return {*self._candidate.changed, *self._candidate.removed}

    @property
    def reached(self) -> list[str]:
        """Those of them that processes have imported, or tried to."""
        return self._noted("reached")

    def _noted(self, name: str) -> list[str]:
        try:
            return sorted({*(self.folder / name).read_text(encoding="utf-8").splitlines()})
        except FileNotFoundError:
            return []

    # --- laying it out -----------------------------------------------------------------------------------------------

    def _copied(self, tree: Tree, name: str) -> Path:
        target = self.folder / name
        shutil.copytree(tree.directory, target, symlinks=True)
        return target

    def _lay_live(self) -> Path:
        target = self.folder / "old"
        tree = next((tree for tree in _live_trees() if tree.roots & {*self.roots}), None)
        if tree is not None:
            self._copied(tree, "old")
        target.mkdir(exist_ok=True)
        live = self._candidate.live
        for root in self.roots if tree is None else sorted({*self.roots} - tree.roots):
            module = live.get(root)
            file = live.files.get(root)
            places = list(getattr(module, "__path__", ()))
            for place in places:
                if Path(place).is_dir():
                    _link(Path(place), target / root)
                else:
                    unpack(place, target / root)  # it lies in a zip archive
            if not places and file is not None and Path(file).is_file():
                (target / Path(file).name).symlink_to(file)
        self._bring_up_to_date(target, live.sources, set() if tree is None else {*tree.sources})
        return target

    def _bring_up_to_date(self, target: Path, texts: Mapping[str, str], settled: set[str]) -> None:
        """Write the texts that run where the file on disk has another by now."""
        for name, text in texts.items():
            if name.partition(".")[0] not in self.roots or name in settled:
                continue
            place = target.joinpath(*name.split("."))
            file = next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)
            if file is not None and _reads(file) != text:
                _own(target, file.parent)
                file.unlink()
                file.write_bytes(encode(text, name))

    def _retell(self, root: str) -> None:
        """Write metadata that tell the version of the candidate, where the patch brings none."""
        tree = self._candidate.tree
        version = str(tree.versions[root])
        try:
            installed = importlib.metadata.distribution(root)
        except importlib.metadata.PackageNotFoundError:
            return
        name = installed.metadata["Name"]
        brought = importlib.metadata.MetadataPathFinder.find_distributions(
            importlib.metadata.DistributionFinder.Context(name=name, path=[str(self.new)])
        )
        known = next(iter(brought), None)
        if known is not None and known.version == version:
            return
        told = known or installed
        folder = self.new / f"{name}-{told.version}.dist-info" if known else self.new / f"{name}-{version}.dist-info"
        folder.mkdir(exist_ok=True)
        for file in _METADATA:
            text = told.read_text(file) or (told.read_text("PKG-INFO") if file == "METADATA" else None)
            if text is not None:
                old, new = f"\nVersion: {told.version}\n", f"\nVersion: {version}\n"
                (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    def _places(self, generation: Path) -> dict[str, str]:
        """Where the packages lie on disk, and whoever runs a file by its path finds them -> where in the overlay."""
        found: dict[str, str] = {}
        path = _path()
        for root in self.roots:
            spec = PathFinder.find_spec(root, path)
            folders = getattr(self._candidate.live.get(root), "__path__", None)
            places = [self._candidate.live.files.get(root)] if folders is None else [*folders]
            if spec is not None:
                places += spec.submodule_search_locations or [spec.origin]
            for place in filter(None, places):
                is_module = Path(place).suffix == ".py" and not Path(place).is_dir()
                found[str(Path(place).resolve())] = str(generation / (f"{root}.py" if is_module else root))
        return found

    def _others(self) -> dict[str, str]:
        """Where packages lie that other patchers have patched."""
        trees = [tree for tree in _live_trees() if not tree.roots & {*self.roots}]
        return {root: tree.directory for tree in reversed(trees) for root in tree.roots}


_NOT_PASSED_ON = frozenset(
    {
        "HOTSWAP_STORE",  # it would boot from the store, and count among the processes that die of a patch
        "PYTEST_CURRENT_TEST",
        "PYTEST_XDIST_WORKER",
        "PYTEST_XDIST_WORKER_COUNT",
        "PYTHONINSPECT",
        "PYTHONSTARTUP",
    }
)


def _live_trees() -> list[Tree]:
    """The files of all patches that are live in this process."""
    finders = [finder for finder in list(sys.meta_path) if isinstance(finder, PatchFinder)]
    return [finder.tree for finder in finders if finder.tree is not None]


def _path() -> list[str]:
    """Where this process looks for modules; absolute, since other processes run elsewhere."""
    return [str(Path.cwd() / place) for place in sys.path if isinstance(place, str)]


def _reads(path: Path) -> str | None:
    try:
        return decode(path.read_bytes())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None  # it went, or is no source any more: the text that runs takes its place


def _link(place: Path, folder: Path) -> None:
    """Show the entries of a folder in another one, which may have some of them already."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in place.iterdir():
        link = folder / entry.name
        if entry.name != "__pycache__" and not link.is_symlink() and not link.exists():
            link.symlink_to(entry)


def _own(target: Path, folder: Path) -> None:
    """Have the overlay own a folder, from its top down: what is a link to the disk becomes a folder of links."""
    place = target
    for part in folder.relative_to(target).parts:
        place /= part
        if place.is_symlink():
            there = place.resolve()
            place.unlink()
            _link(there, place)


@contextmanager
def overlaid(candidate: Given) -> Iterator[Overlay]:
    """Lay out a candidate for the length of a block. Raises Inconclusive if it is no candidate of a rollout."""
    folder, held = passing_directory("hotswap-check-")
    try:
        yield Overlay(staged(candidate), Path(folder))
    finally:
        # A process that has left the group of its check may be writing there still; it finds nothing any more.
        remove_directory(folder)
        if held is not None:
            held.end()
