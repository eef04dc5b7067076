"""Snapshots of what live code could register something in, taken before a candidate is loaded.

The containers that managed modules hold are copied, a few levels deep, and so are the names of all modules: what a
module body puts in the place of something else can then be put back. Only the copies are made, and code of nobody runs.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import defaultdict, deque
from itertools import compress
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import walk

__all__ = ["PLAIN", "Snapshot"]

PLAIN = (dict, defaultdict, list, set)
"""The containers in which entries can be put back and registered again."""

_ID_OF_PLAIN = frozenset(map(id, PLAIN))

_LARGE = 100_000
"""A container with more items is a cache, not a registry."""

_WIDE = 1_000
"""What a container with more items holds is not looked into."""

_DEEP = 8
_MANY = 50_000
"""How many steps from a module, and how many objects, are looked into."""


class Snapshot:
    """What stood where before loading. Lives until the look after it.

    Arguments:
        modules: the live managed modules by name.
    """

    def __init__(self, modules: list[tuple[str, ModuleType]]) -> None:
        self.containers: dict[int, tuple[Any, Any, str]] = {}
        """Id of a container -> (it, a copy, where it is)."""
        self.classes: dict[int, type] = {}
        """Id of the namespace of a managed class -> the class."""
        self.modules: dict[int, tuple[dict[str, Any], dict[str, Any], str]] = {}
        """Id of the namespace of a module -> (it, a copy, its name)."""
        self.caches: dict[int, dict[Any, Any]] = {}
        """Id of the registry of a `singledispatch` function -> what it remembers."""
        self.named: dict[int, tuple[Any, Any, str]] = {}
        """The same as `containers`, for those that any module holds by name, and lists of the interpreter."""
        threads = [id(getattr(threading, name, None)) for name in ("_active", "_limbo")]  # told by themselves
        for name, module in list(sys.modules.items()):
            if issubclass(type(module), ModuleType) and name.partition(".")[0] != "hotswap":
                facts = ModuleType.__getattribute__(module, "__dict__")
                copy = dict(facts)
                self.modules[id(facts)] = (facts, copy, name)
                # Of a hundred names a few are containers: they are found without a loop in Python.
                kinds = map(_ID_OF_PLAIN.__contains__, map(id, map(type, copy.values())))
                for attribute, value in compress(copy.items(), kinds):
                    if id(value) not in threads and attribute != "__builtins__" and len(value) <= _WIDE:
                        self.named.setdefault(id(value), (value, _copied(value), f"{name}.{attribute}"))
        for attribute, value in (("meta_path", sys.meta_path), ("path_hooks", sys.path_hooks)):
            self.named[id(value)] = (value, list(value), f"sys.{attribute}")
        self._managed = {name for name, _ in modules}
        self.types = [(name, module, type(module)) for name, module in modules]
        """The managed modules, and their classes."""
        self._seen: set[int] = set()
        for name, module in modules:
            if issubclass(type(module), ModuleType):
                for attribute, value in list(ModuleType.__getattribute__(module, "__dict__").items()):
                    if not attribute.startswith("__"):
                        self._look(value, f"{name}:{attribute}")

    def knows(self, o: object) -> bool:
        """Whether an object was there before, though it looks young: CPython does not track a dict of plain values."""
        return id(o) in self.containers or id(o) in self.named or id(o) in self.modules

    def _look(self, root: Any, place: str) -> None:
        level = [root]
        for _ in range(_DEEP):
            further: list[Any] = []
            for o in level:
                if id(o) not in self._seen and len(self._seen) < _MANY and self._enters(o):
                    self._seen.add(id(o))
                    further += self._inside(o, place)
            level = further

    def _enters(self, o: Any) -> bool:
        kind = type(o)
        if walk.is_class(o):
            return walk.class_dict(o).get("__module__") in self._managed
        if kind in _ENTERED:
            return True
        return not walk.is_written_in_c(kind) and gc.is_tracked(o) and not issubclass(kind, (ModuleType, BaseException))

    def _inside(self, o: Any, place: str) -> list[Any]:
        kind = type(o)
        if kind in (*PLAIN, deque):
            if len(o) > _LARGE:
                return []
            self.containers.setdefault(id(o), (o, _copied(o), place))
            if len(o) > _WIDE:
                return []
        if kind is FunctionType:
            self._dispatch(o)
            return [*(o.__closure__ or ()), o.__dict__]
        if walk.is_class(o):
            for namespace in gc.get_referents(o):
                if type(namespace) is dict and namespace.get("__module__") == walk.class_dict(o).get("__module__"):
                    self.classes[id(namespace)] = o
                    self.containers[id(namespace)] = (namespace, dict(namespace), place)
            return [value for name, value in walk.class_items(o) if name not in ("__dict__", "__weakref__")]
        return gc.get_referents(o)

    def _dispatch(self, function: FunctionType) -> None:
        """Note what a `singledispatch` function remembers: it has to forget it when its registry changes."""
        if "_clear_cache" not in function.__dict__ or function.__globals__.get("__name__") != "functools":
            return
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        clear = function.__dict__["_clear_cache"]
        data = (walk.instance_dict(getattr(clear, "__self__", None)) or {}).get("data")
        for value in function.__dict__.values():
            if type(value) in (FunctionType, MethodType) and type(value) is FunctionType:
                inner = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
                cells.update({name: cell for name, cell in inner.items() if name == "registry"})
        if "registry" in cells and type(data) is dict:
            registry = cells["registry"].cell_contents
            self.caches[id(registry)] = data


def _copied(container: Any) -> Any:
    return dict(container) if issubclass(type(container), dict) else type(container)(container)


_ENTERED = (
    *PLAIN,
    deque,
    tuple,
    FunctionType,
    MethodType,
    CellType,
    BuiltinFunctionType,
    staticmethod,
    classmethod,
    property,
)
