"""Who could have written a file: its owner and mode, and those of the directories that lead to it.

A directory that somebody else may write to is no place for code: he could put in it what he likes, under any name, and
take away what should be there. The rules are those of sshd's `StrictModes`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hotswap.errors import HotswapError, TrustError

__all__ = ["MOST_LINKS", "SUPPORTED", "Owners", "Writers", "open_to_everybody", "owners_of", "require_support"]

Writers = Literal["owner", "group", "everybody"]

SUPPORTED = hasattr(os, "geteuid") and hasattr(os, "O_NOFOLLOW") and os.open in os.supports_dir_fd
"""Whether files have owners and modes here, and can be opened without following a link (POSIX)."""

_FORBIDDEN = {"owner": stat.S_IWGRP | stat.S_IWOTH, "group": stat.S_IWOTH, "everybody": 0}

MOST_LINKS = 40
"""Links that are followed on one way; as many as Linux follows."""


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
        self.check_owner(facts, name, what)
        self._check_mode(facts, name, what)

    def check_owner(self, facts: os.stat_result, name: str, what: str = "file") -> None:
        """Raise TrustError for what somebody else owns. The arguments are those of `check`."""
        if facts.st_uid not in {0, os.geteuid(), *self.uids}:
            raise TrustError(
                f"{name} belongs to the user {facts.st_uid}, who is not trusted here",
                code=f"{what}-owner",
                advice=f"chown it to the user of this service ({os.geteuid()}) or to root, or name the owner in "
                "Trust(owners=...)",
            )

    def _check_mode(self, facts: os.stat_result, name: str, what: str) -> None:
        if excess := stat.S_IMODE(facts.st_mode) & _FORBIDDEN[self.writers]:
            whom = "everybody" if excess & stat.S_IWOTH else "its group"
            raise TrustError(
                f"{name} can be written by {whom} (mode {stat.S_IMODE(facts.st_mode):04o})",
                code=f"{what}-writable",
                advice=f"chmod {'o-w' if self.writers == 'group' else 'go-w'} it, or say so in Trust(writers=...)",
            )

    def check_way(self, directory: Path) -> None:
        """Raise TrustError where somebody else could put another directory in the place of this one.

        Asked of every directory that is passed on the way, also on that of each symbolic link. Those above may be
        writable for everybody if they are sticky, as `/tmp` is: there, only the owner of an entry, or of the directory,
        can rename it. Raises OSError where it can't be reached.
        """
        *above, (_, facts) = _way(directory)
        self.check(facts, str(directory), "directory")
        sticky = False
        for path, facts in above:
            name = f"{path}, which leads to {directory},"
            if not stat.S_ISLNK(facts.st_mode):
                sticky = bool(facts.st_mode & stat.S_ISVTX)
                self.check_owner(facts, name, "directory")
                if not sticky:
                    self._check_mode(facts, name, "directory")
            elif sticky:  # its mode says nothing; elsewhere, who may write to the directory decides where it leads
                self.check_owner(facts, name, "directory")


def open_to_everybody(directory: Path) -> Path | None:
    """Return the directory, or one on the way to it, if everybody may put what he likes in its place; None if not.

    None, too, where there are no modes, or where it can't be reached.
    """
    if not SUPPORTED:
        return None
    try:
        *above, last = _way(directory)
    except OSError:
        return None
    if last[1].st_mode & stat.S_IWOTH:
        return directory
    ordinary = ((path, facts.st_mode) for path, facts in above if stat.S_ISDIR(facts.st_mode))
    return next((path for path, mode in ordinary if mode & stat.S_IWOTH and not mode & stat.S_ISVTX), None)


def _way(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """Every directory and link that is passed on the way to a directory, which is the last one.

    Raises OSError where it can't be reached, or where links lead round in a circle.
    """
    here, *parts = (directory if directory.is_absolute() else Path.cwd() / directory).parts
    left, links = parts[::-1], 0
    found = [(Path(here), Path(here).lstat())]
    path = Path(here)
    while left:
        part = left.pop()
        if part == "..":
            path = path.parent
            found.append((path, path.lstat()))
            continue
        facts = (path / part).lstat()
        found.append((path / part, facts))
        if not stat.S_ISLNK(facts.st_mode):
            path /= part
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(directory))
        target = (path / part).readlink()
        path = Path(target.anchor) if target.is_absolute() else path
        if target.is_absolute():
            found.append((path, path.lstat()))
        left += target.parts[:0:-1] if target.is_absolute() else target.parts[::-1]
    if stat.S_ISLNK(found[-1][1].st_mode):  # a link to what was passed before, as to the root
        found.append((path, path.lstat()))
    return found


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
