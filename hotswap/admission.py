"""Admission: which patches may be staged here, under which names and which version.

Nothing of a patch is executed before it is admitted.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from hotswap.errors import DowngradeError, WrongPackageError
from hotswap.generation import Live, changed_modules, managed, removed_modules
from hotswap.patch import Patch, stated_version

__all__ = ["Numbers", "admit", "checked_names", "checked_packages", "resolve", "roots"]


def checked_names(packages: Sequence[str]) -> tuple[str, ...]:
    """Return the names of packages that may be patched, whether they exist or not.

    Raises ValueError for names that are no top-level packages.
    """
    if isinstance(packages, str) or not packages:
        raise ValueError(f"packages must be a list of names, such as ['shop'], not {packages!r}")
    for name in packages:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{name!r} is not the name of a top-level package or module")
        if name in sys.stdlib_module_names or name == "hotswap":
            raise ValueError(f"{name} can't be patched: neither Python's own modules nor hotswap can")
    return tuple(dict.fromkeys(packages))


def checked_packages(packages: Sequence[str]) -> tuple[str, ...]:
    """Return the names of packages that may be patched.

    Raises ValueError for names that are no top-level packages, WrongPackageError for packages that do not exist.
    """
    names = checked_names(packages)
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise WrongPackageError(f"there is no package named {name}", advice="is it installed, and on sys.path?")
    return names


def resolve(patch: Patch, live: Live) -> Patch:
    """Give bare file names the place that they have in the live packages, and packages their kind.

    A bare file that turns out to be a whole top-level module is of the version that it states.

    Raises WrongPackageError if the patch holds nothing of the managed packages, or names that are not clear.
    """
    packages = live.packages
    if not patch.complete:
        for name in list(patch.sources):
            if not managed(name, packages) and "." not in name:
                found = sorted(entry.name for entry in live if entry.name.rpartition(".")[2] == name)
                if len(found) == 1:
                    patch = patch.renamed(name, found[0])
                elif found:
                    raise WrongPackageError(
                        f"{name}.py may stand for any of {', '.join(found)}",
                        advice=f"name the file {found[0]}.py, or give from_path() the module",
                    )
        if patch.metadata.get("kind") == "file" and patch.version is None and patch.sources.keys() <= {*packages}:
            stated = [stated_version(source.data) for source in patch.sources.values()]
            patch = patch.with_version(stated[0]) if stated and stated[0] is not None else patch
        for name, source in list(patch.sources.items()):
            entry = live.get(name)
            if entry is not None and entry.package and not entry.namespace and not source.package:
                patch = patch.as_package(name)
    modules = (*patch.sources, *patch.extensions)
    outside = sorted(name for name in modules if not managed(name, packages))
    if len(outside) == len(modules):
        raise WrongPackageError(
            f"it holds {', '.join(outside[:5]) or 'no module'}, nothing of {', '.join(packages)}",
            advice="patch a package that Patcher(packages=...) names",
        )
    if outside and not patch.complete:
        raise WrongPackageError(
            f"{', '.join(outside)} {'is' if len(outside) == 1 else 'are'} outside of {', '.join(packages)}",
            advice="leave it out, or name its package in Patcher(packages=...)",
        )
    return patch


def roots(patch: Patch, versions: Mapping[str, Version]) -> list[str]:
    """Return the managed packages that a patch is about."""
    modules = (*patch.sources, *patch.extensions)
    return [root for root in versions if any(managed(name, (root,)) for name in modules)]


class Numbers:
    """The numbers of patches that state no version, `+hot.N`. Lives as long as a patcher; used under its lock."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._last: tuple[str, dict[str, int]] = ("", {})

    def versions_for(self, patch: Patch, versions: Mapping[str, Version], rollout: str = "") -> dict[str, Version]:
        """Return the version that a patch gives to each of its packages: its own, or the live one with a local segment.

        Arguments:
            patch: the patch.
            versions: what is live.
            rollout: the id of the rollout that it is for.

        A number is not given twice.
        """
        self._last = rollout, dict(self._counts)
        return {root: patch.version_of(root) or self._next(root, versions[root]) for root in roots(patch, versions)}

    def give_back(self, rollout: str) -> None:
        """Have the numbers of a rollout be free, of which nobody has heard; not if others were given out since."""
        if self._last[0] == rollout:
            self._counts = self._last[1]

    def _next(self, root: str, live: Version) -> Version:
        local = [part for part in (live.local or "").split(".") if part]
        count = 0
        if "hot" in local:
            place = local.index("hot")
            count = next((int(part) for part in local[place + 1 :] if part.isdigit()), 0)
            local = local[:place]
        base = "+".join(part for part in (live.public, ".".join(local)) if part)
        given = f"{root} {base}"
        self._counts[given] = max(self._counts.get(given, 0), count) + 1
        return Version(f"{base}{'.' if local else '+'}hot.{self._counts[given]}")


def admit(patch: Patch, live: Live, versions: Mapping[str, Version], *, may_be_older: bool = False) -> None:
    """Refuse a patch that must not even be loaded.

    Arguments:
        patch: the patch, with the versions that it gives to its packages.
        live: the managed modules as they run now.
        versions: what is live.
        may_be_older: whether it may be older than that.

    Raises DowngradeError, RequirementError or SourceError.
    """
    given = {root: patch.version_of(root) or versions[root] for root in roots(patch, versions)}
    older = [] if may_be_older else [root for root in given if given[root] < versions[root]]
    same = [root for root in given if given[root] == versions[root]]
    # A folder of packages may hold some that are as they are live: these keep their version.
    if older or len(same) == len(given) or not all(_is_live(root, patch, live) for root in same):
        wrong = max(
            older or [root for root in same if not _is_live(root, patch, live)] or same, key=versions.__getitem__
        )
        relation = f"is older than {versions[wrong]}, which is live" if older else "is live already"
        raise DowngradeError(
            f"{f'{wrong} ' if patch.versions else ''}{given[wrong]} {relation}",
            advice="give the patch a newer version; patcher.rollback() goes back",
        )
    patch.check_requirements()
    patch.compile_sources()


def _is_live(root: str, patch: Patch, live: Live) -> bool:
    """Whether a package of a patch is, byte for byte, what is live, and what is on disk where it is not imported."""
    entry = live.get(root)
    place = entry.module.__dict__.get("__file__") if entry is not None and entry.plain else None
    if not isinstance(place, str):
        return False
    folder = Path(place).parent.parent if entry is not None and entry.package else Path(place).parent
    removed = any(managed(name, (root,)) for name in removed_modules(live, patch))
    compiled = {path for module, path in patch.extensions.items() if managed(module, (root,))}
    here = (root, f"{root}.py")
    mine = {path: data for path, data in patch.files.items() if path.partition("/")[0] in here or path in compiled}
    changed = any(managed(name, (root,)) for name in changed_modules(live, patch))
    return not removed and not changed and all(_bytes(folder / path) == data for path, data in mine.items())


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
