"""Namespaces: where pydantic looks up the names in annotations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

from pydantic._internal import _namespace_utils, _typing_extra

__all__ = ["namespaces"]


class _Namespaces:
    """Leads pydantic, in threads that load a candidate, to the candidate's modules.

    It looks names in annotations up in `sys.modules`, where the living modules are. Other threads are not led.

    Assumes: `get_module_ns_of` is where it does so (pydantic 2.10 and later).
    """

    _PLACES: ClassVar[tuple[ModuleType, ...]] = (_namespace_utils, _typing_extra)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._here = threading.local()
        self._original: Callable[[Any], dict[str, Any]] = _namespace_utils.get_module_ns_of

    def get_module_ns_of(self, obj: Any) -> dict[str, Any]:
        """Do what pydantic's own function does, unless a candidate is being loaded here."""
        modules: Mapping[str, ModuleType] = getattr(self._here, "modules", {})
        own = modules.get(getattr(obj, "__module__", None) or "")
        return self._original(obj) if own is None else own.__dict__

    @contextmanager
    def lead(self, modules: Mapping[str, ModuleType]) -> Iterator[None]:
        """Lead this thread to these modules in this block."""
        outer = getattr(self._here, "modules", {})
        self._here.modules = modules
        with self._lock:
            self._holders += 1
            for place in self._PLACES:
                place.get_module_ns_of = self.get_module_ns_of  # type: ignore[attr-defined]  # both have it
        try:
            yield
        finally:
            self._here.modules = outer
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    for place in self._PLACES:
                        place.get_module_ns_of = self._original  # type: ignore[attr-defined]  # as above


namespaces = _Namespaces()
