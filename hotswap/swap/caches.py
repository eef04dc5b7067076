"""Caches: old `lru_cache` objects stay callable, but what they remember was computed by the other code.

A cache that is kept, because its own definition did not change, remembers on. What it says of its function it was told
once, by `functools.update_wrapper`: that follows the new version, where a decorator below it tells something else.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hotswap import walk
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.writes import Op, Writes

__all__ = ["describe_caches", "empty_caches"]

_MISSING: Any = object()


def empty_caches(
    pairing: Pairing,
    earlier: Callable[[], Iterable[Any]],
    led: Callable[[], set[int]],
    kept: Iterable[tuple[Any, Any]],
    writes: Writes,
) -> None:
    """Add the writes that empty the caches whose functions lead to other code, in both directions.

    Arguments:
        pairing: knows the caches of both versions.
        earlier: gives the caches of earlier generations that are still held.
        led: gives the ids of the functions of earlier generations that are led elsewhere.
        kept: dropped and living objects; caches among them keep what they remember.
        writes: receives the writes; they are made out when the time comes.
    """

    def late(_: bool) -> Iterator[Op]:
        caches = {id(o): o for pair in pairing.caches for o in pair if o is not None}
        caches.update((id(pair.new), pair.new) for pair in pairing.functions if type(pair.new) is LRU_CACHE)
        moved = led() | {id(pair.old) for pair in pairing.functions}
        caches.update((id(cache), cache) for cache in earlier() if id(cache.__wrapped__) in moved)
        for twin, living in kept:
            caches.pop(id(twin), None)
            caches.pop(id(living), None)
        for cache in caches.values():
            # What is remembered may have a finalizer: it dies after the call.
            writes.hold([list(part.items()) for part in gc.get_referents(cache) if type(part) is dict])
            yield (cache.cache_clear,)

    writes.late(late)


def describe_caches(kept: Iterable[tuple[Any, Any]], writes: Writes) -> None:
    """Add the writes that have kept caches say of their functions what the new version says, in both directions.

    Arguments:
        kept: dropped and living objects.
        writes: receives the writes.
    """
    for twin, living in kept:
        if type(twin) is type(living) is LRU_CACHE:
            before, after = (walk.instance_dict(cache) or {} for cache in (living, twin))
            for name in functools.WRAPPER_ASSIGNMENTS:
                was, will = (facts.get(name, _MISSING) for facts in (before, after))
                if was is will or (type(was) is type(will) is str and was == will):
                    continue
                writes.drop(before, name) if will is _MISSING else writes.item(before, name, will)
