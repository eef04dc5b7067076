"""The doorbell: it rings when something stirs in the directory, so that a drop need not wait for the next rescan.

Guarantees: the handler does nothing but ring, so it can't raise (an exception would kill watchdog's dispatching thread)
and nothing waits in a queue behind it. After `close` no thread and no file descriptor of the observer is left.
Assumes: one thread at a time calls `tend` and `close`.
It does not guarantee that it rings. Kernels drop events when their queue is full, network file systems send none, and
an observer of a directory that was renamed hears nothing ever again. Whoever is rung up rescans from time to time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.events import emit
from hotswap.watching.mounts import remote_kind

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

__all__ = ["Doorbell"]


class Doorbell:
    """Rings for one directory; lives as long as its watch is running.

    Arguments:
        directory: the directory, by a path that may come to mean another directory while this lives.
        ring: called, from a thread of the observer, whenever something may have changed. It must not raise or block.
    """

    def __init__(self, directory: Path, ring: Callable[[], None]) -> None:
        self._directory = directory
        self._ring = ring
        self._observer: BaseObserver | None = None
        self._heard: tuple[int, int] | None = None  # (st_dev, st_ino) of the directory that is, or can't be, observed
        self._trouble: str | None = None
        self._remote = False

    @property
    def hears_all(self) -> bool:
        """Whether an observer is at work, and is told of what others change, too."""
        return self._observer is not None and not self._remote

    @property
    def rings(self) -> bool:
        """Whether an observer is at work, so that a drop is noticed at once."""
        return self._observer is not None

    def tend(self) -> None:
        """Make the observer hear the directory that is there now, and report what keeps it from that. Never raises."""
        try:
            facts = self._directory.stat()
        except OSError as error:
            self._drop_observer()
            self._heard = None
            self._report(f"the directory can't be reached ({error}); waiting until it is there again")
            return
        now = (facts.st_dev, facts.st_ino)
        if now == self._heard and (self._observer is None or _alive(self._observer)):
            return  # As before: at work, or found impossible for this very directory.
        again = self._heard is not None or self._trouble is not None
        self._drop_observer()
        self._heard = now
        try:
            self._observer = _observe(self._directory, self._ring)
        except Exception as error:  # noqa: BLE001 - limits, file systems, a platform without watchdog's native parts
            self._report(f"changes can't be observed ({type(error).__name__}: {error}); only rescans find drops")
            return
        self._trouble = None
        kind = remote_kind(self._directory)
        self._remote = kind is not None
        if kind is not None:
            self._report(f"it is on a file system ({kind}) that does not tell of what others change; rescans find that")
        if again:
            emit("watch.recovered", level="info", directory=self._directory)
            self._ring()  # What came between the last scan and now made no sound.

    def close(self) -> None:
        """Stop listening: the observer's threads are joined, its file descriptors closed."""
        self._drop_observer()
        self._heard = None

    def forget(self) -> None:
        """Let go without stopping: in a forked child the threads don't exist, and the descriptors are the parent's."""
        self._observer = None
        self._heard = None

    def _drop_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            _end(observer)

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            emit("watch.troubled", level="warning", directory=self._directory, reason=trouble)


def _alive(observer: BaseObserver) -> bool:
    # When its directory is deleted, the emitter ends and the observer stays alive, deaf.
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)


def _observe(directory: Path, ring: Callable[[], None]) -> BaseObserver:
    # Imported when needed: where watchdog's native parts are missing, rescans do without it.
    from watchdog import events
    from watchdog.observers import Observer

    class Bell(events.FileSystemEventHandler):
        def on_any_event(self, event: events.FileSystemEvent) -> None:
            ring()

    # Not "opened" and "closed without writing": reading the drops would ring the bell for the next reading, for ever.
    stirring: list[type[events.FileSystemEvent]] = [
        events.FileCreatedEvent,
        events.FileModifiedEvent,
        events.FileClosedEvent,
        events.FileMovedEvent,
        events.FileDeletedEvent,
        events.DirCreatedEvent,
        events.DirModifiedEvent,
        events.DirMovedEvent,
        events.DirDeletedEvent,
    ]
    observer = Observer()
    try:
        # Resolved, because inotify would watch the link itself. Not what lies deeper: a folder is complete when its
        # marker comes, and watchdog's thread trips over folders that move while it begins to observe them.
        observer.schedule(Bell(), str(directory.resolve()), recursive=False, event_filter=stirring)
        observer.start()
    except BaseException:
        _end(observer)
        raise
    return observer


def _end(observer: BaseObserver) -> None:
    # An observer that never started can't be joined, but has descriptors all the same, and `stop` closes them.
    with contextlib.suppress(Exception):
        observer.stop()
    with contextlib.suppress(RuntimeError):
        observer.join()
