"""The clock: calls are made when their time has come, in order, unless they are cancelled; then its thread goes."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from hotswap import clock
from tests.waiting import until

pytestmark = pytest.mark.threads

SOON = 0.05
LONG = 20.0


def watched() -> bool:
    """Whether a thread watches the time."""
    frames = list(sys._current_frames().values())
    return any(frame.f_globals is clock.__dict__ and frame.f_code.co_name == "_watch" for frame in frames)


class TestAfter:
    def test_calls_are_made_in_the_order_of_their_times(self) -> None:
        made: list[str] = []
        done = threading.Event()

        def last() -> None:
            made.append("last")
            done.set()

        clock.after(3 * SOON, last)
        clock.after(2 * SOON, lambda: made.append("second"))
        clock.after(SOON, lambda: made.append("first"))
        assert done.wait(LONG)
        assert made == ["first", "second", "last"]

    def test_one_that_comes_before_all_others_is_not_late(self) -> None:
        late, soon = clock.after(LONG, lambda: None), threading.Event()
        assert until(watched)
        clock.after(0.0, soon.set)
        assert soon.wait(LONG / 2)
        late.cancel()

    def test_one_that_is_cancelled_is_not_made_and_nobody_watches_for_it(self) -> None:
        made: list[str] = []
        alarm = clock.after(SOON, lambda: made.append("call"))
        alarm.cancel()
        assert until(lambda: not watched())
        time.sleep(2 * SOON)
        assert made == []
        alarm.cancel()

    def test_a_call_that_raises_does_not_end_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raised: list[object] = []
        monkeypatch.setattr(threading, "excepthook", lambda told: raised.append(told.exc_type))
        done = threading.Event()

        def fails() -> None:
            raise KeyError

        clock.after(0.0, fails)
        clock.after(SOON, done.set)
        assert done.wait(LONG)
        assert raised == [KeyError]

    @pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="there is no fork here")
    def test_a_child_of_a_fork_begins_with_an_empty_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the hook of `os.fork` does there is done here, where a test can look."""
        alarm = clock.after(LONG, lambda: None)
        before = clock._clock
        clock._begin_anew()
        try:
            done = threading.Event()
            clock.after(0.0, done.set)
            assert done.wait(LONG)
            assert clock._clock is not before
        finally:
            monkeypatch.setattr(clock, "_clock", before)
            alarm.cancel()
            monkeypatch.undo()
        assert until(lambda: not watched()) or clock._clock is not before
