"""The demo, as whoever runs it sees it, and the parts that judge."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import hotswap
from hotswap import cli, demo
from hotswap.demo import patches
from hotswap.demo.clients import Feed
from hotswap.demo.latency import Latencies
from hotswap.demo.load import QUANTITIES, Judge
from hotswap.demo.processes import running
from hotswap.demo.screen import Lines, LiveTable, Progress, picture
from hotswap.demo.steps import STEPS, Outcome, StepResult
from hotswap.demo.streams import any_encoding
from hotswap.demo.summary import judged
from hotswap.demo.tariffs import TARIFFS, VERSIONS, Product

pytestmark = pytest.mark.threads

PRODUCTS = [
    Product("atlas", "book", 3_990),
    Product("novel", "book", 1_190),
    Product("manual", "book", 2_450),
    Product("kettle", "goods", 4_599),
    Product("lamp", "goods", 6_250),
    Product("chair", "goods", 12_900),
    Product("cable", "goods", 799),
    Product("bicycle", "goods", 89_900),
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hotswap", "demo", "--connections", "4", *arguments]


def environment(temporary: Path) -> dict[str, str]:
    here = str(Path(hotswap.__file__).parent.parent)
    given = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, given] if given else [here]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
    }


def processes_naming(path: Path) -> list[str]:
    """The command lines of all processes that name a path: the demo's two others do, as they get files in it."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = line.read_bytes().decode(errors="replace")
            if str(path) in words:
                found.append(words.replace("\0", " "))
    return found


