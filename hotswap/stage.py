"""The stage: tells code whether it is run as part of staging.

A module body that runs because a patch is staged, and a check that judges a candidate, may want to leave something
undone that the live program does: open no socket, start no thread. `staging` answers them.

Guarantees: asking costs two look-ups and takes no lock. The mark ends with the work, also in copies of its context.
It is kept by thread, because a module body may leave its context, and by context, because it may leave its thread:
tasks and `asyncio.to_thread` carry it on. A thread that the work starts itself begins without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol

__all__ = ["Work", "mark", "on_stage", "staging", "work_here"]


class Work(Protocol):
    """A piece of work; `over` says that it has ended."""

    over: bool


class _Block:
    """The work of one block."""

    over = False


class _Scene(NamedTuple):
    """Work that is run as part of staging, and the scene in which it began; lives in copies of its context."""

    work: Work
    outer: _Scene | None


class _Depth(threading.local):
    """In how many blocks that are part of staging this thread is, and what the innermost is for that says so."""

    value = 0
    work: object | None = None


_scene: ContextVar[_Scene | None] = ContextVar("hotswap.stage", default=None)
_depth = _Depth()


def staging() -> bool:
    """Whether the calling code is run as part of staging: by a candidate's module body, or by a check."""
    return _depth.value > 0 or _going_on() is not None


def _going_on() -> _Scene | None:
    scene = _scene.get()
    while scene is not None and scene.work.over:
        scene = scene.outer
    return scene


def mark(work: Work) -> None:
    """Mark the present context as one in which some work is part of staging, until it is over."""
    _scene.set(_Scene(work, _going_on()))


def work_here() -> object | None:
    """What the block of this thread is for, as `on_stage` was told; None outside of one."""
    return _depth.work


@contextmanager
def on_stage(work: object | None = None) -> Iterator[None]:
    """Mark what runs in this block, in this thread and in the present context, as part of staging.

    Arguments:
        work: what `work_here` answers in this thread; None: what it answers anyway.
    """
    block = _Block()
    mark(block)
    before = _depth.work
    _depth.value += 1
    _depth.work = before if work is None else work
    try:
        yield
    finally:
        _depth.work = before
        _depth.value -= 1
        block.over = True
