"""References: what the candidate's own objects hold.

In the objects that only the candidate owns, dropped twins are replaced by the living objects. That happens after the
checks and before the commit, because nobody else can see these objects.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from types import CellType, FunctionType, GenericAlias, MappingProxyType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import ModuleView, SysView
from hotswap.swap.rebuilding import Rebuilding
from hotswap.swap.state import HEAP_TYPE

__all__ = ["Redirection"]

_MISSING: Any = object()
_SET_CLASS = object.__dict__["__class__"].__set__


class Redirection:
    """Replaces twins by the living objects in everything that the candidate owns.

    Arguments:
        owned: the objects that the candidate created; nothing else is rewritten, and nothing else is entered but
            plain containers, cells and instances of the candidate's classes.
        modules: the candidate's modules.
        twins: id of a dropped object -> (it, the object that lives). Those that live are not entered.
        successors: id of an old object -> (it, its successor), for old objects that the candidate got hold of.
        aside: further containers that belong to the candidate, and that its modules need not lead to.

    `leftovers` names the holders that could not be rewritten, `refused` those without which the swap makes no sense.
    """

    def __init__(
        self,
        owned: Iterable[object],
        modules: Mapping[str, ModuleType],
        twins: Mapping[int, tuple[Any, Any]],
        successors: Mapping[int, tuple[Any, Any]],
        aside: Iterable[object] = (),
    ) -> None:
        self.modules = modules
        self.twins = {**twins, **successors}
        self.leftovers: list[str] = []
        self.refused: list[str] = []
        self._owned = {id(o): o for o in owned}
        # What a migration made stands for something too, but it is the candidate's own.
        self._living = {id(living) for _, living in twins.values()} - self._owned.keys()
        self._globals = {id(module.__dict__) for module in modules.values()}
        self._roots: list[object] = [*modules.values(), *aside]
        self._rebuilding: set[int] = set()
        self._made_again = Rebuilding({}, {})
        self._held: list[Any] = []

    def add(self, twin: Any, living: Any) -> None:
        """Lead references to one more dropped object to the living one."""
        self.twins[id(twin)] = (twin, living)
        self._living.add(id(living))

    def translate(self, value: Any) -> Any:
        """Return the living object for a twin, a rebuilt copy of an immutable container of twins, or `value` itself."""
        found = self.twins.get(id(value))
        if found is not None and found[0] is value:
            return found[1]
        kind = type(value)
        if id(value) in self._rebuilding or not (issubclass(kind, tuple) or kind in _IMMUTABLE):
            return value
        self._rebuilding.add(id(value))
        try:
            rebuilt = self._rebuilt(value, kind)
        finally:
            self._rebuilding.discard(id(value))
        if rebuilt is not value:
            self.twins[id(value)] = (value, rebuilt)
        return rebuilt

    def _rebuilt(self, value: Any, kind: type) -> Any:
        if issubclass(kind, tuple):
            items = tuple.__iter__(value)
            after = [self.translate(item) for item in items]
            changed = any(a is not b for a, b in zip(after, tuple.__iter__(value), strict=True))
            living = self.twins.get(id(kind), (None, kind))
            return tuple.__new__(living[1] if living[0] is kind else kind, after) if changed else value
        if kind is frozenset:
            after = [self.translate(item) for item in value]
            return frozenset(after) if any(id(item) in self.twins for item in value) else value
        if kind is MethodType:
            owner = self.translate(value.__self__)
            return value if owner is value.__self__ else MethodType(value.__func__, owner)
        if kind is GenericAlias:
            origin, arguments = self.translate(value.__origin__), self.translate(value.__args__)
            if origin is value.__origin__ and arguments is value.__args__:
                return value
            return GenericAlias(origin, arguments)
        if kind is MappingProxyType:
            return value  # it shows a dict, and the dict is rewritten
        return value

    def make_again(self, shadows: Mapping[int, Mapping[str, Any]]) -> None:
        """Note what instances are to be made again of a living class whose slots differ.

        Arguments:
            shadows: id of a living class -> the descriptors that it is to get for slots.
        """
        rebuilding = self._made_again = Rebuilding(dict(self.twins), shadows)
        for holder in self._reach() if rebuilding.needed else ():
            if id(holder) not in self.twins and rebuilding.wants(type(holder)):
                self.twins[id(holder)] = (holder, rebuilding.make(holder))

    def run(self) -> None:
        """Rewrite everything. `leftovers` and `refused` tell afterwards what could not be."""
        self._made_again.fill(self.translate)
        again = {id(instance) for instance, _ in self._made_again.pairs}
        found = [holder for holder in self._reach() if id(holder) not in again]
        for holder in found:
            if walk.is_class(holder):
                # CPython lets an instance change its class only if both classes have the same base.
                self._rewrite_bases(holder)  # type: ignore[arg-type]
        for holder in found:
            self._rewrite(holder)

    def _reach(self) -> list[object]:
        """Everything to rewrite, found before anything is written."""
        found: dict[int, object] = {id(root): root for root in self._roots}
        stack: list[object] = list(self._roots)
        while stack:
            for child in self._children(stack.pop()):
                if id(child) not in found and self._enters(child):
                    found[id(child)] = child
                    stack.append(child)
        return list(found.values())

    def _enters(self, child: object) -> bool:
        kind = type(child)
        if issubclass(kind, ModuleType) or id(child) in self._living:
            return False
        if walk.is_class(child):
            cls: Any = child
            return str(walk.class_dict(cls).get("__module__")) in self.modules
        if kind is FunctionType:
            return id(child.__globals__) in self._globals or id(child) in self._owned  # type: ignore[attr-defined]
        if id(child) in self._owned or kind in _CONTAINERS or issubclass(kind, tuple):
            return True
        twin = self.twins.get(id(kind))
        return twin is not None and twin[0] is kind

    def _children(self, holder: object) -> list[Any]:
        if walk.is_class(holder):
            cls: Any = holder
            return [value for _, value in walk.class_items(cls)] + list(cls.__bases__)
        return gc.get_referents(holder)

    def _rewrite(self, holder: Any) -> None:
        kind = type(holder)
        if walk.is_class(holder):
            self._rewrite_class(holder)
        elif issubclass(kind, dict):
            self._rewrite_dict(holder)
        elif issubclass(kind, list):
            for index, item in enumerate(list.__iter__(holder)):
                if (after := self.translate(item)) is not item:
                    list.__setitem__(holder, index, after)
        elif kind is deque:
            for index, item in enumerate(list(holder)):
                if (after := self.translate(item)) is not item:
                    holder[index] = after
        elif issubclass(kind, set):
            for item in list(set.__iter__(holder)):
                if (after := self.translate(item)) is not item:
                    set.discard(holder, item)
                    set.add(holder, after)
        elif kind is CellType:
            self._rewrite_cell(holder)
        elif kind is FunctionType:
            if holder.__defaults__ and (after := self.translate(holder.__defaults__)) is not holder.__defaults__:
                holder.__defaults__ = after
        elif kind is functools.partial:
            self._rewrite_partial(holder)
        if issubclass(kind, tuple) and id(holder) not in self._owned and id(kind) not in self.twins:
            return  # tuples are entered whoever made them
        if kind.__flags__ & HEAP_TYPE and not issubclass(kind, (type, ModuleType)):
            self._rewrite_instance(holder, kind)

    def _rewrite_dict(self, holder: dict[Any, Any]) -> None:
        items = list(dict.items(holder))
        if any(self.translate(key) is not key for key, _ in items):
            after = [(self.translate(key), self.translate(value)) for key, value in items]
            dict.clear(holder)
            dict.update(holder, after)
            return
        for key, value in items:
            if (living := self.translate(value)) is not value:
                dict.__setitem__(holder, key, living)
            elif type(value) in (ModuleView, SysView):
                name = ModuleType.__getattribute__(value, "__dict__")["_hotswap"][0]
                if name in sys.modules:
                    dict.__setitem__(holder, key, sys.modules[name])

    def _rewrite_cell(self, cell: CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:  # empty
            return
        if (after := self.translate(value)) is not value:
            cell.cell_contents = after

    def _rewrite_partial(self, partial: functools.partial[Any]) -> None:
        function, arguments = self.translate(partial.func), self.translate(partial.args)
        keywords = {key: self.translate(value) for key, value in partial.keywords.items()}
        same = function is partial.func and arguments is partial.args
        if not same or any(keywords[key] is not value for key, value in partial.keywords.items()):
            partial.__setstate__((function, arguments, keywords, partial.__dict__))  # type: ignore[attr-defined]  # typeshed leaves it out

    def _rewrite_bases(self, cls: type) -> None:
        bases = tuple(self.translate(base) for base in cls.__bases__)
        if bases != cls.__bases__:
            try:
                type.__setattr__(cls, "__bases__", bases)
            except TypeError as error:
                if id(cls) not in self.twins:
                    self.refused.append(f"the new class {walk.class_name(cls)} keeps a dropped base: {error}")

    def _rewrite_class(self, cls: type) -> None:
        if id(cls) in self.twins:
            return  # its attributes are translated when they are transplanted
        if (metaclass := self.translate(type(cls))) is not type(cls):
            try:
                _SET_CLASS(cls, metaclass)
            except TypeError as error:
                self.refused.append(f"the new class {walk.class_name(cls)} keeps a dropped metaclass: {error}")
        for name, value in walk.class_items(cls):
            if name not in ("__dict__", "__weakref__") and (after := self.translate(value)) is not value:
                type.__setattr__(cls, name, after)

    def _rewrite_instance(self, holder: Any, kind: type) -> None:
        attributes = walk.instance_dict(holder)
        if attributes is not None:
            self._rewrite_dict(attributes)
        for slot in walk.slot_descriptors(kind):
            try:
                value = slot.__get__(holder)
            except (AttributeError, TypeError):
                continue  # an empty slot, or one of a C type that hides behind this descriptor
            if (after := self.translate(value)) is not value:
                try:
                    slot.__set__(holder, after)
                except (AttributeError, TypeError):
                    self.leftovers.append(f"{slot.__name__} of a {walk.class_name(kind)} is read-only")
        living = self.twins.get(id(kind))
        if living is not None and living[0] is kind:
            try:
                _SET_CLASS(holder, living[1])
            except TypeError as error:
                if id(holder) in self.twins:
                    return  # it is dropped itself
                self.refused.append(f"an instance of {walk.class_name(kind)} keeps its dropped class: {error}")


_IMMUTABLE = (frozenset, MethodType, GenericAlias, MappingProxyType)
_CONTAINERS = (
    dict,
    list,
    set,
    frozenset,
    deque,
    CellType,
    MethodType,
    MappingProxyType,
    GenericAlias,
    functools.partial,
    staticmethod,
    classmethod,
    property,
)
