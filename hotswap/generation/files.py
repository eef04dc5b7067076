"""Where the sources of a generation lie, and how they are found.

The bytes that run are the bytes that were hashed: modules are compiled from the patch in memory. They are also written
to a private directory, one for each generation, because `__file__`, package data, debuggers, coverage and
`inspect.getsource` want a file, and two generations must not share one.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import weakref
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable, TraversableResources
from importlib.resources.readers import MultiplexedPath
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from hotswap.errors import FilesError, HotswapError, PatchError
from hotswap.generation.abandoned import Hold, remove_directory
from hotswap.generation.directories import new_directory, stay
from hotswap.generation.file_caches import appeared, vanished
from hotswap.generation.paths import NamespacePath, unpack
from hotswap.patch import Patch, SourceFile, decode

__all__ = ["NamespaceLoader", "PatchFinder", "PatchLoader", "Tree", "spec_again"]

_OF_NAMES = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
"""Errors that the names of files lead to, wherever they are laid out."""


class Tree:
    """The files of one live version, on disk and in memory. Lives as long as its generation.

    Arguments:
        patch: what was patched.
        packages: the managed top-level packages; what else the patch holds is left alone.
        version: the version that it gives to those of its packages to which the patch gives none of their own.
        below: the tree that it lies over, for a patch that holds only some modules; None over the code on disk.
        paths: where the managed packages lie that the patch does not hold completely: module name -> directories.
        regular: the packages that have code of their own, wherever it is.
        beside: a tree of other packages, whose directory it shares.
    """

    def __init__(
        self,
        patch: Patch,
        packages: tuple[str, ...],
        version: Version,
        below: Tree | None,
        paths: Mapping[str, Sequence[str]],
        regular: Container[str] = (),
        beside: Tree | None = None,
    ) -> None:
        self._regular = regular
        self.roots = (frozenset(name.partition(".")[0] for name in patch.sources) | patch.complete) & set(packages)
        self.versions = {root: patch.version_of(root) or version for root in self.roots}
        if below is not None:
            self.roots |= below.roots
            self.versions = below.versions | self.versions
        self.sources: dict[str, SourceFile] = {}
        files: dict[str, bytes] = {}
        if below is not None:
            self.sources.update((k, v) for k, v in below.sources.items() if k.partition(".")[0] not in patch.complete)
            again = {_distribution_of(path) for path in patch.files if _INFO in path}
            kept = ((k, v) for k, v in below.files.items() if _top(k) not in patch.complete)
            files.update((k, v) for k, v in kept if _INFO not in k or _distribution_of(k) not in again)
        self.sources.update(patch.sources)
        files.update(patch.files)
        self.files: Mapping[str, bytes] = files
        self.extensions: dict[str, str] = {}
        if below is not None:
            compiled = below.extensions.items()
            self.extensions.update((k, v) for k, v in compiled if k.partition(".")[0] not in patch.complete)
        self.extensions.update(patch.extensions)
        self.complete: frozenset[str] = patch.complete | (below.complete if below else frozenset())
        self.retold: dict[str, Version] = dict(below.retold) if below is not None else {}
        """The metadata folders of earlier patches, as far as a later one without metadata gave another version."""
        tops = {_top(path) for path in patch.files}
        for info in {path.partition("/")[0] for path in files if _INFO in path}:
            if any(path.startswith(info) for path in patch.files):
                self.retold.pop(info, None)
                continue
            listed = {_top(line) for line in files.get(f"{info}/RECORD", b"").decode(errors="replace").split("\n")}
            for top in sorted(tops & listed):
                self.retold[info] = self.versions.get(top, version)
        self._is_gone = False
        try:
            self._folder: Folder = Folder() if beside is None else beside._folder
        except OSError as error:
            raise _not_laid_out(error) from error
        self._folder.trees += 1
        self.directory = self._folder.path
        try:
            self._write(paths)
        except OSError as error:
            self.remove()
            raise _not_laid_out(error) from error
        except BaseException:
            self.remove()
            raise

    def place(self, file: str) -> str | None:
        """Return where in the patch a file is that a module of it was compiled from; None for files of others."""
        return file.removeprefix(self.directory + os.sep) if file.startswith(self.directory + os.sep) else None

    def _write(self, paths: Mapping[str, Sequence[str]]) -> None:
        root = Path(self.directory)
        for name, data in self.files.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for package, places in paths.items():
            for path in places if package.partition(".")[0] not in self.complete else ():
                self._overlay(root.joinpath(*package.split(".")), Path(path))

    def _overlay(self, folder: Path, base: Path) -> None:
        """Show the files of the code on disk beside those of the patch, so that package data is found."""
        inside = os.path.realpath(folder).startswith(os.path.realpath(self.directory) + os.sep)
        if not folder.is_dir() or not inside:  # what is a link to the code on disk stays one
            return
        if not base.is_dir():
            unpack(str(base), folder)
            return
        for entry in base.iterdir():
            link = folder / entry.name
            if entry.name == "__pycache__" or link.is_file():
                continue
            if link.is_dir():
                self._overlay(link, entry)
                continue
            try:
                link.symlink_to(entry)
            except OSError:  # Windows without the right to make links
                shutil.copytree(entry, link) if entry.is_dir() else shutil.copy(entry, link)

    def path(self, source: SourceFile) -> str:
        """Return the file of a source."""
        return os.path.join(self.directory, *source.path.split("/"))

    def package_path(self, package: str) -> str:
        """Return the directory of a package."""
        return os.path.join(self.directory, *package.split("."))

    def spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of this tree, or None."""
        source = self.sources.get(name)
        if source is not None:
            path = self.path(source)
            spec = importlib.util.spec_from_file_location(
                name,
                path,
                loader=PatchLoader(name, path, source.data),
                submodule_search_locations=[os.path.dirname(path)] if source.package else None,
            )
            if spec is not None:
                spec.cached = None  # there is no bytecode file: what runs was compiled from memory
            return spec
        if name in self.extensions:
            path = os.path.join(self.directory, *self.extensions[name].split("/"))
            return importlib.util.spec_from_file_location(name, path)
        folder = name.replace(".", "/") + "/"
        if any(other.startswith(name + ".") for other in self.sources) or any(f.startswith(folder) for f in self.files):
            place = self.package_path(name)
            whole = name.partition(".")[0] in self.complete
            beside = (os.path.join(place, f"__init__{suffix}") for suffix in importlib.machinery.all_suffixes())
            if any(map(os.path.exists, beside)) or (name in self._regular and not whole):
                return None  # an ordinary package, of which the patch says nothing: the code on disk speaks for it
            # Nobody else has a portion of a package that the patch holds whole.
            portions: Any = [place] if whole else NamespacePath(name, place)
            spec = importlib.machinery.ModuleSpec(name, NamespaceLoader(portions), is_package=True)
            spec.submodule_search_locations = portions
            return spec
        return None

    def remove(self) -> None:
        """Delete the directory, unless it is to stay. Sources stay readable through the loaders of the modules."""
        if not self._is_gone:
            self._is_gone = True
            self._folder.leave()


