"""A tuple that is being built must not be held by anybody else: why `hotswap.collector` sorts tuples out in C."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

COUNT = 100
"""More items than `tuple` makes room for at first, so that it has to grow."""


def holds(holder: object, value: object) -> bool:
    """By identity: what other tests left may be equal to anything."""
    return any(held is value for held in gc.get_referents(holder))


class TestUnderConstruction:
    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="from 3.14 on nobody sees a tuple before it is complete")
    def test_can_be_seen_and_breaks_when_it_is_held(self) -> None:
        held: list[Any] = []

        def items() -> Iterator[object]:
            marker = object()
            yield marker
            # `tuple` has begun with one item; its room for more is empty.
            held.extend(o for o in gc.get_objects() if type(o) is tuple and holds(o, marker))
            yield from range(COUNT)

        gc.collect()
        with pytest.raises(SystemError):
            tuple(items())
        assert held

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="before 3.14 unfinished tuples are seen")
    def test_can_not_be_seen_any_more(self) -> None:
        held: list[Any] = []

        def items() -> Iterator[object]:
            marker = object()
            yield marker
            held.extend(o for o in gc.get_objects() if type(o) is tuple and holds(o, marker))
            yield from range(COUNT)

        assert len(tuple(items())) == COUNT + 1
        assert held == []

    def test_does_not_break_when_its_identity_is_known(self) -> None:
        known: list[int] = []

        def items() -> Iterator[object]:
            yield object()
            known.extend(map(id, gc.get_objects()))
            yield from range(COUNT)

        assert len(tuple(items())) == COUNT + 1
        assert known
