"""A watch goes on in the child of a fork: `gunicorn --preload`, a pool of processes.

    before the fork   → wait until no watch makes a pass, for at most `PATIENCE`, and hold their turns
    in the parent     → give the turns back
    in the child      → new locks, a new thread and observer, a seat of its own; what was live in the parent is here

A fork copies the thread that calls it and no other. A rollout in the middle of its way in another thread would never
end in the child: its patcher would be busy for ever, its locks held by nobody. So the fork waits for it. A fork within
a rollout (a check that starts processes) can't wait for that, and one that has waited too long does not go on waiting:
in such a child there is no watch, and the log says so.

Concurrency: the hooks run in the thread that forks. What was taken before a fork is kept for that thread alone, since
several may fork at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from hotswap.events import emit
from hotswap.process_copy import copying, rehearsing

if TYPE_CHECKING:
    from hotswap.watching.watch import Watch

__all__ = ["PATIENCE", "ends", "goes_on"]

PATIENCE = 5.0
"""Seconds that a fork waits for a rollout in progress."""

_running: weakref.WeakSet[Watch] = weakref.WeakSet()
_forking = threading.local()


def goes_on(watch: Watch) -> None:
    """Have a watch go on in the children of this process."""
    _running.add(watch)


def ends(watch: Watch) -> None:
    """Have it do so no more."""
    _running.discard(watch)


def _before() -> None:
    if copying():
        return
    # In one order, or two threads that fork at once would wait for each other.
    watches = sorted((watch for watch in _running if watch.alive), key=lambda watch: str(watch.directory))
    _forking.held = [(watch, watch.turn.inside(), watch.turn.hold(PATIENCE)) for watch in watches]


def _in_parent() -> None:
    for watch, _, holder in _forking.__dict__.pop("held", ()):
        watch.turn.give_back(holder)


def _in_child() -> None:
    held = _forking.__dict__.pop("held", ())
    _running.clear()
    if rehearsing():  # nobody is to see anything of a rehearsal
        return
    for watch, inside, holder in held:
        watch.turn.renew()
        if holder is not None:
            watch.go_on()
            continue
        watch.stop()
        if not inside:
            reason = "this process was forked in the middle of a rollout, and nothing can be patched in it: fork again"
            emit("watch.troubled", level="error", directory=watch.directory, reason=reason)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
