"""Tables: where functions of the old version stand as keys, elements and values, and are to be found under their names.

| table | looked for |
|---|---|
| containers, instances and class data that a changed module keeps | as deep as registries are merged |
| containers and instances that an unchanged managed module holds | a few levels deep |
| containers that any other module holds by name | by name alone |
| tuples, frozensets and the like under a name, in a class body, in an attribute | rebuilt, and the name rebound |

Anything else would need a walk over the heap for each function. Nothing of what is looked at is asked for anything.
"""

from __future__ import annotations

import gc
import weakref
from collections import ChainMap, OrderedDict, defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.namespaces import Seen, Survey, held_by, of_kinds, parted
from hotswap.swap.calling import followed
from hotswap.swap.contents import LARGE, Kept
from hotswap.swap.enums import Members, is_enum
from hotswap.swap.forwarding import target_of
from hotswap.swap.guarded import is_closed, is_guarded
from hotswap.swap.keys import Leads, Table, entries, is_rebuilt, size
from hotswap.swap.lineage import Lineage
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.plan import NameChange
from hotswap.swap.references import Redirection
from hotswap.swap.state import UNIQUE_NEVER
from hotswap.swap.writes import Op

__all__ = ["Tables", "earlier", "leads_of"]

_WEAK = (weakref.WeakKeyDictionary, weakref.WeakSet, weakref.WeakValueDictionary)
_PLAIN = frozenset((dict, list, set, deque, OrderedDict, defaultdict))
_NAMED = _PLAIN | {*_WEAK, MappingProxyType, ChainMap}

_WALKED = 1_000
"""Of an unchanged module's containers with more items nobody looks into the items."""

_NESTED = 3
"""How deep an unchanged module's objects are followed: an application, its router, its table of routes."""

_ENDS = (*UNIQUE_NEVER, FunctionType)
_OURS = "hotswap"
_SET = type.__setattr__
_NAMES: Any = vars(ModuleType)["__dict__"]


def leads_of(
    pairing: Pairing,
    translate: Callable[[Any], Any],
    is_made: Callable[[Any], bool],
    also: Mapping[int, tuple[Any, Any]],
) -> Leads:
    """Return where functions lead, and what a decorator made of some.

    Arguments:
        pairing: what takes the place of what.
        translate: gives the living object for a dropped twin.
        is_made: whether an object was made by the candidate: only those lead back.
        also: what leads elsewhere by another swap in the same commit.
    """
    forward: dict[int, tuple[Any, Any]] = dict(also)
    backward: dict[int, tuple[Any, Any]] = {}
    for key, (old, new) in pairing.places.items():
        defined = type(old) in (FunctionType, LRU_CACHE) or (key in pairing.successors and callable(old))
        living = translate(new)
        if defined and not walk.is_class(old) and living is not old:
            forward[key] = (old, living)
            if is_made(living):
                backward.setdefault(id(living), (living, old))
    enums = [pair for pair in pairing.classes if is_enum(pair.old) and is_enum(pair.new)]
    rehashed = {pair.old for pair in enums if Members(pair).renamed}
    leads, back = Leads(forward, rehashed), Leads(backward, rehashed)
    leads.back, back.back = back, leads
    return leads


def earlier(lineage: Lineage, pairing: Pairing) -> Iterator[tuple[Any, Any]]:
    """Yield the functions of earlier generations that are still held, each with what is about to take its place."""
    for _, function in lineage.functions:
        target = target_of(function.__code__)
        then = followed(target, pairing.places)
        if target is not None and then is not target:
            yield function, then


