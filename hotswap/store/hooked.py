"""What the hook does: a process boots when it first imports what stands in the store, and not before.

At the start of the interpreter the folder of the program is not on the path yet, so what lies on disk is not known. And
tools, which inherit the environment, import none of it: they are left alone.

Guarantees: whatever is wrong with the store, the import goes on; a thread that imports another of the packages
meanwhile waits for the boot. Assumes: nobody puts a finder that finds the packages before it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from hotswap.errors import HotswapError
from hotswap.events import emit
from hotswap.generation import ask_finders
from hotswap.store.boot import Latent, boot
from hotswap.store.store import Store

__all__ = ["boot_when_imported"]


def boot_when_imported(folder: str) -> None:
    """Have the process boot from a store when it first imports what stands there.

    Arguments:
        folder: of the store.

    Raises nothing that is wrong with the store: that is told by the event `store.troubled`. A call of `hotswap.boot`
    takes the place of this.
    """
    store = Store(folder)
    try:
        store.check_owner()
        packages = store.journal.standing().keys()
        if any(package in sys.modules for package in packages):
            boot(store)  # it says what is wrong with that
    except HotswapError as error:
        emit("store.troubled", level="error", store=store.folder, reason=error, running="the code on disk")
        return
    if packages:
        sys.meta_path.insert(0, _Hooked(store, packages))


class _Hooked(Latent):
    """Boots when one of the packages is looked for. Lives until then.

    Arguments:
        store: the store.
        packages: what stands in it.
    """

    def __init__(self, store: Store, packages: Collection[str]) -> None:
        self._store, self._packages = store, frozenset(packages)
        self._lock = threading.RLock()
        self._over = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a package as it is found after the boot; None for anything else."""
        if path is not None or fullname not in self._packages:
            return None
        with self._lock:
            if not self._over:
                self._over = True
                try:
                    boot(self._store)
                except HotswapError as error:
                    emit("store.troubled", level="error", store=self._store.folder, reason=error)
        # Whoever goes through the finders goes on after this one, where none of those that came with the boot stands.
        return ask_finders(fullname, path, target, passed=lambda finder: finder is self)
