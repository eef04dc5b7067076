"""Actors: the threads that work for a candidate, and the threads that they start.

Who starts a thread is known when it is started, and at no other time: a thread that runs nothing but code of a library
leads to nobody. So the functions by which threads are started are replaced by one that asks who calls.

Guarantees: they stand in place only while something is being loaded, and come off in any order. A thread that somebody
else starts meanwhile is started as always; it costs one call of a Python function more. No class is written to.

Assumes: whoever starts a thread looks the function up when it does. A library that got hold of
`_thread.start_new_thread` before goes on calling that; what it starts is looked for by its code.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

from hotswap import stage
from hotswap.namespaces import held_by, of_kinds, replace_names

__all__ = ["Actors", "Raw"]

_PLACES = (
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),  # since 3.13
    (_thread, "start_new_thread"),
    (_thread, "start_new"),
    (_thread, "start_joinable_thread"),
)
"""Where the functions stand by which threads are started."""


class Raw:
    """What a thread runs that `threading` does not know of; tells whether it is still running."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.ident: int | None = None
        self.over = False

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run it."""
        self.ident = _thread.get_ident()
        try:
            self.function(*args, **kwargs)
        finally:
            self.over = True


class Actors:
    """The threads that work for a candidate. Lives until the look after loading.

    Arguments:
        work: for which `hotswap.stage` says that a thread works; None: nobody does.
    """

    def __init__(self, work: object | None) -> None:
        self._work = work
        self._started: list[threading.Thread | Raw] = []

    def present(self) -> bool:
        """Whether the calling thread is one of them."""
        if self._work is not None and stage.work_here() is self._work:
            return True
        ident = _thread.get_ident()
        return any(ident_of(one) == ident and is_running(one) for one in list(self._started))

    def watch(self) -> None:
        """Note from now on whom they start."""
        _switch.put(self)

    def enter(self, one: threading.Thread | Raw) -> None:
        """Note a thread that one of them is about to start."""
        self._started.append(one)

    def leave(self, one: threading.Thread | Raw) -> None:
        """Forget it: it could not be started."""
        self._started = [other for other in self._started if other is not one]

    def end(self) -> None:
        """Note nothing more."""
        _switch.take(self)

    def running(self) -> list[threading.Thread | Raw]:
        """Return whom they have started and who still runs, and forget them."""
        started, self._started = self._started, []
        return [one for one in started if is_running(one)]


def ident_of(one: threading.Thread | Raw) -> int | None:
    """The number of a thread; a class of somebody else's may say another one."""
    return one.ident if type(one) is Raw else threading.Thread.ident.__get__(one)


def is_running(one: threading.Thread | Raw) -> bool:
    """Whether a thread was started and has not ended."""
    return not one.over if type(one) is Raw else threading.Thread.is_alive(one)  # type: ignore[arg-type]


class _Start:
    """Stands where a function stood that starts threads. An object, since a function would be bound in a class."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        present = [actors for actors in _switch.watching if actors.present()]
        if not present or not callable(function):
            return self.original(function, *args, **kwargs)
        one: threading.Thread | Raw
        if type(function) is MethodType and function.__func__ is threading.Thread.__dict__.get("_bootstrap"):
            one = function.__self__  # type: ignore[assignment]  # it is one's way to run a thread
        else:
            function = one = Raw(function)
        for actors in present:
            actors.enter(one)
        try:
            started = self.original(function, *args, **kwargs)
        except BaseException:
            for actors in present:
                actors.leave(one)
            raise
        if type(one) is Raw:  # it may not have begun yet
            one.ident = started if type(started) is int else getattr(started, "ident", one.ident)
        return started


class _Switch:
    """Puts them in place for the first who watches, and takes them off for the last."""

    def __init__(self) -> None:
        self.watching: tuple[Actors, ...] = ()
        self._lock = threading.Lock()
        self._put: list[tuple[Any, str, _Start]] = []

    def put(self, actors: Actors) -> None:
        with self._lock:
            self.watching = (*self.watching, actors)
            for module, name in _PLACES if not self._put else ():
                original = module.__dict__.get(name)
                if original is not None:
                    # Who has wrapped ours meanwhile, and is wrapped now, leads to one that is in nobody's way.
                    start = _Start(original)
                    self._put.append((module, name, start))
                    setattr(module, name, start)

    def take(self, actors: Actors) -> None:
        with self._lock:
            self.watching = tuple(other for other in self.watching if other is not actors)
            if not self.watching:
                while self._put:
                    module, name, start = self._put.pop()
                    if module.__dict__.get(name) is start:
                        setattr(module, name, start.original)


_switch = _Switch()


def put_back(namespaces: Iterable[dict[str, Any]]) -> None:
    """Put the functions themselves where somebody has imported what stood in their place.

    Arguments:
        namespaces: the globals of the modules that were imported meanwhile.
    """
    every = list(namespaces)
    starts = of_kinds(frozenset((_Start,)), held_by(every))
    replace_names({id(start): start.original for start in starts}, every)
