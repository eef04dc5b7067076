"""Imports: what a process notes of its first imports of a permanent version, for those who judge its start.

Each note is a line of JSON:

    importing, imported    before and after a module of the version runs, unless that is a part of another import
    failed                 instead of `imported`: what it raised is held against the version
    left                   instead of `imported`: it was ended in good order, or what it raised is held against another
    blamed                 the process is about to fail, since code does not fit to a module of the version
    over                   the process ends, and fails

Guarantees: nothing is noted in a file that is not ours, whoever closes handles that he did not open. What goes live
over the version is not held against it. Assumes: `os.write` of a line to a file that was opened for appending is not
mixed with another. One line is one call, under any interpreter.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.errors import StoreError
from hotswap.events import emit
from hotswap.store import exits, starts

if TYPE_CHECKING:
    from hotswap.store.journal import Journal

__all__ = ["Watch"]

_MISMATCHES = (ImportError, AttributeError, NameError, TypeError)
"""What code raises that does not fit to other code. Anything else may be for what a service lacks at its start."""


class Watch:
    """Notes what this process, and each forked child, imports of a version for the first time.

    Arguments:
        journal: knows whether a start was good.
        rollout: the id of the rollout that made the version.
        packages: its packages.
    """

    def __init__(self, journal: Journal, rollout: str, packages: Collection[str]) -> None:
        self._journal, self._rollout, self._packages = journal, rollout, frozenset(packages)
        self._pid: int | None = None
        self._handle: int | None = None
        self._file: os.stat_result | None = None
        self._begun = self._last = 0.0
        self._resolved = True
        self.is_live: Callable[[], bool] = lambda: True
        """Whether the version is what is live here, and not what a patcher has put over it."""

    def watched(self, spec: ModuleSpec) -> ModuleSpec:
        """Have the import of a module noted; its loader is its own again before the module runs."""
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Watched(spec, self)
        return spec

    def load(self, loader: importlib.abc.Loader, module: ModuleType) -> None:
        """Run a module, and note it, unless that is a part of another import. Raises what the module raises."""
        if self in _here.watches or not self._is_on():
            loader.exec_module(module)
            return
        name, pid = module.__name__, os.getpid()
        _here.watches.append(self)
        try:
            self._tell("importing", name)
            loader.exec_module(module)
        except BaseException as error:
            if pid == os.getpid():  # else it is a child that was forked by the module, and has notes of its own
                self._raised(name, error)
            raise
        else:
            if pid == os.getpid():
                self._resolved = True
                self._tell("imported", name)
        finally:
            _here.watches.remove(self)
            if not _here.watches:
                _here.error = None

    def _raised(self, name: str, error: BaseException) -> None:
        # Where the packages of one version import those of another, it is the inner one that failed.
        ended = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)
        if ended or error is _here.error:
            self._tell("left", name)
            return
        _here.error, self._resolved = error, False
        self._tell("failed", name, f"{type(error).__name__}: {error}")

    def blame(self, error: BaseException | None, over: bool) -> None:
        """Note that the process is about to fail, and whether it dies of it that other code does not fit.

        Arguments:
            error: what it dies of, as far as that is known.
            over: whether the end is certain.
        """
        if self._handle is None or self._pid != os.getpid():
            return
        early = time.monotonic() - self._begun <= starts.GOOD.total_seconds()
        if early and self._resolved and error is not None and self.is_live():
            name = _culprit(error, self._packages)
            if name is not None:
                self._tell("blamed", name, f"{type(error).__name__}: {error}")
        if over:
            self._tell("over")

    def _is_on(self) -> bool:
        """Whether there is something to note."""
        if self._pid != os.getpid():
            with _one_at_a_time[0]:
                if self._pid != os.getpid():
                    self._begin()
        elif (
            self._handle is not None and self._resolved and time.monotonic() - self._last > starts.GOOD.total_seconds()
        ):
            self._end()
        return self._handle is not None

    def _begin(self) -> None:
        self._close()  # what was inherited is the parent's
        self._begun, self._resolved = time.monotonic(), True
        try:
            path = self._journal.begin_start(self._rollout)
            if path is not None:
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                self._file = os.fstat(self._handle)
                exits.listen(self.blame)
        except (StoreError, OSError) as error:
            facts = {"store": self._journal.path.parent, "running": "what is permanent", "advice": _UNNOTED}
            emit("store.troubled", level="warning", reason=error, **facts)
        self._pid = os.getpid()

    def _end(self) -> None:
        """The start was good. If that can't be written, somebody else who looks sees it."""
        exits.ignore(self.blame)
        with suppress(StoreError):
            self._journal.end_start(self._rollout)
        self._close()

    def _close(self) -> None:
        if self._is_ours() and self._handle is not None:
            os.close(self._handle)
        self._handle = self._file = None

    def _is_ours(self) -> bool:
        """Whether the handle is that of the notes: who closes all handles, as daemons do, may have used it again."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._handle or 0), self._file)
        except OSError:
            return False

    def _tell(self, what: str, module: str = "", why: str = "") -> None:
        self._last = time.monotonic()
        facts = {"at": datetime.now(UTC).isoformat(), "up": self._last, "rollout": self._rollout, "what": what}
        facts |= {"module": module, "why": why[:1000]}
        if self._handle is not None and self._is_ours():
            with suppress(OSError):  # a full disk: then nothing is known of this start
                os.write(self._handle, json.dumps(facts).encode() + b"\n")


_UNNOTED = "the service runs; if it can't be started on this version, nothing will take that back"


class _Watched(importlib.abc.Loader):
    """Takes the place of a loader until the module runs, as `importlib.util.LazyLoader` does."""

    def __init__(self, spec: ModuleSpec, watch: Watch) -> None:
        assert spec.loader is not None
        self._spec, self._loader, self._watch = spec, spec.loader, watch

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # a copy is asked before it has one
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own loader, and run it."""
        self._spec.loader = module.__loader__ = self._loader
        self._watch.load(self._loader, module)


class _Here(threading.local):
    """What this thread imports."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.error: BaseException | None = None
        """What has been held against a version already, on its way up."""


_here = _Here()
_one_at_a_time = [threading.Lock()]


def _forked() -> None:
    _one_at_a_time[0] = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _culprit(error: BaseException, packages: Collection[str]) -> str | None:
    """The module of these packages that an error speaks of, or that raised it, because code does not fit to code.

    Of the errors that it came from, only those that name a module count. An error that was handled in the packages
    themselves is a way of theirs to go on, as `except AttributeError` around what is made at the first use.
    """
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        if isinstance(current, _MISMATCHES):
            for name in _named(current) if current is not error else [*_named(current), _raiser(current)]:
                if name.partition(".")[0] in packages:
                    return name
        if current.__cause__ is not None:
            current = current.__cause__
        elif (context := current.__context__) is not None and not current.__suppress_context__:
            current = None if _handler(context).partition(".")[0] in packages else context
        else:
            current = None
    return None


def _named(error: BaseException) -> list[str]:
    found = []
    if isinstance(error, ImportError) and isinstance(error.name, str):
        found.append(error.name)
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        found.append(str(vars(error.obj).get("__name__")))
    return found


def _handler(error: BaseException) -> str:
    """The module that has caught an error."""
    first = error.__traceback__
    return "" if first is None else str(first.tb_frame.f_globals.get("__name__"))


def _raiser(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "" if last is None else str(last.tb_frame.f_globals.get("__name__"))
