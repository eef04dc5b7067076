"""Who follows events in process: is told of all, whatever becomes of the log, and breaks no rollout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import structlog
from packaging.version import Version
from structlog.testing import capture_logs

from hotswap import events
from hotswap.events import emit


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Every test begins as a process that configured no logging, and leaves it so."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def raises(*_: object) -> NoReturn:
    raise RuntimeError("the disk is full")


class TestSubscribers:
    @pytest.fixture(autouse=True)
    def nobody_stays(self) -> Iterator[None]:
        before = set(events._subscriptions)  # of admin apps that other tests made
        yield
        assert not events._subscriptions.keys() - before

    def test_get_name_level_time_and_plain_facts(self) -> None:
        seen: list[events.Event] = []
        unsubscribe = events.subscribe(seen.append)
        before = time.time()
        emit("rollout.live", level="warning", version=Version("1.2.1"), names=("a", "b"))
        unsubscribe()
        emit("rollout.permanent")
        (event,) = seen
        assert (event.name, event.level) == ("rollout.live", "warning")
        assert dict(event.facts) == {"version": "1.2.1", "names": ["a", "b"]}
        assert before <= event.time <= time.time()

    @pytest.mark.parametrize("processors", [[raises], []], ids=["that raise", "that drop all"])
    def test_are_told_whatever_becomes_of_the_log(self, processors: list[Any]) -> None:
        def drop(*_: object) -> NoReturn:
            raise structlog.DropEvent

        structlog.configure(processors=processors or [drop])
        seen: list[events.Event] = []
        unsubscribe = events.subscribe(seen.append)
        emit("rollout.live")
        unsubscribe()
        assert [event.name for event in seen] == ["rollout.live"]

    @pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, GeneratorExit])
    def test_one_that_raises_is_told_and_passed_over(self, error: type[BaseException]) -> None:
        def broken(_: events.Event) -> NoReturn:
            raise error("the queue is full")

        seen: list[events.Event] = []
        undos = [events.subscribe(broken), events.subscribe(seen.append)]
        with capture_logs() as logs:
            emit("rollout.live")
        for undo in undos:
            undo()
        assert [event.name for event in seen] == ["rollout.live"]
        (_, failed) = logs
        assert failed["event"] == "subscriber.failed"
        assert failed["log_level"] == "error"
        assert failed["subscriber"].endswith("broken")
        assert failed["during"] == "rollout.live"
        assert failed["message"] == f"{error.__name__}: the queue is full"

    def test_the_wish_to_end_the_process_goes_on(self) -> None:
        def interrupt(_: events.Event) -> NoReturn:
            raise KeyboardInterrupt

        unsubscribe = events.subscribe(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                emit("rollout.live")
        finally:
            unsubscribe()

    def test_may_come_and_go_while_others_are_told(self) -> None:
        seen: list[str] = []
        undos: list[Any] = []

        def first(event: events.Event) -> None:
            undos.pop(0)()
            undos.append(events.subscribe(lambda event: seen.append(event.name)))

        undos.append(events.subscribe(first))
        emit("rollout.staged")
        assert seen == []
        emit("rollout.live")
        undos[0]()
        undos[0]()
        assert seen == ["rollout.live"]

    def test_of_a_patcher_get_its_events_and_those_of_nobody(self) -> None:
        mine, others = object(), object()
        seen: list[str] = []
        unsubscribe = events.subscribe(lambda event: seen.append(event.name), of=mine)
        emit("rollout.live", of=mine)
        emit("rollout.rejected", of=others)
        emit("watch.started")
        unsubscribe()
        assert seen == ["rollout.live", "watch.started"]

    def test_one_function_may_subscribe_twice(self) -> None:
        seen: list[events.Event] = []
        first, second = events.subscribe(seen.append), events.subscribe(seen.append)
        first()
        emit("rollout.live")
        second()
        assert len(seen) == 1

    def test_what_can_not_be_called_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a subscriber is a callable, not a str"):
            events.subscribe("print")  # type: ignore[arg-type]  # that is the test

    def test_what_gets_the_log_does_not_get_whose_event_it_is(self) -> None:
        with capture_logs() as logs:
            emit("rollout.live", of=object())
        assert logs == [{"event": "rollout.live", "log_level": "info"}]
