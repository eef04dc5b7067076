"""Gates: what Celery notes for the whole process, led to the adapter while a module body of the candidate runs.

An application that is made is noted in a weak set, and becomes the current one of its thread; each task leaves a
finalizer in a set, which registers it with every application that is finalized later. Both are module-level state of
`celery._state`. While a gate is open, the thread that loads a candidate is led to its adapter; others are not.

Guarantees: no other thread sees what is led aside. Assumes: the names at which Celery 5 looks these functions up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

from celery import _state
from celery.app import base

from hotswap.adapters.gates import Gates

__all__ = ["Notes", "lead"]


class Notes(Protocol):
    """What takes what the candidate would leave in the state of Celery."""

    current: Any
    """The application that is the current one for the candidate."""

    def made(self, app: Any) -> None:
        """Take an application that the candidate made."""

    def finalizer(self, callback: Callable[[Any], Any]) -> None:
        """Take what registers a task with applications that are finalized later."""

    def announce(self, app: Any) -> None:
        """Register tasks with an application that is finalized."""

    def default(self, app: Any) -> None:
        """Take the application that is to be the default one."""


_here = threading.local()


@contextmanager
def lead(notes: Notes) -> Iterator[None]:
    """Lead this thread to an adapter in this block."""
    outer, current = getattr(_here, "notes", None), getattr(_state._tls, "current_app", None)
    _gates.hold()
    _here.notes = notes
    if notes.current is not None:
        _state._tls.current_app = notes.current
    before = _state._tls.current_app
    try:
        yield
    finally:
        if _state._tls.current_app is not before:
            notes.current = _state._tls.current_app
        _state._tls.current_app = current
        _here.notes = outer
        _gates.release()


def _open() -> None:
    names = (
        (base, "_register_app", "made"),
        (base, "set_default_app", "default"),
        (base, "_announce_app_finalized", "announce"),
        (base, "connect_on_app_finalize", "finalizer"),
        (_state, "connect_on_app_finalize", "finalizer"),
    )
    for module, name, method in names:
        _replace(module, name, method)


def _replace(module: ModuleType, name: str, method: str) -> None:
    original = module.__dict__[name]

    def gate(value: Any) -> Any:
        notes = getattr(_here, "notes", None)
        if notes is None:
            return original(value)
        getattr(notes, method)(value)
        return value

    _gates.put(module, name, gate)


_gates = Gates(_open)