class Tables:
    """Leads what stands in tables. Lives as long as the swap can be taken back.

    Arguments:
        leads: where functions lead forward.
        old, new: the changed modules of both generations.
        keeps: whether a name of a changed module keeps its object.
        is_managed: whether a module is of a managed package.
    """

    def __init__(
        self,
        leads: Leads,
        old: Mapping[str, ModuleType],
        new: Mapping[str, ModuleType],
        keeps: Callable[[str, str], bool],
        is_managed: Callable[[str], bool],
    ) -> None:
        self._leads, self._keeps, self._is_managed = leads, keeps, is_managed
        self._old, self._new = old, new
        self._kept: list[Any] = []
        self._attributes: list[tuple[type, str]] = []
        self._aside: set[int] = set()
        self._written: set[tuple[int, Any]] = set()
        self._tables: dict[int, Table] = {}
        self._bindings: dict[tuple[int, str], _Binding] = {}
        self._spaces: set[int] = set()
        self._looks = 0
        self.survey: Survey | None = None
        """What names stand for, if somebody has just looked; it is let go of by who asks for the writes."""

    def add(self, kept: Iterable[Kept], attributes: Iterable[tuple[type, str]], aside: Iterable[int]) -> None:
        """Note what changed modules keep.

        Arguments:
            kept: the objects, and what is inside of them.
            attributes: the attributes of living classes that are kept: (class, name).
            aside: ids of the containers that somebody else brings up to date.
        """
        self._kept += [pair.living for pair in kept if not _is_own(type(pair.living))]
        self._attributes += attributes
        self._aside |= {*aside}

    def leave_out(self, ops: Iterable[Op]) -> None:
        """Note what the swap writes into namespaces otherwise: a name that gets another object is not rebuilt."""
        self._written |= {(id(op[1]), op[2]) for op in ops if op[0] is dict.__setitem__}

    def told(self, changes: Iterable[NameChange]) -> Iterator[NameChange]:
        """Say of the kept names whose object is rebuilt that functions in it are led."""
        rebuilt = {(module, name) for module, name, value in self._named() if self._is_led(value, self._leads)}
        for change in changes:
            led = (change.module, change.name) in rebuilt
            yield replace(change, why=f"{change.why}; the functions in it are the new ones") if led else change

    def lead_twins(self, redirection: Redirection) -> None:
        """Have the candidate's references to what is kept, but rebuilt, lead to what is rebuilt."""
        for twin, living in list(redirection.twins.values()):
            if twin is not living and self._is_led(living, self._leads):
                redirection.add(twin, self._leads.of(living))

    @property
    def led(self) -> set[int]:
        """The ids of the containers in which what is old is led to its successor, here or by somebody else."""
        return self._aside | self._tables.keys()

    def ops(self, forward: bool) -> list[Op]:
        """Return the writes, from what is there now.

        They are asked for in pairs, first for the way to go and then for the way back in case that a write raises; so
        nothing new is looked for the second time.
        """
        self._looks += 1
        if self._looks % 2:
            leads = self._leads if forward else self._leads.back
            swapped = self.swapped
            survey, self.survey = self.survey or self.look(), None
            self._spaces = {id(facts) for _, _, facts in survey.modules} | swapped
            managed = [
                _Other(name, facts)
                for name, _, facts in survey.modules
                if id(facts) not in swapped and self._is_managed(name) and name.partition(".")[0] != _OURS
            ]
            seen = [part for part in survey.parts if not part.ours]
            for holder in self._holders(leads, seen, managed):
                self._tables.setdefault(id(holder), Table(holder, self._leads))
            for there, origin, destination, name in self._bound(leads, seen, managed):
                self._bindings.setdefault((id(there), name), _Binding(origin, destination, name))
        ops = [op for table in list(self._tables.values()) for op in table.ops(forward)]
        return ops + [op for binding in self._bindings.values() for op in binding.ops(forward, self._leads)]

    def look(self, kinds: Container[type] = ()) -> Survey:
        """Look at what names stand for that may be led, or looked into, and at objects of some more classes."""
        return Survey(self.swapped, lambda kind: kind in _NAMED or kind in kinds or is_rebuilt(kind))

    @property
    def swapped(self) -> set[int]:
        """The ids of the namespaces of the changed modules."""
        return {id(_NAMES.__get__(module)) for module in (*self._old.values(), *self._new.values())}

    def clear(self) -> None:
        """Forget everything: what is led is code whose death somebody waits for."""
        self._leads, self._old, self._new = Leads({}), {}, {}
        self._tables.clear()
        self._bindings.clear()
        self._kept.clear()
        self._attributes.clear()

    # --- looking ---------------------------------------------------------------------------------------------------

    def _named(self) -> Iterator[tuple[str, str, Any]]:
        """The names of changed modules that are kept: module, name, object."""
        for module in self._old.keys() & self._new.keys():
            for name, value in list(_NAMES.__get__(self._old[module]).items()):
                if self._keeps(module, name):
                    yield module, name, value

    def _holders(self, leads: Leads, seen: Sequence[Seen], managed: Sequence[_Other]) -> Iterator[Any]:
        """The containers in which something is to be led."""
        for holder in self._kept:
            yield from self._inside(holder, leads)
        yield from self._concerned(of_kinds(_NAMED, [value for part in seen for value in part.held]), leads)
        # Deeper inside of what unchanged managed modules hold.
        level = held_by(other.facts for other in managed)
        level += [value for other in managed for cls in _classes(*other) for value in _values(cls)]
        known: set[int] = set()
        for _ in range(_NESTED):
            level = [value for value in _entered(level) if id(value) not in known]
            known.update(map(id, level))
            yield from self._concerned(level, leads)
            level = [part for value in level for part in _parts(value)]

    def _concerned(self, values: list[Any], leads: Leads) -> Iterator[Any]:
        """The containers of some objects in which something is to be led. Of most that is ruled out many at once."""
        # A dict of plain values is not tracked, and has nothing to lead.
        unique = {id(value): value for value in filter(gc.is_tracked, values)}.values()
        for part in parted(value for value in unique if type(value) in _PLAIN and len(value) <= LARGE):
            for value in part if leads.concern(held_by(part)) else ():
                yield from self._inside(value, leads)
        for value in unique:
            if type(value) not in _PLAIN:
                yield from self._inside(value, leads)

    def _inside(self, value: Any, leads: Leads) -> Iterator[Any]:
        """An object's own containers in which something is to be led."""
        for holder in (value, *_own_containers(value)):
            if id(holder) in self._aside or id(holder) in self._spaces or not walk.is_container(type(holder)):
                continue
            if size(holder) <= LARGE and leads.concern(entries(holder)):
                yield holder

    def _bound(
        self, leads: Leads, seen: Sequence[Seen], managed: Sequence[_Other]
    ) -> Iterator[tuple[Any, Any, Any, str]]:
        """The names and attributes whose object is rebuilt: where it is, and where it is written, back and forth."""
        for module, name, _ in self._named():
            old, new = (_NAMES.__get__(modules[module]) for modules in (self._old, self._new))
            there = old if leads is self._leads else new
            if self._is_led(there.get(name), leads):
                yield new, old, new, name
        for cls, name in self._attributes:
            if self._is_led(walk.class_dict(cls).get(name), leads) and _is_writable(cls, name):
                yield cls, cls, cls, name
        for cls in (cls for other in managed for cls in _classes(*other)):
            for name, value in walk.class_items(cls) if self._hold_rebuilt(_values(cls), leads) else ():
                if self._is_led(value, leads) and _is_writable(cls, name):
                    yield cls, cls, cls, name
        for part in seen:
            for facts in part.spaces if self._hold_rebuilt(part.held, leads) else ():
                for name, value in list(facts.items()):
                    if self._is_led(value, leads) and (id(facts), name) not in self._written:
                        yield facts, facts, facts, name

    def _hold_rebuilt(self, values: list[Any], leads: Leads) -> bool:
        """Whether among some values may be one that is rebuilt."""
        kinds = frozenset(filter(is_rebuilt, set(map(type, values))))
        return bool(kinds) and leads.concern(of_kinds(kinds, values))

    def _is_led(self, value: Any, leads: Leads) -> bool:
        return is_rebuilt(type(value)) and leads.of(value) is not value


