"""The ground: the code on disk over which patches lie.

A patch was checked and tried over one deployment. When another is installed, what comes up is that one, and not a
mixture that nobody has tried. So the journal has a fingerprint of the code on disk, by its content: files that were
installed anew, or copied into another container, are the same code.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path

from hotswap.errors import HotswapError, StoreError
from hotswap.generation import PatchFinder, ask_finders, packed, unpack
from hotswap.patch import Patch

__all__ = ["NOTHING", "find_on_disk", "fingerprint", "is_on_disk", "on_disk", "places"]

NOTHING = "nothing"
"""The fingerprint of a package that is not there."""

_SUFFIXES = tuple(all_suffixes())


def find_on_disk(package: str) -> ModuleSpec | None:
    """Return where a top-level package, or module, lies apart from patches; None if nobody finds it."""
    return ask_finders(package, passed=lambda finder: isinstance(finder, PatchFinder))


def fingerprint(package: str) -> str:
    """Return a digest of the modules of a package as they lie on disk; of a package that is not there, `NOTHING`.

    Nothing is imported. Of compiled modules only the sizes count.
    """
    spec = find_on_disk(package)
    if spec is None:
        return NOTHING
    whole = hashlib.sha256()
    for name, data in sorted(_files(spec)):
        whole.update(b"%d:%s%d:" % (len(os.fsencode(name)), os.fsencode(name), len(data)))
        whole.update(data)
    return whole.hexdigest()


def places(package: str) -> list[str]:
    """Return the folders of a package on disk; none for a module, and for what is not there."""
    spec = find_on_disk(package)
    found = list(spec.submodule_search_locations or ()) if spec is not None else []
    return found[:1] if spec is not None and spec.origin is not None else found


def is_on_disk(path: str, data: bytes, folders: Sequence[str]) -> bool:
    """Return whether a file of a package, by its path in a patch, lies on disk as it is there; folders as `places`."""
    for folder in folders:
        with suppress(OSError, ValueError):  # it does not lie there
            if Path(folder, path.partition("/")[2]).read_bytes() == data:
                return True
    return False


def _files(spec: ModuleSpec) -> Iterator[tuple[str, bytes]]:
    """The modules of a package on disk, or in an archive: the path in it, and what says what it is."""
    folders = spec.submodule_search_locations
    if folders is None and spec.origin is not None:
        own = Path(spec.origin)
        yield from _read(own.name, own)
        yield from _packed(str(own.parent), lambda path: path == own.name)
    for folder in folders or ():
        yield from _packed(folder, lambda path: path.endswith(_SUFFIXES) and not path.endswith(".pyc"))
        for root, inside, names in os.walk(folder):
            inside[:] = [name for name in inside if name != "__pycache__"]
            for name in names:
                if name.endswith(_SUFFIXES) and not name.endswith(".pyc"):
                    path = Path(root, name)
                    yield from _read(path.relative_to(folder).as_posix(), path)


def _read(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    with suppress(OSError):  # it went just now, is nobody's to read, or is in an archive
        yield name, path.read_bytes() if path.suffix == ".py" else b"%d" % path.stat().st_size


def _packed(place: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with suppress(OSError, zipfile.BadZipFile, zlib.error):  # as in `_read`
        for path, read in packed(place) if not Path(place).is_dir() else ():
            if wanted(path):
                data = read()
                yield path, data if path.endswith(".py") else b"%d" % len(data)


def on_disk(package: str) -> Patch:
    """Return a package, or module, as it lies on disk, as a patch. Raises StoreError where it has no source file."""
    spec = find_on_disk(package)
    try:
        if spec is None or spec.origin is None:
            raise StoreError(f"{package} does not lie on disk as one package or module with a source")
        whole = spec.submodule_search_locations is not None
        place = Path(spec.origin).parent if whole else Path(spec.origin)
        if place.exists():
            return Patch.from_path(place, module=package)
        with tempfile.TemporaryDirectory(prefix="hotswap-disk-") as private:
            copy = Path(private, package) if whole else Path(private)
            unpack(str(place if whole else place.parent), copy)
            return Patch.from_path(copy if whole else copy / place.name, module=package)
    except StoreError:
        raise
    except HotswapError as error:
        raise StoreError(f"the code on disk can't be read: {error.reason}") from error
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"the code on disk can't be read: {error}") from error
