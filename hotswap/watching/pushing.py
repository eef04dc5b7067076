"""A push: what is dropped comes into the directory whole, and in one step.

It is written under a name that every watch passes by, in the same directory, so that the last step is a rename. What
was written is on disk before that (`fsync`), and so is the new name after it. What belongs to it goes first: the
signature and the manifest of a file. The marker of a folder goes last.

Guarantees: a watch sees nothing of the drop's bytes, or all of them, also after a crash or a power failure. If anything
fails, nothing is left under the drop's name, and what stood there before stands there still. Where a file of that name
was there before, a kill between the last renames leaves its bytes with the new signature: what is live by them stays
so, and the watch waits; what is not is refused; the same push made again ends that. Assumes that a rename within a
directory is one step; a folder can't take another one's place in one, so that one is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from hotswap.errors import HotswapError
from hotswap.patch import MANIFEST
from hotswap.trust import SUFFIX as SIGNATURE
from hotswap.watching.looks import GO
from hotswap.watching.outcome import FAILED, LIVE, PENDING, Outcome, read_marker
from hotswap.watching.scanning import is_passed_by
from hotswap.watching.seats import taken_seats

__all__ = ["Pushed", "push"]

_ASIDE = ".part"
_BESIDE = (".toml", f".toml{SIGNATURE}", SIGNATURE)
_LOOK = 0.05


class Pushed:
    """What was pushed, and what becomes of it. Lives as long as anybody asks.

    `path` is where it lies in the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = {name: _identity(path.with_name(name)) for name in _markers(path)}

    def wait(self, seconds: float) -> tuple[list[Outcome], bool]:
        """Wait until every process that watches the directory has said what became of it.

        Arguments:
            seconds: to wait.

        Returns what was said, and whether everybody has spoken. A drop that failed raises nothing: its outcome says so.
        """
        deadline = time.monotonic() + seconds
        while True:
            said = self._said()
            with contextlib.suppress(OSError):  # the directory is gone: nobody says anything more
                if said and {*taken_seats(self.path.parent)} <= said.keys():
                    return list(said.values()), True
            left = deadline - time.monotonic()
            if left <= 0:
                return list(said.values()), False
            time.sleep(min(_LOOK, left))

    def waits_for(self) -> str | None:
        """What the drop lacks, where a watch says so."""
        told = read_marker(self.path.parent, self.path.name, PENDING)
        return None if told is None else told.reason

    def _said(self) -> dict[str, Outcome]:
        """Who has spoken since the push, by the infix of the name, and what was said."""
        said = {}
        for name in _markers(self.path):
            kind = LIVE if name.endswith(LIVE) else FAILED
            infix = name.removeprefix(self.path.name).removesuffix(kind)
            if _identity(self.path.with_name(name)) not in (None, self._before.get(name)):
                outcome = read_marker(self.path.parent, f"{self.path.name}{infix}", kind)
                if outcome is not None and outcome.drop == self.path.name:
                    said[infix] = outcome
        return said


