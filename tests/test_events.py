"""Structured events: where they go, what they carry, and that they never break a rollout."""

from __future__ import annotations

import enum
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, NoReturn

import pytest
import structlog
from packaging.version import Version
from structlog.testing import CapturingLogger, capture_logs

from hotswap import events
from hotswap.events import EVENT_NAMES, Event, emit, subscribe


@pytest.fixture(autouse=True)
def untouched_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins as a process that configured no logging and reported no failure, and leaves it so."""
    structlog.reset_defaults()
    monkeypatch.setattr(events, "_complained", threading.Event())
    logger = logging.getLogger("hotswap")
    level = logger.level
    yield
    logger.setLevel(level)
    structlog.reset_defaults()


def raises(*_: object) -> NoReturn:
    raise RuntimeError("the disk is full")


class Colour(enum.Enum):
    RED = 1


class Mood(enum.StrEnum):
    GOOD = "good"


class Number(enum.IntEnum):
    ONE = 1


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class TestNames:
    def test_all_names_are_in_one_place(self) -> None:
        assert {
            "rollout.rehearsed",
            "rollout.staged",
            "rollout.verified",
            "rollout.armed",
            "rollout.disarmed",
            "rollout.misrouted",
            "rollout.rejected",
            "rollout.live",
            "rollout.permanent",
            "rollout.rolled_back",
            "rollout.handed_over",
            "rollout.settled",
            "migration.failed",
            "bake.began",
            "bake.passed",
            "bake.failed",
            "bake.undecided",
            "probe.failed",
            "hook.failed",
            "admin.failed",
            "admin.written",
            "subscriber.failed",
            "check.started",
            "rehearsal.failed",
            "check.passed",
            "check.failed",
            "shadow.mismatch",
            "shadow.ended",
            "drop.applied",
            "drop.failed",
            "drop.waiting",
            "drop.rolled_back",
            "drop.ignored",
            "drop.unmarked",
            "store.booted",
            "store.died",
            "store.overtaken",
            "store.troubled",
            "watch.started",
            "watch.stopped",
            "watch.troubled",
            "watch.recovered",
            "watch.failed",
        } == EVENT_NAMES

    @pytest.mark.threads
    @pytest.mark.slow
    def test_mypy_refuses_another_name(self, tmp_path: Any) -> None:
        pytest.importorskip("mypy", reason="the session that looks at types runs this")
        program = tmp_path / "program.py"
        program.write_text("from hotswap.events import emit\nemit('rollout.live')\nemit('rollout.alive')\n")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), program],
            capture_output=True,
            text=True,
        )
        assert "program.py:3: error" in done.stdout, done.stdout + done.stderr
        assert "program.py:2" not in done.stdout


class TestConfiguredByTheApplication:
    def test_its_processors_see_name_level_and_facts(self) -> None:
        seen: list[dict[str, Any]] = []

        def keep(_: object, method: str, event: Any) -> NoReturn:
            seen.append({"method": method, **event})
            raise structlog.DropEvent

        structlog.configure(processors=[keep])
        emit("rollout.live", version=Version("1.2.1"), pause=0.00004)
        emit("rollout.rejected", level="warning", reason="no")
        assert seen == [
            {"method": "info", "event": "rollout.live", "version": "1.2.1", "pause": 0.00004},
            {"method": "warning", "event": "rollout.rejected", "reason": "no"},
        ]

    def test_its_logger_factory_is_asked_for_our_logger(self) -> None:
        asked: list[tuple[object, ...]] = []
        target = CapturingLogger()

        def factory(*args: object) -> CapturingLogger:
            asked.append(args)
            return target

        structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=factory)
        emit("watch.started", directory=PurePosixPath("drops"))
        assert asked == [("hotswap",)]
        assert [tuple(call) for call in target.calls] == [("info", ("directory='drops' event='watch.started'",), {})]

    def test_a_new_configuration_holds_from_the_next_event_even_where_loggers_are_cached(self) -> None:
        first, second = CapturingLogger(), CapturingLogger()
        for target in (first, second):
            structlog.configure(
                processors=[structlog.processors.JSONRenderer()],
                logger_factory=lambda *_, target=target: target,
                cache_logger_on_first_use=True,
            )
            emit("rollout.staged")
        assert (len(first.calls), len(second.calls)) == (1, 1)

    def test_its_level_filter_holds(self) -> None:
        target = CapturingLogger()
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=lambda *_: target,
        )
        emit("check.passed")
        emit("check.failed", level="warning")
        assert [call.method_name for call in target.calls] == ["warning"]

    def test_standard_library_loggers_of_structlog_work(self, caplog: pytest.LogCaptureFixture) -> None:
        structlog.configure(
            processors=[structlog.stdlib.add_logger_name, structlog.processors.KeyValueRenderer(sort_keys=True)],
            # Not LoggerFactory(), which changes the logger class of the whole process.
            logger_factory=logging.getLogger,
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        with caplog.at_level(logging.INFO, logger="hotswap"):
            emit("drop.applied", name="shop")
        assert [record.getMessage() for record in caplog.records] == [
            "event='drop.applied' logger='hotswap' name='shop'"
        ]

    def test_an_async_logger_does_not_lose_events(self) -> None:
        target = CapturingLogger()
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()],
            logger_factory=lambda *_: target,
            wrapper_class=structlog.stdlib.AsyncBoundLogger,
        )
        emit("rollout.live")
        assert [tuple(call) for call in target.calls] == [("info", ('{"event": "rollout.live"}',), {})]


class TestNotConfigured:
    def test_events_go_to_the_standard_library(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, logger="hotswap"):
            emit("rollout.live", name="shop", version=Version("1.2.1"), pause=None)
            emit("drop.failed", level="error", reason="100 % wrong")
        assert caplog.record_tuples == [
            ("hotswap", logging.INFO, "event='rollout.live' name='shop' version='1.2.1' pause=None"),
            ("hotswap", logging.ERROR, "event='drop.failed' reason='100 % wrong'"),
        ]

    def test_the_record_names_the_place_that_emitted(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="hotswap"):
            emit("rollout.live")
        (record,) = caplog.records
        assert record.funcName == "test_the_record_names_the_place_that_emitted"
        assert __file__ == record.pathname

    def test_a_level_that_is_off_costs_no_record(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR, logger="hotswap"):
            emit("check.failed", level="warning")
        assert caplog.records == []

    def test_nothing_is_printed_to_stdout(self, capsys: pytest.CaptureFixture[str]) -> None:
        emit("rollout.live", version="1.2.1")
        assert capsys.readouterr().out == ""

    def test_nor_after_a_capture_although_structlog_then_calls_itself_configured(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture_logs():
            emit("rollout.staged")
        assert structlog.is_configured()
        with caplog.at_level(logging.INFO, logger="hotswap"):
            emit("rollout.live")
        assert capsys.readouterr().out == ""
        assert caplog.messages == ["event='rollout.live'"]

    def test_the_logger_class_of_the_process_stays(self) -> None:
        before = logging.getLoggerClass()
        emit("rollout.live")
        assert before is logging.getLoggerClass()


class TestCapture:
    def test_where_nothing_is_configured(self) -> None:
        with capture_logs() as captured:
            emit("rollout.live", level="warning", version=Version("2"))
        assert captured == [{"event": "rollout.live", "version": "2", "log_level": "warning"}]

    def test_where_the_application_configured_structlog(self) -> None:
        target = CapturingLogger()
        structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: target)
        with capture_logs() as captured:
            emit("rollout.live")
        emit("rollout.permanent")
        assert captured == [{"event": "rollout.live", "log_level": "info"}]
        assert [call.args for call in target.calls] == [('{"event": "rollout.permanent"}',)]

    def test_twice(self) -> None:
        for _ in range(2):
            with capture_logs() as captured:
                emit("check.passed")
            assert len(captured) == 1


class TestFacts:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("text", "text"),
            (1, 1),
            (1.5, 1.5),
            (True, True),
            (None, None),
            (Version("1.2+hot.1"), "1.2+hot.1"),
            (Colour.RED, "RED"),
            (Mood.GOOD, "good"),
            (Number.ONE, "ONE"),
            (PurePosixPath("a/b"), "a/b"),
            (ValueError("wrong"), "ValueError: wrong"),
            (ValueError(), "ValueError"),
            (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00+00:00"),
            ((1, Version("2")), [1, "2"]),
            ([PurePosixPath("a")], ["a"]),
            (frozenset({"b", "a"}), ["a", "b"]),
            ({"shop": Version("1")}, {"shop": "1"}),
            ({Mood.GOOD: {"deep": (Colour.RED,)}}, {"good": {"deep": ["RED"]}}),
            (Unprintable(), "<Unprintable without text>"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_become_plain(self, value: object, expected: object) -> None:
        with capture_logs() as captured:
            emit("rollout.live", fact=value)
        (event,) = captured
        assert expected == event["fact"]
        assert type(expected) is type(event["fact"])

    def test_a_fact_that_contains_itself_ends(self) -> None:
        endless: list[object] = []
        endless.append(endless)
        with capture_logs() as captured:
            emit("rollout.live", fact=endless)
        assert len(captured) == 1

    def test_the_caller_keeps_its_own_objects(self) -> None:
        mine = {"versions": [Version("1")]}

        def meddle(_: object, __: str, event: Any) -> NoReturn:
            event["fact"]["versions"].clear()
            raise structlog.DropEvent

        structlog.configure(processors=[meddle])
        emit("rollout.live", fact=mine)
        assert {"versions": [Version("1")]} == mine


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise ValueError("closed")


class TestBrokenPipelines:
    def test_a_processor_that_raises_is_reported_once_with_the_event(self, capsys: pytest.CaptureFixture[str]) -> None:
        structlog.configure(processors=[raises])
        emit("rollout.live", version=Version("1.2.1"))
        emit("rollout.permanent")
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "rollout.live" in printed.err
        assert "version=1.2.1" in printed.err
        assert "RuntimeError: the disk is full" in printed.err
        assert "rollout.permanent" not in printed.err

    def test_a_fact_that_raises_is_reported(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Torn(dict[str, int]):
            def items(self) -> Any:
                raise RuntimeError("torn")

        told: list[Event] = []
        unsubscribe = subscribe(told.append)
        try:
            emit("rollout.live", fact=Torn(), rollout="r1")
        finally:
            unsubscribe()
        assert "RuntimeError: torn" in capsys.readouterr().err
        assert told == []

    def test_a_handler_that_raises(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        handler = logging.NullHandler()
        monkeypatch.setattr(handler, "handle", raises)
        logger = logging.getLogger("hotswap")
        with caplog.at_level(logging.INFO, logger="hotswap"):
            logger.addHandler(handler)
            try:
                emit("rollout.live")
            finally:
                logger.removeHandler(handler)
        assert "RuntimeError: the disk is full" in capsys.readouterr().err

    def test_a_logger_that_lacks_the_method(self, capsys: pytest.CaptureFixture[str]) -> None:
        structlog.configure(processors=[], logger_factory=lambda *_: object(), wrapper_class=structlog.BoundLogger)
        emit("rollout.live")
        assert "AttributeError" in capsys.readouterr().err

    @pytest.mark.parametrize("stderr", [None, Broken()], ids=["none", "broken"])
    def test_where_there_is_no_stderr_either(self, monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO | None) -> None:
        structlog.configure(processors=[raises])
        monkeypatch.setattr(sys, "stderr", stderr)
        emit("rollout.live")
        assert events._complained.is_set()

    def test_the_wish_to_end_the_process_goes_on(self) -> None:
        def interrupt(*_: object) -> NoReturn:
            raise KeyboardInterrupt

        structlog.configure(processors=[interrupt])
        with pytest.raises(KeyboardInterrupt):
            emit("rollout.live")
