"""Reading what is dropped so that what is checked is what is used.

Guarantees: a file is opened once, without following a link, and everything is asked of the open descriptor: its kind,
its owner, its mode, its size, its bytes. Nobody can put another file between the check and the use. Opening never waits
(a pipe would, for ever), and nothing but a regular file is opened on purpose: some devices act when they are opened.
Assumes a POSIX system. Elsewhere a file is opened by its path, and held against what it looked like before; there,
whoever can write to the directory is trusted not to do so in that moment.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hotswap.errors import TrustError
from hotswap.trust.links import Links
from hotswap.trust.ownership import SUPPORTED, Owners

__all__ = ["Folder", "Limits", "opened"]

_DEEPEST = 32
"""Folders within folders that are read."""

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}


@dataclass(slots=True)
class Limits:
    """What may still be read; lives for one drop.

    Arguments:
        most: bytes that it may have altogether.
        many: files that it may have.
        owners: who may write it; None: nobody asks.
    """

    most: int
    many: int
    owners: Owners | None
    bytes: int = field(init=False, default=0)
    files: int = field(init=False, default=0)

    def add(self, name: str, size: int) -> None:
        """Count a file. Raises TrustError when there is too much."""
        self.files += 1
        self.bytes += size
        if self.bytes > self.most:
            raise TrustError(
                f"{name} is too large: with it the drop has {self.bytes:,} bytes; {self.most:,} are allowed",
                code="too-large",
                advice="drop less, or raise Trust(max_bytes=...)",
            )
        if self.files > self.many:
            raise TrustError(
                f"it has more than {self.many:,} files",
                code="too-many-files",
                advice="drop less, or raise Trust(max_files=...)",
            )


class Folder:
    """An open directory; lives as long as its block.

    Arguments:
        path: where it is, for errors, and to open things by where there are no descriptors of directories.
        descriptor: of the directory, or None there.
        links: follows the symbolic links of files in it that stay within it; None: a link is refused.
    """

    def __init__(self, path: Path, descriptor: int | None, links: Links | None = None) -> None:
        self._path = path
        self._descriptor = descriptor
        self._links = links

    def look(self, name: str) -> os.stat_result:
        """Return what an entry is, links not followed. Raises OSError where there is none."""
        if self._descriptor is None:
            return (self._path / name).lstat()
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def has(self, name: str) -> bool:
        """Whether there is an entry of this name, whatever it is."""
        try:
            self.look(name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str, limits: Limits, shown: str | None = None) -> bytes:
        """Return the bytes of a file.

        Arguments:
            name: of the entry.
            limits: what may still be read, and whose it may be.
            shown: its name for errors.

        Raises TrustError for what is no regular file, has other names, belongs to others, is too large, or changes
        while it is read; OSError where it can't be read.
        """
        shown = shown or name
        with self._led(name, shown) as (folder, last), folder._opened(last, shown, os.O_RDONLY) as (descriptor, facts):
            if facts.st_nlink > 1:
                raise TrustError(
                    f"{shown} is a hard link: the same file has {facts.st_nlink} names, and may be written by another",
                    code="link-hard",
                    advice="copy it, and drop the copy",
                )
            if limits.owners is not None:
                limits.owners.check(facts, shown)
            limits.add(shown, facts.st_size)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(facts.st_size + 1)
            after = os.fstat(descriptor)
        if len(data) != facts.st_size or _moment(after) != _moment(facts):
            raise TrustError(
                f"{shown} changed while it was read",
                code="changed-meanwhile",
                advice="write it elsewhere, then rename it into its place",
            )
        return data

    def probe(self, name: str, limits: Limits) -> None:
        """Raise what `read` would raise before it reads the first byte."""
        with self._led(name, name) as (folder, last):
            facts = folder.look(last)
        _require(stat.S_IFREG, facts, name)
        if limits.owners is not None:
            limits.owners.check(facts, name)
        Limits(limits.most, limits.many, None).add(name, facts.st_size)

    def walk(self, name: str, limits: Limits) -> dict[str, bytes]:
        """Return the bytes of all files below a folder, by their paths in it, with ``/``.

        Raises what `read` raises, and TrustError for links and for folders that others can write to.
        """
        files: dict[str, bytes] = {}
        self._walk(name, name, "", limits, files)
        return files

    def _walk(self, name: str, shown: str, inside: str, limits: Limits, files: dict[str, bytes]) -> None:
        if inside.count("/") > _DEEPEST:
            raise TrustError(f"{shown} lies too deep", code="too-many-files", advice="drop a wheel")
        with self.entered(name, shown) as (folder, facts):
            if limits.owners is not None:
                limits.owners.check(facts, shown)
            for entry in folder.names():
                kind = stat.S_IFMT(folder.look(entry).st_mode)
                if kind == stat.S_IFDIR:
                    folder._walk(entry, f"{shown}/{entry}", f"{inside}{entry}/", limits, files)
                else:
                    files[f"{inside}{entry}"] = folder.read(entry, limits, f"{shown}/{entry}")

    @contextlib.contextmanager
    def _led(self, name: str, shown: str) -> Iterator[tuple[Folder, str]]:
        """Give the folder in which the file lies that a name leads to, open, and its name there."""
        if self._links is None or self._descriptor is None or not stat.S_ISLNK(self.look(name).st_mode):
            yield self, name
            return
        with self._links.followed(self._descriptor, name, shown) as (descriptor, last):
            yield Folder(self._path / name, descriptor), last

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as entries:
            return sorted(entry.name for entry in entries)

    @contextlib.contextmanager
    def entered(self, name: str, shown: str) -> Iterator[tuple[Folder, os.stat_result]]:
        """Open a folder in this one; give it, and what it is."""
        if self._descriptor is None:
            facts = self.look(name)
            _require(stat.S_IFDIR, facts, shown)
            yield Folder(self._path / name, None), facts
            return
        flags = os.O_RDONLY | os.O_DIRECTORY
        with self._opened(name, shown, flags, stat.S_IFDIR) as (descriptor, facts):
            yield Folder(self._path / name, descriptor), facts

    @contextlib.contextmanager
    def _opened(
        self, name: str, shown: str, flags: int, kind: int = stat.S_IFREG
    ) -> Iterator[tuple[int, os.stat_result]]:
        # Looked at first, because some devices act when they are opened; and again once it is open, because that is
        # what counts.
        before = self.look(name)
        _require(kind, before, shown)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        flags |= getattr(os, "O_BINARY", 0)
        if self._descriptor is None:
            descriptor = os.open(self._path / name, flags)
        else:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            facts = os.fstat(descriptor)
            _require(kind, facts, shown)
            if (facts.st_dev, facts.st_ino) != (before.st_dev, before.st_ino):
                raise TrustError(
                    f"another file was put into the place of {shown} while it was opened",
                    code="changed-meanwhile",
                    advice="find out who does that; a single rename is seen as a new drop",
                )
            yield descriptor, facts
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def opened(directory: Path, owners: Owners | None, *, links: bool = False) -> Iterator[Folder]:
    """Open a directory whose owner and mode are as they should be; it stays that very directory while it is open.

    Arguments:
        directory: its path.
        owners: who may write to it; None: nobody asks.
        links: whether symbolic links of files in it are followed, as far as they stay within it.

    Raises TrustError where it is somebody else's, OSError where it can't be opened.
    """
    if not SUPPORTED:
        yield Folder(directory, None)
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if owners is not None:
            owners.check(os.fstat(descriptor), str(directory), "directory")
        yield Folder(directory, descriptor, Links(owners) if links else None)
    finally:
        os.close(descriptor)


def _require(kind: int, facts: os.stat_result, shown: str) -> None:
    found = stat.S_IFMT(facts.st_mode)
    if found == kind:
        return
    if found == stat.S_IFLNK:
        raise TrustError(
            f"{shown} is a symbolic link: what it leads to may be anything at any time",
            code="link-symbolic",
            advice="drop the file itself; or allow links that stay within the directory, with Trust(links=True)",
        )
    raise TrustError(
        f"{shown} is {_KINDS.get(found, 'something else than a file')}",
        code="not-a-file",
        advice="drop a wheel, a file or a folder of files",
    )


def _moment(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
