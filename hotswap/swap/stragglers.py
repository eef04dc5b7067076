"""Stragglers: values that calls in flight rebind in the namespace of a generation that is not live any more.

A call that began before the swap stores its globals (``global hits; hits += 1``) where its function was defined, in the
old module. When such calls have ended, what they have rebound is carried after the rest, if nobody has rebound the same
name in the live module since: then nothing is lost. If somebody has, the live value stays. Calls that they have begun
may go on: what these rebind is carried when they have ended, too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

from hotswap.swap.fronts import Front
from hotswap.swap.parts import LRU_CACHE

__all__ = ["Straggler"]

_MISSING: Any = object()

_CLONED = (FunctionType, LRU_CACHE, functools.partial, Front)
"""What old code gets a clone of, or stands for one: it differs in the old namespace, and nobody has rebound it."""


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

    def note(self, forward: bool, names: Iterable[str]) -> None:
        """Note what is about to be carried."""
        origin = self._namespaces[0 if forward else 1]
        values = {name: origin.get(name, _MISSING) for name in names}
        self._carried[forward] = {name: value for name, value in values.items() if value is not _MISSING}

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
            plain = now is not _MISSING and type(now) not in _CLONED and not issubclass(type(now), ModuleType)
            if plain and now is not value and destination.get(name, _MISSING) is value:
                destination[name] = carried[name] = now
        for name in self._drift(forward):
            if name not in carried and type(origin.get(name)) not in _CLONED:
                destination[name] = carried[name] = origin[name]
