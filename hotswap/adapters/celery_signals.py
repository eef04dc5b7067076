"""Signals of Celery: the receivers that modules connect."""

from __future__ import annotations

import weakref
from collections.abc import Container, Mapping
from types import FunctionType
from typing import Any

from hotswap.adapters.celery_tasks import cells_of
from hotswap.adapters.ordering import ordered
from hotswap.adapters.parts import definition, replace_list
from hotswap.swap import Facts, Op

__all__ = ["change_receivers", "receivers_shown"]


def receivers_shown(receivers: list[Any], modules: Container[str]) -> list[Any]:
    """Return the receivers that a module body sees: not those of the modules that go."""
    return [entry for entry in list(receivers) if _home(entry) not in modules]


def change_receivers(facts: Facts, signal: Any, new: list[Any], twins: Mapping[int, tuple[Any, Any]]) -> None:
    """Add the writes that bring the receivers of a living signal up to date.

    Arguments:
        facts: receives the writes, and knows what is gone.
        signal: the signal.
        new: what the candidate connected, in order.
        twins: id of a twin -> (it, the living object), for senders: they are known by their ids.
    """
    before = list(signal.receivers)
    wanted = [((key[0], id(twins[key[1]][1]) if key[1] in twins else key[1]), receiver) for key, receiver in new]
    pairs: dict[int, int] = {}
    gone: set[int] = set()
    for at, entry in enumerate(before):
        old = _written(entry)
        successor = facts.successor(old)
        for index, other in enumerate(wanted):
            same = successor is not old and _written(other) is successor
            if index not in pairs and other[0][1] == entry[0][1] and (same or other[0][0] == entry[0][0]):
                pairs[index] = at
                break
        else:
            if facts.is_gone(old):
                gone.add(at)
    if not wanted and not gone:
        return
    replace_list(facts, signal.receivers, before, ordered(before, wanted, pairs, gone))
    facts.writes.late(lambda _: _forget(facts, signal))


def _forget(facts: Facts, signal: Any) -> list[Op]:
    """Empty what a signal remembers of the receivers of each sender."""
    cache = signal.sender_receivers_cache
    remembered = getattr(cache, "data", cache)  # a weak dict keeps its entries in a plain one
    facts.writes.hold(dict(remembered))
    return [(dict.clear, remembered)]


def _written(entry: Any) -> Any:
    """The function that somebody wrote: a receiver may be known weakly, or stand in one that tries it again."""
    receiver = entry[1]
    if issubclass(type(receiver), weakref.ReferenceType):
        receiver = receiver()
    if type(receiver) is FunctionType and "_dispatch_uid" in receiver.__dict__:
        receiver = cells_of(receiver).get("retry_fun", receiver)
    return definition(receiver)


def _home(entry: Any) -> str | None:
    return getattr(_written(entry), "__module__", None)
