"""Holdings: registries of live code that hold something of the candidate after it was loaded.

A decorator in a module that the patch leaves alone, an `__init_subclass__` of a live base, a signal of a library: they
are live objects, and importing the candidate has registered its functions and classes there. They are taken out again
right after loading, and what they took the place of is put back. The swap registers them, in its one call.

| holder | taken out | registered at the commit |
|---|---|---|
| a dict, list, set or deque of a managed module | yes, from a copy | yes |
| a dict, list, set or deque that another module holds by name | yes, from a copy | yes |
| a name of a module, an attribute of a managed class | yes, from a copy | yes |
| a container, an attribute or a closure that is near (see `nearby`) | yes, from a copy | yes |
| a slot, if it is plain data | yes, from a copy | yes |
| a weak set or dict | yes; a weak dict of values from a copy | yes |
| a list or set elsewhere | if it was added at an end, and so took nobody's place | yes |
| anything else (an object in C) | no | - |
"""

from __future__ import annotations

import builtins
import functools
import gc
import sys
import threading
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.effects.authorship import Authorship
from hotswap.effects.facts import Deed, Outcome
from hotswap.effects.holding_deeds import Holding
from hotswap.effects.plain_data import Written, changed_attributes, ownership, written
from hotswap.effects.sequences import apart
from hotswap.effects.slots import slots
from hotswap.effects.snapshot import Snapshot
from hotswap.effects.traces import Traces
from hotswap.effects.weak import WeakValues, referent, registers

__all__ = ["holdings"]

_MISSING: Any = object()
_SET_CLASS = object.__dict__["__class__"].__set__
_NOT_AGAIN = "under a key that a swap can't look up without running its code"
_QUIET = (str, int, float, bytes, bool, type(None), FunctionType)
_CONTENTS = CellType.__dict__["cell_contents"]
_LRU_CACHE = type(functools.lru_cache(lambda: None))


def holdings(
    traces: Traces,
    snapshot: Snapshot,
    deeds: Iterable[Deed],
    authorship: Authorship,
    libraries: frozenset[str] = frozenset(),
) -> Iterator[Holding | WeakValues]:
    """Take the candidate's traces out of live registries, and yield what was found.

    Arguments:
        traces: the candidate's.
        snapshot: what stood where before loading.
        deeds: what is known already; what they hold to make it again is no registration.
        authorship: tells whose plain data is.
        libraries: packages for which somebody else looks after what is registered in them.
    """
    plain = written(snapshot, authorship, traces.leads)
    yield from slots(snapshot, ownership(authorship, traces.leads))
    if not traces.core and not plain:
        return
    ours: set[int] = set()
    _set_aside(deeds, traces, ours)
    for name, module, cls in snapshot.types:
        if type(module) is not cls:
            _SET_CLASS(module, cls)
            what = f"changes the class of the module {name}, which was put back"
            yield Holding("registrations", what, Outcome.LEFT, None, None)
    for key, entry in snapshot.altered.items():
        known = key in snapshot.containers or key in snapshot.modules
        found = _taken_out(*entry, traces, snapshot, plain) if known else None
        if found is not None:
            _set_aside([found], traces, ours)
            yield found
    # Whether anything is; who keeps the list of what is held is a holder, too.
    held = bool(traces.core and traces.held())
    if libraries and (held or plain):
        traces.trust_libraries(libraries)
        held = bool(traces.core and traces.held())
    for key, entry in snapshot.altered.items() if held else ():
        known = key in snapshot.named and key not in snapshot.containers and not traces.is_trusted(entry[0])
        found = _taken_out(*entry, traces, snapshot, plain) if known else None
        if found is not None:
            _set_aside([found], traces, ours)
            yield found
    for container in snapshot.nearby.holding({id(o) for o in traces.held()}) if held else ():
        found = None if traces.is_trusted(container) else _nearby(container, traces, snapshot, plain)
        if found is not None:
            _set_aside([found], traces, ours)
            yield found
    # CPython makes the namespace of an object when it is asked for: here, if nobody had asked before.
    for o, attributes, copy, place in list(changed_attributes(snapshot)) if held else ():
        ways = attributes, copy, traces, snapshot, plain
        found = None if traces.is_trusted(attributes) else _taken_out(*ways, whose=f"of the {_title(o)[2:]} in {place}")
        if found is not None:
            _set_aside([found], traces, ours)
            yield found
    for container, copy, _, _ in list(plain.values()):
        found = None if traces.is_trusted(container) else _taken_out(container, copy, traces, snapshot, plain)
        if found is not None:
            _set_aside([found], traces, ours)
            yield found
    if not held:
        return
    for entered in _weak_ones(traces, snapshot):
        _set_aside([entered], traces, ours)
        yield entered
    # What runs in a thread or a task of the candidate's holds it too; that is told by itself.
    runs = any(deed.kind in ("threads", "tasks") for deed in deeds)
    rest = traces.search()
    hidden = [_Hidden(rest.hidden)] if rest.hidden and not runs else []
    for holder in (*rest.holders, *hidden):
        if id(holder) not in ours:
            found = _elsewhere(holder, rest.held, traces)
            if found is not None:
                _set_aside([found], traces, ours)
                yield found