class _Other(NamedTuple):
    """A module that is not swapped: its name, and its namespace."""

    name: str
    facts: dict[str, Any]


class _Binding:
    """A name whose object is rebuilt. Lives as long as the swap can be taken back.

    Arguments:
        origin, destination: where it is written back, and forth: a namespace or a class.
        name: the name.
    """

    def __init__(self, origin: Any, destination: Any, name: str) -> None:
        self._places, self._name = (origin, destination), name
        self._known: tuple[Any, Any] | None = None

    def ops(self, forward: bool, leads: Leads) -> list[Op]:
        """Return the write, from what is there now."""
        where = self._places[forward]
        source = self._places[not forward]
        now = (walk.class_dict(source) if walk.is_class(source) else source).get(self._name)
        if self._known is None or not any(now is known for known in self._known):
            if not is_rebuilt(type(now)):
                return []
            led = (leads if forward else leads.back).of(now)
            self._known = (now, led) if forward else (led, now)
        write = _SET if walk.is_class(where) else dict.__setitem__
        return [(write, where, self._name, self._known[forward])]


def _classes(module: str, facts: Mapping[str, Any]) -> list[Any]:
    return [value for value in list(facts.values()) if walk.is_class_of(value, module)]


def _is_writable(cls: type, name: str) -> bool:
    return not is_closed(type(cls)) and not is_guarded(cls, name)


def _is_own(kind: type) -> bool:
    """Whether a class is one of this library: what a patcher notes of functions is no table of the program's."""
    return walk.class_home(kind).partition(".")[0] == _OURS


def _values(cls: type) -> list[Any]:
    return list(walk.class_dict(cls).values())


def _entered(values: list[Any]) -> list[Any]:
    """What somebody looks into of some objects, each once: the others are plain, or lead everywhere."""
    kinds = frozenset(kind for kind in set(map(type, values)) if not _ends(kind) and not _is_own(kind))
    return list({id(value): value for value in of_kinds(kinds, values)}.values())


def _ends(kind: type) -> bool:
    return kind in _ENDS or issubclass(kind, (ModuleType, type)) or is_rebuilt(kind)


def _own_containers(value: Any) -> Iterator[Any]:
    """The containers that an object consists of: its attributes, what a proxy or a weak dict keeps, a chain's maps."""
    if type(value) is MappingProxyType:
        # The namespace of a class is not written past the class.
        yield from (part for part in gc.get_referents(value) if type(part) is dict and "__module__" not in part)
        return
    attributes = walk.instance_dict(value) if not walk.is_written_in_c(type(value)) else None
    if attributes is not None:
        yield attributes
        if type(value) in _WEAK:
            yield attributes.get("data")
        if issubclass(type(value), ChainMap):
            maps = attributes.get("maps")
            yield from (held for held in list(maps if type(maps) is list else ()) if walk.is_container(type(held)))


def _parts(value: Any) -> Iterator[Any]:
    for holder in (value, *_own_containers(value)):
        if walk.is_container(type(holder)) and size(holder) <= _WALKED:
            yield from entries(holder)
