"""The ground: the code on disk over which patches lie.

A patch was checked and tried over one deployment. When another is installed, what comes up is that one, and not a
mixture that nobody has tried. So the journal has a fingerprint of the code on disk, by its content: files that were
installed anew, or copied into another container, are the same code.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path

from hotswap.errors import HotswapError, StoreError
from hotswap.generation import PatchFinder
from hotswap.patch import Patch

__all__ = ["NOTHING", "find_on_disk", "fingerprint", "on_disk", "places"]

NOTHING = "nothing"
"""The fingerprint of a package that is not there."""

_SUFFIXES = tuple(all_suffixes())


def find_on_disk(package: str) -> ModuleSpec | None:
    """Return where a top-level package, or module, lies apart from patches; None if nobody finds it."""
    for finder in list(sys.meta_path):
        found = None if isinstance(finder, PatchFinder) else finder.find_spec(package, None)
        if found is not None:
            return found
    return None


def fingerprint(package: str) -> str:
    """Return a digest of the modules of a package as they lie on disk; of a package that is not there, `NOTHING`.

    Nothing is imported. Of compiled modules only the sizes count.
    """
    spec = find_on_disk(package)
    if spec is None:
        return NOTHING
    whole = hashlib.sha256()
    for name, path in sorted(_files(spec)):
        try:
            data = path.read_bytes() if path.suffix == ".py" else b"%d" % path.stat().st_size
        except OSError:
            continue  # it went just now, or is nobody's to read: nobody imports it either
        whole.update(b"%d:%s%d:" % (len(os.fsencode(name)), os.fsencode(name), len(data)))
        whole.update(data)
    return whole.hexdigest()


def places(package: str) -> list[str]:
    """Return the folders of a package on disk; none for a module, and for what is not there."""
    spec = find_on_disk(package)
    found = list(spec.submodule_search_locations or ()) if spec is not None else []
    return found[:1] if spec is not None and spec.origin is not None else found


def _files(spec: ModuleSpec) -> Iterator[tuple[str, Path]]:
    """The modules of a package on disk, each with its path in it."""
    folders = spec.submodule_search_locations
    if folders is None and spec.origin is not None:
        yield Path(spec.origin).name, Path(spec.origin)
    for folder in folders or ():
        for root, inside, names in os.walk(folder):
            inside[:] = [name for name in inside if name != "__pycache__"]
            for name in names:
                if name.endswith(_SUFFIXES) and not name.endswith(".pyc"):
                    path = Path(root, name)
                    yield path.relative_to(folder).as_posix(), path


def on_disk(package: str) -> Patch:
    """Return a package, or module, as it lies on disk, as a patch. Raises StoreError where it has no source file."""
    spec = find_on_disk(package)
    try:
        if spec is None or spec.origin is None:
            raise StoreError(f"{package} does not lie on disk as one package or module with a source")
        whole = spec.submodule_search_locations is not None
        return Patch.from_path(Path(spec.origin).parent if whole else spec.origin, module=package)
    except StoreError:
        raise
    except HotswapError as error:
        raise StoreError(f"the code on disk can't be read: {error.reason}") from error
