"""Plain data (texts, numbers, containers of such) that a candidate's import has written into live objects.

It leads to nothing of the candidate's, so that only the copies made before loading tell of it, and only the sources
whose it is (see `authorship`). It is taken out with everything else (see `holdings`).
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.effects.authorship import Authorship
from hotswap.effects.snapshot import Snapshot
from hotswap.patch import Place

__all__ = ["Written", "changed_attributes", "ownership", "written"]

_Where = Callable[[], Place]
_IsOurs = Callable[..., bool]
_MISSING: Any = object()

_MANY = 10_000
"""In a container with more items nobody looks for data of a candidate's: it is a cache, or data itself."""


class Written(NamedTuple):
    """Plain data of a candidate's in a container: `entries` is of the type of the container."""

    container: Any
    copy: Any
    entries: Any
    place: Place


def written(snapshot: Snapshot, authorship: Authorship, leads: Callable[[Any], bool]) -> dict[int, Written]:
    """Return what plain data a candidate has written, by the id of the container.

    Arguments:
        snapshot: what stood where before loading.
        authorship: what the candidate's import says.
        leads: whether a value is told by itself, since it leads to something of the candidate's.
    """
    is_ours = ownership(authorship, leads)
    found: dict[int, Written] = {}
    for container, copy, where in _changed(snapshot):
        entries = _entries(container, copy, where, is_ours) if len(copy) <= _MANY else None
        if entries:
            found[id(container)] = Written(container, copy, entries, where())
    for facts, copy, module in [snapshot.modules[key] for key in snapshot.altered if key in snapshot.modules]:
        names = _names(module, facts, copy, is_ours, managed=module in snapshot.managed)
        if names:
            found[id(facts)] = Written(facts, copy, names, Place(module, ""))
    return found


def ownership(authorship: Authorship, leads: Callable[[Any], bool]) -> Callable[..., bool]:
    """Return what tells whether a plain value is the candidate's: by it, where it stands, and its key.

    Arguments:
        authorship: what the candidate's import says.
        leads: whether a value is told by itself, since it leads to something of the candidate's.
    """

    def is_ours(value: Any, where: _Where, *key: Any) -> bool:
        if type(value) is ModuleType or leads(value) or any(map(leads, key)):
            return False
        return authorship.has_put(value, where, *key)

    return is_ours


def _changed(snapshot: Snapshot) -> Iterator[tuple[Any, Any, _Where]]:
    """The containers, and the attributes of classes and objects, that are not as they were: each, a copy, its place."""
    spaces: dict[int, _Where] = {}
    for o, before, place in snapshot.instances:
        if not snapshot.altered.keys().isdisjoint(map(id, before)):
            spaces[id(walk.instance_dict(o))] = partial(_attributes_of, snapshot, o, place)
    for o, attributes, copy, place in changed_attributes(snapshot):
        yield attributes, copy, partial(_attributes_of, snapshot, o, place)
    for key, (container, copy) in snapshot.altered.items():
        if key not in snapshot.modules:
            yield container, copy, spaces.get(key, partial(snapshot.spot, container))


def changed_attributes(snapshot: Snapshot) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any], str]]:
    """Yield the objects in managed modules whose attributes are not as they were: (it, these, a copy, from where).

    Arguments:
        snapshot: what stood where before loading.
    """
    for o, before, place in snapshot.instances:
        now = gc.get_referents(o)
        if not walk.same_items(now, before):
            attributes = walk.instance_dict(o)
            if any(part is attributes for part in now) and not any(part is attributes for part in before):
                # Somebody has asked for the namespace since: now the object refers to that.
                now = [*(attributes or {}).values(), *(part for part in now if part is not attributes)]
            copy = None if attributes is None else _attributes(o, attributes, before, now)
            if copy is not None and attributes is not None:
                yield o, attributes, copy, place


def _attributes_of(snapshot: Snapshot, o: Any, place: str) -> Place:
    """The place of the attributes of an object: what stands there is its state, and goes with no statement."""
    return replace(snapshot.spot(o, place), attribute=True)


def _attributes(o: Any, attributes: dict[str, Any], before: list[Any], now: list[Any]) -> dict[str, Any] | None:
    """What the attributes of an object were, by what it referred to; None if that does not tell.

    CPython refers to the values in the order of the names, as `tests/cpython` proves, and a new one is the last; since
    3.14 in one that only stays the same.
    Once somebody has asked for the dict, it refers to that, beside them or instead; one that was there is a container.
    """
    values, earlier = (
        [part for part in held if part is not type(o) and part is not attributes] for held in (now, before)
    )
    if sys.version_info >= (3, 14) and values:
        return _by_identity(attributes, earlier, values)
    if values and not walk.same_items(values, list(attributes.values())):
        return None
    if len(earlier) > len(attributes) or (not earlier and any(part is attributes for part in before)):
        return None
    return dict(zip(attributes, earlier, strict=False))


def _by_identity(attributes: dict[str, Any], earlier: list[Any], now: list[Any]) -> dict[str, Any] | None:
    """The same by which name each value has now; a new one may stand anywhere among those that stayed."""
    names: dict[int, list[str]] = {}
    for name, value in attributes.items():
        names.setdefault(id(value), []).append(name)
    if any(id(value) not in names for value in now) or len(now) != len(attributes):
        return None
    order = [names[id(value)].pop(0) for value in now]
    if len(order) == len(earlier):
        return dict(zip(order, earlier, strict=True))
    left = iter(earlier)
    wanted = next(left, None)
    found: dict[str, Any] = {}
    for name, value in zip(order, now, strict=True):
        if len(found) < len(earlier) and value is wanted:
            found[name] = value
            wanted = next(left, None)
    return found if len(found) == len(earlier) else None


def _entries(container: Any, copy: Any, where: _Where, is_ours: _IsOurs) -> Any:
    kind = walk.kind_of(container)
    if issubclass(kind, dict):
        return {
            key: value
            for key, value in list(dict.items(container))
            if not walk.is_same(copy.get(key, _MISSING), value) and is_ours(value, where, key)
        }
    left, added = Counter(map(id, copy)), []
    for value in list(kind.__iter__(container)):
        if left[id(value)] > 0:
            left[id(value)] -= 1
        elif is_ours(value, where):
            added.append(value)
    return set(added) if issubclass(kind, set) else added


def _names(module: str, facts: Any, copy: Any, is_ours: _IsOurs, *, managed: bool) -> dict[str, Any]:
    """Names of a module that were bound; in one of the managed packages a function may do that, and speak of them."""
    found = {}
    for name, value in list(facts.items()):
        if not walk.is_same(copy.get(name, _MISSING), value):
            place = Place(f"{module}:{name}", name) if managed else Place(module, "")
            if is_ours(value, partial(Place, place.root, place.name), *([] if managed else [name])):
                found[name] = value
    return found
