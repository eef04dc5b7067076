"""Booting: a fresh process imports what was permanent, instead of the code on disk.

Guarantees: whatever is wrong with the store, the service starts: on what was permanent as a whole, or on the code on
disk; never on a mixture. Assumes: it is called before the packages are imported. Where a part of one is imported
already, as by `python -m shop`, what is permanent comes up if it leaves that part as it is on disk.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from types import ModuleType

from hotswap.errors import StoreError
from hotswap.events import emit
from hotswap.generation import BootedFinder, Tree
from hotswap.store.entries import Died, Entry
from hotswap.store.ground import NOTHING, fingerprint, places
from hotswap.store.imports import Watch
from hotswap.store.store import Store
from hotswap.store.trees import as_tree, part

__all__ = ["BOOT_FIRST", "VARIABLE", "Boot", "Latent", "boot", "imported_before", "look_for_dead", "tell_dead"]

VARIABLE = "HOTSWAP_STORE"
"""The environment variable that names the store, where a program does not."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a process came up on.

    Attributes:
        versions: package -> version, of those that come from the store. All others come from the disk.
        troubles: why what is in the store does not come up, where it does not, in sentences.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()


BOOT_FIRST = (
    "call hotswap.boot() in the first line of the program, before the package is imported; one that is started by "
    "`python -m NAME` is imported before its first line: start it by `python -m hotswap run -m NAME`"
)
"""What to do where a package is imported before the boot."""


class Latent:
    """A finder that would boot later: this boot takes its place."""


def boot(store: str | PathLike[str] | Store | None = None) -> Boot:
    """Have imports load what was permanent when the last process ended, instead of the code on disk.

    Call it first of all, before the packages are imported. What was on trial is not taken up again. If the store can't
    be read, is of something else, or another deployment was installed since, the service starts on the code on disk,
    and an event tells why.

    Arguments:
        store: the folder; without it, the one that the environment variable `HOTSWAP_STORE` names. Where there is none,
            nothing happens.

    Raises nothing: `Boot.troubles` and the events say what is wrong. A package that was imported already, in another
    version than the one that is permanent, stays on the code on disk.
    """
    where = os.environ.get(VARIABLE) if store is None else store
    if not where:
        return Boot()
    store = where if isinstance(where, Store) else Store(where)
    for latent in [finder for finder in sys.meta_path if isinstance(finder, Latent)]:
        sys.meta_path.remove(latent)
    troubles: list[str] = []
    try:
        store.check_owner()
        look_for_dead(store, troubles)
        standing = store.journal.standing()
        if not standing:
            store.check_journal()
        proved = store.journal.proved({entry.id for entry in standing.values()})
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, the service starts
        _tell(store, error, troubles)
        return Boot({}, tuple(troubles))
    _imported_before.setdefault(store.folder, frozenset(sys.modules))
    heads: dict[str, tuple[Entry, list[str]]] = {}
    for package, entry in standing.items():
        heads.setdefault(entry.id, (entry, []))[1].append(package)
    shown = {finder.rollout for finder in sys.meta_path if isinstance(finder, BootedFinder)}
    versions: dict[str, str] = {}
    for name, (entry, packages) in reversed(heads.items()):  # the newest is put before the others
        watch = None if name in proved else Watch(store.journal, name, entry.packages)
        if name in shown or _show(store, entry, sorted(packages), watch, troubles):
            versions |= {package: entry.after.get(package, entry.version or "") for package in packages}
    return Boot(dict(sorted(versions.items())), tuple(troubles))


_imported_before: dict[Path, frozenset[str]] = {}
"""The modules that were imported when this process booted from a store."""


def imported_before(store: Store, packages: Sequence[str]) -> list[str]:
    """Return the packages that were imported when this process booted from a store."""
    return [package for package in packages if package in _imported_before.get(store.folder, ())]


def look_for_dead(store: Store, troubles: list[str]) -> None:
    """Note what has died within its trial, and tell it; what goes wrong is told, too."""
    try:
        tell_dead(store.journal.bury())
    except StoreError as error:
        # On a read-only file system it can't be written down; what comes up is the same.
        _tell(store, error, troubles)


