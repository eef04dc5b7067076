"""The store: a folder that says what was rolled out, and what comes up after a restart."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path

from hotswap.errors import StoreError
from hotswap.store.blobs import Blobs
from hotswap.store.journal import Journal

__all__ = ["Store"]


class Store:
    """What is durable of a service's patches: `Patcher(packages, store=Store("var/hotswap"))`. Holds nothing open.

    Arguments:
        folder: where it lies; it is made, for its owner only, when the first patch is staged. Several processes on one
            host may share it.
        keep: how many rollouts the journal keeps. What is permanent, what that lies over, and what is on trial is kept
            in any case.
        days: how long it keeps them.

    Raises ValueError for what is no number above zero.
    """

    def __init__(self, folder: str | PathLike[str], *, keep: int = 500, days: float = 365.0) -> None:
        if keep < 1 or not days > 0:
            raise ValueError(f"keep and days have to be above zero, not {keep!r} and {days!r}")
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link that moves
        self._keep, self._days = keep, days
        self.journal = Journal(self._folder)
        self.patches = Blobs(self._folder / "patches")

    def __repr__(self) -> str:
        return f"<Store {self._folder}>"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    def quarantined(self) -> dict[str, str]:
        """Return the digests of the patches that are quarantined, each with why. Raises StoreError."""
        return self.journal.quarantined()

    def release(self, digest: str) -> bool:
        """Let a patch that is quarantined be applied again; return whether it was. Raises StoreError.

        Arguments:
            digest: of the patch as it was given to `apply`, as `QuarantinedError` says it.
        """
        return self.journal.release(digest)

    def tidy(self) -> None:
        """Forget what is over and old, and delete patches that nobody speaks of. Raises StoreError."""
        if self.journal.path.exists():
            old = (datetime.now(UTC) - timedelta(days=self._days)).isoformat(timespec="milliseconds")
            self.patches.sweep(self.journal.forget(self._keep, old))

    def check_owner(self) -> None:
        """Raise StoreError if others may write there: who can write into the store says what code comes up."""
        if os.name != "posix" or not self._folder.exists():
            return
        facts = self._folder.stat()
        if facts.st_uid not in (os.geteuid(), 0) or facts.st_mode & 0o002:
            raise StoreError(
                f"others than its owner may write into {self._folder}, or the service does not own it",
                advice="chown it to the account of the service, and chmod it to 700",
            )
