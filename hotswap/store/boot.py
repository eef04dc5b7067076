"""Booting: a fresh process imports what was permanent, instead of the code on disk.

Guarantees: whatever is wrong with the store, the service starts: on what was permanent as a whole, or on the code on
disk; never on a mixture. Assumes: it is called before the packages are imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike

from hotswap.errors import StateError, StoreError
from hotswap.events import emit
from hotswap.generation import BootedFinder
from hotswap.store.entries import Entry
from hotswap.store.ground import NOTHING, fingerprint, places
from hotswap.store.store import Store
from hotswap.store.trees import as_tree

__all__ = ["VARIABLE", "Boot", "Latent", "boot", "look_for_dead"]

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

    Raises StateError if a package was imported already that is to come from the store; nothing was done then.
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
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, the service starts
        _tell(store, error, troubles)
        return Boot({}, tuple(troubles))
    heads: dict[str, tuple[Entry, list[str]]] = {}
    for package, entry in sorted(standing.items()):
        heads.setdefault(entry.id, (entry, []))[1].append(package)
    shown = {finder.rollout for finder in sys.meta_path if isinstance(finder, BootedFinder)}
    _refuse_imported(store, [package for name, (_, some) in heads.items() if name not in shown for package in some])
    versions: dict[str, str] = {}
    for name, (entry, packages) in heads.items():
        if name in shown or _show(store, entry, packages, troubles):
            versions |= {package: entry.after.get(package, entry.version or "") for package in packages}
    return Boot(versions, tuple(troubles))


def look_for_dead(store: Store, troubles: list[str]) -> None:
    """Note what has died within its trial, and tell it; what goes wrong is told, too."""
    try:
        for died in store.journal.bury():
            emit(
                "store.died",
                level="error" if died.quarantined else "warning",
                patch=died.label,
                digest=died.digest,
                reason=died.reason,
                quarantined=died.quarantined,
            )
    except StoreError as error:
        # On a read-only file system it can't be written down; what comes up is the same.
        _tell(store, error, troubles)


def _refuse_imported(store: Store, packages: list[str]) -> None:
    imported = [package for package in packages if package in sys.modules]
    if imported:
        verb = "is" if len(imported) == 1 else "are"
        raise StateError(
            f"{', '.join(imported)} {verb} imported already, and would come from {store.folder}",
            advice="call hotswap.boot() in the first line of the program, or start it by `python -m hotswap run`",
        )


def _show(store: Store, entry: Entry, packages: list[str], troubles: list[str]) -> bool:
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
        tree = as_tree(store.patches.get(entry.generation), packages, found)
    except Exception as error:  # noqa: BLE001 - as in `boot`
        _tell(store, error, troubles)
        return False
    sys.meta_path.insert(0, BootedFinder(tree, found, entry.id))
    importlib.invalidate_caches()
    emit("store.booted", rollout=entry.id, patch=entry.label, digest=entry.digest, packages=packages)
    return True


def _tell(store: Store, error: Exception, troubles: list[str]) -> None:
    troubles.append(str(error))
    emit("store.troubled", level="error", store=store.folder, reason=error, running="the code on disk")
