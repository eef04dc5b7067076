"""What the standard library remembers of files: of those of a generation that is gone, nothing shall stay.

Each generation has its files in a directory of its own, so what is remembered by path is never asked for again, and
would pile up: the lines of a module in `linecache`, once a traceback or a warning has shown one of them; its name in
`inspect`; its folders among the finders of the import system. An old call that is still in flight has its lines from
the loader of its module, as before.

Guarantees: a thread that looks up lines meanwhile does not fail. `linecache` asks whether it has an entry, and then
reads it; so nothing is taken out while any thread is in its code, in one C call with the look at the threads. What is
left for that reason, and what is remembered later (who logs the error of a rejected patch reads its lines after the
files are gone), goes the next time.

Assumes: the GIL, for "in one C call".
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
import weakref
from collections import deque
from collections.abc import Iterable
from itertools import chain, compress, repeat, starmap
from operator import attrgetter
from types import FunctionType
from typing import Any

from hotswap import frames

__all__ = ["appeared", "vanished"]

_NAME = re.compile(r"hotswap-\d+-.+")
"""What such a directory is called (`directories`)."""

_standing: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
"""The directories of the generations that are kept -> who owns them."""

_folders: set[str] = set()
"""Where those directories lie, and those that are gone."""

_CODE = attrgetter("f_code")


def appeared(directory: str, owner: object) -> None:
    """Note the directory of a new generation; forget what is remembered of those that are gone.

    Arguments:
        directory: its path.
        owner: whoever lives as long as the files shall be remembered.
    """
    for place in _names(directory):
        _standing[place] = owner
        _folders.add(os.path.dirname(place))
    _sweep()


def vanished(directory: str) -> None:
    """Forget what is remembered of the files of a generation that is gone."""
    for place in _names(directory):
        _standing.pop(place, None)
    _sweep()


def _names(directory: str) -> set[str]:
    return {os.path.normcase(path) for path in (directory, os.path.realpath(directory))}


def _sweep() -> None:
    lines: Any = linecache.cache
    gone = _gone(lines)
    if gone and not _in_linecache():
        _pop_unread(lines, gone)
    by_file: Any = inspect.modulesbyfile
    for path in _gone(by_file):
        by_file.pop(path, None)
    finders: dict[str, Any] = sys.path_importer_cache
    for path in _gone(finders):
        if finders.get(path) is not None:  # the import system deletes the others itself, and wants to be the only one
            finders.pop(path, None)


def _gone(cache: Iterable[Any]) -> list[Any]:
    """The keys that are paths in a directory of a generation that is gone."""
    found = []
    for path in list(cache):
        for folder in list(_folders) if isinstance(path, str) and "hotswap-" in path else ():
            place = os.path.normcase(path)
            name = place.removeprefix(folder + os.sep).partition(os.sep)[0] if place.startswith(folder) else ""
            if _NAME.fullmatch(name) and os.path.join(folder, name) not in _standing:
                found.append(path)
    return found


def _readers() -> frozenset[int]:
    return frozenset(id(value.__code__) for value in vars(linecache).values() if type(value) is FunctionType)


def _in_linecache() -> bool:
    """Whether a thread was interrupted in `linecache`: by a collection, say, and runs something else meanwhile."""
    readers = _readers()
    codes = [id(frame.f_code) for stack in frames.stacks().values() for frame in stack]
    return not readers.isdisjoint(codes)


def _pop_unread(cache: dict[Any, Any], keys: list[Any]) -> None:
    """Take entries out, unless a thread is in `linecache` at that moment."""
    # Nothing of this runs before the last line, and all of it there: who runs what, and then the taking out.
    running = chain.from_iterable(map(dict.values, starmap(sys._current_frames, [()])))
    unread = starmap(_readers().isdisjoint, [(map(id, map(_CODE, running)),)])
    deque(map(cache.pop, chain.from_iterable(compress([keys], unread)), repeat(None)))
