"""Keys: functions that tables are keyed by, or that stand in them, are led to their successors.

After a swap a name stands for the new function, which is another object than the old one. A call through the old
object reaches the new code, but a look-up by the new one does not find it: ``COST[quote]``, ``quote in SAFE``. So where
such tables are known, their entries are led to the successors in the same commit, and back by a rollback.

Functions are hashed by identity. So are bound methods, weak references to functions, and tuples and frozensets of them
and of plain values. Members of enumerations are hashed in C for the length of the commit (see `hashing`). A key whose
hash would run other Python code is left alone.
"""

from __future__ import annotations

import functools
import gc
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import chain, compress, count, repeat
from types import FunctionType, MethodType
from typing import Any

from hotswap import walk
from hotswap.namespaces import of_kinds
from hotswap.swap.copies import rebuilt
from hotswap.swap.hashing import hashing
from hotswap.swap.holders import hash_is_in_c, hashes_quietly
from hotswap.swap.writes import Op

__all__ = [
    "REBUILT",
    "Leads",
    "Table",
    "elements",
    "entries",
    "is_quiet",
    "is_rebuilt",
    "namesake",
    "size",
    "values",
]

REBUILT = (tuple, frozenset, MethodType, weakref.ref, weakref.KeyedRef)
"""What can't be changed in place, and so is rebuilt where it holds a function that is led elsewhere."""


def is_rebuilt(kind: type) -> bool:
    """Whether objects of a class are rebuilt: those of classes made of a tuple, as named tuples are, are too."""
    return kind in REBUILT or issubclass(kind, tuple)


_REFERENCES = (weakref.ref, weakref.KeyedRef)

_DEEP = 4
"""How deep tuples and frozensets are looked into."""

_ORDERED = 1024
"""Dicts with more entries are not written anew for the sake of their order: that would take part of the pause."""


