"""Paths of packages: where a package lies besides the folder that a patch brings.

A package may have submodules outside of its own folder: in the other portions of a namespace package, and in whatever
somebody has put on its ``__path__``, a folder of plug-ins. No patch holds them, and none takes them away.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from hotswap.generation.live import Live

__all__ = [
    "NamespacePath",
    "added_places",
    "lies_elsewhere",
    "own_folder",
    "packed",
    "path_of",
    "places_of",
    "unpack",
    "with_places",
]


class NamespacePath(Sequence[str]):
    """The path of a namespace package: the folder of the patch, then where else portions of it lie at this time.

    Like that of `importlib`, it is found anew when the path of the parent changes; for a top-level package that is
    `sys.path`. Lives as long as its module.
    """

    def __init__(self, name: str, place: str) -> None:
        self._name = name
        self._place = place
        self._searched: tuple[str, ...] | None = None
        self._found: list[str] = []
        self._appended: list[str] = []

    @property
    def portions(self) -> list[str]:
        """The places besides that of the patch."""
        parent = self._name.rpartition(".")[0]
        searched = tuple(path_of(sys.modules.get(parent)) if parent else sys.path)
        if searched != self._searched:
            self._searched = searched
            spec = PathFinder.find_spec(self._name, searched) if searched else None
            # A package with code of its own is not one more portion.
            portion = spec is not None and spec.origin is None and spec.submodule_search_locations is not None
            self._found = list(spec.submodule_search_locations or ()) if spec is not None and portion else []
        return [place for place in dict.fromkeys([*self._found, *self._appended]) if place != self._place]

    def append(self, place: str) -> None:
        """Add a place."""
        self._appended.append(place)

    def __iter__(self) -> Iterator[str]:
        return iter([self._place, *self.portions])

    def __len__(self) -> int:
        return 1 + len(self.portions)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return [*self][index]

    def __repr__(self) -> str:
        return f"NamespacePath({[*self]!r})"


def path_of(module: object) -> list[str]:
    """Return the ``__path__`` of a module; it is empty for what is no package."""
    if not issubclass(type(module), ModuleType):
        return []
    facts = ModuleType.__getattribute__(module, "__dict__")
    return [place for place in facts.get("__path__") or () if isinstance(place, str)]


def own_folder(module: ModuleType) -> str | None:
    """Return the folder of a package that has code of its own, or None."""
    file = ModuleType.__getattribute__(module, "__dict__").get("__file__")
    if not isinstance(file, str) or os.path.basename(file).partition(".")[0] != "__init__":
        return None
    return os.path.dirname(os.path.abspath(file))


def places_of(module: ModuleType) -> list[str]:
    """Return where the files of a package lie, apart from those of patches and of what others have added."""
    path = ModuleType.__getattribute__(module, "__dict__").get("__path__")
    if type(path) is NamespacePath:
        return path.portions
    own = own_folder(module)
    places = path_of(module)
    if own is None:
        return places
    return [place for place in places if os.path.abspath(place) == own][:1] or places[:1]


def added_places(live: Live, package: str, place: str | None = None) -> list[str]:
    """Return what stands on the ``__path__`` of a live package besides its own folder.

    Arguments:
        live: the managed modules.
        package: the name of the package.
        place: where its own folder lies in the new version: places inside of it are told as they are there. None
            leaves them out: the code of the package adds them again.
    """
    entry, root = live.get(package), live.get(package.partition(".")[0])
    above = root if entry is not None and entry.namespace else entry
    own = own_folder(above.module) if above is not None and above.own else None
    if entry is None or own is None:
        return []
    found = []
    for path in path_of(entry.module):
        inside = os.path.abspath(path)
        if not _within(inside, own):
            found.append(path)
        elif place is not None and not entry.namespace and inside != own:
            found.append(os.path.join(place, os.path.relpath(inside, own)))
    return found


def with_places(spec: ModuleSpec, places: Iterable[str]) -> ModuleSpec:
    """Have a package lie in some more places, if it is one and does not find its places itself; return the spec."""
    if type(spec.submodule_search_locations) is list:
        spec.submodule_search_locations = list(dict.fromkeys([*spec.submodule_search_locations, *places]))
    return spec


def lies_elsewhere(live: Live, name: str) -> bool:
    """Whether a module, or a package that it is in, was found in a place that was added to its package."""
    parent = name.rpartition(".")[0]
    entry = live.get(name)
    if not parent or entry is None or not entry.own:
        return False
    facts = ModuleType.__getattribute__(entry.module, "__dict__")
    file = facts.get("__file__")
    place = own_folder(entry.module) or file or next(iter(path_of(entry.module)), None)
    if isinstance(place, str):
        folder = os.path.dirname(os.path.abspath(place))
        if folder in map(os.path.abspath, added_places(live, parent)):
            return True
    return lies_elsewhere(live, parent)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def packed(place: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Give the files that lie in a folder of a zip archive; none where there is none.

    Each comes as its path in the folder, and a function that reads it, as long as no other file was asked for.

    Arguments:
        place: the folder in the archive, as `zipimport` writes it: ``/srv/app.zip/shop``.
    """
    archive = next((above for above in (Path(place), *Path(place).parents) if above.is_file()), None)
    if archive is None or not zipfile.is_zipfile(archive):
        return
    inside = Path(place).relative_to(archive).as_posix()
    start = "" if inside == "." else f"{inside}/"
    with zipfile.ZipFile(archive) as found:
        for member in found.infolist():
            path = member.filename.removeprefix(start)
            outside = not member.filename.startswith(start) or {"..", "__pycache__"} & {*path.split("/")}
            if not outside and not member.is_dir():
                yield path, partial(found.read, member)


def unpack(place: str, folder: Path) -> None:
    """Lay the files that lie in a folder of a zip archive into a folder, unless they are there already.

    Arguments:
        place: as of `packed`.
        folder: where they go.
    """
    for path, read in packed(place):
        target = folder.joinpath(*path.split("/"))
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read())