def _set_aside(deeds: Iterable[Deed], traces: Traces, ours: set[int]) -> None:
    """Note that what deeds keep to make them again is no registration."""
    for deed in deeds:
        parts = {id(part): part for part in deed.parts()}
        ours.update(parts)  # they live as long as the deed
        traces.account(parts.values())


class _Hidden:
    """Stands for a holder that can't be found: it is in C, or the application has frozen it with `gc.freeze`."""

    def __init__(self, held: list[Any]) -> None:
        self.held = held


def _taken_out(
    container: Any, copy: Any, traces: Traces, snapshot: Snapshot, plain: dict[int, Written], whose: str = ""
) -> Holding | None:
    """Put a container back as it was, where it holds traces or plain data of the candidate's now."""
    also = plain.pop(id(container), None)
    twin = _with(_entries(container, traces, copy), also)
    if not twin:
        return None
    what = _what(twin)
    cls = snapshot.classes.get(id(container)) or snapshot.nearby.classes.get(id(container))
    if cls is not None:
        for name in twin:
            before = copy.get(name, _MISSING)
            type.__delattr__(cls, name) if before is _MISSING else type.__setattr__(cls, name, before)
        return Holding(
            "registrations",
            f"sets {', '.join(map(str, twin))} of the class {walk.class_name(cls)}",
            Outcome.UNDONE,
            cls,
            twin,
            names=True,
            replaced=_replaced(copy, twin),
        )
    before, after = ([], []) if isinstance(twin, (dict, set)) else _layout(container, copy, twin)
    _restore(container, copy, twin)
    replaced = _replaced(copy, twin)
    whose = whose or _whose(container, snapshot)
    if whose:
        kind = "builtins" if container is builtins.__dict__ else "registrations"
        named = f"sets {', '.join(map(str, twin))} {whose}"
        return Holding(kind, named, Outcome.UNDONE, container, twin, names=True, replaced=replaced)
    place = also.place.text if also is not None else snapshot.place_of(container)
    if not _can_return(twin):
        return Holding("registrations", f"registers {what} in {place}, {_NOT_AGAIN}", Outcome.LEFT, container, None)
    cache = snapshot.caches.get(id(container))
    if cache is not None:
        cache.clear()
    kind = "import-path" if container in _Named(sys.meta_path, sys.path_hooks) else "registrations"
    what = f"registers {what} in {place}"
    at = None if also is None else also.place
    layout = before, after
    return Holding(kind, what, Outcome.UNDONE, container, twin, cache=cache, replaced=replaced, place=at, layout=layout)


def _layout(container: Any, copy: Any, twin: Any) -> tuple[list[Any], list[Any]]:
    """What a list or deque was, and what it was with the candidate's entries in it."""
    now = list(walk.kind_of(container).__iter__(container))
    return list(copy), apart(now, list(copy), twin)[1]


