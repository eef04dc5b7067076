"""`hotswap.frames`: stacks, walked while their threads run."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from types import FrameType

import pytest

from hotswap import frames


def names(stack: list[FrameType]) -> list[str]:
    return [frame.f_code.co_name for frame in stack]


class TestStack:
    def test_has_the_frame_and_those_below(self) -> None:
        found = frames.stack(sys._getframe())
        expected: list[FrameType] = []
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            expected.append(frame)
            frame = frame.f_back
        assert found == expected
        found.clear()
        expected.clear()

    def test_of_nothing_is_empty(self) -> None:
        assert frames.stack(None) == []

    @pytest.mark.parametrize("is_on", [True, False])
    def test_leaves_the_collector_as_it_was(self, is_on: bool) -> None:
        was_on = gc.isenabled()
        try:
            (gc.enable if is_on else gc.disable)()
            frames.stack(sys._getframe())
            assert gc.isenabled() is is_on
        finally:
            (gc.enable if was_on else gc.disable)()


@pytest.mark.threads
class TestStacks:
    def test_are_those_of_all_threads(self) -> None:
        stood, go = threading.Event(), threading.Event()

        def outer() -> None:
            inner()

        def inner() -> None:
            stood.set()
            go.wait(20)

        thread = threading.Thread(target=outer)
        thread.start()
        assert stood.wait(20)
        found = frames.stacks()
        try:
            assert names(found[thread.ident or 0])[-5:-2] == ["inner", "outer", "run"]
            assert found[threading.get_ident()][0] is sys._getframe()
        finally:
            found.clear()
            go.set()
            thread.join()

    def test_keep_nothing_that_their_caller_holds(self) -> None:
        class Held: ...

        def look() -> weakref.ref[Held]:
            held = Held()
            frames.stacks()
            return weakref.ref(held)

        was_on = gc.isenabled()
        gc.disable()
        try:
            assert look()() is None
        finally:
            if was_on:
                gc.enable()
