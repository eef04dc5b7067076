"""Files and folders: a single module, a package, and a folder of packages such as an installer leaves behind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hotswap.errors import PatchError
from hotswap.patch.contents import MAX_SIZE, Contents, listed, read_file, reason_of
from hotswap.patch.manifest import MANIFEST, Manifest, parse_manifest
from hotswap.patch.metadata import DIST_INFO, Metadata, choose, parse_metadata
from hotswap.patch.names import checked_module, is_litter, locate, module_at, named, path_for, tops, unsafe
from hotswap.patch.sources import stated_version

__all__ = ["module_of", "read_folder", "read_module"]

_INIT = "__init__.py"


def read_module(path: Path, module: str | None) -> Contents:
    """Return a single source file as a part of its package; its name is given, or said by where it lies."""
    return module_of(None, path, module, _around(path.parent))


def module_of(data: bytes | None, path: Path, module: str | None, around: Sequence[str] = ()) -> Contents:
    """Return a single source file as a part of its package.

    Arguments:
        data: its bytes; None: they are read from `path`.
        path: where it came from.
        module: its dotted name; None: the names of the packages around it and its own say it.
        around: the packages that it lies in, from the outermost.
    """
    stem = path.name.removesuffix(".py")
    name, package = named(module if module is not None else ".".join([*around, stem]))
    place = path_for(name, package=package or stem == "__init__")
    if module_at(place) is None or name == "__init__":
        raise PatchError(
            f"{path} does not say to which package it belongs", advice=f"name it: module='shop.{name}', for instance"
        )
    data, top = read_file(path, MAX_SIZE) if data is None else data, name.partition(".")[0]
    # What a module deeper in a package calls its version is not that of the package; a bare name may be one.
    whole = name == top and (bool(around) or module is not None or "." in stem)
    return Contents("file", top, stated_version(data) if whole else None, {place: data}, frozenset())


def read_folder(path: Path, module: str | None) -> Contents:
    """Return a package folder, or a folder of packages and modules.

    Symbolic links within the folder are followed (that is how Kubernetes mounts a ConfigMap); `PatchError` names those
    that lead out of it, with everything else that is wrong.
    """
    if (path / _INIT).is_file() or module is not None:
        return _package(path, module)
    return _packages(path)


def _around(folder: Path) -> list[str]:
    """Return the names of the packages that a folder is, from the outermost to itself; empty if it is none."""
    names: list[str] = []
    while (folder / _INIT).is_file() and folder.name:
        names.insert(0, folder.name)
        folder = folder.parent
    return names


def _package(path: Path, module: str | None) -> Contents:
    name, _ = named(module if module is not None else ".".join(_around(path)))
    listing = _Listing(os.path.realpath(path))
    listing.walk(str(path), name.replace(".", "/"))
    files = listing.read(path)
    sources, extensions = locate(files)
    _not_empty(path, listing, sources)
    manifest = _manifest(files, f"{name.replace('.', '/')}/{MANIFEST}", path)
    if manifest is not None:
        manifest.hold_against([*sources, *extensions], None, str(path / MANIFEST))
    top = name.partition(".")[0]
    # Without its __init__.py it is a portion of a package, not the whole.
    whole = name == top and path_for(top, package=True) in files
    version = stated_version(files[path_for(top, package=True)]) if whole else None
    return Contents("package", top, version, files, frozenset({top} if whole else ()), manifest=manifest)


def _packages(path: Path) -> Contents:
    listing = _Listing(os.path.realpath(path))
    infos: list[str] = []
    for entry in listing.entries(str(path)):
        name = entry.name
        if entry.is_dir():
            if name.endswith(DIST_INFO):
                infos.append(name)
                listing.add(entry, name)
            elif "." not in name:
                _child(listing, entry)
        elif name.endswith(".py"):
            listing.add(entry, name)
            _checked(listing, name.removesuffix(".py"))
        elif not name.startswith("."):
            # Extension modules, and data of the modules beside them; hidden files are the deployment's own.
            listing.add(entry, name)
    files = listing.read(path)
    sources, extensions = locate(files)
    modules = [*sources, *extensions]
    _not_empty(path, listing, modules)
    # A package without __init__.py may lie in other places too: this is a portion of it, not the whole.
    whole = frozenset(module for module in modules if "." not in module)
    manifest = _manifest(files, MANIFEST, path)
    if manifest is not None:
        manifest.hold_against(modules, None, str(path / MANIFEST))
    info = choose({name: _below(files, name) for name in infos}, tops(modules))
    if info is None:
        names = tops(modules)
        said = {name: stated_version(files[sources[name][0]]) if name in sources else None for name in names}
        stated = {name: version for name, version in said.items() if version is not None}
        agreed = len(set(said.values())) == 1
        highest = max(stated.values(), default=None)
        versions = {} if agreed else stated
        return Contents("folder", "+".join(names), highest, files, whole, versions=versions, manifest=manifest)
    metadata = _usable(path, info, parse_metadata(files[f"{info}/METADATA"]))
    if manifest is not None:
        manifest.hold_against(modules, metadata.version, str(path / MANIFEST))
    needs = (metadata.requires_python, metadata.requires)
    return Contents("folder", metadata.name, metadata.version, files, whole, *needs, manifest=manifest)


def _manifest(files: Mapping[str, bytes], place: str, path: Path) -> Manifest | None:
    return parse_manifest(files[place], str(path / MANIFEST)) if place in files else None


def _child(listing: _Listing, entry: os.DirEntry[str]) -> None:
    """List a folder beside others, if there is code in it; what is wrong with a folder of something else is its own."""
    inner = _Listing(listing.root)
    inner.add(entry, entry.name)
    # Asked under a name that can be imported, so that a package with a name that cannot is refused and not overlooked.
    code = any(module_at("package" + path.removeprefix(entry.name)) is not None for path in inner.paths)
    if code or not inner.paths:
        listing.paths.update(inner.paths)
        listing.issues += inner.issues
        if code:
            _checked(listing, entry.name)


def _checked(listing: _Listing, name: str) -> None:
    try:
        checked_module(name)
    except PatchError as error:
        listing.issues.append(error.reason)
    else:
        if "." in name:
            listing.issues.append(f"{name!r} is not the name of a top-level module")


def _below(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): data for path, data in files.items() if path.startswith(f"{folder}/")}


def _usable(path: Path, info: str, metadata: Metadata) -> Metadata:
    if metadata.issues:
        raise PatchError(listed(f"{path / info}", metadata.issues), advice="install the distribution anew")
    return metadata


def _not_empty(path: Path, listing: _Listing, modules: Iterable[str]) -> None:
    if not any(modules):
        what = "holds no Python module" if listing.paths else "is empty"
        raise PatchError(f"the folder {path} {what}", advice="give a package folder, or the folder that holds packages")


@dataclass
class _Listing:
    """The files below a folder: found first, all issues collected, then read, each once."""

    root: str
    """The real path that no symbolic link may lead out of."""
    paths: dict[str, str] = field(default_factory=dict)
    """Path in the patch -> path on disk."""
    issues: list[str] = field(default_factory=list)

    def entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield what may belong to the patch in one folder, sorted by name."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.issues.append(f"{folder} cannot be read: {reason_of(error)}")
            return
        for entry in entries:
            if not is_litter(entry.name):
                yield entry

    def walk(self, folder: str, place: str, above: tuple[str, ...] = ()) -> None:
        """List all files below a folder under the path `place`; `above` are the real paths that lead to it."""
        for entry in self.entries(folder):
            self.add(entry, f"{place}/{entry.name}", (*above, os.path.realpath(folder)))

    def add(self, entry: os.DirEntry[str], place: str, above: tuple[str, ...] = ()) -> None:
        """List a file, or the files below a folder."""
        issue = unsafe(place) or (self._astray(entry.path, above) if entry.is_symlink() else None)
        if issue is not None:
            self.issues.append(f"{entry.path} {issue}")
        elif entry.is_dir():
            self.walk(entry.path, place, above)
        elif entry.is_file():
            self.paths[place] = entry.path
        else:
            self.issues.append(f"{entry.path} is neither a file nor a folder")

    def _astray(self, link: str, above: tuple[str, ...]) -> str | None:
        """Return why a symbolic link must not be followed."""
        real = Path(os.path.realpath(link))
        if not real.is_relative_to(self.root):
            return f"is a symbolic link that leads out of the folder, to {real}"
        if not real.exists():
            return "is a symbolic link that leads nowhere"
        if str(real) in {self.root, *above}:
            return "is a symbolic link to a folder that it lies in"
        return None

    def read(self, path: Path) -> dict[str, bytes]:
        """Return the bytes of all files listed; raise `PatchError` with all issues, of listing and of reading."""
        files: dict[str, bytes] = {}
        left = MAX_SIZE
        for place, file in self.paths.items():
            try:
                files[place] = read_file(Path(file), left)
            except PatchError as error:
                self.issues.append(error.reason)
            else:
                left -= len(files[place])
        if self.issues:
            raise PatchError(listed(f"the folder {path} cannot be used", self.issues))
        return files
