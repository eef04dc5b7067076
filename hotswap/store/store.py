"""The store: a folder that says what was rolled out, and what comes up after a restart."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from hotswap.errors import StoreError
from hotswap.store.blobs import Blobs
from hotswap.store.database import exists, reading
from hotswap.store.journal import Journal
from hotswap.store.refusals import Refusals
from hotswap.store.retention import forget, wanted

__all__ = ["Store"]


class Store:
    """What is durable of a service's patches: `Patcher(packages, store=Store("var/hotswap"))`. Holds nothing open.

    Arguments:
        folder: where it lies; it is made, for its owner only, when the first patch is staged or drop refused.
            Several processes on one host may share it.
        keep: how many rollouts the journal keeps. What is permanent, what that lies over, and what is on trial is kept
            in any case.
        days: how long it keeps them. A pause between two rollouts counts as a tenth of that at most, so that a clock
            that jumps ahead does not empty it.

    Raises ValueError for what is no number above zero.
    """

    def __init__(self, folder: str | PathLike[str], *, keep: int = 500, days: float = 365.0) -> None:
        if keep < 1 or not days > 0:
            raise ValueError(f"keep and days have to be above zero, not {keep!r} and {days!r}")
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link that moves
        self._keep, self._days = keep, days
        self.journal = Journal(self._folder)
        self.refusals = Refusals(self.journal.path)
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
        if exists(self.journal.path):
            forget(self.journal.path, self._keep, self._days)
            # After what was forgotten lasts; and whoever is about to write of a patch waits meanwhile, and looks then.
            with wanted(self.journal.path) as digests:
                self.patches.sweep(digests)

    def check_journal(self) -> None:
        """Raise StoreError if patches are kept, and no journal says what of them is permanent: it was lost.

        So may the store be as a whole, where its folder is a link that leads nowhere.
        """
        if self._folder.is_symlink() and not self._folder.exists():
            raise StoreError(
                f"the store {self._folder} is a link to {self._folder.readlink()}, and nothing is there",
                advice="mount it, or make the folder; the service starts on the code on disk",
            )
        with reading(self.journal.path) as connection:
            lost = connection is None
        if lost and any(self.patches.folder.glob("*")):
            raise StoreError(
                f"there are patches in {self._folder}, and the journal that says what of them is permanent is gone",
                advice="restore it from a backup; or apply the patches again, and confirm them",
            )

    def check_owner(self) -> None:
        """Raise StoreError if others may write there: who can write into the store says what code comes up.

        It, its folders and its journal belong to the account of the process, or to root, and nobody else may write to
        them, no group either; nor may everybody put another folder in the place of one above it.
        """
        if os.name != "posix":
            return
        journal = self.journal.path
        beside = [journal.with_name(f"{journal.name}{suffix}") for suffix in ("", "-wal", "-shm")]
        try:
            for path in (self._folder, self.patches.folder, self._folder / "running", *beside):
                _check(path, stat.S_ISREG if path in beside else stat.S_ISDIR)
            for path in {*self._folder.parents, *self._folder.resolve().parents}:
                mode = path.stat().st_mode if path.is_dir() else 0
                if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                    raise StoreError(
                        f"everybody may write into {path}, and so put another store in the place of {self._folder}",
                        advice=f"chmod o-w {path}, or name a folder elsewhere",
                    )
        except OSError as error:
            raise StoreError(
                f"the store {self._folder} can't be used: {error}",
                advice="see to who owns it and those above it; the service starts on the code on disk",
            ) from error


def _check(path: Path, is_right: Callable[[int], bool]) -> None:
    """Raise StoreError for what others may write to, or what is something else than it should be; OSError too."""
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not is_right(facts.st_mode):
        raise StoreError(f"{path} is neither a file nor a folder of a store", advice="move it away")
    if facts.st_uid not in (os.geteuid(), 0) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(
            f"others than its owner may write into {path}, or the service does not own it",
            advice="chown it to the account of the service, and chmod it to 700, its files to 600; or move it away, if "
            "somebody may have written into it",
        )
