"""Facts about this process that show what a patch left behind: memory, threads, open files, old modules."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from collections.abc import Iterable
from enum import EnumType
from pathlib import Path
from types import FunctionType, ModuleType

__all__ = ["census", "open_files", "resident_memory", "vitals"]


def vitals() -> dict[str, object]:
    """The facts that cost nothing; None for what this operating system does not tell."""
    return {
        "pid": os.getpid(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "open_files": open_files(),
        "resident_memory": resident_memory(),
    }


def open_files() -> int | None:
    """How many file descriptors are open, the one that the count itself needs not included."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return sum(1 for _ in Path(folder).iterdir()) - 1
        except OSError:
            continue
    return None


def resident_memory() -> int | None:
    """The resident memory in bytes."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def census(package: str, kept: Iterable[object] = ()) -> dict[str, dict[str, int]]:
    """Count what is alive, after a full collection: modules and functions of a package by module, objects by type.

    Two generations are kept, so old code that stays for ever shows here first. A module counts if code was run in it.
    Objects that are kept on purpose, such as a history, are not counted among the objects; nor is what leads to
    nothing else (numbers, text), which the collector does not know.
    The objects are looked at from outside (their type, their own dictionary), so that none runs code because of it.
    """
    gc.collect()
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    apart = reached_from(kept)
    for thing in gc.get_objects():
        kind = type(thing)
        if id(thing) not in apart:
            objects[f"{kind.__module__}.{kind.__qualname__}"] += 1
        if kind is FunctionType:
            name = thing.__module__
            if belongs(name, package):
                functions[name] += 1
        elif issubclass(kind, ModuleType):
            namespace = object.__getattribute__(thing, "__dict__")
            name = namespace.get("__name__")
            if "__builtins__" in namespace and belongs(name, package):
                modules[name] += 1
    return {"modules": dict(modules), "functions": dict(functions), "objects": dict(objects)}


def reached_from(roots: Iterable[object]) -> set[int]:
    """The identities of these objects and of the data in them; code and enum members belong to everybody."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        kind = type(thing)
        if id(thing) in found or issubclass(kind, (type, ModuleType, FunctionType)) or issubclass(type(kind), EnumType):
            continue
        found.add(id(thing))
        waiting += gc.get_referents(thing)
    return found


def belongs(name: object, package: str) -> bool:
    """Whether this is the name of the package, or of a module in it."""
    return type(name) is str and (name == package or name.startswith(f"{package}."))
