"""Memory that a copy of the process shares with the original: counters of metrics, locks of `multiprocessing`.

A fork copies private memory, and goes on sharing what is shared (`mmap` without `ACCESS_COPY`, `shared_memory`): what
the copy writes there is written in the original. So on Linux each such piece is replaced, in its place, by a private
one with the same content. Where a file can be had, it is mapped privately, which copies only what is written; else the
content is copied, if it is not too much, and else it can't be written any more.

Guarantees: what could not be made private is returned in words. Assumes: no other thread, as is so right after a fork.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["libc", "make_private"]

_LINE = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>\S{4}) (?P<offset>[0-9a-f]+) \S+ (?P<inode>\d+)\s*(?P<name>.*)"
)
_MOST = 256 << 20
"""Bytes that are copied in all: a model in shared memory may be larger than what is free."""
_CHUNK = 1 << 20

_READ, _WRITE = 1, 2
_PRIVATE, _FIXED, _ANONYMOUS = 0x2, 0x10, 0x20
_MOVE, _TO = 1, 2


def libc() -> Any:
    """Return the library of the system, with the types of what is called here; None where it can't be had."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
        library.mmap.restype, library.mmap.argtypes = pointer, [pointer, size, number, number, number, ctypes.c_long]
        library.mprotect.argtypes = [pointer, size, number]
        library.munmap.argtypes = [pointer, size]
        library.mremap.restype, library.mremap.argtypes = pointer, [pointer, size, size, number, pointer]
    except (OSError, AttributeError, TypeError):  # musl in a static build, macOS (no mremap), Windows
        return None
    return library


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    length: int
    rights: int
    offset: int
    inode: int
    name: str


def make_private(library: Any, files: Mapping[tuple[int, int], int]) -> list[str]:
    """Have this process share no memory with another that it can write.

    Arguments:
        library: as `libc` returns it.
        files: descriptors of open files, by device and inode.

    Returns what could not be made private, each in words.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - at a fork
            pieces = list(_shared(lines.read()))
    except OSError:
        return ["shared memory can't be told from other memory here: what is written into it is written in the process"]
    left, copied = [], 0
    for piece in pieces:
        if library is None:
            left.append(f"{piece.name} is shared with the process, and can be written: there is no ctypes")
        elif not _mapped(library, piece, files):
            copied += piece.length
            if copied > _MOST or not _copied(library, piece):
                library.mprotect(piece.start, piece.length, piece.rights & ~_WRITE)
                left.append(f"{piece.name} is shared with the process: who writes into it crashes")
    return left


def _shared(text: str) -> Iterator[_Piece]:
    for found in filter(None, map(_LINE.match, text.splitlines())):
        rights = found["rights"]
        if rights[3] == "s" and rights[1] == "w":
            start, end = int(found["start"], 16), int(found["end"], 16)
            bits = sum(bit for bit, letter in ((1, "r"), (2, "w"), (4, "x")) if letter in rights)
            name = found["name"] or "a piece of memory"
            yield _Piece(start, end - start, bits, int(found["offset"], 16), int(found["inode"]), name)


def _mapped(library: Any, piece: _Piece, files: Mapping[tuple[int, int], int]) -> bool:
    """Map the same file privately over a piece; False if it can't be had."""
    open_here = [handle for (_, inode), handle in files.items() if inode == piece.inode]
    for way in (piece.name, *(f"/proc/self/fd/{handle}" for handle in open_here), _link(piece)):
        if piece.inode == 0 or not way.startswith("/"):
            continue
        with suppress(OSError):
            if not stat.S_ISREG(os.stat(way).st_mode):  # noqa: PTH116 - at a fork
                continue  # to open a device may do something
            handle = os.open(way, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if os.fstat(handle).st_ino != piece.inode:
                    continue
                rights = piece.rights
                got = library.mmap(piece.start, piece.length, rights, _PRIVATE | _FIXED, handle, piece.offset)
                if got == piece.start:
                    return True
            finally:
                os.close(handle)
    return False


def _link(piece: _Piece) -> str:
    """The way to a file that has no name any more; only the administrator may go it."""
    return f"/proc/self/map_files/{piece.start:x}-{piece.start + piece.length:x}"


def _copied(library: Any, piece: _Piece) -> bool:
    """Put a private copy in the place of a piece; False if that can't be done."""
    fresh = library.mmap(None, piece.length, _READ | _WRITE, _PRIVATE | _ANONYMOUS, -1, 0)
    if fresh in (None, ctypes.c_void_p(-1).value):
        return False
    # Read as a file: what lies behind the end of a file can't be read, and touching it would be a SIGBUS.
    with suppress(OSError, OverflowError):
        memory = os.open("/proc/self/mem", os.O_RDONLY)
        try:
            for done in range(0, piece.length, _CHUNK):
                room = (ctypes.c_char * min(_CHUNK, piece.length - done)).from_address(fresh + done)
                os.preadv(memory, [room], piece.start + done)
        finally:
            os.close(memory)
    library.mprotect(fresh, piece.length, piece.rights)
    if library.mremap(fresh, piece.length, piece.length, _MOVE | _TO, piece.start) != piece.start:
        library.munmap(fresh, piece.length)
        return False
    return True
