"""References: what the candidate's own objects hold.

In the objects that only the candidate owns, dropped twins are replaced by the living objects. That happens after the
checks and before the commit, because nobody else can see these objects. `examine` finds out beforehand, when a plan is
made, what can't be rewritten; it writes nothing but what is there already.
"""

from __future__ import annotations

import _thread
import builtins
import gc
import importlib
import operator
import sys
import weakref
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import starmap
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import ModuleView, OldSys, SysView, gate
from hotswap.swap.audit import PARTS_OF_CLASSES, described
from hotswap.swap.copies import rebuilt
from hotswap.swap.holders import IN_PLACE, HashError, hashes_quietly, is_quiet, refilled, rewriting
from hotswap.swap.keys import is_rebuilt
from hotswap.swap.plan import Change
from hotswap.swap.rebuilding import Rebuilding
from hotswap.swap.writes import Op

__all__ = ["Redirection"]

_SET_CLASS = object.__dict__["__class__"].__set__
_SET_BASES = type.__dict__["__bases__"].__set__
_CONTAINERS = (*IN_PLACE, frozenset, MethodType, MappingProxyType, weakref.ref, weakref.KeyedRef)
_VIEWS = (ModuleView, OldSys, SysView)
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)

_CACHE = 100_000
"""A container of somebody else's with more items is a cache: the candidate's import has not put twins into it."""

_NESTED = 3
"""How deep containers of somebody else's are followed: a registry, its tables, their rows."""