class Leads:
    """Where functions lead in one direction. Lives as long as the swap can be taken back.

    Arguments:
        pairs: id of an object -> (it, what takes its place).
        rehashed: enumerations that get another hash, since members of them get another name.

    `back` is set to the leads of the other direction: what is rebuilt here is led back there to the very same object.
    """

    def __init__(self, pairs: Mapping[int, tuple[Any, Any]], rehashed: Container[type] = ()) -> None:
        self._pairs, self._rehashed = dict(pairs), rehashed
        self._passing: list[int] = []
        self._kinds: frozenset[type] | None = None
        self._rebuilt: dict[int, tuple[Any, Any]] = {}
        self.back: Leads = self

    def passing(self, pairs: Iterable[tuple[Any, Any]]) -> list[Op]:
        """Lead some more objects until the next call: nobody is to keep them for longer.

        Arguments:
            pairs: functions of earlier generations, each with what takes its place.

        Returns no writes; it is called where those are made out.
        """
        for key in self._passing:
            del self._pairs[key]
        self._kinds = self.back._kinds = None
        more = {id(old): (old, new) for old, new in pairs if id(old) not in self._pairs}
        self._passing = list(more)
        self._pairs.update(more)
        return []

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return what takes the place of a value: its successor, or a copy that has successors in it, or itself."""
        kind = type(value)
        known = self._pairs.get(id(value)) or self._rebuilt.get(id(value))
        if known is not None and known[0] is value:
            return known[1]
        if kind in _REFERENCES:
            held = self._pairs.get(id(weakref.ref.__call__(value)))
            if held is None:
                return value
        elif not is_rebuilt(kind) or depth > _DEEP or not gc.is_tracked(value):
            return value
        if kind is frozenset and not all(map(hashes_quietly, value)):
            return value
        copy = rebuilt(value, lambda part: self.of(part, depth + 1))
        if copy is not value:
            self._rebuilt[id(value)] = (value, copy)
            self.back._rebuilt[id(copy)] = (copy, value)
        return copy

    def is_quiet(self, key: Any) -> bool:
        """Whether the commit can look a key up without running Python code."""
        return is_quiet(key, self._rehashed)

    def concern(self, values: Iterable[Any]) -> bool:
        """Whether any of some values may have to be led, found out without a loop in Python: most have none."""
        if self._kinds is None:
            self._kinds = frozenset(type(one) for one, _ in self._pairs.values())
        held = list(values)
        for _ in range(_DEEP if held else 0):
            found = set(map(type, held))
            led = self._kinds & found
            if led and not self._pairs.keys().isdisjoint(map(id, of_kinds(led, held))):
                return True
            kinds = frozenset(filter(is_rebuilt, found))
            if not kinds:
                return False
            parts = list(filter(gc.is_tracked, of_kinds(kinds, held)))
            held = gc.get_referents(*parts)
            held += [weakref.ref.__call__(part) for part in parts if type(part) in _REFERENCES]
        return bool(held)


class Table:
    """A container of which keys, elements and values are led. Lives as long as the swap can be taken back.

    Arguments:
        holder: a dict, set, list or deque, or an object of a class made of one.
        leads: where functions lead forward.
    """

    def __init__(self, holder: Any, leads: Leads) -> None:
        self.holder, self._leads = holder, leads
        self._keys: dict[int, tuple[Any, Any]] = {}
        self._values: dict[int, tuple[Any, Any]] = {}

    def look(self, forward: bool) -> None:
        """Note which entries are led, from what is there now."""
        leads, kind = self._leads if forward else self._leads.back, type(self.holder)
        if issubclass(kind, (dict, set)):
            keys = elements(self.holder)
            _note(self._keys, _moves(keys, leads) if leads.concern(keys) else {}, forward)
        if not issubclass(kind, set):
            held = values(self.holder)
            concerned = held if leads.concern(held) else ()
            _note(self._values, {id(v): (v, after) for v in concerned if (after := leads.of(v)) is not v}, forward)

    def ops(self, forward: bool) -> list[Op]:
        """Return the writes, from what is there now, or what the last writes have put there."""
        self.look(forward)
        keys, values = self._keys, self._values
        if not forward:
            keys, values = ({id(new): (new, old) for old, new in led.values()} for led in (keys, values))
        kind, quiet = type(self.holder), self._leads.is_quiet
        if issubclass(kind, set):
            ops = _set_anew(self.holder, keys)
        elif issubclass(kind, dict):
            ops = [*_keyed_anew(self.holder, keys, quiet), *_valued_anew(self.holder, values, keys, quiet)]
        else:
            return _items_anew(self.holder, values)
        return [*hashing(elements(self.holder)), *ops] if ops else []

    def view(self) -> dict[Any, Any]:
        """The entries of a dict whose keys run no Python code, as they will be forward."""
        return {self.after(key): value for key, value in list(dict.items(self.holder)) if self._leads.is_quiet(key)}

    def after(self, key: Any) -> Any:
        """What a key will be forward."""
        known = self._keys.get(id(key))
        return known[1] if known is not None and known[0] is key else key


def _note(known: dict[int, tuple[Any, Any]], found: Mapping[int, tuple[Any, Any]], forward: bool) -> None:
    if forward:
        known.update(found)
    else:
        known.update({id(after): (after, item) for item, after in found.values()})


def size(holder: Any) -> int:
    """How many entries a container has."""
    return int(walk.kind_of(holder).__len__(holder))


def elements(holder: Any) -> list[Any]:
    """The keys, elements or items of a container."""
    return list(walk.kind_of(holder).__iter__(holder))


def values(holder: Any) -> list[Any]:
    """The values of a dict; the elements or items of another container."""
    return list(dict.values(holder)) if issubclass(type(holder), dict) else elements(holder)


def entries(holder: Any) -> list[Any]:
    """All that stands in a container: of a dict the values too."""
    return elements(holder) + (list(dict.values(holder)) if issubclass(type(holder), dict) else [])


def _moves(items: list[Any], leads: Leads) -> dict[int, tuple[Any, Any]]:
    """Which keys or elements are to be replaced: id -> (it, what takes its place).

    Where the successor is there already, the entry stays as it is. So does one whose hash would run Python code.
    """
    pairs = [(item, after) for item in items if (after := leads.of(item)) is not item]
    pairs = [(item, after) for item, after in pairs if leads.is_quiet(item) and leads.is_quiet(after)]
    there: set[Any] = set(filter(leads.is_quiet, items)) if pairs else set()
    found: dict[int, tuple[Any, Any]] = {}
    for item, after in pairs:
        if after not in there:
            found[id(item)] = (item, after)
            there.add(after)
    return found


def is_quiet(key: Any, rehashed: Container[type] = ()) -> bool:
    """Whether a commit can look a key up without running Python code; that of a weak reference is what it refers to.

    Arguments:
        key: the key.
        rehashed: enumerations that are about to get another hash.
    """
    held: Any = weakref.ref.__call__(key) if type(key) in _REFERENCES else key
    if issubclass(type(held), tuple):
        return hash_is_in_c(type(held)) and all(is_quiet(part, rehashed) for part in tuple.__iter__(held))
    return hashes_quietly(held) or (type(held) not in rehashed and walk.is_hashed_by_name(held))


# --- writes ----------------------------------------------------------------------------------------------------------
#
# Each is a list of calls of C functions that draw what is there at the instant of the commit, so that nothing is lost
# that another thread puts in until then. Iterators over lists begin to read when they are asked: the lists are filled
# by the call before.


def _keyed_anew(holder: dict[Any, Any], led: Mapping[int, tuple[Any, Any]], quiet: Callable[[Any], bool]) -> list[Op]:
    """Put entries of a dict under other keys; their order stays, unless the dict is large."""
    if not led:
        return []
    kind: Any = OrderedDict if issubclass(type(holder), OrderedDict) else dict
    after = {key: new for key, (_, new) in led.items()}
    keys: list[Any] = []
    values: list[Any] = []
    if kind.__len__(holder) <= _ORDERED and all(map(quiet, elements(holder))):
        # The order of the entries in memory stays too, so that a loop over the dict that is under way goes on.
        return [
            (list.extend, keys, kind.keys(holder)),
            (list.extend, values, map(functools.partial(dict.__getitem__, holder), keys)),
            (kind.clear, holder),
            (deque, map(kind.__setitem__, repeat(holder), map(after.get, map(id, keys), keys), values), 0),
        ]
    there = filter(functools.partial(dict.__contains__, holder), [old for old, _ in led.values()])
    taken = map(functools.partial(kind.pop, holder), keys)
    return [
        (list.extend, keys, there),
        (deque, map(kind.__setitem__, repeat(holder), map(after.get, map(id, keys)), taken), 0),
    ]


def _valued_anew(
    holder: dict[Any, Any],
    led: Mapping[int, tuple[Any, Any]],
    moved: Mapping[int, tuple[Any, Any]],
    quiet: Callable[[Any], bool],
) -> list[Op]:
    """Replace values of a dict; its keys have been led already. What stands under a key that is not quiet is left."""
    if not led:
        return []
    kind: Any = OrderedDict if issubclass(type(holder), OrderedDict) else dict
    after = {key: new for key, (_, new) in led.items()}
    concerned = {*led, *map(id, after.values())}
    items = [(key, value) for key, value in list(dict.items(holder)) if id(value) in concerned and quiet(key)]
    keys = [moved.get(id(key), (key, key))[1] for key, _ in items]
    there: list[Any] = []
    values: list[Any] = []
    return [
        (list.extend, there, filter(functools.partial(dict.__contains__, holder), keys)),
        (list.extend, values, map(functools.partial(dict.__getitem__, holder), there)),
        (deque, map(kind.__setitem__, repeat(holder), there, map(after.get, map(id, values), values)), 0),
    ]


def _set_anew(holder: set[Any], led: Mapping[int, tuple[Any, Any]]) -> list[Op]:
    """Replace elements of a set."""
    if not led:
        return []
    after = {key: new for key, (_, new) in led.items()}
    there: list[Any] = []
    return [
        (list.extend, there, filter(functools.partial(set.__contains__, holder), [old for old, _ in led.values()])),
        (set.difference_update, holder, there),
        (set.update, holder, map(after.get, map(id, there))),
    ]


def _items_anew(holder: Any, led: Mapping[int, tuple[Any, Any]]) -> list[Op]:
    """Replace items of a list or deque, wherever they stand then."""
    if not led:
        return []
    kind: Any = deque if issubclass(type(holder), deque) else list
    after = {key: new for key, (_, new) in led.items()}
    there: list[Any] = []
    chosen = [map(after.__contains__, map(id, there)) for _ in range(2)]
    places, items = compress(count(), chosen[0]), compress(map(after.get, map(id, there)), chosen[1])
    return [
        (list.extend, there, chain.from_iterable(map(kind.__iter__, (holder,)))),
        (deque, map(kind.__setitem__, repeat(holder), places, items), 0),
    ]


def namesake(successor: Any, twin: Any) -> Any:
    """Of functions that share a name, as those of `singledispatch` do (``def _``), the one that stands under a key.

    Arguments:
        successor: what takes the place of the old function, by its name.
        twin: what the new version has registered under the same key.
    """
    if type(successor) is type(twin) is FunctionType and successor.__globals__ is twin.__globals__:
        return twin if successor.__code__.co_qualname == twin.__code__.co_qualname else successor
    return successor
