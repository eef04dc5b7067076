"""Frame objects: what `swap.stacks` relies on."""

from __future__ import annotations

import sys
import threading
from types import FrameType

import pytest


def stack_of(ident: int) -> list[int]:
    """The ids of the frames of a thread. None of them is held after that."""
    frame: FrameType | None = sys._current_frames()[ident]
    found = []
    while frame is not None:
        found.append(id(frame))
        frame = frame.f_back
    return found


@pytest.mark.threads
def test_a_frame_object_lives_as_long_as_its_call() -> None:
    """Whoever asks twice gets the same object, although nobody has held it in between."""
    waiting, go = threading.Event(), threading.Event()

    def outer() -> None:
        inner()

    def inner() -> None:
        waiting.set()
        go.wait(20)

    thread = threading.Thread(target=outer)
    thread.start()
    assert waiting.wait(20)
    assert thread.ident is not None
    # The topmost ones are those of `Event.wait`, which may go and come.
    calls = stack_of(thread.ident)[-5:]
    assert len(set(calls)) == 5
    other = [sys._getframe(0) for _ in range(100)]
    assert all(stack_of(thread.ident)[-5:] == calls for _ in range(100))
    del other
    go.set()
    thread.join()