class Redirection:
    """Replaces twins by the living objects in everything that the candidate owns.

    Arguments:
        owned: the objects that the candidate created; nothing else is rewritten before the commit, and nothing else is
            entered but plain containers, cells and instances of the candidate's classes.
        modules: the candidate's modules.
        twins: id of a dropped object -> (it, the object that lives). Those that live are not entered.
        successors: id of an old object -> (it, its successor), for old objects that the candidate got hold of.
        aside: further containers that belong to the candidate, and that its modules need not lead to.

    `leftovers` names the holders that can't be rewritten, `refused` those without which the swap makes no sense.
    """

    def __init__(
        self,
        owned: Iterable[object],
        modules: Mapping[str, ModuleType],
        twins: Mapping[int, tuple[Any, Any]],
        successors: Mapping[int, tuple[Any, Any]],
        aside: Iterable[object] = (),
    ) -> None:
        self.modules, self.twins = modules, {**twins, **successors}
        self.leftovers, self.refused, self._live = list[str](), list[Change](), list[object]()
        self._successors = set(successors)
        self._owned = {id(o): o for o in owned}
        # What a migration made stands for something too, but it is the candidate's own.
        self._living = {id(living) for _, living in twins.values()} - self._owned.keys()
        self._aside = list(aside)
        self._made_again, self._rebuilding = Rebuilding({}, {}), set[int]()
        self._globals = {id(module.__dict__) for module in modules.values()}
        self._wrappers = {id(wrapper): original for wrapper, original in gate.originals()}  # they live as long as all
        # Where the wrappers have their place, which is none of ours; and the namespaces of old modules.
        self._living |= {id(builtins.__dict__), id(importlib.__dict__)}
        self._living |= {key for key, (old, _) in successors.items() if type(old) is dict}

    def forget(self) -> None:
        """Let go of what the candidate created: who keeps this one may ask for what stands for what, and no more."""
        self._owned.clear()

    def add(self, twin: Any, living: Any) -> None:
        """Lead references to one more dropped object to the living one."""
        self.twins[id(twin)] = (twin, living)
        self._living.add(id(living))

    def make_again(self, shadows: Mapping[int, Mapping[str, Any]]) -> None:
        """Note what instances are to be made again of a living class whose slots differ.

        Arguments:
            shadows: id of a living class -> the descriptors that it is to get for slots.
        """
        rebuilding = self._made_again = Rebuilding(dict(self.twins), shadows)
        for holder, _ in self._reach() if rebuilding.needed else ():
            if id(holder) not in self.twins and rebuilding.wants(type(holder)):
                self.twins[id(holder)] = (holder, rebuilding.make(holder))

    def dropped(self) -> list[Any]:
        """What was dropped: the twins, and what was rebuilt without them."""
        pairs = (pair for key, pair in self.twins.items() if key not in self._successors)
        return [value for value, living in pairs if value is not living]  # what both share stands for itself

    def translate(self, value: Any) -> Any:
        """Return the living object for a twin, a rebuilt copy of an immutable container of twins, or `value` itself.

        What was there for the time of staging only, a view of a module or a wrapper of the import system, stands for
        what it leads to.
        """
        if type(value) in _VIEWS:
            name = ModuleType.__getattribute__(value, "__dict__")["_hotswap"][0]
            return self.modules.get(name) or sys.modules.get(name, value)
        original = self._wrappers.get(id(value))
        found = self.twins.get(id(value)) if original is None else (value, original)
        if found is not None and found[0] is value:
            return found[1]
        if id(value) in self._rebuilding:
            return value
        self._rebuilding.add(id(value))
        try:
            copy = rebuilt(value, self.translate)
        finally:
            self._rebuilding.discard(id(value))
        if copy is not value:
            self.twins[id(value)] = (value, copy)
        return copy

    # --- looking -------------------------------------------------------------------------------------------------

    def examine(self) -> None:
        """Find out what can't be rewritten: `leftovers` and `refused` tell. Nothing is changed."""
        self._prepare()
        self.leftovers, self.refused = [], []
        found = self._reach()
        self._made_again.fill_slots(self.translate)  # nobody sees them; keys are hashed
        for holder, _ in found:
            if walk.is_class(holder):
                self._bases(holder, try_only=True)
        tried: set[int] = set()
        for holder, place in found:
            try:
                list(self._ops_for(holder, place))
            except HashError as error:
                self.refused.append(Change("reference-left", place, "", f"the hash of a key fails: {error.reason}"))
            kind = type(holder)
            if id(kind) not in tried and self._is_dropped(kind) and id(holder) not in self.twins:
                tried.add(id(kind))
                self._class_of(holder, try_only=True)

    def _prepare(self) -> None:
        """Pair what leads to twins without referring to them: the namespaces of classes, weak proxies."""
        for twin, living in list(self.twins.values()):
            if id(twin) in self._successors:
                continue
            if walk.is_class(twin) and walk.is_class(living):
                (namespace,) = gc.get_referents(walk.class_space(twin))
                self.twins[id(namespace)] = (namespace, walk.class_dict(living))
            for reference in _weak_references(twin):
                if type(reference) in _PROXIES:
                    self.twins[id(reference)] = (reference, weakref.proxy(living))

    def _translate_twin(self, value: Any) -> Any:
        if id(value) in self._successors or (is_rebuilt(type(value)) and rebuilt(value, self._translate_twin) is value):
            return value
        return self.translate(value)

    def _is_dropped(self, value: object) -> bool:
        found = self.twins.get(id(value))
        return found is not None and found[0] is value and id(value) not in self._successors

    def _reach(self) -> list[tuple[object, str]]:
        """Everything to rewrite, found before anything is written, each with its place.

        What only dropped objects hold has no place: it goes with them.
        """
        found: dict[int, tuple[object, str]] = {}
        stack: list[tuple[object, str, int]] = []
        stack += [(container, "an adapter", 0) for container in self._aside]
        for name, module in self.modules.items():
            found[id(module)] = (module, name)
            found[id(module.__dict__)] = (module.__dict__, name)
            stack += [(value, f"{name}:{attribute}", 0) for attribute, value in [*module.__dict__.items()][::-1]]
        later: list[tuple[object, str, int]] = [
            (owned, f"{owned.__module__}:{owned.__qualname__}", 0)
            for owned in self._owned.values()
            if type(owned) is FunctionType and id(owned.__globals__) in self._globals
        ]
        while stack or later:
            if not stack:
                stack, later = later, []
            child, place, depth = stack.pop()
            if id(child) in found or not self._enters(child, depth):
                continue
            found[id(child)] = (child, place)
            if not self._is_owned(child):
                depth += 1
            going = self._is_dropped(child) and not (walk.is_class(child) or type(child) in IN_PLACE)
            parts = self._children(child)
            if going:
                later += [(part, "", depth) for part in parts]
            else:
                stack += [(part, place, depth) for part in parts]
        again = {id(instance) for instance, _ in self._made_again.pairs}
        return [entry for key, entry in found.items() if key not in again]

    def _is_owned(self, value: object) -> bool:
        """Whether nobody but the candidate can see an object, as far as the collector follows it."""
        return id(value) in self._owned or not gc.is_tracked(value) or id(value) in self._globals

    def _enters(self, child: object, depth: int) -> bool:
        kind = type(child)
        if id(child) in self._living:
            return False
        if issubclass(kind, ModuleType):
            return kind not in _VIEWS and (id(child) in self._owned or (depth < _NESTED and _is_made(child)))
        if walk.is_class(child):
            cls: Any = child
            # A library makes classes for the candidate that say to be of the library, as Celery does for each app.
            return id(child) in self._owned or str(walk.class_dict(cls).get("__module__")) in self.modules
        if kind is FunctionType:
            return id(child.__globals__) in self._globals or id(child) in self._owned  # type: ignore[attr-defined]
        if self._is_owned(child) and (id(child) in self._owned or kind in _CONTAINERS):
            return True
        if kind in (dict, list, set, deque, frozenset) or issubclass(kind, tuple):
            return depth < _NESTED and len(child) <= _CACHE  # type: ignore[arg-type]
        return kind in _CONTAINERS or self._is_dropped(kind)

    def _children(self, holder: object) -> list[Any]:
        if walk.is_class(holder):
            cls: Any = holder
            return [value for _, value in walk.class_items(cls)] + list(walk.fact(cls, "__bases__"))
        if type(holder) is _thread._local:
            return [*gc.get_referents(holder), _thread._local.__getattribute__(holder, "__dict__")]
        return gc.get_referents(holder)

    # --- rewriting -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Rewrite everything that only the candidate sees. `live_ops` has the rest, which belongs to the commit."""
        self._prepare()
        self.leftovers, self.refused = [], []
        self._made_again.fill(self.translate)
        found = self._reach()
        classes: list[Any] = [holder for holder, _ in found if walk.is_class(holder)]
        for cls in sorted(classes, key=_depth):
            # CPython lets an instance change its class only if both classes have the same base.
            self._bases(cls)
        self._write(found)
        if self._rehash(found):
            self._write(found)

    def _write(self, found: list[tuple[object, str]]) -> None:
        for holder, place in found:
            if not self._is_owned(holder) and type(holder) in IN_PLACE:
                self._live.append(holder)
            else:
                deque(starmap(operator.call, list(self._ops_for(holder, place))), maxlen=0)
                self._class_of(holder)

    def live_ops(self, led: Container[int]) -> Iterator[Op]:
        """The writes in containers that others see, in which the candidate's import has left twins.

        Once a twin is dropped nobody wants it back, so these have no counterpart in the other direction.

        Arguments:
            led: the ids of the containers in which old objects are led to their successors by somebody else.
        """
        for holder in self._live:
            known = self._translate_twin if id(holder) in led else self.translate
            for op in rewriting(holder, known, shared=True)[0]:
                if is_quiet(op):
                    yield op
                else:
                    # Its hash would run Python code in the commit. Who looks there before that gets the old class.
                    op[0](*op[1:])

    def _ops_for(self, holder: Any, place: str) -> Iterator[Op]:
        """The writes for one holder; what they can't reach is named."""
        if id(holder) in self.twins and walk.is_class(holder):
            return  # its attributes are translated when they are transplanted
        kind = type(holder)
        hot = [value for value in gc.get_referents(holder) if self.translate(value) is not value]
        is_open = hot or walk.is_class(holder) or not walk.is_written_in_c(kind)
        ops, covered = rewriting(holder, self.translate) if is_open else ([], set())
        yield from ops
        if (
            kind in PARTS_OF_CLASSES
            or not place
            or id(holder) in self.twins
            or walk.is_class(holder)
            or rebuilt(holder, self.translate) is not holder
        ):
            return
        for value in hot:
            if id(value) not in covered and value is not kind:
                told = f"{place}: a {walk.class_name(kind)} can't be rewritten, and keeps {described(value)}"
                self.leftovers.append(told)

    def _bases(self, cls: Any, *, try_only: bool = False) -> None:
        ops = self._bases_ops(cls)
        if not ops or (try_only and id(cls) in self.twins):
            return
        try:
            # Tried, and taken back in the same call, so that nobody sees it.
            deque(starmap(operator.call, ops if try_only else ops[:1]), maxlen=0)
        except TypeError as error:
            if id(cls) not in self.twins:  # else it is dropped itself
                self._refuse(cls, f"this new class keeps a dropped base: {error}")

    def _bases_ops(self, cls: Any) -> tuple[Op, Op] | None:
        """The write that leads the bases of a class to living ones, and the one back; None if they are living."""
        before = walk.fact(cls, "__bases__")
        bases = tuple(self.translate(base) for base in before)
        if walk.same_items(bases, before):
            return None
        return (_SET_BASES, cls, bases), (_SET_BASES, cls, before)

    def _class_of(self, holder: Any, *, try_only: bool = False) -> None:
        kind = type(holder)
        if not self._is_dropped(kind):
            return
        if issubclass(kind, ModuleType) and any(holder is module for module in self.modules.values()):
            return  # it is put in place by writes of its own
        undo: list[Op] = []
        try:
            if try_only:
                # CPython lets an instance change its class only if both classes have the same bases: `run` leads those
                # of the twins to the living ones before, as far as it can. Nobody but the candidate sees them.
                undo += self._lead_bases([cls for cls in walk.mro(kind) if self._is_dropped(cls)])
            _SET_CLASS(holder, self.twins[id(kind)][1])
            undo.append((_SET_CLASS, holder, kind))
        except TypeError as error:
            if id(holder) not in self.twins:  # else it is dropped itself
                self._refuse(kind, f"an instance of it keeps its dropped class: {error}")
        finally:
            if try_only:
                deque(starmap(operator.call, reversed(undo)), maxlen=0)

    def _lead_bases(self, twins: list[type]) -> Iterator[Op]:
        """Lead the bases of some twins to living ones, where that can be; yield the writes that lead back."""
        for twin in sorted(twins, key=_depth):
            pair = self._bases_ops(twin)
            if pair is not None:
                try:
                    operator.call(*pair[0])
                except TypeError:
                    continue  # then nothing that depends on it will work either, and that is told
                yield pair[1]

    def _refuse(self, cls: type, sentence: str) -> None:
        home, name = str(walk.class_dict(cls).get("__module__")), walk.class_name(cls)
        self.refused.append(Change("reference-left", home, name, sentence))

    def _rehash(self, found: list[tuple[object, str]]) -> bool:
        """Sort sets and dicts anew where the hash of an element follows what was rewritten.

        Returns whether a frozenset had to be rebuilt for it, so that who holds it has to be rewritten once more.
        """
        again = False
        for holder, _ in found:
            kind: type = type(holder)
            if not (issubclass(kind, (dict, set)) or kind is frozenset) or not self._is_owned(holder):
                continue
            container: Any = holder
            if kind is frozenset:
                keys = list(container)
                # A set compares the hash first, a dict would find the very same key under another hash too.
                if not all(hashes_quietly(key) or frozenset.__contains__(container, key) for key in keys):
                    self.twins[id(holder)] = (holder, frozenset(keys))
                    again = True
            elif not all(map(hashes_quietly, _KEYS[issubclass(kind, dict)](container))):
                deque(starmap(operator.call, refilled(container)), maxlen=0)
        return again


_KEYS = (set.__iter__, dict.__iter__)


def _weak_references(value: Any) -> list[Any]:
    try:
        return weakref.getweakrefs(value)
    except TypeError:
        return []


def _is_made(module: Any) -> bool:
    """Whether a statement made a module, ``types.ModuleType("compat")``, and nobody can import it."""
    facts = ModuleType.__getattribute__(module, "__dict__")
    loaded = facts.get("__spec__") is not None or facts.get("__file__") is not None
    return not loaded and sys.modules.get(str(facts.get("__name__"))) is not module


def _depth(cls: type) -> int:
    """Bases have to be led before what stands below them."""
    return len(walk.mro(cls))
