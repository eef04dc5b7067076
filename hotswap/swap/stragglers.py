"""Stragglers: values that calls in flight rebind in the namespace of a generation that is not live any more.

A call that began before the swap stores its globals (``global hits; hits += 1``) where its function was defined, in the
old module. When such calls have ended, what they have rebound is carried after the rest, if nobody has rebound the same
name in the live module since: then nothing is lost. If somebody has, the live value stays. Calls that they have begun
may go on: what these rebind is carried when they have ended, too.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap.swap.fronts import Front
from hotswap.swap.parts import LRU_CACHE

__all__ = ["GoesOn", "Mirror", "Straggler"]

_MISSING: Any = object()

_CLONED = (FunctionType, LRU_CACHE, functools.partial, Front)
"""What old code gets a clone of, or stands for one: it differs in the old namespace, and nobody has rebound it."""


_CONSTANTS = (bool, int, float, str, bytes)


class GoesOn(NamedTuple):
    """A call that goes on after the handover.

    Attributes:
        code: what it runs.
        facts: the globals in which it does.
        stays_old: whether it was not handed over.
    """

    code: CodeType
    facts: dict[str, Any]
    stays_old: bool


class Straggler:
    """The values that were carried from one module to its successor, or back. Lives as long as the swap.

    Arguments:
        module: its name.
        namespaces: of the old and of the new module.
        drift: given two namespaces, the names of the first that no statement binds and that the second has not.
    """

    def __init__(
        self,
        module: str,
        namespaces: tuple[dict[str, Any], dict[str, Any]],
        drift: Callable[[bool], Iterable[str]],
    ) -> None:
        self._module, self._namespaces, self._drift = module, namespaces, drift
        self._carried: dict[bool, dict[str, Any]] = {}

    def note(self, forward: bool, names: Iterable[str]) -> dict[str, Any]:
        """Note what is about to be carried. Returns the names with their values, to be brought up to date then."""
        origin = self._namespaces[0 if forward else 1]
        names = [*names]
        for mirror in filter(None, [known() for known in list(_mirrors.values())]):
            mirror.follow(self._module, origin, self._namespaces[1 if forward else 0], names)
        values = {name: origin.get(name, _MISSING) for name in names}
        noted = self._carried[forward] = {name: value for name, value in values.items() if value is not _MISSING}
        return noted

    def mirror(self, forward: bool, calls: Iterable[GoesOn]) -> Mirror:
        """Return what keeps the values in step for calls that go on.

        Arguments:
            forward: whether these have begun in the old module.
            calls: these calls.
        """
        there = 1 if forward else 0
        values = self._carried.get(forward, {})
        return Mirror(self._module, self._namespaces[1 - there], self._namespaces[there], values, calls)

    def begun_in(self, facts: dict[str, Any], forward: bool) -> bool:
        """Whether a namespace is that of the generation that goes."""
        return self._namespaces[0 if forward else 1] is facts

    def settle(self, forward: bool) -> None:
        """Carry what was rebound since: calls in flight have ended. Runs on any thread, and does not raise."""
        origin, destination = self._namespaces if forward else self._namespaces[::-1]
        carried = self._carried.get(forward)
        live = sys.modules.get(self._module)
        if carried is None or not issubclass(type(live), ModuleType):
            return
        if ModuleType.__getattribute__(live, "__dict__") is not destination:
            return  # taken back, or superseded once more: what is live now was not carried from here
        for name, value in carried.items():
            now = origin.get(name, _MISSING)
            if _is_plain(now) and now is not value and destination.get(name, _MISSING) is value:
                destination[name] = carried[name] = now
        for name in self._drift(forward):
            if name not in carried and type(origin.get(name)) not in _CLONED:
                destination[name] = carried[name] = origin[name]


class Mirror:
    """Keeps rebound values in step between the namespace of an earlier generation and the live one.

    Calls that go on after the handover read and write the globals in which they have begun: ``while not stopped:``,
    ``hits += 1``. What a patch has changed is left as it is. As long as one of them stays old, only constants that get
    another value of the same type are kept in step: what else new code has made would be half a new world to it.

    Guarantees: nothing is kept alive but the one namespace, and that as long as a call goes on. What is rebound in both
    between two looks becomes what it is in the live one. Assumes: nobody makes a swap meanwhile.

    Arguments:
        module: the name of the module.
        facts: the namespace in which the calls have begun.
        live: that of what took its place.
        values: what the names were that both had in common when that was.
        calls: the calls; with the last of them the mirror ends.
    """

    def __init__(
        self,
        module: str,
        facts: dict[str, Any],
        live: dict[str, Any],
        values: Mapping[str, Any],
        calls: Iterable[GoesOn],
    ) -> None:
        self._module, self._facts, self._values = module, facts, dict(values)
        self._live = id(live)
        """By their ids: what holds them would keep the data of versions in between."""
        self._coming: dict[int, frozenset[str]] = {}
        """The id of a namespace that may be live by the next look -> the names of which it was given the values."""
        key, itself = id(self), weakref.ref(self, lambda _: _mirrors.pop(key, None))
        _mirrors[key] = itself

        def ended(_: object) -> None:
            mirror = itself()
            if mirror is not None and not mirror.goes_on:
                mirror._facts, mirror._values = {}, {}

        self._calls = [(weakref.ref(call.code, ended), call.stays_old) for call in calls]

    def follow(self, module: str, going: dict[str, Any], coming: dict[str, Any], carried: Iterable[str]) -> None:
        """Note that a swap is about to be made, and what it carries. Nothing is lost if it is not made.

        Arguments:
            module: the name of the module.
            going: the namespace of what goes.
            coming: that of what comes.
            carried: the names whose values the swap carries from one to the other. Others it changes.
        """
        known = self._coming.get(id(going))
        if module != self._module or id(coming) == self._live:
            return
        if id(going) == self._live or known is not None:
            names = frozenset(carried)
            self._coming[id(coming)] = names if known is None else known & names

    @property
    def goes_on(self) -> bool:
        """Whether one of the calls does."""
        return any(code() is not None for code, _ in self._calls)

    def exchange(self) -> None:
        """Bring both up to date. Runs on any thread, and does not raise."""
        module = sys.modules.get(self._module)
        if not issubclass(type(module), ModuleType):
            return
        live: dict[str, Any] = ModuleType.__getattribute__(module, "__dict__")
        facts, names = self._facts, self._coming.get(id(live))
        if names is not None or id(live) != self._live:
            # What the swap has carried is the same in both; the rest it has changed.
            self._values = {name: value for name, value in self._values.items() if names is not None and name in names}
        self._live = id(live)
        self._coming.clear()
        guarded = any(stays_old and code() is not None for code, stays_old in self._calls)
        for name, value in list(self._values.items()) if live is not facts else ():
            ours, theirs = facts.get(name, _MISSING), live.get(name, _MISSING)
            if theirs is not value and (type(theirs) is type(value) in _CONSTANTS if guarded else _is_plain(theirs)):
                facts[name] = self._values[name] = theirs
            elif ours is not value and (type(ours) is type(value) in _CONSTANTS if guarded else _is_plain(ours)):
                live[name] = self._values[name] = ours


_mirrors: dict[int, weakref.ref[Mirror]] = {}
"""Those that go on: each swap tells them what it carries."""


def _is_plain(value: Any) -> bool:
    return value is not _MISSING and type(value) not in _CLONED and not issubclass(type(value), ModuleType)