def _with(entries: Any, also: Written | None) -> Any:
    """Entries that lead to the candidate, and plain ones of its."""
    if also is None:
        return entries
    if isinstance(entries, dict):
        entries.update(also.entries)
        return entries
    return type(entries)([*entries, *also.entries])


def _nearby(holder: Any, traces: Traces, snapshot: Snapshot, plain: dict[int, Written]) -> Holding | None:
    """Put what a class, an object or a closure holds back as it was, where it holds traces now."""
    nearby = snapshot.nearby
    if type(holder) is CellType:
        before = nearby.cells[id(holder)][1]
        value = holder.cell_contents
        if value is before or not traces.leads(value):
            return None
        holder.cell_contents = before
        what = f"sets {_title(value)} in a closure outside of the managed packages"
        return Holding("registrations", what, Outcome.UNDONE, holder, {_CONTENTS: value}, names=True, replaced=[before])
    return _taken_out(*nearby.copies[id(holder)], traces, snapshot, plain)


def _whose(facts: Any, snapshot: Snapshot) -> str:
    """Whose namespace a dict is, in words; nothing if it is a container."""
    key, nearby = id(facts), snapshot.nearby
    if key in snapshot.modules:
        return f"in the module {snapshot.modules[key][2]}"
    if key in nearby.fresh:
        return f"in the module {nearby.fresh[key]} outside of the managed packages"
    if key in nearby.objects:
        return f"of a {walk.class_name(type(nearby.objects[key]))} outside of the managed packages"
    return ""


def _weak_ones(traces: Traces, snapshot: Snapshot) -> list[Holding | WeakValues]:
    """What was taken out of weak sets and dicts. Nothing else holds it when this returns: references are counted."""
    found = [
        _weakly(register, references, snapshot)
        for register, references in registers(traces.held())
        if not traces.is_trusted(register)
    ]
    return [entered for entered in found if entered is not None]


def _weakly(register: Any, references: list[Any], snapshot: Snapshot) -> Holding | WeakValues | None:
    """Take weak references out of a weak set or dict."""
    kind = type(register)
    data: Any = (walk.instance_dict(register) or {}).get("data")
    if type(data) not in (dict, set):
        return None
    what = f"registers {_what([referent(reference) for reference in references])} in a {walk.class_name(kind)}"
    ours = {id(reference) for reference in references}
    if kind is weakref.WeakValueDictionary:
        values = {key: value for key, value in list(data.items()) if id(value) in ours}
        known = snapshot.nearby.copies.get(id(data)) or snapshot.containers.get(id(data))
        if known is None or not values or not _can_return(values):
            return None
        _restore(data, known[1], values)
        return WeakValues(what, data, values)
    items = {key: data[key] for key in list(data) if id(key) in ours} if kind is weakref.WeakKeyDictionary else None
    keys = {key for key in list(data) if id(key) in ours} if items is None else items
    if not keys or not _can_return(keys):
        return None
    for key in keys:
        set.discard(data, key) if items is None else dict.pop(data, key, None)
    twin = kind()
    twin.data = keys
    return Holding("registrations", what, Outcome.UNDONE, register, twin)


def _can_return(twin: Any) -> bool:
    """Whether the swap can register the entries: what it looks up by hash must not run code of anybody's."""
    if isinstance(twin, (dict, set)):
        return all(map(_is_quiet, map(referent, twin)))
    return True


def _is_quiet(key: Any) -> bool:
    if type(key) in (tuple, frozenset):
        return all(map(_is_quiet, key))
    return type(key) in _QUIET or _is_plain_class(key) or walk.is_hashed_by_name(key)


def _is_plain_class(key: Any) -> bool:
    return walk.is_class(key) and walk.class_dict(type(key)).get("__hash__", type.__hash__) is type.__hash__


def _entries(container: Any, traces: Traces, copy: Any) -> Any:
    """The entries that lead to the candidate and were not there, as a container of the same type; maybe empty."""
    kind = type(container)
    leads = traces.leads
    if issubclass(kind, dict):
        items = list(dict.items(container))
        entries = {k: v for k, v in items if (leads(v) or leads(k)) and dict.get(copy, k, _MISSING) is not v}
        if entries and kind is defaultdict:
            return defaultdict(container.default_factory, entries)
        return OrderedDict(entries) if issubclass(kind, OrderedDict) else entries
    before = {id(value) for value in copy}
    kind = walk.kind_of(container)
    return kind(value for value in list(kind.__iter__(container)) if leads(value) and id(value) not in before)


