"""Pairing: which new object takes the place of which old one.

Objects are paired by definition: the walk goes through the old and the new namespace side by side, name by name, and
inside what it finds (class bodies, properties, wrappers, closures, containers) part by part. An object that is
reached by several names is paired where it is defined, not where it was found first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Kind, unchanged
from hotswap.swap.calling import called_as
from hotswap.swap.forwarding import KIND_FLAGS, target_of
from hotswap.swap.kin import is_nested
from hotswap.swap.pairs import ClassPair, FunctionPair, Pairing
from hotswap.swap.parts import (
    DEPTH,
    LRU_CACHE,
    body_of,
    by_own_name,
    defining_names_first,
    functions_of,
    leads_to,
    live_behind,
    matching,
    name_of,
    resolved,
    standing_for,
)
from hotswap.swap.standins import replaced_functions
from hotswap.swap.state import PLAIN

__all__ = ["pair_modules"]

_NOT_CODE = ("__dict__", "__weakref__", "__annotations__", "__doc__", "__module__", "__qualname__", "__firstlineno__")

_PLAIN = (ModuleType, str, bytes, int, float, complex)

_METHODS = {FunctionType, staticmethod, classmethod}
_CODE = (*_METHODS, property)


def pair_modules(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    old_definitions: Mapping[str, Definitions],
    new_definitions: Mapping[str, Definitions],
    lost: Iterable[Any] = (),
    removed: Iterable[str] = (),
    inner: Callable[[Any, Any], Iterable[tuple[Any, Any]]] = lambda _, __: (),
) -> Pairing:
    """Pair the contents of the old and the new modules of the same names.

    Arguments:
        old, new: the modules of both generations.
        old_definitions, new_definitions: what their sources say.
        lost: functions and classes that an earlier swap took away, and that may have returned.
        removed: the names of the modules that the new version has not any more.
        inner: gives the functions, old and new, in two objects that stand for the same name, as far as adapters know.
    """
    lost = tuple(lost)
    walker = _Walker(old, new, old_definitions, new_definitions, removed)
    walker.lost = {id(gone) for gone in lost}
    replaced = replaced_functions(old, new, old_definitions, new_definitions)
    walker.result.replaced, walker.aside = replaced.told, replaced.places
    for key, function, made in replaced.pairs:
        walker.pair_function(key, function, made, 0)
    for name in (name for name in old if name in new):
        before, after = old[name].__dict__, new[name].__dict__
        for known in (walker.result.successors, walker.result.places):
            known[id(old[name])] = (old[name], new[name])
            known[id(before)] = (before, after)
        definitions = (old_definitions.get(name) or Definitions(), new_definitions.get(name) or Definitions())
        for attribute in defining_names_first(before):
            if _is_imported(attribute, definitions[0]) or not walker.is_ours(before[attribute]):
                continue
            if attribute in after and f"{name}:{attribute}" not in walker.aside:
                walker.top(f"{name}:{attribute}", before[attribute], after[attribute], attribute, definitions)
                for function, successor in inner(before[attribute], after[attribute]):
                    walker.pair(f"{name}:{attribute}.<function>", function, successor, 1)
    for name in old:
        before, after = old[name].__dict__, new[name].__dict__
        source = old_definitions.get(name) or Definitions()
        for attribute in before:
            if attribute in after and _is_imported(attribute, source):
                walker.pair_moved(f"{name}:{attribute}", before[attribute], after[attribute])
    walker.finish()
    by_name = by_own_name(walker.newfunctions_of())
    for key, function in walker.oldfunctions_of():
        if id(function) in walker.seen:
            continue
        fallback = by_name.get((function.__module__, function.__code__.co_qualname))
        if fallback is not None and "<" not in function.__code__.co_qualname:  # no name: a lambda, or inside of one
            walker.pair(key, function, fallback, 0)
        else:
            walker.result.lost.append((key, function))
    for gone in sorted(lost, key=walk.is_class, reverse=True):
        walker.pair_returning(gone, by_name)
    walker.finish()
    return walker.result


class _Walker:
    def __init__(
        self,
        old: Mapping[str, ModuleType],
        new: Mapping[str, ModuleType],
        old_definitions: Mapping[str, Definitions],
        new_definitions: Mapping[str, Definitions],
        removed: Iterable[str],
    ) -> None:
        self.old, self.new = old, new
        self.old_names = {*old, *removed}
        self.definitions = (old_definitions, new_definitions)
        self.new_globals = {id(module.__dict__) for module in new.values()}
        self.seen: set[int] = set()
        self.lost: set[int] = set()
        self.aside: frozenset[str] = frozenset()
        self.later: deque[tuple[str, Any, Any, int]] = deque()
        self.in_sequences: set[str] = set()
        self.uneven: set[str] = set()
        self.standing: dict[int, FunctionType] = {}
        self.result = Pairing()

    def is_ours(self, value: Any) -> bool:
        """Whether an object that a module binds, otherwise than by import, was made there."""
        if walk.is_class(value):
            return self.is_own_class(value)
        if type(value) is FunctionType and not self.is_ours_by_code(value):
            # A wrapper that a decorator made elsewhere is ours; a function that was only assigned is not.
            origin = value.__globals__.get(value.__name__)
            return origin is not value
        return type(value) is not BuiltinFunctionType and not issubclass(type(value), ModuleType)

    def is_ours_by_code(self, function: FunctionType) -> bool:
        """Whether a function runs in the namespace of an old module: of the live one, or of an earlier generation.

        What is kept over several swaps (an `lru_cache` object, a registry) holds functions of earlier generations.
        """
        facts = function.__globals__
        return id(facts) not in self.new_globals and facts.get("__name__") in self.old_names

    def is_own_class(self, cls: type) -> bool:
        """Whether a class was made by one of the old modules."""
        return walk.class_dict(cls).get("__module__") in self.old_names

    def top(self, key: str, old: Any, new: Any, name: str, definitions: tuple[Definitions, Definitions]) -> None:
        """Pair what a name of a module stood for with what it stands for now."""
        defined = definitions[0].kind(name) in (Kind.FUNCTION, Kind.CLASS)
        if not defined and not unchanged(name, *definitions):
            self.uneven.add(key)
        if walk.is_class(old):
            self.pair_class(key, old, new)
            return
        if old is not new and type(old) not in PLAIN:  # whose identity says nothing about the name
            if callable(old) and callable(new):
                self.result.places.setdefault(id(old), (old, new))
            if type(old) is FunctionType or defined:
                self.result.successors.setdefault(id(old), (old, new))
        self.pair(key, old, new, 0)

    def pair(self, key: str, old: Any, new: Any, depth: int) -> None:
        """Pair two values that stand in the same place."""
        if old is new or id(old) in self.seen or depth > DEPTH:
            return
        kind = type(old)
        if kind is FunctionType:
            self.pair_function(key, old, new, depth)
        elif walk.is_class(old):
            if self.is_own_class(old):
                self.pair_class(key, old, new)
        elif self.is_same_kind(kind, type(new)) and not issubclass(kind, _PLAIN):
            self.seen.add(id(old))
            if kind is LRU_CACHE:
                if type(old.__wrapped__) is FunctionType and not self.is_followed(old.__wrapped__):
                    return  # a cache of a module that is not swapped: it goes on as it is
                self.result.caches.append((old, new))
                self.result.places.setdefault(id(old), (old, new))
            self.later.append((key, old, new, depth))
        elif kind is LRU_CACHE and callable(new):
            # The object is written in C and can't be changed: the function in it leads to what takes its place.
            self.seen.add(id(old))
            self.result.caches.append((old, None))
            self.result.places.setdefault(id(old), (old, new))
            inner = old.__wrapped__
            if type(inner) is not FunctionType or id(inner) in self.seen or not self.is_followed(inner):
                return
            if type(new) is FunctionType and new.__code__.co_flags & KIND_FLAGS:
                # It would remember a coroutine or generator, and give it out a second time.
                self.seen.add(id(inner))
                self.result.lost.append((key, inner))
            else:
                self.note_pair(f"{key}.__wrapped__", inner, new, back=old)

    def is_same_kind(self, old: type, new: type) -> bool:
        """Whether two objects are of one class, or of two versions of one: a decorator's class may be in the patch."""
        if old is new:
            return True
        home = walk.class_dict(old).get("__module__")
        return (
            self.is_own_class(old)
            and home in self.new
            and home == walk.class_dict(new).get("__module__")
            and walk.class_name(old) == walk.class_name(new)
        )

    def pair_function(self, key: str, old: FunctionType, new: Any, depth: int) -> None:
        if depth and not self.is_followed(old):
            return
        if depth and id(target_of(old.__code__)) in self.result.places:
            return  # of an earlier generation: it follows what it leads to, which is paired under a name of its own
        if callable(new):
            self.note_pair(key, old, new, back=old)
            if type(new) is FunctionType:
                self.later.append((key, standing_for(old), new, depth))
        else:
            self.seen.add(id(old))
            self.result.lost.append((key, old))

    def is_followed(self, function: FunctionType) -> bool:
        """Whether a function that was found inside something else is to lead to its successor."""
        return self.is_ours_by_code(function) or leads_to(function, self.is_ours_by_code)

    def note_pair(self, key: str, old: FunctionType, new: Any, *, back: Any) -> None:
        """Note what an old function leads to, and what leads back."""
        self.seen.add(id(old))
        made = new.__wrapped__ if type(new) is LRU_CACHE else new
        runs = self.running(old)
        back = runs if back is old else back
        self.result.functions.append(
            FunctionPair(key, runs, new, made, back) if type(made) is FunctionType else FunctionPair(key, runs, new)
        )
        self.result.places[id(old)] = (old, new)
        # A function of an earlier generation that is kept: others may lead to where it leads now.
        target = target_of(old.__code__)
        if target is not None:
            self.result.places.setdefault(id(target), (target, new))

    def running(self, old: FunctionType) -> FunctionType:
        """What is paired for a function: what it was led to, if it is a wrapper whose decorator was patched since.

        It leads on from there, as functions of earlier generations do.
        """
        runs = live_behind(old)
        if runs is old or id(runs) in self.seen or not is_nested(runs.__code__):
            return old
        self.seen.add(id(runs))
        self.standing[id(runs)] = old
        return runs

    def pair_method(self, key: str, old: Any, new: Any, cls: type) -> None:
        """Pair members of a class of which one is a method and the other a static or class method."""
        before, after = walk.function_behind(old), walk.function_behind(new)
        if type(before) is not FunctionType or type(after) is not FunctionType or id(before) in self.seen:
            return
        self.seen.add(id(before))
        runs = self.running(before)
        there, back = called_as(type(old), type(new), after, cls), called_as(type(new), type(old), runs, cls)
        self.result.functions.append(FunctionPair(key, runs, there, after, back))
        self.result.places.update((id(one), (one, there)) for one in (before, runs))

    def pair_moved(self, key: str, old: Any, new: Any) -> None:
        """Pair a definition that lies in another module now: a third module goes on giving it away by its name."""
        if old is new or id(old) in self.seen | self.lost or name_of(old) is None or name_of(old) != name_of(new):
            return
        if walk.is_class(old):
            if self.is_own_class(old) and walk.is_class(new) and id(new) not in self.seen:
                self.pair_class(key, old, new)
        elif self.is_ours_by_code(old) and self.is_new_definition(new) and not self.is_taken(new):
            self.result.successors.setdefault(id(old), (old, new))
            self.pair_function(key, old, new, 0)

    def is_new_definition(self, new: Any) -> bool:
        """Whether a function or class was made by one of the new modules."""
        if walk.is_class(new):
            return walk.class_dict(new).get("__module__") in self.new
        return id(new.__globals__) in self.new_globals

    def is_taken(self, new: Any) -> bool:
        """Whether a new function is the counterpart of an old one already."""
        return any(pair.made is new for pair in self.result.functions)

    def pair_returning(self, gone: Any, by_name: Mapping[tuple[str, str], FunctionType]) -> None:
        """Pair a function or class that an earlier swap took away, if the new version has it again."""
        if id(gone) in self.seen:
            return
        if type(gone) is FunctionType:
            path = gone.__code__.co_qualname
            family = path.rpartition(".")[0]
            found: Any = by_name.get((gone.__module__, path)) if "<" not in path else None
            if not family and callable(resolved(self.new.get(gone.__module__), path)):
                found = resolved(self.new.get(gone.__module__), path)  # it may be decorated now, or a class
            stays = not family or walk.is_class(resolved(self.old.get(gone.__module__), family))
            if found is not None and stays:
                self.pair_function(f"{gone.__module__}:{path}", gone, found, 0)
            return
        home, path = str(walk.class_dict(gone).get("__module__")), walk.class_name(gone)
        new = resolved(self.new.get(home), path)
        if walk.is_class(new) and new is not gone and id(new) not in self.seen:
            self.pair_class(f"{home}:{path}", gone, new, returns=True)

    def finish(self) -> None:
        """Look inside what was paired. Everything that has a name of its own is paired under it by then."""
        twins: dict[int, Any] = {id(pair.new): pair.old for pair in self.result.classes}
        twins.update((id(pair.made), self.standing.get(id(pair.old), pair.old)) for pair in self.result.functions)
        while self.later:
            key, old, new, depth = self.later.popleft()
            sequence = type(old) in (list, tuple)
            if sequence and self.is_uneven(key):
                continue
            for part, before, after in matching(old, new, lambda key: twins.get(id(key), key)):
                # What stands in the same place of a sequence need not be the same thing: a decorator may have put one
                # more in front of it. So code is paired there only if it has the same name.
                inner = f"{key}.{part}"
                if sequence or key in self.in_sequences:
                    self.in_sequences.add(inner)
                    if name_of(before) != name_of(after):
                        continue
                self.pair(inner, before, after, depth + 1)

    def is_uneven(self, key: str) -> bool:
        """Whether the statement that made a sequence differs: then the same position need not mean the same thing."""
        module, _, path = key.partition(":")
        return f"{module}:{path.partition('.')[0]}" in self.uneven

    def pair_class(self, key: str, old: type, new: Any, *, returns: bool = False) -> None:
        if old is new or id(old) in self.seen:
            return
        self.seen.add(id(old))
        if not walk.is_class(new) or walk.class_dict(new).get("__module__") not in self.new:
            self.result.clashes.append((key, old, new))
            return
        self.seen.add(id(new))
        bodies = (body_of(old, self.definitions[0]), body_of(new, self.definitions[1]))
        self.result.classes.append(ClassPair(key, old, new, bodies, returns))
        self.result.places[id(old)] = (old, old)
        for before, base in zip(walk.fact(old, "__bases__"), walk.fact(new, "__bases__"), strict=False):
            # A class decorator may have left a base that no name leads to.
            if walk.class_name(before) == walk.class_name(base) and self.is_own_class(before):
                self.pair_class(f"{key}.<base>", before, base)
        after = walk.class_dict(new)
        for name, value in walk.class_items(old):
            not_code = name in _NOT_CODE and not issubclass(type(value), _CODE)
            if name not in after or not_code or f"{key}.{name}" in self.aside:
                continue
            if walk.is_class(value) and walk.is_class(after[name]):
                if self.is_own_class(value):
                    self.pair_class(f"{key}.{name}", value, after[name], returns=returns)
            elif type(value) is not type(after[name]) and {type(value), type(after[name])} <= _METHODS:
                self.pair_method(f"{key}.{name}", value, after[name], old)
            else:
                self.pair(f"{key}.{name}", value, after[name], 1)

    def oldfunctions_of(self) -> Iterator[tuple[str, FunctionType]]:
        """The functions that the old modules define, however deep in classes and wrappers."""
        return functions_of(self.old, self.is_ours_by_code)

    def newfunctions_of(self) -> Iterator[tuple[str, FunctionType]]:
        """The functions that the new modules define."""
        return functions_of(self.new, lambda function: id(function.__globals__) in self.new_globals)


def _is_imported(name: str, source: Definitions) -> bool:
    """Whether a name of a module was imported. One that no statement binds came with an ``import *``."""
    return source.kind(name) is Kind.IMPORT or (source.kind(name) is None and bool(source.stars))