def _not_laid_out(error: OSError) -> HotswapError:
    """Why the files of a patch can't be laid out: for their names, or for what has nothing to do with them."""
    what = f"its files can't be laid out as temporary files ({error})"
    if error.errno in _OF_NAMES:
        return PatchError(what, advice="give its files names that every file system takes")
    return FilesError(what, advice="see to the disk, its rights (TMPDIR names another), and the limit of open files")


class Folder:
    """The directory of a tree, or of several that share it. Lives as long as one of them.

    `path` is where it lies, `trees` how many are in it.
    """

    def __init__(self) -> None:
        self.path, held = new_directory()
        self.trees = 0
        # `finalize` has one entry in `atexit` for all of its objects; an entry of our own for each tree would stay
        # behind as an empty slot, which `atexit` never gives back.
        self._removal = weakref.finalize(self, _remove, self.path, os.getpid(), held)
        if stay():  # what measures now may have stopped when the files would go
            self._removal.detach()
        appeared(self.path, self)

    def leave(self) -> None:
        """Note that one of the trees is removed; the last one takes the directory along."""
        self.trees -= 1
        if self.trees <= 0:
            self._removal()
            vanished(self.path)


def _remove(directory: str, owner: int, held: Hold | None) -> None:
    if os.getpid() == owner:  # a forked child must not take the files away from its parent
        if not stay():
            remove_directory(directory)
        elif held is not None:
            held.give_up()
    if held is not None:
        held.end()


