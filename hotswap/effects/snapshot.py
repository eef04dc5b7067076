"""Snapshots of what live code could register something in, taken before a candidate is loaded.

The containers that managed modules hold are copied, a few levels deep, and so are the names of all modules: what a
module body puts in the place of something else can then be put back. Only the copies are made, and code of nobody runs.
"""

from __future__ import annotations

import builtins
import gc
import sys
import threading
import typing
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, TypeVar

from hotswap import walk
from hotswap.effects.nearby import Nearby
from hotswap.namespaces import held_by, imported, of_kinds, parted
from hotswap.patch import Place

__all__ = ["Snapshot", "alterations", "is_copied"]

_Entry = TypeVar("_Entry", bound=tuple[Any, ...])

_PLAIN = (dict, defaultdict, OrderedDict, list, set, deque)
"""The containers in which entries can be put back and registered again, and those of classes made of them."""

_LARGE = 100_000
"""A container with more items is a cache, not a registry."""

_WIDE = 1_000
"""What a container with more items holds is not looked into."""

_NEAR = 5
"""How many steps from a module the name of a container is looked for."""

_DEEP = 8
_MANY = 50_000
"""How many steps from a module, and how many objects, are looked into."""


class Snapshot:
    """What stood where before loading. Lives until the look after it.

    Arguments:
        modules: the live managed modules by name.
        libraries: packages for which somebody else looks after what is registered in them.
    """

    def __init__(self, modules: list[tuple[str, ModuleType]], libraries: frozenset[str] = frozenset()) -> None:
        self.containers: dict[int, tuple[Any, Any, str]] = {}
        """Id of a container -> (it, a copy, where it is)."""
        self.classes: dict[int, type] = {}
        """Id of the namespace of a managed class -> the class."""
        self.modules: dict[int, tuple[dict[str, Any], dict[str, Any], str]] = {}
        """Id of the namespace of a module -> (it, a copy, its name)."""
        self.caches: dict[int, dict[Any, Any]] = {}
        """Id of the registry of a `singledispatch` function -> what it remembers."""
        self.named: dict[int, tuple[Any, Any]] = {}
        """Id of a container that any module holds by name -> (it, a copy)."""
        apart = [getattr(threading, "_active", None), getattr(threading, "_limbo", None), builtins.__dict__]
        told = set(map(id, apart))
        apart.append(getattr(typing, "_overload_registry", None))
        for name, _, facts in imported():
            if name.partition(".")[0] != "hotswap":
                self.modules[id(facts)] = (facts, dict(facts), name)
        # Of a hundred names a few are containers.
        containers = of_kinds(frozenset(_PLAIN), held_by(facts for facts, _, _ in self.modules.values()))
        for key, value in {id(value): value for value in containers if len(value) <= _WIDE}.items():
            if key not in told:  # by themselves
                self.named[key] = (value, _copied(value))
        for value in (sys.meta_path, sys.path_hooks):
            self.named[id(value)] = (value, list(value))
        self.managed = {name for name, _ in modules}
        """The names of the managed modules."""
        self.instances: list[tuple[Any, list[Any], str]] = []
        """The objects in managed modules: (it, what it refers to, from which name it can be reached)."""
        self.types = [(name, module, type(module)) for name, module in modules]
        """The managed modules, and their classes."""
        self._seen: set[int] = set()
        for name, module in modules:
            if issubclass(type(module), ModuleType):
                for attribute, value in list(ModuleType.__getattribute__(module, "__dict__").items()):
                    if not attribute.startswith("__"):
                        self._look(value, f"{name}:{attribute}")
        told |= self.containers.keys() | self.named.keys() | self.modules.keys()
        self.nearby = Nearby(dict(modules), libraries, told, apart, partial(_dispatch, self.caches))

    def knows(self, o: object) -> bool:
        """Whether an object was there before, though it looks young: CPython does not track a dict of plain values."""
        return any(id(o) in known for known in (self.containers, self.named, self.modules, self.nearby.copies))

    @cached_property
    def altered(self) -> dict[int, tuple[Any, Any]]:
        """The containers, and the namespaces of modules and classes, that are not as they were: id -> (it, a copy).

        Asked for once, after loading.
        """
        copied = [entry[:2] for entry in self.containers.values() if is_copied(type(entry[0]))]
        spaces = [entry[:2] for key, entry in self.modules.items() if key not in self.containers]
        others = [entry for key, entry in self.named.items() if key not in self.containers]
        near = [entry for key, entry in self.nearby.copies.items() if key not in self.containers]
        return {id(entry[0]): entry for entry in alterations([*copied, *spaces, *others, *near])}

    def gained(self) -> set[int]:
        """The ids of what containers hold now, and did not before."""
        known = [entry for key, entry in self.altered.items() if key in self.containers or key in self.named]
        return {
            key for container, copy in known for key in {*map(id, held_by((container,)))} - {*map(id, held_by((copy,)))}
        }

    def kinds(self) -> set[type]:
        """The classes of the objects that were looked through."""
        return {type(o) for o in [*(entry[0] for entry in self.instances), *self.nearby.objects.values()]}

    def place_of(self, named: Any) -> str:
        """Where a container is held, or under which name a module holds it."""
        if id(named) in self.containers:
            return self.containers[id(named)][2]
        if id(named) in self.nearby.copies:
            return self.nearby.place_of(named)
        for facts, copy, module in ((sys.__dict__, sys.__dict__, "sys"), *self.modules.values()):
            for names in (copy, facts):
                found = next((name for name, value in list(names.items()) if value is named), None)
                if found is not None:
                    return f"{module}.{found}"
        return f"a {type(named).__name__} that a module holds"

    def spot(self, o: Any, place: str = "") -> Place:
        """The place of a container or an object; with the name that code uses for it, if a managed module has it.

        Arguments:
            o: the container or the object.
            place: from which name of a module it can be reached, ``module:name``; found out for a container.
        """
        known = bool(place) or id(o) in self.containers
        place = place or self.place_of(o)
        module, _, name = place.partition(":")
        if not known or not name:
            return Place(place, "", put=True)
        for _, copy, own in self.modules.values():
            if own == module and name in copy:
                found, way = _found(o, copy[name], Place(place, name, put=True))
                return replace(found, foreign=any(map(self._is_foreign, way)))
        return Place(place, name, put=True)

    def _is_foreign(self, o: Any) -> bool:
        """Whether code that is not of the managed packages may fill an object: a library has it, or its class."""
        if id(o) in self._of_libraries:
            return True
        bases = () if type(o) in _ENTERED else walk.mro(o if walk.is_class(o) else type(o))
        return any(not walk.is_written_in_c(base) and walk.class_home(base) not in self.managed for base in bases)

    @cached_property
    def _of_libraries(self) -> set[int]:
        """The ids of what modules have by name that are not managed."""
        return set(map(id, held_by(facts for facts, _, name in self.modules.values() if name not in self.managed)))

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
            return walk.class_dict(o).get("__module__") in self.managed
        if kind in _ENTERED:
            return True
        return not walk.is_written_in_c(kind) and gc.is_tracked(o) and not issubclass(kind, (ModuleType, BaseException))

    def _inside(self, o: Any, place: str) -> list[Any]:
        kind = type(o)
        if is_copied(kind):
            size = walk.kind_of(o).__len__(o)
            if size > _LARGE:
                return []
            self.containers.setdefault(id(o), (o, _copied(o), place))
            if size > _WIDE:
                return []
        if kind is FunctionType:
            _dispatch(self.caches, o)
            return [*(o.__closure__ or ()), o.__dict__]
        if walk.is_class(o):
            for namespace in gc.get_referents(o):
                if type(namespace) is dict and namespace.get("__module__") == walk.class_dict(o).get("__module__"):
                    self.classes[id(namespace)] = o
                    self.containers[id(namespace)] = (namespace, dict(namespace), place)
            return [value for name, value in walk.class_items(o) if name not in ("__dict__", "__weakref__")]
        held = gc.get_referents(o)
        if kind not in _ENTERED:
            self.instances.append((o, held, place))
        return held