def _restore(container: Any, copy: Any, twin: Any) -> None:
    """Take the entries of `twin` out; what they took the place of is put back, and so is its order."""
    if isinstance(twin, dict):
        kind = walk.kind_of(container)
        for key in twin:
            before = copy.get(key, _MISSING)
            if before is _MISSING:
                kind.pop(container, key, None)
            else:
                kind.__setitem__(container, key, before)
    elif isinstance(twin, set):
        before = {id(value) for value in copy}
        for value in twin:
            if id(value) not in before:
                set.discard(container, value)
    else:
        rest, _ = apart(list(walk.kind_of(container).__iter__(container)), list(copy), twin)
        if issubclass(type(container), deque):
            deque.clear(container)
            deque.extend(container, rest)
        else:
            list.__setitem__(container, slice(None), rest)


def _replaced(copy: Any, twin: Any) -> list[Any]:
    """What entries took the place of."""
    return [copy[key] for key in twin if key in copy] if isinstance(twin, dict) else []


def _what(entries: Any) -> str:
    values = [v for item in entries.items() for v in item] if isinstance(entries, dict) else list(entries)
    names = dict.fromkeys(name for name in map(_title, values) if name)
    names = names or dict.fromkeys(map(repr, (entries if type(next(iter(entries), None)) in _QUIET else ())))
    if isinstance(entries, set):
        names = dict.fromkeys(sorted(names))
    return ", ".join(names) or "an object"


def _title(value: Any) -> str:
    if type(value) is FunctionType:
        return value.__qualname__
    if walk.is_class(value):
        return walk.class_name(value)
    if type(value) in (str, int, bytes, float, bool, type(None)):
        return ""
    return f"a {walk.class_name(type(value))}"


def _elsewhere(holder: Any, held: list[Any], traces: Traces) -> Holding | None:
    """Take traces out of a list or set of which no copy was made, if they took nobody's place."""
    kind = type(holder)
    if kind is dict and (holder in _Named(*_thread_tables()) or _is_cache(holder)):
        return None
    where = f"a {walk.class_name(kind)} outside of the managed packages"
    if kind in (list, set):
        entries = _entries(holder, traces, ())
        if entries and _can_return(entries) and (kind is set or _at_an_end(holder, traces)):
            _restore(holder, (), entries)
            return Holding("registrations", f"registers {_what(entries)} in {where}", Outcome.UNDONE, holder, entries)
    ids = {id(o) for o in held}
    traced = [o for o in gc.get_referents(holder) if id(o) in ids]
    if kind is _Hidden:
        where = "an object that can't be found: it is written in C, or frozen by gc.freeze()"
        traced = holder.held
    return Holding("registrations", f"leaves {_what(traced)} in {where}", Outcome.LEFT, None, None) if traced else None


class _Named:
    """Some containers, told by identity."""

    def __init__(self, *containers: Any) -> None:
        self._containers = containers

    def __contains__(self, container: object) -> bool:
        return any(container is known for known in self._containers)


def _thread_tables() -> tuple[Any, ...]:
    """The tables in which `threading` keeps the threads: those are told by themselves."""
    return tuple(getattr(threading, name, None) for name in ("_active", "_limbo"))


def _at_an_end(holder: list[Any], traces: Traces) -> bool:
    """Whether the candidate's entries stand together at an end, as what was added does, and not in anybody's place."""
    marks = [traces.leads(item) for item in list(holder)]
    count = sum(marks)
    return all(marks[-count:]) or all(marks[:count])


def _is_cache(holder: dict[Any, Any]) -> bool:
    """Whether a dict is what an `lru_cache` remembers."""
    return any(type(owner) is _LRU_CACHE for owner in gc.get_referrers(holder))