def wait_until_none(path: Path) -> list[str]:
    deadline = time.monotonic() + 20
    while (left := processes_naming(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has put its load on."""
    process = subprocess.Popen(
        command("--seconds-per-step", "20"),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert "1.2.0 is live" in process.stdout.readline()
            yield process
        finally:
            process.kill()


class TestDemo:
    def test_no_request_fails_and_nothing_is_left(self, tmp_path: Path) -> None:
        done = subprocess.run(
            command("--json", "--seconds-per-step", "0.5"),
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=55,
        )
        found = json.loads(done.stdout)
        assert found["problems"] == []
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert found["ok"] is True
        assert found["failed"] == 0
        assert found["requests"] > 100
        assert (found["swaps"], found["rejected"]) == (5, 4)
        assert [step["outcome"] for step in found["steps"]] == [step.expected for step in STEPS]
        assert found["pid_unchanged"]
        assert found["websocket_unchanged"]
        assert found["background_thread_unchanged"]
        assert found["cache_loads"] == 1
        assert 0 < found["pause_us"]["median"] <= found["pause_us"]["longest"]
        assert list(tmp_path.iterdir()) == []
        assert processes_naming(tmp_path) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_leaves_nothing(self, begun: Any, number: int, tmp_path: Path) -> None:
        assert len(processes_naming(tmp_path)) == 2
        begun.send_signal(number)
        _, told = begun.communicate(timeout=30)
        assert begun.returncode == 130
        assert "interrupted" in told
        assert list(tmp_path.iterdir()) == []
        assert processes_naming(tmp_path) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
    def test_no_process_outlives_a_demo_that_is_killed(self, begun: Any, tmp_path: Path) -> None:
        assert len(processes_naming(tmp_path)) == 2
        begun.kill()
        begun.communicate(timeout=30)
        assert wait_until_none(tmp_path) == []


class TestProcesses:
    def test_a_process_that_does_not_listen_is_gone_with_its_group(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hotswap.demo.processes.GRACE", 0.2)
        deaf = (
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {str(tmp_path)!r}])\n"
            "print('deaf', flush=True)\n"
            "time.sleep(60)\n"
        )

        async def leave() -> int | None:
            with (tmp_path / "log").open("wb") as log:
                async with running(["-c", deaf, str(tmp_path)], log=log, output=True) as process:
                    assert process.stdout is not None
                    assert await process.stdout.readline() == b"deaf\n"
            return process.returncode

        assert asyncio.run(leave()) == -signal.SIGKILL
        assert wait_until_none(tmp_path) == []


class TestCommandLine:
    @pytest.mark.parametrize(
        "arguments",
        [[], ["nonsense"], ["demo", "--connections", "0"], ["demo", "--seconds-per-step", "nan"]],
        ids=" ".join,
    )
    def test_what_makes_no_sense_is_refused(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            cli.main(arguments)
        assert refused.value.code == 2
        assert "usage: hotswap" in capsys.readouterr().err.lower()

    def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(demo, "NEEDED", ("rich", "no_such_package"))
        assert cli.main(["demo"]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == ("the demo needs no_such_package; install it with: python -m pip install 'hotswap[demo]'\n")

    def test_machines_get_one_object_even_then(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(demo, "NEEDED", ("no_such_package",))
        assert cli.main(["demo", "--json"]) == 2
        found = json.loads(capsys.readouterr().out)
        assert found["ok"] is False
        assert "no_such_package" in found["problems"][0]


class TestTariffs:
    def test_no_price_of_one_version_is_right_for_another(self) -> None:
        for product, quantity in itertools.product(PRODUCTS, QUANTITIES):
            prices = {tariff(product, quantity) for tariff in TARIFFS.values()}
            totals = {price.total for price in prices}
            assert len(totals) == len(TARIFFS), (product, quantity)


class TestJudge:
    ANSWER: Mapping[str, Any] = {
        "sku": "atlas",
        "quantity": 2,
        "net": 7_980,
        "tax": 1_516,
        "total": 9_496,
        "version": "1.2.0",
        "pid": 7,
        "connection": 40_000,
        "cache_loads": 1,
    }

    def judge(self) -> Judge:
        return Judge(PRODUCTS, VERSIONS)

    def test_a_right_answer(self) -> None:
        assert self.judge().problem("atlas", 2, self.ANSWER) is None

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"version": "1.3.0"}, "version 1.3.0 answered"),
            ({"version": "1.3.1"}, "never live"),
            ({"tax": 548, "total": 8_528}, "right is"),
            ({"total": 9_497}, "right is"),
            ({"sku": "novel"}, "right is"),
            ({"cache_loads": 2}, "loaded 2 times"),
        ],
    )
    def test_a_wrong_answer(self, wrong: dict[str, Any], says: str) -> None:
        assert says in str(self.judge().problem("atlas", 2, {**self.ANSWER, **wrong}))

    def test_another_process(self) -> None:
        judge = self.judge()
        assert judge.problem("atlas", 2, self.ANSWER) is None
        assert judge.problem("atlas", 2, {**self.ANSWER, "pid": 8}) == "answered by process 8, not 7"


class TestLatencies:
    def test_percentiles_are_close(self) -> None:
        latencies = Latencies()
        for number in range(1, 1_001):
            latencies.add(number / 1_000)
        assert latencies.percentile(0.5) == pytest.approx(0.5, rel=0.02)
        assert latencies.percentile(0.99) == pytest.approx(0.99, rel=0.02)
        assert latencies.percentile(1.0) == latencies.longest == 1.0

    def test_nothing_measured(self) -> None:
        assert Latencies().percentile(0.5) == 0.0


class TestFeed:
    def tick(self, number: int, **other: Any) -> dict[str, Any]:
        return {"connection": "a", "number": number, "version": "1.2.0", "featured": 1, **other}

    def test_versions_are_noted_once_each_time(self) -> None:
        feed = Feed()
        for number, version in enumerate(["1.2.0", "1.2.0", "1.3.0", "1.2.0"], 1):
            feed.note(self.tick(number, version=version))
        assert (feed.versions, feed.broken) == (["1.2.0", "1.3.0", "1.2.0"], None)

    def test_a_missing_message(self) -> None:
        feed = Feed()
        feed.note(self.tick(1))
        feed.note(self.tick(3))
        assert feed.broken == "message 3 came where 2 was due"

    def test_another_connection(self) -> None:
        feed = Feed()
        feed.note(self.tick(1))
        feed.note(self.tick(2, connection="b"))
        assert feed.broken == "the WebSocket is another one"


class TestSummary:
    def judge(self, **wrong: Any) -> Any:
        feed = Feed()
        feed.versions = wrong.get("seen", ["1.2.0", "1.3.0", "1.4.0", "1.3.0"])
        feed.broken = wrong.get("broken")
        results = [StepResult(step, step.expected, version=step.version, seconds=0.1) for step in STEPS]
        results[1].problems = wrong.get("problems", [])
        load = {
            "requests": 1_000,
            "failed": 0,
            "p50_ms": 1.0,
            "p99_ms": 2.0,
            "longest_ms": 3.0,
            "connections": 4,
            "versions": {"1.2.0": 400, "1.3.0": 300, "1.4.0": 300},
            "problems": [],
            **wrong.get("load", {}),
        }
        before = {"pid": 1, "versions": {"shop": "1.2.0"}, "refresher": {"thread": 5}}
        after = {
            "pid": wrong.get("pid", 1),
            "refresher": {"thread": wrong.get("thread", 5)},
            "engine": {"cache_loads": wrong.get("cache_loads", 1)},
            "history": wrong.get("history", [{"pause": 0.0001}, {"pause": None}, {"pause": 0.0003}, {"pause": 0.0002}]),
        }
        return judged(results, load, feed, before, after, connections=4, seconds=10)

    def test_all_is_well(self) -> None:
        summary = self.judge()
        assert summary.ok
        assert summary.line() == (
            "1,000 requests, 0 failed · 5 swaps, 4 rejected · pause median 200 µs, longest 300 µs · "
            "PID unchanged, WebSocket unchanged, cache loads 1"
        )
        assert json.loads(json.dumps(summary.as_json()))["requests_per_second"] == 100

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"load": {"failed": 1, "problems": ["atlas x 1: status 500"]}}, "1 of 1000 requests failed"),
            ({"load": {"connections": 5}}, "needed 5 connections"),
            ({"load": {"versions": {"1.2.0": 1}}}, "no request was answered by 1.3.0, 1.4.0"),
            ({"pid": 2}, "the PID was 1 and is 2"),
            ({"broken": "the WebSocket was closed"}, "the WebSocket was closed"),
            ({"seen": ["1.2.0", "1.4.0"]}, "the WebSocket saw the versions"),
            ({"thread": 6}, "background thread is another one"),
            ({"cache_loads": 2}, "the cache was loaded 2 times"),
            ({"history": []}, "no pause"),
            ({"problems": ["live, expected was rejected"]}, "syntax error: live, expected was rejected"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_one_thing_wrong_is_enough(self, wrong: dict[str, Any], says: str) -> None:
        summary = self.judge(**wrong)
        assert not summary.ok
        assert says in "\n".join(summary.problems)


class TestScreen:
    def progress(self) -> Progress:
        progress = Progress(pid=7, version="1.3.0", cache_loads=1)
        progress.load = {
            "per_second": 812.5,
            "requests": 12_345,
            "failed": 0,
            "p50_ms": 9.5,
            "p99_ms": 21.0,
        }
        progress.results = [
            StepResult(STEPS[0], Outcome.LIVE, version="1.3.0", seconds=0.4),
            StepResult(STEPS[1], Outcome.REJECTED, "SourceError: line 28: expected ':'", "1.3.0", 0.3),
            StepResult(STEPS[2]),
        ]
        return progress

    def test_the_table_shows_load_and_steps(self) -> None:
        written = io.StringIO()
        with LiveTable(Console(file=written, force_terminal=True, width=140)) as table:
            table.refresh(self.progress())
        picture = written.getvalue()
        for expected in ("812", "12,345", "9.5 ms", "21.0 ms", "1.3.0", STEPS[0].title, "rejected", "SourceError"):
            assert expected in picture

    def picture(self, width: int) -> list[str]:
        written = io.StringIO()
        progress = self.progress()
        progress.load["requests"] = 1_234_567
        long = "quotes_are_positive failed: atlas would cost -1 cents; " * 3
        progress.results[2:] = [
            StepResult(STEPS[2], Outcome.REJECTED, f"LoadError: shop.pricing raised KeyError; {long}", "1.3.0", 0.3),
            StepResult(STEPS[3], Outcome.REJECTED, f"CheckFailedError: {long}", "1.3.0", 0.4),
            StepResult(STEPS[4], Outcome.REJECTED, f"CheckFailedError: {long}", "1.3.0", 2.2),
            StepResult(STEPS[5], Outcome.LIVE, "shop 1.4.0 is live", "1.4.0", 0.4),
            StepResult(STEPS[6], Outcome.ROLLED_BACK, "", "1.3.0", 0.1),
        ]
        Console(file=written, width=width, height=24).print(picture(progress))
        return written.getvalue().splitlines()

    def test_everything_can_be_read_on_an_ordinary_terminal(self) -> None:
        lines = self.picture(80)
        assert len(lines) < 24  # The cursor has a line of its own.
        assert {len(line) for line in lines} == {80}
        words = " ".join(lines)
        gauges = ("version", "req/s", "requests", "failed", "p50", "p99", "PID", "WebSocket", "cache loads")
        numbers = ("812", "1,234,567", "9.5 ms", "21.0 ms", "open, 0")
        for expected in (
            *gauges,
            *numbers,
            "SourceError: line 28: expected ':'",
            "KeyError",
            "0.40 s",
            "✓ rolled back",
        ):
            assert expected in words
        for step in STEPS:
            assert step.title in words

    @pytest.mark.parametrize("width", [50, 40, 20])
    def test_the_first_numbers_can_be_read_on_a_narrow_one(self, width: int) -> None:
        words = " ".join(self.picture(width))
        for expected in ("version", "1.3.0", "req/s", "812", "failed", "requests", "1,234,567"):
            assert expected in words
        top = " ".join(self.picture(50)[:4])
        for expected in ("version", "1.3.0", "req/s", "812", "failed"):
            assert expected in top

    def test_lines_are_whole_and_bare(self) -> None:
        written = io.StringIO()
        progress = self.progress()
        with Lines(Console(file=written)) as lines:
            lines.refresh(progress)
            lines.refresh(progress)
            for result in progress.results[:2]:
                lines.finished(result, progress)
        load = "12,345 requests (812/s), 0 failed, p50 9.5 ms, p99 21.0 ms"
        assert written.getvalue().splitlines() == [
            f"1.3.0 is live, process 7, {load}",
            f"good patch: another signature: live after 0.40 s, 1.3.0 is live, {load}",
            f"syntax error: rejected after 0.30 s, 1.3.0 is live, {load}",
            "    SourceError: line 28: expected ':'",
        ]


class TestStreams:
    @pytest.mark.parametrize(
        ("encoding", "written"),
        [
            ("ascii", "+ 3 swaps | 200 us... ?"),
            ("latin-1", "+ 3 swaps · 200 µs... ?"),
            ("utf-8", "✓ 3 swaps · 200 µs… 価"),
        ],
    )
    def test_what_the_encoding_lacks_is_replaced(self, encoding: str, written: str) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding)
        with any_encoding(stream):
            stream.write("✓ 3 swaps · 200 µs… 価")
        assert raw.getvalue().decode(encoding) == written
        assert stream.errors == "strict"

    def test_also_what_a_console_writes(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, "ascii")
        result = StepResult(STEPS[1], Outcome.REJECTED, "SourceError: 価", "1.3.0", 0.3)
        with any_encoding(stream):
            Lines(Console(file=stream)).finished(result, Progress())
            with LiveTable(Console(file=stream, force_terminal=True, width=80)) as table:
                table.refresh(Progress(results=[result]))
        assert b"SourceError: ?" in raw.getvalue()

    def test_a_stream_of_text_is_left_alone(self) -> None:
        with any_encoding(stream := io.StringIO()):
            stream.write("µ")
        assert stream.getvalue() == "µ"

    def test_the_demo_ends_well_on_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))

        async def played(*_: object, **__: object) -> Any:
            return TestSummary().judge()

        monkeypatch.setattr("hotswap.demo.scenario.play", played)
        assert demo.run(as_json=False, seconds_per_step=0, connections=1) == 0
        assert raw.getvalue().startswith(b"1,000 requests, 0 failed | 5 swaps, 4 rejected | pause median 200 us,")


class TestPatches:
    def test_every_step_has_its_overlay_and_every_overlay_its_step(self) -> None:
        folder = patches.example_folder() / "patches"
        assert {path.name for path in folder.iterdir() if path.is_dir()} == {
            step.overlay for step in STEPS if step.overlay
        }

    def test_only_the_one_with_the_syntax_error_does_not_compile(self) -> None:
        sources = patches.package_sources(patches.example_folder())
        broken = []
        for step in STEPS:
            if step.overlay:
                overlay = patches.example_folder() / "patches" / step.overlay
                files = patches.overlaid(sources, overlay, step.patch_version)
                assert f'__version__ = "{step.patch_version}"'.encode() in files["shop/__init__.py"]
                for name, data in files.items():
                    try:
                        compile(data, name, "exec")
                    except SyntaxError:
                        broken.append((step.overlay, name))
        assert broken == [("1.3.1-syntax-error", "shop/pricing.py")]

    def test_the_wheel_is_one_that_a_build_tool_could_have_made(self, tmp_path: Path) -> None:
        sources = patches.package_sources(patches.example_folder())
        wheel = patches.write_wheel(sources, "1.4.0", tmp_path)
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        rows = list(csv.reader(io.StringIO(files["shop-1.4.0.dist-info/RECORD"].decode())))
        assert {row[0] for row in rows} == set(files)
        for name, digest, size in rows[:-1]:
            hashed = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={hashed}", str(len(files[name])))
        patch = hotswap.Patch.from_path(wheel)
        assert (patch.name, str(patch.version)) == ("shop", "1.4.0")
        assert patch.complete == {"shop"}
