"""What classes, objects and closures hold, copied before the code of a candidate can reach it.

A registry need not be held by the name of a module: it may be an attribute of a class or of an object, or lie in a
closure, as that of a `singledispatch` function does. Those that are near are copied, a few levels deep: those of the
modules that managed modules have got something from, before loading, and those of what a module body imports, when it
has been imported. Many objects are looked through at once, level by level. Code of nobody runs.
"""

from __future__ import annotations

import gc
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache, partial
from importlib.machinery import ModuleSpec
from itertools import chain, compress
from operator import attrgetter
from types import BuiltinFunctionType, CellType, FunctionType, GetSetDescriptorType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.namespaces import held_by, holding, of_kinds

__all__ = ["Nearby"]

_PLAIN = (dict, defaultdict, list, set)
_WIDE = 1_000
"""A container with more items is a cache or data, not a registry."""

_DEEP = 5
_MANY = 2_000
"""How many steps from a name, and beyond how many copies no further step is made, before loading and while it lasts."""

_Way = Callable[[Any, list[Any]], list[Any]]
_HOLDERS = (deque, MethodType, BuiltinFunctionType, partial)
_LEFT_OUT = (ModuleType, BaseException, ModuleSpec, type(lru_cache(lambda: None)))
_FUNCTIONS = frozenset((FunctionType,))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_NAMESPACE: Any = type.__dict__["__dict__"].__get__
_FLAGS: Any = type.__dict__["__flags__"].__get__
_MRO: Any = type.__dict__["__mro__"].__get__
_CLOSURE: Any = attrgetter("__closure__")
_GLOBALS: Any = attrgetter("__globals__")


