"""Pairing: which new object takes the place of which old one.

Objects are paired by definition: the walk goes through the old and the new namespace side by side, name by name, and
inside what it finds (class bodies, properties, wrappers, closures, containers) part by part. An object that is
reached by several names is paired where it is defined, not where it was found first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import Definitions, Kind, unchanged
from hotswap.swap.calling import called_as
from hotswap.swap.forwarding import KIND_FLAGS, target_of
from hotswap.swap.parts import (
    DEPTH,
    LRU_CACHE,
    body_of,
    by_own_name,
    defining_names_first,
    functions_of,
    leads_to,
    matching,
    resolved,
)

__all__ = ["ClassPair", "FunctionPair", "Pairing", "pair_modules"]

_NOT_CODE = ("__dict__", "__weakref__", "__annotations__", "__doc__", "__module__", "__qualname__", "__firstlineno__")

_PLAIN = (ModuleType, str, bytes, int, float, complex)

_METHODS = {FunctionType, staticmethod, classmethod}


@dataclass(frozen=True, slots=True)
class FunctionPair:
    """An old function and the callable that it leads to.

    `key` names the definition. `made` is the function of the candidate, which leads to `back` once the swap is taken
    back; it is not always `new`: an `lru_cache` object has its function inside, a class method is called bound.
    """

    key: str
    old: FunctionType
    new: Callable[..., Any]
    made: Any = None
    back: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class ClassPair:
    """An old class, which stays, and its twin of the candidate.

    `bodies` are the definitions of both bodies. `returns` says that no live module has the class: an earlier version
    had it, and somebody may still hold it.
    """

    key: str
    old: type
    new: type
    bodies: tuple[Definitions, Definitions]
    returns: bool = False


@dataclass
class Pairing:
    """What the walk found. Lives as long as a swap is prepared.

    `successors` maps the id of an old object to what names that are bound to it shall be bound to; `places` maps the
    id of every old object that was paired to what is called in its place; `caches` are the `lru_cache` objects,
    (old, new or None), whose function leads to new code; `lost` are old functions without a counterpart; `clashes` are
    pairs that can't be: (key, old object, new object).
    """

    functions: list[FunctionPair] = field(default_factory=list)
    classes: list[ClassPair] = field(default_factory=list)
    successors: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    places: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    caches: list[tuple[Any, Any]] = field(default_factory=list)
    lost: list[tuple[str, FunctionType]] = field(default_factory=list)
    clashes: list[tuple[str, Any, Any]] = field(default_factory=list)

    def unmake(self, pair: ClassPair) -> None:
        """Take back the pair of a class, and those of its members."""
        self.classes = [other for other in self.classes if not f"{other.key}.".startswith(f"{pair.key}.")]
        self.functions = [other for other in self.functions if not other.key.startswith(f"{pair.key}.")]

    def keep(self, twins: Mapping[int, tuple[Any, Any]]) -> None:
        """Note which new objects are dropped: the living object stays what names are bound to.

        Arguments:
            twins: id of a dropped object -> (it, the living one).
        """
        for known in (self.successors, self.places):
            for key, (old, new) in list(known.items()):
                dropped = twins.get(id(new))
                if dropped is not None and dropped[1] is old:
                    del known[key]
                elif dropped is not None:
                    known[key] = (old, dropped[1])


def pair_modules(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    old_definitions: Mapping[str, Definitions],
    new_definitions: Mapping[str, Definitions],
    lost: Iterable[Any] = (),
    removed: Iterable[str] = (),
) -> Pairing:
    """Pair the contents of the old and the new modules of the same names.

    Arguments:
        old, new: the modules of both generations.
        old_definitions, new_definitions: what their sources say.
        lost: functions and classes that an earlier swap took away, and that may have returned.
        removed: the names of the modules that the new version has not any more.
    """
    walker = _Walker(old, new, old_definitions, new_definitions, removed)
    for name in old:
        if name not in new:
            continue
        before, after = old[name].__dict__, new[name].__dict__
        for known in (walker.result.successors, walker.result.places):
            known[id(old[name])] = (old[name], new[name])
            known[id(before)] = (before, after)
        definitions = (old_definitions.get(name) or Definitions(), new_definitions.get(name) or Definitions())
        for attribute in defining_names_first(before):
            if definitions[0].kind(attribute) is Kind.IMPORT or not walker.is_ours(before[attribute]):
                continue
            if attribute in after:
                walker.top(f"{name}:{attribute}", before[attribute], after[attribute], attribute, definitions)
    for name in old:
        before, after = old[name].__dict__, new[name].__dict__
        source = old_definitions.get(name) or Definitions()
        for attribute in [attribute for attribute in before if source.kind(attribute) is Kind.IMPORT]:
            if attribute in after:
                walker.pair_moved(f"{name}:{attribute}", before[attribute], after[attribute])
    walker.finish()
    by_name = by_own_name(walker.newfunctions_of())
    for key, function in walker.oldfunctions_of():
        if id(function) in walker.seen:
            continue
        fallback = by_name.get((function.__module__, function.__code__.co_qualname))
        if fallback is not None and "<locals>" not in function.__code__.co_qualname:
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
        self.later: deque[tuple[str, Any, Any, int]] = deque()
        self.in_sequences: set[str] = set()
        self.uneven: set[str] = set()
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
        if old is not new and callable(new):
            self.result.places.setdefault(id(old), (old, new))
        if old is not new and (type(old) is FunctionType or defined) and id(old) not in self.result.successors:
            self.result.successors[id(old)] = (old, new)
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
        if callable(new):
            self.note_pair(key, old, new, back=old)
            if type(new) is FunctionType:
                self.later.append((key, old, new, depth))
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
        self.result.functions.append(
            FunctionPair(key, old, new, made, back) if type(made) is FunctionType else FunctionPair(key, old, new)
        )
        self.result.places[id(old)] = (old, new)
        # A function of an earlier generation that is kept: others may lead to where it leads now.
        target = target_of(old.__code__)
        if target is not None:
            self.result.places.setdefault(id(target), (target, new))

    def pair_method(self, key: str, old: Any, new: Any, cls: type) -> None:
        """Pair members of a class of which one is a method and the other a static or class method."""
        before, after = _function_of(old), _function_of(new)
        if type(before) is not FunctionType or type(after) is not FunctionType or id(before) in self.seen:
            return
        self.seen.add(id(before))
        there, back = called_as(type(old), type(new), after, cls), called_as(type(new), type(old), before, cls)
        self.result.functions.append(FunctionPair(key, before, there, after, back))
        self.result.places[id(before)] = (before, there)

    def pair_moved(self, key: str, old: Any, new: Any) -> None:
        """Pair a definition that lies in another module now: a third module goes on giving it away by its name."""
        if old is new or id(old) in self.seen or _name_of(old) is None or _name_of(old) != _name_of(new):
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
            found = by_name.get((gone.__module__, gone.__code__.co_qualname))
            family = gone.__code__.co_qualname.rpartition(".")[0]
            stays = not family or walk.is_class(resolved(self.old.get(gone.__module__), family))
            if found is not None and stays:
                self.pair_function(f"{gone.__module__}:{gone.__code__.co_qualname}", gone, found, 0)
            return
        home, path = str(walk.class_dict(gone).get("__module__")), walk.class_name(gone)
        new = resolved(self.new.get(home), path)
        if walk.is_class(new) and new is not gone and id(new) not in self.seen:
            self.pair_class(f"{home}:{path}", gone, new, returns=True)

    def finish(self) -> None:
        """Look inside what was paired. Everything that has a name of its own is paired under it by then."""
        while self.later:
            key, old, new, depth = self.later.popleft()
            sequence = type(old) in (list, tuple)
            if sequence and self.is_uneven(key):
                continue
            for part, before, after in matching(old, new):
                # What stands in the same place of a sequence need not be the same thing: a decorator may have put one
                # more in front of it. So code is paired there only if it has the same name.
                inner = f"{key}.{part}"
                if sequence or key in self.in_sequences:
                    self.in_sequences.add(inner)
                    if _name_of(before) != _name_of(after):
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
        for before, base in zip(old.__bases__, new.__bases__, strict=False):
            # A class decorator may have left a base that no name leads to.
            if walk.class_name(before) == walk.class_name(base) and self.is_own_class(before):
                self.pair_class(f"{key}.<base>", before, base)
        after = walk.class_dict(new)
        for name, value in walk.class_items(old):
            if name not in after or name in _NOT_CODE:
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


def _name_of(value: Any) -> str | None:
    """The qualified name of a function or class, None for anything else."""
    if type(value) is FunctionType:
        return value.__code__.co_qualname if target_of(value.__code__) is None else value.__qualname__
    return walk.class_name(value) if walk.is_class(value) else None


def _function_of(value: Any) -> Any:
    return value if type(value) is FunctionType else value.__func__