def _found(wanted: Any, root: Any, place: Place) -> tuple[Place, tuple[Any, ...]]:
    """Where something is, from what a module holds by name, and what is on the way to it.

    It is there itself, if it is deeper than anybody looks.
    """
    level: list[tuple[Any, Place, tuple[Any, ...]]] = [(root, place, (root,))]
    seen = {id(root)}
    for _ in range(_NEAR):
        further: list[tuple[Any, Place, tuple[Any, ...]]] = []
        for o, there, way in level:
            if o is wanted:
                return there, way
            if len(seen) < _MANY:
                further += [(part, at, (*way, part)) for part, at in _parts(o, there) if id(part) not in seen]
                seen.update(id(part) for part, *_ in further)
        level = further
    return place, (root, wanted)


def _parts(o: Any, place: Place) -> Iterator[tuple[Any, Place]]:
    """What an object holds, with its place."""
    kind = type(o)
    if kind is FunctionType:
        cells = zip(o.__code__.co_freevars, o.__closure__ or (), strict=True)
        named = [(name, part) for name, cell in cells for part in gc.get_referents(cell)]
        yield from ((part, Place(place.root, name, put=True)) for name, part in named)
    elif issubclass(kind, dict):
        yield from ((value, place.at(key)) for key, value in list(dict.items(o)))
    elif kind in (list, tuple, partial, MethodType, staticmethod, classmethod):
        yield from ((part, place) for part in gc.get_referents(o))
    else:
        named = walk.class_items(o) if walk.is_class(o) else list((walk.instance_dict(o) or {}).items())
        yield from ((part, Place(f"{place.root}.{name}", str(name), put=True)) for name, part in named)


