"""Who could have written a file: its owner and mode, and those of the directories that lead to it.

A directory that somebody else may write to is no place for code: he could put in it what he likes, under any name, and
take away what should be there. The rules are those of sshd's `StrictModes`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hotswap.errors import HotswapError, TrustError

__all__ = ["SUPPORTED", "Owners", "Writers"]

Writers = Literal["owner", "group", "everybody"]

SUPPORTED = hasattr(os, "geteuid") and hasattr(os, "O_NOFOLLOW") and os.open in os.supports_dir_fd
"""Whether files have owners and modes here, and can be opened without following a link (POSIX)."""

_FORBIDDEN = {"owner": stat.S_IWGRP | stat.S_IWOTH, "group": stat.S_IWOTH, "everybody": 0}


@dataclass(frozen=True, slots=True)
class Owners:
    """Who may write what is dropped. A fact; lives as long as the policy.

    Attributes:
        uids: users besides root and the one that this process runs as.
        writers: who may have the right to write, by mode.
    """

    uids: frozenset[int]
    writers: Writers

    def check(self, facts: os.stat_result, name: str, what: str = "file") -> None:
        """Raise TrustError for a file or directory that somebody else owns or may write to.

        Arguments:
            facts: of the open descriptor that is read.
            name: what it is called, for the error.
            what: ``"file"``, or ``"directory"``: says the code too.
        """
        if facts.st_uid not in {0, os.geteuid(), *self.uids}:
            raise TrustError(
                f"{name} belongs to the user {facts.st_uid}, who is not trusted here",
                code=f"{what}-owner",
                advice=f"chown it to the user of this service ({os.geteuid()}) or to root, or name the owner in "
                "Trust(owners=...)",
            )
        if excess := stat.S_IMODE(facts.st_mode) & _FORBIDDEN[self.writers]:
            whom = "everybody" if excess & stat.S_IWOTH else "its group"
            raise TrustError(
                f"{name} can be written by {whom} (mode {stat.S_IMODE(facts.st_mode):04o})",
                code=f"{what}-writable",
                advice=f"chmod {'o-w' if self.writers == 'group' else 'go-w'} it, or say so in Trust(writers=...)",
            )

    def check_way(self, directory: Path) -> None:
        """Raise TrustError where somebody else could put another directory in the place of this one.

        The directories above it may be writable for everybody if they are sticky, as `/tmp` is: there, only the owner
        of an entry can rename it. Raises OSError where it can't be reached.
        """
        real = Path(os.path.realpath(directory))
        self.check(real.stat(), str(directory), "directory")
        for above in real.parents:
            facts = above.stat()
            if not facts.st_mode & stat.S_ISVTX:
                self.check(facts, f"{above}, which leads to {directory},", "directory")


def owners_of(uids: Collection[int] | None, writers: Writers) -> Owners | None:
    """Return who may write, or None where nobody is asked for.

    Raises TypeError or ValueError for what is neither users nor writers.
    """
    if writers not in _FORBIDDEN:
        raise ValueError(f"writers has to be one of {', '.join(_FORBIDDEN)}, not {writers!r}")
    if uids is None:
        return None
    if isinstance(uids, (str, bytes)) or not all(isinstance(uid, int) for uid in uids):
        raise TypeError(f"owners has to be several user ids, such as [1000], not {uids!r}")
    return Owners(frozenset(uids), writers)


def require_support() -> None:
    """Raise HotswapError where there are no owners and modes that could be checked."""
    if not SUPPORTED:
        raise HotswapError(
            "this platform has no owners and modes of files that could be checked",
            advice="give Trust(owners=None), and let nobody else write to the directory by other means (an ACL)",
        )
