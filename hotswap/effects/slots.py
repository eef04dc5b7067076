"""Slots: plain data that a candidate's import has written into slots of live objects.

No container holds it, so that a copy of what the object referred to tells of it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import MemberDescriptorType
from typing import Any

from hotswap import walk
from hotswap.effects.facts import Outcome
from hotswap.effects.holding_deeds import Holding
from hotswap.effects.snapshot import Snapshot
from hotswap.patch import Place

__all__ = ["slots"]

_IsOurs = Callable[..., bool]
_Held = dict[MemberDescriptorType, Any]
_MISSING: Any = object()


def slots(snapshot: Snapshot, is_ours: _IsOurs) -> Iterator[Holding]:
    """Take out what a candidate has written into slots, and yield it.

    Arguments:
        snapshot: what stood where before loading.
        is_ours: tells whether a value is the candidate's, by where it stands, and under which name.
    """
    kinds: dict[type, list[MemberDescriptorType]] = {}
    for o, before, place in [*snapshot.instances, *snapshot.nearby.slotted]:
        kind = type(o)
        if kind not in kinds:
            kinds[kind] = walk.slot_descriptors(kind)
        now = gc.get_referents(o) if kinds[kind] else before
        if walk.same_items(now, before) or walk.instance_dict(o) is not None:
            continue
        there = _held(o, kinds[kind])
        held = _before(there, [part for part in before if part is not kind], [part for part in now if part is not kind])
        if held is None:
            continue
        where = partial(_place, snapshot, o, place)
        ours = {
            slot: value
            for slot, value in there.items()
            if not walk.is_same(held.get(slot, _MISSING), value) and is_ours(value, where, slot.__name__)
        }
        if ours:
            yield _taken_out(o, ours, held)


def _held(o: Any, descriptors: list[MemberDescriptorType]) -> _Held:
    found: _Held = {}
    for slot in descriptors:
        try:
            found[slot] = slot.__get__(o)
        except AttributeError:
            continue  # it is empty
    return found


def _before(there: _Held, before: list[Any], now: list[Any]) -> _Held | None:
    """What the slots held, by what the object referred to; None if that does not tell.

    CPython refers to what slots hold in the order of the classes, and of the names in each.
    """
    if not walk.same_items(list(there.values()), now):
        return None
    if len(before) == len(now):
        return dict(zip(there, before, strict=True))
    known = set(map(id, before))
    kept = {slot: value for slot, value in there.items() if id(value) in known}
    return kept if walk.same_items(list(kept.values()), before) else None


def _place(snapshot: Snapshot, o: Any, place: str) -> Place:
    if not place:
        return Place(f"a {walk.class_name(type(o))} outside of the managed packages", "", put=True)
    return replace(snapshot.spot(o, place), attribute=True)


def _taken_out(o: Any, ours: _Held, held: _Held) -> Holding:
    for slot in ours:
        if slot in held:
            slot.__set__(o, held[slot])
        else:
            slot.__delete__(o)
    named = ", ".join(slot.__name__ for slot in ours)
    what = f"sets {named} of a {walk.class_name(type(o))}"
    replaced = [held[slot] for slot in ours if slot in held]
    return Holding("registrations", what, Outcome.UNDONE, o, ours, names=True, replaced=replaced)