def _dispatch(caches: dict[int, dict[Any, Any]], function: FunctionType) -> None:
    """Note what a `singledispatch` function remembers: it has to forget it when its registry changes."""
    if function.__globals__.get("__name__") != "functools" or "_clear_cache" not in function.__dict__:
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
        caches[id(registry)] = data


def alterations(entries: Iterable[_Entry]) -> list[_Entry]:
    """Return those that are not as they were. Most of some thousands are, which is told of many at once.

    That only other keys made of text stand in a dict is not seen; such keys lead nowhere.

    Arguments:
        entries: containers of the kinds of `_PLAIN`, or made of them: each of the latter is returned. Each comes first,
            its copy second.
    """
    every = list(entries)
    # Copies of sets may have another order, and those of default dicts are plain: they are not to stand among others.
    kinds: dict[type, list[_Entry]] = {}
    for entry in every:
        kinds.setdefault(type(entry[0]), []).append(entry)
    found = {id(entry) for part in kinds.values() for entry in _altered_of(part)}
    return [entry for entry in every if id(entry) in found]


def _altered_of(entries: Iterable[_Entry]) -> Iterator[_Entry]:
    for part in parted(entries):
        if not _alike(part):
            yield from (entry for entry in part if not _alike([entry]))


def _alike(part: Sequence[tuple[Any, ...]]) -> bool:
    return walk.same_items(held_by(entry[0] for entry in part), held_by(entry[1] for entry in part))


def is_copied(kind: type) -> bool:
    """Whether containers of a class are copied: those of `_PLAIN`, and of a class made of one that C can go through."""
    if kind in _PLAIN:
        return True
    if not issubclass(kind, _PLAIN) or issubclass(kind, OrderedDict):
        return False
    return next(cls for cls in walk.mro(kind) if "__iter__" in walk.class_dict(cls)) in _PLAIN


def _copied(container: Any) -> Any:
    """A copy, with the hashes that are known: no key is asked for its own."""
    exact = type(container)
    kind = exact if exact in (dict, list, set) else walk.kind_of(container)
    if kind is OrderedDict:
        return OrderedDict.copy(container)
    return kind(container) if kind in (dict, set) else kind(kind.__iter__(container))


_ENTERED = (
    *_PLAIN,
    SimpleNamespace,
    tuple,
    FunctionType,
    MethodType,
    CellType,
    BuiltinFunctionType,
    staticmethod,
    classmethod,
    property,
)
