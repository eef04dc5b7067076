"""Employers: objects of the standard library for which threads work, and that can let them go.

A thread can't be ended from outside. But a pool that a module body made can be shut down, a timer cancelled, and the
listener of a queue stopped: then their threads end, those that are at work when they have done it.

| employer | rejected | superfluous after a commit | rolled back |
|---|---|---|---|
| `ThreadPoolExecutor` | shut down, what waits is cancelled | shut down | let go |
| `multiprocessing.pool.ThreadPool` | terminated | closed | let go |
| `QueueListener`, `Timer` | stopped | stopped | stopped |

Pools that are let go end with the last who holds them: a call in flight may need them until it ends.
Only objects of exactly these classes are treated so, and only those that were made while the candidate was loaded.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hotswap import walk

__all__ = ["Employer", "employers"]

_PATIENCE = 0.5
"""Seconds for which a rejection waits for threads that were let go."""

_WATCHED = (
    ("concurrent.futures.thread", "ThreadPoolExecutor", ("_threads",)),
    ("multiprocessing.pool", "ThreadPool", ("_pool", "_worker_handler", "_task_handler", "_result_handler")),
    ("logging.handlers", "QueueListener", ("_thread",)),
)
"""Module, class, and the attributes in which it has its threads."""


class Employer:
    """An object for which threads work.

    Arguments:
        held: the object.
        threads: that work for it.
    """

    def __init__(self, held: Any, threads: list[threading.Thread]) -> None:
        self.held, self._threads = held, threads
        self._name = walk.class_name(type(held))
        # A commit may give the twin of a listener the queue of the living one: what is put in that would stop that one.
        self._queue: Any = _attribute(held, "queue")

    def parts(self) -> Iterator[Any]:
        """Yield the containers in which it keeps what it found, and itself."""
        yield from (self, self.__dict__, self._threads)

    @property
    def promise(self) -> str:
        """What becomes of its threads when the rollout is rejected."""
        if self._name == "Timer":
            return "a rejection cancels it"
        how = "stops" if self._name == "QueueListener" else "shuts down"
        return f"a rejection {how} the {self._name} for which it works"

    def end(self) -> None:
        """Let them go, now: the candidate is discarded."""
        held, self.held = self.held, None
        if held is None:
            return
        if self._name == "ThreadPoolExecutor":
            held.shutdown(wait=False, cancel_futures=True)
        elif self._name == "ThreadPool":
            # It joins threads of its own, which may be waiting for a function of the candidate's.
            self._aside(held.terminate)
        else:
            self._stop(held)
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            if thread is not threading.current_thread():
                threading.Thread.join(thread, max(0.0, deadline - time.monotonic()))
        self._threads = []

    def close(self) -> None:
        """Let them go when they have done what they have to do."""
        held, self.held, self._threads = self.held, None, []
        if held is None:
            return
        if self._name == "ThreadPoolExecutor":
            held.shutdown(wait=False)
        elif self._name == "ThreadPool":
            held.close()
        else:
            self._stop(held)

    def part(self) -> None:
        """Stop what goes on by itself, and hold the object no more."""
        held, self.held, self._threads = self.held, None, []
        if self._name in ("QueueListener", "Timer"):
            self._stop(held)

    def _stop(self, held: Any) -> None:
        if self._name == "Timer":
            held.cancel()
            return
        try:
            self._queue.put_nowait(held._sentinel)
        except queue.Full:
            return  # so its listener can't be reached; the plan names its thread

    def _aside(self, work: Callable[[], None]) -> None:
        helper = threading.Thread(target=work, name="hotswap end of a pool", daemon=True)
        try:
            helper.start()
        except RuntimeError:
            return  # no thread can be had any more: the interpreter shuts down, and the pool's threads with it
        helper.join(_PATIENCE)


def employers(threads: Iterable[threading.Thread], young: Iterable[object]) -> dict[int, Employer]:
    """Return for which of the young objects some threads work: id of the thread -> it."""
    wanted = {id(thread): thread for thread in threads}
    found = {key: Employer(thread, [thread]) for key, thread in wanted.items() if type(thread) is threading.Timer}
    every = list(young) if wanted else []
    watched = {getattr(sys.modules.get(module), name, None): attributes for module, name, attributes in _WATCHED}
    for o in every:
        if type(o) in watched and _is_of_its_own(o, every):
            theirs = [thread for thread in _threads_of(o, watched[type(o)]) if id(thread) in wanted]
            employer = Employer(o, theirs)
            found.update((id(thread), employer) for thread in theirs)
    return found


def _is_of_its_own(o: object, young: list[object]) -> bool:
    """Whether nobody else is stopped with it: the queue of a listener may be another one's too."""
    if walk.class_name(type(o)) != "QueueListener":
        return True
    source = _attribute(o, "queue")
    return type(source) in (queue.Queue, queue.SimpleQueue) and any(source is one for one in young)


def _threads_of(o: object, attributes: tuple[str, ...]) -> Iterator[Any]:
    for attribute in attributes:
        value = _attribute(o, attribute)
        yield from list(value) if type(value) in (list, set) else [value]


def _attribute(o: object, name: str) -> Any:
    """An attribute of an object of a known class. Its `__dict__` would be made if it were asked for, and look young."""
    try:
        return object.__getattribute__(o, name)
    except AttributeError:
        return None