class Nearby:
    """Copies of what is near. Lives until the look after loading.

    Arguments:
        managed: the managed modules by name, which the snapshot looks through itself, deeper.
        libraries: packages for which somebody else looks after what is registered in them.
        told: ids of containers of which there are copies already.
        apart: containers in which effects of other kinds leave something, and what is in them.
        dispatched: is told of functions that `functools.singledispatch` may have made.
    """

    def __init__(
        self,
        managed: Mapping[str, ModuleType],
        libraries: Container[str],
        told: Container[int],
        apart: Iterable[Any],
        dispatched: Callable[[FunctionType], None],
    ) -> None:
        self.copies: dict[int, tuple[Any, Any]] = {}
        """Id of a container, or of the namespace of a class or of an object -> (it, a copy)."""
        self.classes: dict[int, type] = {}
        """Id of the namespace of a class -> the class."""
        self.objects: dict[int, Any] = {}
        """Id of the namespace of an object -> the object."""
        self.fresh: dict[int, str] = {}
        """Id of the namespace of a module that was imported meanwhile -> its name."""
        self.cells: dict[int, tuple[CellType, Any]] = {}
        """Id of the cell of a closure -> (it, what it held)."""
        self.slotted: list[tuple[Any, list[Any], str]] = []
        """The objects that have slots and no namespace: (it, what it refers to, nothing)."""
        self._managed, self._libraries, self._told = managed, libraries, told
        self._dispatched = dispatched
        # Functions, not methods: what was looked through is let go with this object, and waits for no collection.
        self._ways: dict[type, _Way | None] = {CellType: Nearby._enter_cells}
        self._seen: dict[int, Any] = {id(o): o for o in apart}
        self._met: set[tuple[str, ...]] = set()
        self._limit = _MANY
        homes = self._homes(held_by(filter(None, map(_space, managed.values()))))
        # The standard library is looked through where the patch imports it.
        self._look(self._names({home for home in homes if home.partition(".")[0] not in sys.stdlib_module_names}))
        self._limit = len(self.copies) + _MANY

    def meet(self, module: str, names: Iterable[str]) -> None:
        """Copy what a module body has imported.

        Arguments:
            module: an absolute name.
            names: what is taken from it.
        """
        key = (module, *names)
        if key in self._met or not self._is_near(module):
            return
        self._met.add(key)
        facts = _space(sys.modules.get(module)) or {}
        named = [facts[name] for name in names if name in facts]
        self._look(named)
        above = {module[:end] for end, letter in enumerate(module) if letter == "."}
        # A decorator may lie in another module than the one from which it is imported, beside its registry.
        self._look(self._names({module, *above} | self._homes(named)))

    def _is_near(self, module: str) -> bool:
        package = module.partition(".")[0]
        return module not in self._managed and package != "hotswap" and package not in self._libraries

    def _names(self, modules: Iterable[str]) -> list[Any]:
        """What the names of modules are bound to."""
        near = [(name, _space(sys.modules.get(name))) for name in modules if self._is_near(name)]
        spaces = {name: facts for name, facts in near if facts is not None}
        fresh = [name for name, facts in spaces.items() if id(facts) not in self._told and id(facts) not in self.fresh]
        self.fresh.update((id(spaces[name]), name) for name in fresh)
        self._keep([spaces[name] for name in fresh])
        return held_by(spaces.values())

    @staticmethod
    def _homes(values: list[Any]) -> set[str]:
        """The modules that objects come from: functions, classes, their bases, and the classes of anything else."""
        kinds = {*map(type, values)}
        classes = of_kinds(frozenset(kind for kind in kinds if issubclass(kind, type)), values)
        above = {id(cls): cls for cls in chain(kinds, *map(_MRO, classes))}
        spaces = {id(facts): facts for facts in map(_GLOBALS, of_kinds(_FUNCTIONS, values))}
        spaces |= {id(module): module.__dict__ for module in of_kinds(frozenset((ModuleType,)), values)}
        homes = {facts.get("__name__") for facts in spaces.values()}
        return {walk.class_home(cls) for cls in above.values()} | {home for home in homes if type(home) is str}

    def _look(self, values: list[Any]) -> None:
        for _ in range(_DEEP):
            values = self._enter(values)

    def holding(self, wanted: set[int]) -> list[Any]:
        """The containers, namespaces and cells of which there are copies and that hold some objects now.

        Arguments:
            wanted: the ids of the objects.
        """
        holders: list[Any] = [entry[0] for entry in self.copies.values()]
        found = {id(holder): holder for holder in holding(wanted, holders)}
        # Since CPython 3.13 an object holds what its attributes are bound to itself, though its namespace shows them.
        inside = {id(o) for o in holding(wanted, [*self.objects.values()])}
        found.update((key, self.copies[key][0]) for key, o in self.objects.items() if id(o) in inside)
        cells: list[Any] = [cell for cell, _ in self.cells.values()]
        return [*found.values(), *holding(wanted, cells)]

    def place_of(self, container: Any) -> str:
        """Where a container is held, as far as one step back tells it."""
        for key, (_, copy) in self.copies.items():
            if key not in self.classes and key not in self.objects:
                continue
            name = next((name for name, value in copy.items() if value is container), None)
            if name is not None and key in self.classes:
                return f"{walk.class_home(self.classes[key])}:{walk.class_name(self.classes[key])}.{name}"
            if name is not None:
                return f"the attribute {name} of a {walk.class_name(type(self.objects[key]))}"
        return f"a {walk.class_name(type(container))} outside of the managed packages"

    def _enter(self, values: list[Any]) -> list[Any]:
        """Enter what has not been met, and return what it holds."""
        if not values or len(self.copies) >= self._limit:
            return []
        # Most functions have no closure, and are not met one by one.
        functions = of_kinds(_FUNCTIONS, values)
        closures = list(map(_CLOSURE, functions))
        for function in compress(functions, closures):
            self._dispatched(function)
        cells = chain.from_iterable(filter(None, closures))
        for kind in {*map(type, values)} - self._ways.keys():
            self._ways[kind] = self._way(kind)
        entered = frozenset(kind for kind, way in self._ways.items() if way is not None)
        kinds: dict[type, list[Any]] = {}
        for o in chain(of_kinds(entered, values), cells):
            if id(o) not in self._seen:
                self._seen[id(o)] = o
                kinds.setdefault(type(o), []).append(o)
        further: list[Any] = []
        for kind, found in kinds.items():
            way = self._ways[kind]
            if way is not None and len(self.copies) < self._limit:
                further += way(self, found)
            else:
                for o in found:
                    del self._seen[id(o)]
        return further

    @staticmethod
    def _way(kind: type) -> _Way | None:
        """How objects of a class are entered; None: not at all."""
        if kind in _PLAIN:
            return Nearby._enter_containers
        if kind in _HOLDERS:
            return Nearby._enter_held
        if issubclass(kind, type):
            return Nearby._enter_classes
        ours = walk.class_home(kind).partition(".")[0] in ("hotswap", "_frozen_importlib_external")
        return None if walk.is_written_in_c(kind) or ours or issubclass(kind, _LEFT_OUT) else Nearby._enter_objects

    def _enter_held(self, found: list[Any]) -> list[Any]:
        return held_by(found)

    def _enter_containers(self, found: list[Any]) -> list[Any]:
        entered = [o for o in found if len(o) <= _WIDE]
        return held_by(self._keep(entered))

    def _enter_classes(self, found: list[Any]) -> list[Any]:
        classes = list(compress(found, map(_HEAP_TYPE.__and__, map(_FLAGS, found))))
        namespaces = held_by(map(_NAMESPACE, classes))  # a view of a namespace refers to it, and to nothing else
        self.classes.update(zip(map(id, namespaces), classes, strict=True))
        # So are their bases and their metaclasses.
        return [*map(type, classes), *chain.from_iterable(map(_MRO, classes)), *held_by(self._keep(namespaces))]

    def _enter_objects(self, found: list[Any]) -> list[Any]:
        # CPython makes the namespace of an object when it is asked for; it stays, and costs some bytes each.
        attributes = _attributes(type(found[0]))
        if attributes is None:
            self.slotted += [(o, gc.get_referents(o), "") for o in found]
        namespaces = {} if attributes is None else {id(o): attributes(o) for o in found}
        entered = [o for o in found if type(namespaces.get(id(o))) is dict and len(namespaces[id(o)]) <= _WIDE]
        kept = [namespaces[id(o)] for o in entered]
        self.objects.update(zip(map(id, kept), entered, strict=True))
        return [*map(type, found[:1]), *held_by(self._keep(kept)), *(held_by(found) if attributes is None else ())]

    def _enter_cells(self, found: list[Any]) -> list[Any]:
        inside: list[Any] = []
        for cell in found:
            contents = gc.get_referents(cell)
            self.cells.update((id(cell), (cell, value)) for value in contents)
            inside += contents
        return inside

    def _keep(self, containers: list[Any]) -> list[Any]:
        """Copy containers, and return the copies."""
        copies = [list(o) if type(o) is list else set(o) if type(o) is set else dict(o) for o in containers]
        pairs = zip(containers, copies, strict=True)
        self.copies.update((id(pair[0]), pair) for pair in pairs if id(pair[0]) not in self._told)
        return copies


def _space(module: Any) -> dict[str, Any] | None:
    """The namespace of a module; None for what is none."""
    return ModuleType.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else None


def _attributes(kind: type) -> Callable[[Any], Any] | None:
    """What gives the namespace of objects of a class; None if they have none, or hide it behind a property."""
    found = (walk.class_dict(cls).get("__dict__") for cls in walk.mro(kind))
    descriptor = next((value for value in found if value is not None), None)
    return descriptor.__get__ if type(descriptor) is GetSetDescriptorType else None