def _top(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


_INFO = ".dist-info/"


def _distribution_of(path: str) -> str:
    """The distribution that a file of a metadata folder speaks of, without its version."""
    return canonicalize_name(path.partition(_INFO)[0].partition("-")[0])


class PatchLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from the bytes of a patch; `linecache` and `importlib.resources` ask it too."""

    def __init__(self, fullname: str, path: str, data: bytes | str) -> None:
        super().__init__(fullname, path)
        self._data = data

    def get_data(self, path: str) -> bytes:
        """Return the patch's bytes for its own file, and any other file from disk."""
        if path == self.path:
            return self._data if isinstance(self._data, bytes) else self._data.encode()
        return super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        """Compile the bytes of the patch; no bytecode is read or written."""
        return self.source_to_code(self._data, self.path)

    def get_source(self, fullname: str) -> str:
        """Return the text of the module."""
        return decode(self._data) if isinstance(self._data, bytes) else self._data


class NamespaceLoader(importlib.abc.Loader):
    """Makes a namespace package of a patch: no code, but data that `importlib.resources` finds.

    The one of `importlib` asks for the parent in `sys.modules`, where a candidate's is not.
    """

    def __init__(self, path: Sequence[str]) -> None:
        self._path = path

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: there is no body."""

    def get_resource_reader(self, fullname: str) -> TraversableResources:
        """Return what `importlib.resources` reads the data with."""
        return _NamespaceResources(self._path)


class _NamespaceResources(TraversableResources):
    def __init__(self, path: Sequence[str]) -> None:
        self._path = path

    def files(self) -> Traversable:
        first, *others = (Path(place) for place in self._path if os.path.isdir(place))
        return MultiplexedPath(first, *others) if others else first


class _Distribution(importlib.metadata.Distribution):
    """The metadata of an installed distribution, told for the version that is live."""

    def __init__(self, base: importlib.metadata.Distribution, version: Version) -> None:
        self._base = base
        self._version = version

    def read_text(self, filename: str) -> str | None:
        text = self._base.read_text(filename)
        if text is not None and filename in ("METADATA", "PKG-INFO"):
            head, blank, body = text.partition("\n\n")
            lines = [f"Version: {self._version}" if line.startswith("Version:") else line for line in head.split("\n")]
            return "\n".join(lines) + blank + body
        return text

    def locate_file(self, path: Any) -> Any:
        return self._base.locate_file(path)


class PatchFinder(importlib.abc.MetaPathFinder):
    """Finds modules of the managed packages that are imported for the first time after a swap, and their metadata.

    There is one for each patcher. It is on `sys.meta_path` only while a patch is live; modules that are imported
    already never come here.
    """

    def __init__(self) -> None:
        self.tree: Tree | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of the live tree, or None."""
        tree = self.tree
        return None if tree is None or fullname.partition(".")[0] not in tree.roots else tree.spec(fullname)

    def find_distributions(
        self,
        context: importlib.metadata.DistributionFinder.Context = importlib.metadata.DistributionFinder.Context(),  # noqa: B008 - the signature that importlib.metadata calls
    ) -> Iterator[importlib.metadata.Distribution]:
        """Yield the distributions whose version the live patch changed."""
        tree = self.tree
        if tree is None:
            return
        infos = {name.partition("/")[0] for name in tree.files if _INFO in name}
        told = set()
        for info in infos:
            found: importlib.metadata.Distribution = importlib.metadata.PathDistribution(Path(tree.directory, info))
            told.add(canonicalize_name(found.metadata["Name"] or ""))
            if context.name is None or canonicalize_name(context.name) == canonicalize_name(
                found.metadata["Name"] or ""
            ):
                version = tree.retold.get(info)
                yield found if version is None else _Distribution(found, version)
        if context.name is None or canonicalize_name(context.name) in told:
            return
        for root in tree.roots:
            if canonicalize_name(root) == canonicalize_name(context.name):
                with contextlib.suppress(StopIteration):
                    # Those below this one: another patcher's finder above it asks this one in turn.
                    others = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
                    yield _Distribution(
                        next(
                            base
                            for finder in others
                            if hasattr(finder, "find_distributions")
                            for base in finder.find_distributions(context)
                        ),
                        tree.versions[root],
                    )


def spec_again(name: str, module: ModuleType, source: str) -> importlib.machinery.ModuleSpec | None:
    """The spec of a live module whose text did not change, to be run once more beside itself."""
    facts = module.__dict__
    path = str(facts.get("__file__"))
    return importlib.util.spec_from_file_location(
        name,
        path,
        loader=PatchLoader(name, path, source),
        submodule_search_locations=list(facts["__path__"]) if "__path__" in facts else None,
    )