def tell_dead(found: list[Died]) -> None:
    """Tell what has died within its trial, and take it out of the list."""
    while found:
        died = found.pop(0)
        emit(
            "store.died",
            level="error" if died.quarantined else "warning",
            patch=died.label,
            digest=died.digest,
            reason=died.reason,
            quarantined=died.quarantined,
        )


def _show(store: Store, entry: Entry, packages: list[str], watch: Watch | None, troubles: list[str]) -> bool:
    """Have a generation imported from now on; return whether that could be done."""
    here = {package: fingerprint(package) for package in packages}
    if changed := [package for package in packages if entry.base.get(package) != here[package]]:
        absent = [package for package in changed if here[package] == NOTHING]
        # Nothing is written: it is for the service to say what stands, and this may be any program, on any path.
        if absent == changed:
            troubles.append(f"{', '.join(absent)} is not found on this path, so {entry.label} is not for this program")
            return False
        reason = f"the code of {', '.join(changed)} on disk is another than the one that {entry.label} was applied to"
        troubles.append(reason)
        emit("store.overtaken", level="warning", patch=entry.label, digest=entry.digest, reason=reason)
        return False
    try:
        if entry.generation is None:
            raise StoreError(f"the journal does not say what {entry.label} is made of")
        found = {package: places(package) for package in packages}
        patch = part(store.patches.get(entry.generation), entry.packages, packages)
        trees = [finder.tree for finder in sys.meta_path if isinstance(finder, BootedFinder) and not finder.taken]
        tree = as_tree(patch, packages, found, beside=next(filter(None, trees), None))
        if changed := _changed(tree):
            tree.remove()
            raise StoreError(
                f"{entry.label} does not come up: {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} imported "
                "already, and not as it has it",
                advice=BOOT_FIRST,
            )
    except Exception as error:  # noqa: BLE001 - as in `boot`
        _tell(store, error, troubles)
        return False
    finder = BootedFinder(tree, found, entry.id, None if watch is None else watch.watched)
    if watch is not None:
        watch.is_live = finder.shows_first
        finder.is_over = partial(_is_over, store, finder, {os.getpid()})
    sys.meta_path.insert(0, finder)
    importlib.invalidate_caches()
    emit("store.booted", rollout=entry.id, patch=entry.label, digest=entry.digest, packages=packages)
    return True


def _is_over(store: Store, finder: BootedFinder, asked: set[int]) -> bool:
    """Whether a version was taken back since the parent booted, as its children could not start; boot anew then.

    A server that forks its workers anew, whatever they die of, would fork them on that version for ever.

    Arguments:
        store: the store.
        finder: what shows the version.
        asked: the processes that have asked, each of them once.
    """
    if os.getpid() in asked:
        return False
    asked.add(os.getpid())
    if any(name.partition(".")[0] in finder.packages for name in sys.modules):
        return False
    troubles: list[str] = []
    look_for_dead(store, troubles)
    try:
        entry = store.journal.entry(finder.rollout)
    except StoreError as error:
        _tell(store, error, troubles)
        return False
    if entry is None or entry.state != "died" or finder not in sys.meta_path:
        return False
    sys.meta_path.remove(finder)
    boot(store)
    return True


def _changed(tree: Tree) -> list[str]:
    """The modules that were imported from the disk already, and are others in a tree."""
    found = []
    for name, module in sorted(sys.modules.items()):
        root = name.partition(".")[0]
        if root not in tree.roots or module is None:
            continue
        source = tree.sources.get(name)
        if root not in tree.complete and source is None and name not in tree.extensions:
            continue
        try:
            same = root not in tree.complete and source is not None and _text(module) == source.data
        except (OSError, AttributeError, KeyError, TypeError, ValueError):  # whatever stands there, it is not that file
            same = False
        if not same:
            found.append(name)
    return found


def _text(module: ModuleType) -> bytes:
    return Path(str(vars(module)["__spec__"].origin)).read_bytes()


def _tell(store: Store, error: Exception, troubles: list[str]) -> None:
    troubles.append(str(error))
    emit("store.troubled", level="error", store=store.folder, reason=error, running="the code on disk")
