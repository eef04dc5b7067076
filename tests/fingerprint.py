"""A fingerprint of the process: everything that a rejected rollout, or one that was taken back, must leave as it was.

It is one flat dict, from the name of a place to what stands there, so that a difference names its place. Identity is
what counts: the objects are held by the fingerprint, so that no id is used twice.
"""

from __future__ import annotations

import _thread
import builtins
import copyreg
import enum
import functools
import gc
import importlib
import locale
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import Patcher, clock, walk
from hotswap.effects.exits import registered
from hotswap.generation import worlds
from hotswap.generation.abandoned import SUFFIX
from hotswap.settlement import Settlement, catch_up

__all__ = ["Fingerprint", "differences", "temporary_directories"]

_LRU_CACHE = type(functools.lru_cache(lambda: None))
_IGNORED_FACTS = frozenset({"__builtins__", "__warningregistry__"})
# `weakref.finalize` enters itself into `atexit` once for the process, with the first of its objects: this is it.
weakref.finalize(logging.getLogger("fingerprint"), int).detach()

_STATIC = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_BUILTIN = "builtin: "
_CLASS_DICT = type.__dict__["__dict__"]


def temporary_directories() -> list[str]:
    """The directories that generations of this process have on disk."""
    own = f"hotswap-{os.getpid()}-"
    # Not by `Path.glob`, which makes a path of each of the thousands that may lie there.
    with os.scandir(tempfile.gettempdir()) as entries:
        return sorted(entry.name for entry in entries if entry.name.startswith(own))


def _handlers(logger: logging.Logger) -> tuple[int, ...]:
    return tuple(id(handler) for handler in logger.handlers)


def _status() -> list[str]:
    file = Path("/proc/self/status")
    return file.read_text(errors="replace").splitlines() if file.exists() else []


def _descriptors() -> list[str]:
    """The open file descriptors, by what they lead to; the one that lists them is closed again when it is looked at.

    Without those that hold the files of a version that is kept: one that was taken back may be committed again.
    """
    found = []
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.exists() else ():
        try:
            leads = entry.readlink()
        except OSError:
            continue
        if leads.parent.suffix != SUFFIX:
            found.append(f"{entry.name} {leads}")
    return sorted(found)


def _begins_or_ends(frame: FrameType | None) -> bool:
    """Whether a thread runs nothing but what `threading` does around its target; a timer waits there."""
    while frame is not None:
        if frame.f_code.co_filename != threading.__file__ or frame.f_code.co_name == "wait":
            return False
        frame = frame.f_back
    return True


def _raw_threads() -> int:
    """How many threads there are, known to `threading` or not; one that settles what has drained is about to end."""
    deadline = time.monotonic() + 5
    while True:
        frames = list(sys._current_frames().values())
        if not any(_settles(frame) or _begins_or_ends(frame) for frame in frames) or time.monotonic() > deadline:
            return sum(not _watches_the_time(frame) for frame in frames)
        time.sleep(0)


def _watches_the_time(frame: FrameType) -> bool:
    """Whether a thread is hotswap's clock: it is there as long as a call or a session is waited for."""
    walked: FrameType | None = frame
    while walked is not None:
        if walked.f_globals is clock.__dict__ and walked.f_code.co_name == "_watch":
            return True
        walked = walked.f_back
    return False


def collect() -> None:
    """Collect garbage, and once more when nobody settles any more: who does that holds what has drained."""
    gc.collect()
    if sys.platform == "emscripten":
        catch_up()
    _raw_threads()
    gc.collect()


