"""Symbolic links that stay within a directory, followed by hand: `NAME -> ..data/NAME`, as Kubernetes has them.

Guarantees: what is reached lies below the open directory at which it began, whatever is renamed meanwhile: each step is
made from the open directory that was reached before, and none follows a link by itself. A link with an absolute target,
or one that leads above the directory, is refused; so is one, or a directory on the way, that somebody else owns, and a
directory that others may write to. Assumes a POSIX system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from hotswap.errors import TrustError
from hotswap.trust.ownership import MOST_LINKS, Owners

__all__ = ["Links"]

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Links:
    """Follows links. Lives as long as the directory is open.

    Arguments:
        owners: whom links and directories on the way may belong to; None: nobody asks.
    """

    def __init__(self, owners: Owners | None) -> None:
        self._owners = owners

    @contextlib.contextmanager
    def followed(self, descriptor: int, name: str, shown: str) -> Iterator[tuple[int, str]]:
        """Give the open directory in which the file lies that a name leads to in the end, and its name there.

        Arguments:
            descriptor: of the directory in which the name is.
            name: of an entry.
            shown: its name for errors.

        Raises TrustError for a link that leads out of the directory, or has been somebody else's to make; OSError for
        one that leads nowhere, or round in a circle. What is there in the end is for the caller to judge.
        """
        with contextlib.ExitStack() as stack:
            passed, left, links = [descriptor], [name], 0
            while left:
                part = left.pop()
                if part == "..":
                    if len(passed) == 1:
                        raise _outside(shown)
                    passed.pop()
                    continue
                facts = os.stat(part, dir_fd=passed[-1], follow_symlinks=False)
                if stat.S_ISLNK(facts.st_mode):
                    links += 1
                    if links > MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), shown)
                    if self._owners is not None:
                        self._owners.check_owner(facts, f"the link {part} to which {shown} leads")
                    target = os.readlink(part, dir_fd=passed[-1])
                    if target.startswith("/"):
                        raise _outside(shown)
                    left += [step for step in reversed(target.split("/")) if step not in ("", ".")]
                elif not left:
                    yield passed[-1], part
                    return
                else:
                    passed.append(os.open(part, _FOLDER, dir_fd=passed[-1]))
                    stack.callback(os.close, passed[-1])
                    if self._owners is not None:
                        self._owners.check(os.fstat(passed[-1]), f"{part}, through which {shown} leads,", "directory")
            raise _outside(shown)  # to the directory itself, or to one that was passed


def _outside(shown: str) -> TrustError:
    return TrustError(
        f"{shown} is a symbolic link that does not lead to a file within the directory",
        code="link-outside",
        advice="make it a relative one, to a file below the directory; or drop the file itself",
    )
