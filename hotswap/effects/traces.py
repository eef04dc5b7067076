"""Traces: which of the young objects are the candidate's, and which of those does somebody outside of it hold?

The candidate's own are its functions, its classes and their instances. An object that leads to one of them (a tuple, a
partial, a route) is a trace too. Somebody outside holds an object if more references to it are counted than the young
objects account for, which is how the collector finds garbage, the other way round. So the cost depends on what was
loaded; the heap is searched only for the few objects that are held, and only if there are any.

Nothing here runs code of the objects. Assumes a build with the GIL, on which references are counted exactly.
"""

from __future__ import annotations

import functools
import gc
import logging
import sys
import threading
import typing
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any

from hotswap import walk
from hotswap.effects.holders import Found, Search
from hotswap.namespaces import held_by, imported, of_kinds

__all__ = ["Traces"]

_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType, FrameType)
"""What is suspended in the candidate's code is a task or a local, not a registration."""

_LRU_CACHE = type(functools.lru_cache(lambda: None))

_DEEP = 4
"""How deep tuples in tuples are looked into."""

_MANY = 1_000_000
"""How many objects of libraries are looked at."""

_MATTER = (
    *(dict, list, set, frozenset, tuple, deque, OrderedDict, defaultdict, CellType, MethodType, _LRU_CACHE),
    *(weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)


class Traces:
    """The candidate's traces among the young objects. Lives for one look after loading.

    Arguments:
        young: what was created while the candidate was loaded; the caller holds it by this list only. Tuples are not
            in it, because somebody may be building them.
        tuples: the ids of those.
        mark: what is as young, and held by nobody but the caller: and by who passes over the heap.
        ran: id of the globals of each of the candidate's modules -> them.
        modules: the candidate's modules.
        classes: the candidate's classes; held by this one list too.
        is_old: whether an object was there before, though it looks young.
        gained: the ids of what known containers hold and did not before.
    """

    def __init__(
        self,
        young: list[object],
        tuples: Container[int],
        mark: object,
        ran: Mapping[int, dict[str, object]],
        modules: Iterable[object],
        classes: list[type],
        is_old: Callable[[object], bool],
        gained: Callable[[], Set[int]],
    ) -> None:
        self._given, self._mark = young, mark
        self._young = young = [*young, *_tuples_in(young, tuples)]
        self._classes = classes
        self._made = {id(cls) for cls in classes}
        self._own = {*ran, *(id(module) for module in modules)}
        self.core: set[int] = {id(o) for o in young if self._is_core(o, ran)}
        self._index = {id(o) for o in young if not is_old(o)} if self.core else set()
        self._known: Counter[int] = Counter()
        self._counted: set[int] = set()  # tuples that no young object holds, and whose references are known
        self._trusted: set[int] = set()
        self._foreign: set[int] = set()
        self.leading: set[int] = set()
        caches = _caches() if self.core else []
        while self.core:
            self._foreign = self._reach_foreign()
            self.leading = self._climb()
            for cache in caches:
                self.account([cache, *(part for part in gc.get_referents(cache) if type(part) is dict)])
            # Before 3.14 a dict is tracked only once it holds something that is: one that somebody outside holds may
            # be an old one, to which the candidate has added the first such entry. One that a registry holds since is
            # young: a `defaultdict(dict)` makes such.
            doubtful = {id(o) for o in self._held_more() if type(o) is dict} if sys.version_info < (3, 14) else set()
            if doubtful:
                doubtful -= gained()
            if doubtful:
                doubtful &= self._surely_held(doubtful)
            if not doubtful:
                break
            self._index -= doubtful

    def _surely_held(self, wanted: Set[int]) -> set[int]:
        """Which of some young objects are not only looked at by somebody who passes over the heap."""
        spaces = {id(o) for cls in self._classes for o in gc.get_referents(cls)}  # nobody gives a class an old one
        found = self.search([o for o in self._young if id(o) in wanted and id(o) not in spaces])
        return {id(o) for holder in found.holders for o in gc.get_referents(holder)} | {*map(id, found.hidden)}

    def _is_core(self, o: object, ran: Container[int]) -> bool:
        if type(o) is FunctionType:
            return id(o.__globals__) in ran
        return id(o) in self._made or id(type(o)) in self._made

    def _reach_foreign(self) -> set[int]:
        """Modules from outside that were imported meanwhile, and what they hold: as good as old."""
        stack: list[Any] = [
            module
            for module in list(sys.modules.values())
            if id(module) in self._index and id(module) not in self._own and id(module) not in self.core
        ]
        found = {id(module) for module in stack}
        while stack:
            for referent in gc.get_referents(stack.pop()):
                key = id(referent)
                if key in self._index and key not in found and key not in self.core and key not in self._own:
                    found.add(key)
                    stack.append(referent)
        return found

    def _climb(self) -> set[int]:
        """Count the references among the young, and find all that leads to the candidate's own."""
        holders: dict[int, list[int]] = {}
        self._known.clear()
        self._counted.clear()
        for o in self._young:
            key = id(o)
            if key in self._foreign or key not in self._index:
                continue
            for referent in gc.get_referents(o):
                there = id(referent)
                if there in self._index:
                    self._known[there] += 1
                    if key not in self._own and type(o) not in _SUSPENDED:
                        holders.setdefault(there, []).append(key)
        self._known.update(self._made)  # by the list of classes
        found = set(self.core)
        stack = list(self.core)
        while stack:
            for key in holders.get(stack.pop(), ()):
                if key not in found and key not in self._foreign:
                    found.add(key)
                    stack.append(key)
        return found

    def leads(self, value: object) -> bool:
        """Whether an object is the candidate's own, or leads to something that is."""
        return id(value) in self.leading or (type(value) is tuple and self._tuple_leads(value, 0))

    def _tuple_leads(self, value: tuple[object, ...], depth: int) -> bool:
        """Whether a tuple that no young object holds leads to the candidate: then it was made with it."""
        for part in value:
            if id(part) in self.leading:
                return True
            if type(part) is tuple and depth < _DEEP and self._tuple_leads(part, depth + 1):
                return True
        return False

    def is_outside(self, value: object) -> bool:
        """Whether an object was there before, or belongs to a module that is no part of the candidate."""
        outside = id(value) not in self._index or id(value) in self._foreign
        return outside and id(value) not in self._trusted and id(value) not in self._counted

    def trust(self, keepers: Iterable[object]) -> None:
        """Account for objects that keep something for the candidate, and for what they are made of."""
        stack = list(keepers)
        packages = {walk.class_home(type(keeper)).partition(".")[0] for keeper in stack} - {"builtins"}
        while stack:
            keeper = stack.pop()
            if id(keeper) in self._trusted:
                continue
            self.trust_alone([keeper])
            for part in gc.get_referents(keeper):
                kind = type(part)
                ours = kind in (dict, list, set, tuple) or walk.class_home(kind).partition(".")[0] in packages
                if ours and not walk.is_class(part) and id(part) not in self.core:
                    stack.append(part)

    def trust_alone(self, keepers: Iterable[object]) -> None:
        """Account for objects that keep something for the candidate, but not for what is in them."""
        for keeper in keepers:
            self._trusted.add(id(keeper))
            if not self._is_counted(id(keeper)):
                self.account([keeper])

    def is_trusted(self, holder: object) -> bool:
        """Whether somebody else looks after what stands in an object."""
        return id(holder) in self._trusted

    def trust_libraries(self, libraries: Container[str]) -> None:
        """Account for what some packages hold: their modules, their classes, and what those are made of."""
        stack: list[Any] = [facts for name, _, facts in imported() if name.partition(".")[0] in libraries]
        while stack and len(self._trusted) < _MANY:
            holder = stack.pop()
            if id(holder) in self._trusted or id(holder) in self.core:
                continue
            self.trust_alone([holder])
            stack += [part for part in gc.get_referents(holder) if _is_of(part, libraries)]

    def account(self, holders: Iterable[object]) -> None:
        """Count references of holders that are known, so that nobody searches for them."""
        for holder in holders:
            for referent in gc.get_referents(holder):
                self._known[id(referent)] += 1
                key = id(referent)
                if type(referent) is tuple and not self._is_counted(key) and self.leads(referent):
                    self._counted.add(key)
                    self.account([referent])

    def _is_counted(self, key: int) -> bool:
        return key in self._index or key in self._counted

    def held(self) -> list[Any]:
        """The traces, and weak references to the candidate's own, that somebody outside holds."""
        return [*self._held_more(), *self._weakly_held()]

    def search(self, held: list[Any] | None = None) -> Found:
        """Search the heap for whoever outside holds some objects: those traces that are held, if nothing is given.

        Arguments:
            held: the objects; nobody else may have this list.
        """
        lists = {id(self._given), id(self._young), id(self._classes)}
        ours = {id(o): 1 + (position < len(self._given)) for position, o in enumerate(self._young)}
        return Search(
            self.held() if held is None else held,
            lambda o: self._known[id(o)] + ours.get(id(o), 0),
            self.is_outside,
            lists,
            self._mark,
        ).run()

    def _held_more(self) -> Iterator[Any]:
        self._young.append([])  # a list that nobody else holds tells how many references are our own
        counts = [sys.getrefcount(o) for o in self._young]
        usual = counts.pop()
        self._young.pop()
        for position, o in enumerate(self._young):
            ours = self._known[id(o)] + (position < len(self._given))
            if id(o) in self.leading and id(o) not in self._own and counts[position] - usual > ours:
                yield o

    def _weakly_held(self) -> Iterator[Any]:
        """Weak references to the candidate's own with which somebody keeps a register."""

        def probe() -> None:
            """Nobody else refers to it."""

        references = [reference for o in self._young if id(o) in self.core for reference in _registering(o)]
        references.append(weakref.ref(probe))
        counts = [sys.getrefcount(reference) for reference in references]
        usual = counts.pop()
        references.pop()
        for reference, count in zip(references, counts, strict=True):
            ours = self._known[id(reference)] + 2 * (id(reference) in self._index)  # by the two lists of the young
            if count - usual > ours:
                yield reference


def _tuples_in(young: Iterable[object], tuples: Container[int]) -> list[object]:
    """The young tuples that other young objects hold."""
    found: dict[int, object] = {}
    stack = list(young)
    while stack:
        for referent in gc.get_referents(stack.pop()):
            if type(referent) is tuple and id(referent) in tuples and id(referent) not in found:
                found[id(referent)] = referent
                stack.append(referent)
    return list(found.values())


def _registering(o: object) -> Iterator[Any]:
    """The weak references to an object with which somebody may keep a register."""
    if issubclass(type(o), (threading.Thread, logging.Handler)):
        return  # `threading` and `logging` know all of theirs; what they do is told by itself
    for reference in weakref.getweakrefs(o):
        # Base classes know those below them by plain weak references, abstract ones by references with a callback
        # written in C; both are looked at elsewhere.
        if not walk.is_class(o) or type(walk.callback_of(reference)) is FunctionType:
            yield reference


def _is_of(part: Any, libraries: Container[str]) -> bool:
    """Whether an object is what a library is made of: code, classes and instances of its own, plain containers."""
    kind = type(part)
    if kind in _MATTER:
        return True
    if kind is FunctionType:
        return str(part.__globals__.get("__name__")).partition(".")[0] in libraries
    owner = part if walk.is_class(part) else kind
    return str(walk.class_dict(owner).get("__module__")).partition(".")[0] in libraries


def _caches() -> list[Any]:
    """The `lru_cache` objects of all modules, those of `typing` among them: what they hold is no registration."""
    clears = [getattr(clear, "__self__", None) for clear in getattr(typing, "_cleanups", ())]
    found = {id(cache): cache for cache in clears if type(cache) is _LRU_CACHE}
    named = of_kinds(frozenset((_LRU_CACHE,)), held_by(facts for _, _, facts in imported()))
    found.update((id(cache), cache) for cache in named)
    return list(found.values())