def _settles(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is Settlement.run.__code__:
            return True
        frame = frame.f_back
    return False


@dataclass
class Fingerprint:
    """The state of the process at one moment.

    Arguments:
        patcher: the patcher under test.
        importers: modules outside of the managed packages whose names count too.
        exact: whether code objects are compared by identity. A rollback puts back a copy of the old code, so there
            only what the code does and where it says it comes from can be compared; nothing of the code is held then,
            because a held code object keeps an old generation from draining.
    """

    patcher: Patcher
    importers: Iterable[ModuleType] = ()
    exact: bool = True
    facts: dict[str, object] = field(default_factory=dict)
    frozen: int = 0
    _held: list[object] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._process()
        self._hotswap()
        packages = tuple(self.patcher.versions)
        managed = {n: m for n, m in list(sys.modules.items()) if n.partition(".")[0] in packages and m is not None}
        for name, module in list(sys.modules.items()):
            self._note(f"sys.modules[{name}]", self._id(module))
        modules = {**managed, **{module.__name__: module for module in self.importers}}
        for name, module in sorted(modules.items()):
            self._note(f"type of {name}", self._id(type(module)))
            for attribute, value in _items(ModuleType.__getattribute__(module, "__dict__")):
                if attribute not in _IGNORED_FACTS:
                    self._value(f"{name}:{attribute}", value, 0, packages)
        for base in self._bases(packages):
            # Below what is written in C, and below `IntEnum` before 3.12, a dropped class stays listed until it dies.
            stays = base.__flags__ & _STATIC or (base is enum.IntEnum and sys.version_info < (3, 12))
            place = f"{_BUILTIN if stays else ''}subclasses of {base.__module__}.{base.__qualname__}"
            children: list[type] = type.__subclasses__(base)
            below = [cls for cls in children if _package(cls) in packages]
            self._note(place, sorted(self._id(cls) for cls in below))

    def release(self) -> None:
        """Hold nothing any more: a code object that is held here keeps an old generation from draining."""
        self._held.clear()

    # --- the process ---

    def _process(self) -> None:
        note = self._note
        note("builtins.__import__", self._id(builtins.__import__))
        note("importlib.import_module", self._id(importlib.import_module))
        note("builtins", {name: self._id(value) for name, value in builtins.__dict__.items() if name != "__import__"})
        note("copyreg", {self._id(cls): self._id(how) for cls, how in copyreg.dispatch_table.items()})
        note("sys.meta_path", [self._id(finder) for finder in sys.meta_path])
        note("sys.path", list(sys.path))
        note("sys.path_hooks", [self._id(hook) for hook in sys.path_hooks])
        note("threads", sorted(f"{thread.name} {thread.ident}" for thread in threading.enumerate()))
        note("raw threads", _raw_threads())
        note("descriptors", _descriptors())
        note("atexit", [self._id(function) for function in registered()])
        for number in sorted(signal.valid_signals()):
            note(f"signal {number}", self._id(signal.getsignal(number)))
        note("warnings.filters", [repr(entry) for entry in warnings.filters])
        note("warnings.showwarning", [self._id(warnings.showwarning), self._id(warnings.formatwarning)])
        for logger in [logging.root, *list(logging.root.manager.loggerDict.values())]:
            if isinstance(logger, logging.Logger) and (logger.handlers or logger.filters or logger.level):
                filters = tuple(id(item) for item in logger.filters)
                facts = (logger.level, logger.disabled, logger.propagate, _handlers(logger), filters)
                note(f"logger {logger.name!r}", facts)
        note("logging.Logger", self._id(logging.getLoggerClass()))
        note("log records", (self._id(logging.getLogRecordFactory()), logging.root.manager.disable))
        note("gc", (gc.isenabled(), gc.get_threshold(), gc.get_debug(), tuple(self._id(c) for c in gc.callbacks)))
        note("switch interval", sys.getswitchinterval())
        note("limit of digits", sys.get_int_max_str_digits())
        note("recursion limit", sys.getrecursionlimit())
        note("hooks", [self._id(hook) for hook in (sys.excepthook, sys.displayhook, sys.unraisablehook)])
        note("thread hooks", [self._id(threading.excepthook), self._id(_thread._excepthook)])
        note("streams", [self._id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)])
        note("tracing", [self._id(sys.gettrace()), self._id(sys.getprofile())])
        note("tracing of threads", [self._id(threading.gettrace()), self._id(threading.getprofile())])
        note("breakpointhook", self._id(sys.breakpointhook))
        note("locale", locale.setlocale(locale.LC_ALL))
        note("time limit of sockets", socket.getdefaulttimeout())
        note("umask", [line for line in _status() if line.startswith("Umask")])
        note("environment", {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"})
        note("working directory", str(Path.cwd()))
        self.frozen = gc.get_freeze_count()

    def _hotswap(self) -> None:
        self._note("temporary directories", temporary_directories())
        self._note("versions", {name: str(version) for name, version in self.patcher.versions.items()})
        self._note("current rollout", self._id(self.patcher.current))
        self._note("worlds", sorted(worlds))

    # --- objects ---

    def _value(self, place: str, value: Any, depth: int, packages: tuple[str, ...]) -> None:
        self._note(place, self._id(value))
        if id(value) in self._seen or depth > 6:
            return
        self._seen.add(id(value))
        for part, inner in self._parts(place, value, packages):
            self._value(f"{place}{part}", inner, depth + 1, packages)

    def _parts(self, place: str, value: Any, packages: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        kind = type(value)
        if kind is FunctionType:
            self._note(f"{place}.__code__", self._code(value.__code__))
            self._note(f"{place} names", (value.__name__, value.__qualname__, value.__module__, value.__doc__))
            yield ".__defaults__", value.__defaults__
            yield ".__kwdefaults__", value.__kwdefaults__
            for name, inner in _items(value.__dict__):
                yield f".__dict__[{name}]", inner
            self._note(f"{place}.__dict__ names", sorted(value.__dict__))
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
                if name != "__classdict__":  # the namespace of a class, whose names have no order
                    yield f".__closure__[{name}]", _contents(cell)
        elif issubclass(kind, type):
            if _package(value) in packages:
                contents = dict(_CLASS_DICT.__get__(value).items())
                self._note(f"{place} attributes", sorted(contents))
                self._note(f"{place}.__bases__", [self._id(base) for base in value.__bases__])
                for name, inner in _items(contents):
                    if name not in ("__dict__", "__weakref__"):
                        yield f".{name}", inner
        elif kind in (staticmethod, classmethod):
            yield ".__func__", value.__func__
        elif kind is property:
            yield from ((".fget", value.fget), (".fset", value.fset), (".fdel", value.fdel))
        elif kind is _LRU_CACHE:
            self._note(f"{place}.cache_info", value.cache_info())
            yield ".__wrapped__", value.__wrapped__
        elif kind is functools.partial:
            yield from ((".func", value.func), (".args", value.args))
        elif kind is MethodType:
            yield from ((".__func__", value.__func__), (".__self__", value.__self__))
        elif kind in (list, tuple, deque):
            self._note(f"{place} length", len(value))
            yield from ((f"[{index}]", inner) for index, inner in enumerate(list(value)))
        elif kind in (set, frozenset):
            self._note(f"{place} items", sorted(self._id(inner) for inner in list(value)))
        elif kind is dict:
            self._note(f"{place} keys", [self._id(key) for key in list(value)])
            yield from ((f"[{key!r}]", inner) for key, inner in list(value.items()) if type(key) in (str, int))
        elif _package(kind) in packages:
            yield ".__class__", kind
            yield from ((f".{name}", inner) for name, inner in list(getattr(value, "__dict__", {}).items()))

    def _bases(self, packages: tuple[str, ...]) -> list[type]:
        found: dict[int, type] = {}
        for held in list(self._held):
            if isinstance(held, type) and _package(held) in packages:
                for base in walk.mro(held):
                    found[id(base)] = base
        return list(found.values())

    def _code(self, code: CodeType) -> object:
        return self._id(code) if self.exact else _shape(code)

    def _id(self, value: object) -> int:
        if self.exact or type(value) is not CodeType:
            self._held.append(value)
        return id(value)

    def _note(self, place: str, fact: object) -> None:
        self.facts[place] = fact


def _shape(code: CodeType) -> object:
    constants = tuple(_shape(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts)
    facts = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_flags, code.co_qualname)
    return (*facts, code.co_filename, code.co_firstlineno, constants)


def _items(namespace: dict[str, Any]) -> list[tuple[str, Any]]:
    """The items by name: what is reached by two names is noted under the same one, whatever the order of the dict."""
    return sorted(namespace.items(), key=lambda item: str(item[0]))


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _package(cls: type) -> str:
    module = _CLASS_DICT.__get__(cls).get("__module__")
    return module.partition(".")[0] if isinstance(module, str) else ""


def differences(before: Fingerprint, after: Fingerprint, *, collected: bool = True) -> list[str]:
    """Return what is not as it was, a line each.

    Arguments:
        before, after: the two fingerprints.
        collected: whether `object.__subclasses__()` and the like count. CPython lists a dropped class below a class
            that is written in C until the class dies, which a traceback that somebody still holds puts off.

    Modules of the standard library and of installed packages that were imported meanwhile are no difference: every
    program does that, and what they do to the process is noted by itself.
    """
    found = []
    packages = tuple(before.patcher.versions)
    for place in dict.fromkeys([*before.facts, *after.facts]):
        was, now = before.facts.get(place, "nothing"), after.facts.get(place, "nothing")
        if was == now or (place.startswith(_BUILTIN) and not collected):
            continue
        if place == "temporary directories" and isinstance(was, list) and isinstance(now, list) and {*now} <= {*was}:
            continue  # those of another patcher went with it
        module = place.removeprefix("sys.modules[").removesuffix("]")
        if was == "nothing" and module != place and module.partition(".")[0] not in packages:
            continue
        found.append(f"{place}: was {was!r}, is {now!r}")
    if after.frozen > before.frozen:
        found.append(f"gc.get_freeze_count(): was {before.frozen}, is {after.frozen}")
    return found