def push(source: str | os.PathLike[str], directory: str | os.PathLike[str]) -> Pushed:
    """Put a patch into a drop directory so that a watch there takes it whole.

    Arguments:
        source: a wheel, a ``.py`` file, or a folder with a ``hotswap.toml``. What lies beside a file and belongs to it
            goes with it: its signature (``FILE.minisig``), its manifest (``FILE.toml``), and the signature of that.
        directory: the drop directory. It has to exist: a push into a name that was spelled wrong would be lost.

    Returns what was pushed; `Pushed.wait` waits for what becomes of it. Raises HotswapError if the source can't be
    read, would be passed by there because of its name, or is a folder of which there is one already; if there is a
    manifest or a signature in the directory that is not the source's; or if the directory can't be written. No part of
    the drop stands there then, unless nothing failed but the very last step, which makes sure that the new name
    outlives a power cut.
    """
    origin, target = Path(os.path.abspath(source)), Path(directory)  # noqa: PTH100 - resolve() loses the name of a link
    name = origin.name
    if is_passed_by(name):
        raise HotswapError(f"a watch passes by what is called {name}", advice="rename it; see the how-to on drops")
    if not target.is_dir():
        raise HotswapError(f"{target} is no directory", advice="make it, or start the watch that makes it")
    place = target / name
    try:
        with contextlib.ExitStack() as stack:
            if origin.is_dir():
                _check_folder(origin, place)
                go = place.with_name(f"{name}{GO}")
                ready = [(_aside(stack, place), place), (_aside(stack, go), go)]
                _copy_folder(origin, ready[0][0])
                ready[1][0].touch()
            else:
                _check_file(origin, place)
                beside = [origin.with_name(f"{name}{suffix}") for suffix in _BESIDE]
                sources = (*(path for path in beside if path.exists()), origin)
                ready = [(_aside(stack, target / path.name), target / path.name) for path in sources]
                for path, (aside, _) in zip(sources, ready, strict=True):
                    _copy(path, aside)
            # All that needs room on the disk has been done.
            pushed = Pushed(place)
            for aside, there in ready:
                aside.replace(there)
                if there.name.endswith(GO):
                    os.utime(there)  # not every file system takes a rename for a change
            _sync(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HotswapError(f"{origin} can't be dropped into {target}: {reason}") from error
    return pushed


def _check_folder(origin: Path, place: Path) -> None:
    if os.path.lexists(place):
        raise HotswapError(
            f"there is a folder {place.name} in {place.parent} already",
            advice="push it under another name, such as one with the version; or remove that one before",
        )
    if not (origin / MANIFEST).is_file():
        raise HotswapError(f"{origin} is a folder without a {MANIFEST}", advice="put one into it, with its version")


def _check_file(origin: Path, place: Path) -> None:
    if not origin.name.endswith((".whl", ".py")):
        raise HotswapError(f"{origin.name} is no patch", advice="give a wheel, a .py file, or a folder")
    if not stat.S_ISREG(origin.stat().st_mode):
        raise HotswapError(f"{origin} is no file and no folder", advice="give a wheel, a .py file, or a folder")
    for suffix in _BESIDE:
        beside = f"{place.name}{suffix}"
        if os.path.lexists(place.with_name(beside)) and not origin.with_name(beside).exists():
            what = "signature" if suffix.endswith(SIGNATURE) else "manifest"
            raise HotswapError(
                f"there is a {what} {beside} in {place.parent}, and none beside {origin}",
                advice="remove that one, or push the one that belongs to it",
            )


def _aside(stack: contextlib.ExitStack, place: Path) -> Path:
    """Where something is written before it is renamed into its place; what is left there in the end is removed."""
    path = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}{_ASIDE}")
    stack.callback(_remove, path)
    return path


def _copy(origin: Path, aside: Path) -> None:
    """Copy a regular file, and have its bytes on disk. Nobody but the owner may write to the copy."""
    with open(origin, "rb", opener=_without_waiting) as read:
        facts = os.fstat(read.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise HotswapError(f"{origin} is no file and no folder", advice="give a wheel, a .py file, or a folder")
        with aside.open("xb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
    aside.chmod(stat.S_IMODE(facts.st_mode) & 0o755)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for who writes into it


def _copy_folder(origin: Path, aside: Path) -> None:
    aside.mkdir(0o755)
    for folder, inner, files in _walked(origin):
        here = aside / folder.relative_to(origin)
        for name in inner:
            (here / name).mkdir(0o755)
        for name in files:
            _copy(folder / name, here / name)
        _sync(here)


def _walked(origin: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder of a tree with what lies in it, but for bytecode."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, inner, files in os.walk(origin, onerror=refuse):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        links = [name for name in inner if (Path(folder) / name).is_symlink()]
        if links:
            raise HotswapError(f"{Path(folder) / links[0]} is a link to a folder", advice="push what it leads to")
        yield Path(folder), inner, sorted(files)


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(aside: Path) -> None:
    """Remove what is left of a push that failed; nobody takes it, so that it stays is no harm."""
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _markers(path: Path) -> list[str]:
    """The names of all reports on a drop, under whatever name they were made."""
    with os.scandir(path.parent) as entries:
        return [e.name for e in entries if e.name.startswith(f"{path.name}.") and e.name.endswith((LIVE, FAILED))]


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a report from the one that stood there before: it is never written in place."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns
