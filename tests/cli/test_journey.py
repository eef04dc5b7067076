"""From a plan to the way back, over a socket and over HTTP."""

from __future__ import annotations

import getpass
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from hotswap.cli.exits import Exit, FailedError
from hotswap.cli.service import Service
from tests.cli.conftest import READER, WRITER, Till, environment
from tests.waiting import until

pytestmark = pytest.mark.threads


class TestJourney:
    def test_over_a_socket(self, till: Till) -> None:
        said = till("plan", till.file(77))
        assert said.status == 0, said
        assert "+    return 77" in said.out
        assert "fits; 2 checks passed, nothing was changed" in said.out
        said = till("apply", till.file(), "--why", "inflation", "--version", till.version, "--json")
        assert said.status == 0, said
        assert (said.json["state"], said.json["why"], said.json["by"]) == ("live", "inflation", getpass.getuser())
        id_ = said.json["id"]
        said = till("status", "--json")
        assert (said.json["versions"], said.json["rollout"]["id"]) == ({"till": till.version}, id_)
        assert till("status", id_).out.startswith(f"till {till.version} is live\n")
        said = till("confirm", "--json")
        assert (said.status, said.json["state"]) == (0, "permanent")
        said = till("rollback", id_, "--why", "deflation")
        assert (said.status, said.out) == (0, f"till {till.version} is rolled back: deflation\n"), said
        assert till("rollback").status == 6
        said = till("history", "--json")
        assert [one["state"] for one in said.json["rollouts"][:2]] == ["rolled_back", "rejected"]

    def test_over_http(self, till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        there = ("--url", till.url, "--token", WRITER)
        said = till("apply", till.file(), "--version", till.version, where=there)
        assert said.status == 0, said
        assert f"till {till.version} is live" in said.out
        assert "check price_is_positive: passed" in said.err
        monkeypatch.setenv("HOTSWAP_URL", till.url)
        monkeypatch.setenv("HOTSWAP_TOKEN", WRITER)
        said = till("rollback", "--json", where=())
        assert (said.status, said.json["state"], said.json["by"]) == (0, "rolled_back", "pipeline")
        (tmp_path / "token").write_text(READER + "\n")
        assert till("status", where=("--token-file", str(tmp_path / "token"))).status == 0


class TestRejected:
    def test_by_a_check(self, till: Till) -> None:
        before = till("status", "--json").json["versions"]
        said = till("plan", till.file(-1))
        assert said.status == 1
        assert "check price_is_positive failed: AssertionError: a price has to be positive" in said.out
        said = till("apply", till.file(-1))
        assert said.status == 1
        assert "is rejected" in said.out
        said = till("apply", till.file(-1), "--json")
        assert (said.status, said.json["state"]) == (1, "rejected")
        assert said.json["problem"]["failed_checks"][0]["name"] == "price_is_positive"
        assert till("status", "--json").json["versions"] == before

    def test_by_the_plan(self, till: Till) -> None:
        said = till("plan", till.file(module="kinds", text="import enum\nclass Kind(enum.IntEnum):\n    BOOK = 2\n"))
        assert said.status == 1
        assert "enum-value-fixed: till.kinds:Kind: " in said.out

    def test_by_its_syntax(self, till: Till) -> None:
        said = till("apply", till.file(text="def price(:\n"), "--json")
        assert (said.status, said.json["state"]) == (1, "rejected")
        assert said.json["problem"]["type"] == "urn:hotswap:problem:source"

    def test_by_its_bake(self, till: Till) -> None:
        said = till("apply", till.file(13), "--bake", "30", "--bake-wait", "--json")
        assert (said.status, said.json["state"]) == (1, "rolled_back"), said
        assert "not_unlucky" in said.json["reason"]

    @pytest.mark.parametrize("command", ["plan", "apply"])
    def test_a_signature_that_nobody_reads(self, command: str, till: Till) -> None:
        file = till.file(12)
        Path(f"{file}.minisig").write_text("nonsense")
        said = till(command, file)
        assert said.status == 0
        assert said.err.count("warning: its signature was not checked: the patcher has no policy") == 1

    def test_each_step_is_told_once(self, till: Till) -> None:
        said = till("apply", till.file(12), "--bake", "0.3", "--bake-wait")
        assert said.status == 0
        assert [line.partition(":")[0] for line in said.err.splitlines()].count("check price_is_positive") == 1

    def test_not_by_its_bake(self, till: Till) -> None:
        said = till("apply", till.file(12), "--bake", "0.3", "--bake-wait", "--json")
        assert (said.status, said.json["state"]) == (0, "permanent"), said


class TestLongWork:
    def test_time_is_up(self, till: Till) -> None:
        said = till("apply", till.file(name="slow"), "--timeout", "0.3", "--json")
        assert (said.status, said.json["exit"]) == (3, 3), said
        id_ = said.json["rollout"]
        assert till("apply", till.file(12)).status == 6  # another one is in progress
        said = till("abort", "--why", "too slow", "--json")
        assert (said.status, said.json["id"], said.json["state"]) == (0, id_, "rejected"), said
        assert till("abort", id_).status == 6  # it is over
        till.go.touch()

    def test_interrupted(self, till: Till) -> None:
        with till.start("apply", till.file(name="slow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert until(lambda: (till("status", "--json").json["rollout"] or {"state": ""})["state"] == "staged")
            id_ = till("status", "--json").json["rollout"]["id"]
            read = process.stderr.readline  # checks that have passed are told while others run
            while "check price_is_positive: passed" not in read():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(20) == 130
        assert f"rollout {id_} goes on in the service" in said
        assert f"hotswap abort {id_}" in said
        till.go.touch()
        assert until(lambda: till("status", id_, "--json").json["state"] == "live")


class TestHistory:
    def test_pages(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        made = [till("apply", till.file(20 + n), "--json").json["id"] for n in range(3)]
        monkeypatch.setattr("hotswap.cli.looking._PAGE", 1)
        said = till("history", "--limit", "2", "--json")
        assert [one["id"] for one in said.json["rollouts"]] == made[:0:-1]
        assert said.json["next"] == made[1]
        said = till("history", "--before", made[1])
        assert made[0] in said.out
        assert made[1] not in said.out.split()
        assert till("history", "--before", "nobody").status == 1


class TestWatch:
    def test_lines(self, till: Till) -> None:
        with till.start("watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stderr.readline() == f"following {till.socket}\n"
            assert till("apply", till.file(), "--version", till.version).status == 0
            lines = [process.stdout.readline() for _ in range(3)]
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(20) == 130
        assert {line.split()[1].partition(".")[0] for line in lines} <= {"rollout", "check", "admin"}, lines
        assert "\x1b" not in "".join(lines) + rest

    def test_comes_back_after_a_break(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the last event that it has seen: what came meanwhile is not lost."""
        asked = []

        @contextmanager
        def stream(_: Any, path: str, headers: dict[str, str]) -> Iterator[Iterator[str]]:
            asked.append(headers)
            yield iter(["retry: 2000", "", ": still here", "", f"id: a-{len(asked)}", "event: x", "data: {}", ""])
            if len(asked) == 2:
                raise KeyboardInterrupt
            raise httpx.ReadError("it broke")

        monkeypatch.setattr(Service, "stream", stream)
        monkeypatch.setattr("hotswap.cli.looking._AGAIN", (0.0,))
        said = till("watch", "--json")
        assert [json.loads(line)["id"] for line in said.out.splitlines()] == ["a-1", "a-2"]
        assert (said.status, asked) == (130, [{}, {"last-event-id": "a-1"}])

    def test_gives_up(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        def stream(*_: Any) -> Any:
            raise httpx.ConnectError("nobody")

        monkeypatch.setattr(Service, "stream", stream)
        monkeypatch.setattr("hotswap.cli.looking._AGAIN", (0.0,))
        said = till("watch", "--json")
        assert (said.status, said.json["exit"]) == (4, 4)

    def test_a_live_view_moves_by_itself(self, till: Till) -> None:
        """What is left of a bake, and the sessions in it, change without an event."""
        assert till("apply", till.file(), "--version", till.version, "--bake", "60").status == 0
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "hotswap", "watch", "--socket", str(till.socket)]
        env = environment(COLUMNS="80", LINES="24", TERM="xterm")
        seen = b""

        def left() -> set[bytes]:
            nonlocal seen
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
            return {*re.findall(rb"(\d+) s are left", seen)}

        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
            os.close(theirs)
            try:
                assert until(lambda: len(left()) == 3), seen
                process.send_signal(signal.SIGINT)
                with suppress(OSError):  # nobody writes to it any more
                    while os.read(ours, 65536):
                        pass
                assert process.wait(20) == 130
            finally:
                process.kill()
        os.close(ours)
        assert till("rollback").status == 0

    def test_a_live_view_outlasts_a_service(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that dies of a patch is told of last, and then can't be asked: who watches waits for the next."""
        asked = []

        def read(_: Any, path: str, **__: Any) -> dict[str, Any]:
            asked.append(path)
            if len(asked) > 1:
                raise FailedError(Exit.UNREACHABLE, "nobody answers any more")
            return {"versions": {"till": "1.0"}, "rollout": None}

        @contextmanager
        def stream(_: Any, path: str, headers: dict[str, str]) -> Iterator[Iterator[str]]:
            if headers:
                raise FailedError(Exit.DENIED, "not known here")
            data = json.dumps({"time": "2026-01-01T00:00:00+00:00"})
            yield iter(["id: a-1", "event: rollout.live", f"data: {data}", ""])

        monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for Rich
        monkeypatch.setattr(Service, "read", read)
        monkeypatch.setattr(Service, "stream", stream)
        monkeypatch.setattr("hotswap.cli.looking._AGAIN", (0.0,))
        said = till("watch")
        assert (said.status, len(asked) > 1) == (5, True), said
        assert "rollout.live" in said.out
        assert "nobody answers any more" in said.out


class TestDoctor:
    def test_people(self, till: Till) -> None:
        said = till("doctor")
        assert said.status == 0, said
        assert "enum-value-fixed: till.kinds:Kind: its members are int objects" in said.out
        assert "call-goes-on: till.loops:for_ever: thread looper is in it" in said.out
        assert "call-goes-on: till.loops:Belt.turning: thread belt is in it" in said.out
        assert "4 modules looked at" in said.out

    def test_programs(self, till: Till) -> None:
        found = till("doctor", "--json").json
        assert found["modules"] == 4
        assert {one["code"] for one in found["findings"]} >= {"enum-value-fixed", "call-goes-on"}
