"""A generation as one patch: all that is patched at one time, so that it comes up as it was.

Patches that hold some modules lie over each other, each as a tree over the one below. What is live is the uppermost of
them, and that is what is kept: one patch that has the files of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from packaging.version import Version

from hotswap.errors import StoreError
from hotswap.generation import Tree
from hotswap.patch import Patch

__all__ = ["as_patch", "as_tree", "over"]

_RETOLD = "retold"


def as_patch(tree: Tree, name: str) -> Patch:
    """Return all of a tree as one patch of that name."""
    sources = {source.path for source in tree.sources.values()}
    # A module that has become a package, or the other way round, has one source; its other file would hide that.
    files = {path: data for path, data in tree.files.items() if path in sources or path not in _twins(sources)}
    versions = dict(tree.versions)
    agreed = len(set(versions.values())) == 1
    retold = {info: str(version) for info, version in tree.retold.items()}
    return Patch(
        name=name,
        version=max(versions.values()),
        versions={} if agreed else versions,
        files=files,
        complete=tree.complete,
        metadata={"kind": "generation", **({_RETOLD: json.dumps(retold, sort_keys=True)} if retold else {})},
    )


def _twins(sources: Iterable[str]) -> set[str]:
    """The other files that would stand for the same modules: `shop/tax/__init__.py` for `shop/tax.py`, and back."""
    end = "/__init__.py"
    return {
        path.removesuffix(end) + ".py" if path.endswith(end) else path.removesuffix(".py") + end for path in sources
    }


def as_tree(patch: Patch, packages: Sequence[str], paths: Mapping[str, Sequence[str]]) -> Tree:
    """Lay out what `as_patch` made. Raises OSError, and StoreError for what it did not make.

    Arguments:
        patch: that patch.
        packages: those that it speaks of.
        paths: where they lie on disk.
    """
    try:
        retold = {info: Version(text) for info, text in json.loads(patch.metadata.get(_RETOLD, "{}")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{patch.digest} is not all that was live: {error}") from error
    if patch.version is None:
        raise StoreError(f"{patch.digest} is a patch, and not all that was live")
    tree = Tree(patch, tuple(packages), patch.version, None, paths)
    tree.retold = retold
    return tree


def over(upper: Patch | None, lower: Sequence[Patch], versions: Mapping[str, Version], name: str) -> Patch:
    """Return what was live as one patch that holds its packages whole, to go back to it.

    Arguments:
        upper: what was patched; None if nothing was.
        lower: its packages as they lie on disk.
        versions: of the packages.
        name: of the patch.
    """
    files: dict[str, bytes] = {}
    complete: set[str] = set()
    for patch in (*lower, *([] if upper is None else [upper])):
        gone = {path for path in files if path.partition("/")[0].removesuffix(".py") in patch.complete}
        gone |= _twins(source.path for source in patch.sources.values())
        files = {path: data for path, data in files.items() if path not in gone}
        files |= patch.files
        complete |= patch.complete
    agreed = len(set(versions.values())) == 1
    return Patch(
        name=name,
        version=max(versions.values()),
        versions={} if agreed else dict(versions),
        files=files,
        complete=frozenset(complete),
        metadata={"kind": "generation"},
    )
