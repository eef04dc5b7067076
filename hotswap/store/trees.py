"""A generation as one patch: all that is patched at one time, so that it comes up as it was.

Patches that hold some modules lie over each other, each as a tree over the one below. What is live is the uppermost of
them, and that is what is kept: one patch that has the files of all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from packaging.utils import canonicalize_name
from packaging.version import Version

from hotswap.errors import StoreError
from hotswap.generation import Tree
from hotswap.patch import Patch

__all__ = ["as_patch", "as_tree", "kept", "over", "part"]

_RETOLD = "retold"
_INFO = ".dist-info/"


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


def kept(patch: Patch, tree: Tree) -> tuple[Patch, Patch]:
    """Return what is kept of a rollout: its patch, and all of what is live with it, as one patch."""
    generation = as_patch(tree, patch.name)
    if generation.digest == patch.digest:  # they will be one file, which has to say when it was signed
        generation = replace(generation, metadata={**patch.metadata, **generation.metadata})
    return patch, generation


def _twins(sources: Iterable[str]) -> set[str]:
    """The other files that would stand for the same modules: `shop/tax/__init__.py` for `shop/tax.py`, and back."""
    end = "/__init__.py"
    return {
        path.removesuffix(end) + ".py" if path.endswith(end) else path.removesuffix(".py") + end for path in sources
    }


def as_tree(
    patch: Patch, packages: Sequence[str], paths: Mapping[str, Sequence[str]], *, beside: Tree | None = None
) -> Tree:
    """Lay out what `as_patch` made. Raises OSError, and StoreError for what it did not make.

    Arguments:
        patch: that patch.
        packages: those that it speaks of.
        paths: where they lie on disk.
        beside: a tree of other packages, whose directory it shares.
    """
    try:
        retold = {info: Version(text) for info, text in json.loads(patch.metadata.get(_RETOLD, "{}")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{patch.digest} is not all that was live: {error}") from error
    if patch.version is None:
        raise StoreError(f"{patch.digest} is a patch, and not all that was live")
    tree = Tree(patch, tuple(packages), patch.version, None, paths, beside=beside)
    tree.retold = retold
    return tree


def part(patch: Patch, packages: Sequence[str], wanted: Sequence[str]) -> Patch:
    """Return what `as_patch` made without the packages that another rollout rules by now.

    Arguments:
        patch: that patch.
        packages: those that it speaks of.
        wanted: those of them to leave in it.
    """
    gone = {*packages} - {*wanted}
    if not gone:
        return patch
    infos = {path.partition("/")[0] for path in patch.files if _INFO in path}
    told = {info for info in infos if _speaks_of(patch, info, gone)}
    files = {
        path: data
        for path, data in patch.files.items()
        if path.partition("/")[0] not in told and _top(path) not in gone
    }
    retold = {info: text for info, text in json.loads(patch.metadata.get(_RETOLD, "{}")).items() if info not in told}
    return Patch(
        name=patch.name,
        version=patch.version,
        versions={name: version for name, version in patch.versions.items() if name not in gone},
        files=files,
        complete=patch.complete - gone,
        metadata={"kind": "generation", **({_RETOLD: json.dumps(retold, sort_keys=True)} if retold else {})},
    )


def _speaks_of(patch: Patch, info: str, packages: Collection[str]) -> bool:
    """Whether a folder of metadata is that of one of some packages, by its name or by the files that it lists."""
    named = canonicalize_name(info.partition("-")[0])
    listed = {_top(line) for line in patch.files.get(f"{info}/RECORD", b"").decode(errors="replace").split("\n")}
    return bool(listed & {*packages}) or named in {canonicalize_name(package) for package in packages}


def _top(path: str) -> str:
    return path.partition("/")[0].partition(",")[0].removesuffix(".py")


def over(upper: Sequence[Patch], lower: Sequence[Patch], versions: Mapping[str, Version], name: str) -> Patch:
    """Return what was live as one patch that holds its packages whole, to go back to it.

    Arguments:
        upper: what was patched, each with packages of its own.
        lower: its packages as they lie on disk.
        versions: of the packages.
        name: of the patch.
    """
    files: dict[str, bytes] = {}
    complete: set[str] = set()
    for patch in (*lower, *upper):
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
