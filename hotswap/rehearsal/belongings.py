"""What a copy of the process must not remove: shared memory and temporary folders that belong to the original.

A segment of `multiprocessing.shared_memory` is one for all processes: to unlink it in the copy would take it away from
the original. So that is refused, and noted; what was made in the copy may go. A `TemporaryDirectory` that dies in the
copy, since the patch drops what held it, would remove the folder of the original: it is left alone.

Named semaphores, pools and managers of `multiprocessing` ask themselves which process they belong to.

Assumes: no other thread, as is so right after a fork.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import weakref
from contextlib import suppress
from typing import Any

# In the original, so that whoever imports it in the copy gets what stands guard there.
_library: Any = None
with suppress(ImportError):  # a Python without shared memory
    _library = importlib.import_module("_posixshmem")

__all__ = ["Belongings"]


class Belongings:
    """Stands guard over what the original has. Lives as long as the copy."""

    def __init__(self) -> None:
        self._refused = ""
        self._made: set[str] = set()
        if _library is not None:
            self._guard(_library)
        _leave_folders()

    def refused(self) -> str:
        """Return what was to be removed since this was asked last, in words; "" if nothing was."""
        told, self._refused = self._refused, ""
        return told

    def _guard(self, library: Any) -> None:
        create, unlink = library.shm_open, library.shm_unlink

        def shm_open(path: str, flags: int, mode: int = 0o777) -> int:
            handle: int = create(path, flags, mode=mode)
            if flags & os.O_EXCL:
                self._made.add(path)
            return handle

        def shm_unlink(path: str) -> None:
            if path not in self._made:
                self._refused = f"it would have removed shared memory of the process ({path}), which the copy can't"
                raise PermissionError(errno.EPERM, self._refused)
            unlink(path)

        # Nobody takes it back: the copy ends with the rehearsal.
        library.shm_open, library.shm_unlink = shm_open, shm_unlink


def _leave_folders() -> None:
    """Have no `TemporaryDirectory` that was there remove its folder as it dies."""
    kind = getattr(sys.modules.get("tempfile"), "TemporaryDirectory", None)
    remove = getattr(getattr(kind, "_cleanup", None), "__func__", None)
    finalizers: dict[Any, Any] = getattr(weakref.finalize, "_registry")  # noqa: B009 - it is not in the stubs
    for finalizer in list(finalizers):
        found = finalizer.peek()
        if remove is not None and found is not None and getattr(found[1], "__func__", None) is remove:
            finalizer.detach()
