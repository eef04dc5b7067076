"""Every exit status, and what goes with it: a JSON document, no token, no colours."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hotswap.cli.app import app
from hotswap.cli.exits import MEANINGS, Exit
from hotswap.cli.service import Service
from tests.cli.conftest import READER, WRITER, Command, Till, environment

pytestmark = pytest.mark.threads

COMMANDS = sorted(command.name or "" for command in app.registered_commands)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md"


class TestUsage:
    def test_nowhere(self, command: Command) -> None:
        said = command("status", "--json")
        assert (said.status, said.json["exit"]) == (2, 2)
        assert "where is the service?" in said.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("status", "--url", "http://h", "--socket", "s"),
            ("status", "--url", "h:1"),
            ("status", "--url", "http://[::1"),
            ("status", "--url", "http://me:secret@h"),
            ("status", "--url", "http://h", "--token", "two words"),
            ("status", "--url", "http://h", "--token", "x", "--token-file", "y"),
            ("status", "--url", "http://h", "--token-file", "/not/there"),
            ("status", "--socket", "s", "--token", "t"),
            ("apply", "a.py", "--timeout", "0", "--socket", "s"),
            ("apply", "--socket", "s"),
            ("history", "--limit", "0"),
            ("plan", "a.py", "--tree", ".", "--socket", "s"),
            ("plan", "a.py", "--tree", "."),
            ("plan", "a.py", "--import", "b"),
            ("verify", "a.py"),
            ("nonsense",),
            (),
        ],
        ids=" ".join,
    )
    def test_what_makes_no_sense(self, arguments: tuple[str, ...], command: Command) -> None:
        assert command(*arguments).status == 2

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("status", "--json", "--nonsense"), "nonsense"),
            (("nonsense", "--json"), "nonsense"),
            (("plan", "--json"), "Missing argument"),
            (("history", "--json", "--limit", "x"), "--limit"),
            (("rollback", "--json", "--url", "http://h", "--socket", "s"), "--url or --socket, not both"),
            (("push", "--json", "a"), "required: DIR"),
            (("push", "--json", "a", "b", "--wait", "soon"), "--wait"),
            (("hook", "--json", "a"), "unrecognized arguments: a"),
            (("demo", "--json", "--connections", "0"), "0 is not above zero"),
            (("bench", "--json", "--nonsense"), "stderr has more"),
            (("plan", "a.py", "--json", "--tree", ".", "--socket", "s"), "--tree asks no service"),
        ],
        ids=lambda part: part if isinstance(part, str) else " ".join(part),
    )
    def test_as_json(self, arguments: tuple[str, ...], reason: str, command: Command) -> None:
        said = command(*arguments)
        assert (said.status, said.json["exit"], said.json["rollout"]) == (2, 2, None)
        assert reason in said.json["reason"]

    def test_what_follows_run_is_of_a_program(self, command: Command) -> None:
        said = command("run", "not-there.py", "--json")
        assert (said.status, said.out, said.err) == (2, "", "hotswap run: there is no not-there.py\n")
        said = command("run", "--json")
        assert (said.status, said.out) == (2, "")

    def test_ctrl_c_in_the_benchmarks(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("hotswap.cli.app.subprocess.run", interrupted)
        said = command("bench", "--json")
        assert (said.status, said.json["exit"], said.json["reason"]) == (130, 130, "interrupted")

    def test_a_url_and_a_socket_of_the_environment(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOTSWAP_URL", "http://h")
        monkeypatch.setenv("HOTSWAP_SOCKET", "s")
        assert "both set" in command("status").err

    def test_bytes_that_are_no_text(self, till: Till) -> None:
        """As a shell passes on what is no UTF-8."""
        for arguments in (("rollback", "--why", "caf\udce9"), ("apply", till.file(), "--why", "caf\udce9")):
            said = till(*arguments, "--json")
            assert (said.status, said.json["exit"]) == (2, 2)
            assert "no UTF-8" in said.err

    def test_the_hook_as_json(self, command: Command) -> None:
        assert command("hook", "--json").json == {"path": command("hook").out.strip()}

    def test_a_folder_or_no_file(self, till: Till, tmp_path: Path) -> None:
        assert till("apply", str(tmp_path)).status == 2
        assert till("apply", str(tmp_path / "absent.py")).status == 2


class TestUnreachable:
    def test_no_socket(self, command: Command, tmp_path: Path) -> None:
        said = command("status", "--socket", str(tmp_path / "s"), "--json")
        assert (said.status, said.json["exit"]) == (4, 4)

    def test_nobody_listens(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.cli.service._AGAIN", (0.0,))
        said = command("status", "--url", "http://127.0.0.1:1", "--token", WRITER)
        assert said.status == 4
        assert "nobody answers at http://127.0.0.1:1" in said.err

    def test_something_else(self, till: Till) -> None:
        said = till("status", where=("--url", till.url.removesuffix("/ops")))
        assert (said.status, "is no admin app of hotswap" in said.err) == (4, True)


class TestDenied:
    def test_a_stranger(self, till: Till) -> None:
        said = till("status", "--json", where=("--url", till.url, "--token", "a-stranger's-token"))
        assert (said.status, said.json["problem"]["status"]) == (5, 401)
        assert "stranger" not in said.out + said.err

    def test_a_reader_who_writes(self, till: Till) -> None:
        there = ("--url", till.url, "--token", READER)
        assert till("status", where=there).status == 0
        said = till("apply", till.file(), where=there)
        assert (said.status, READER in said.out + said.err) == (5, False)


class TestAgain:
    """A connection that breaks: the same request, with the same key."""

    def client(self, monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> tuple[Service, list[httpx.Request]]:
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            found = answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return httpx.Response(found, json={"detail": "the same request is being answered"}, headers=PROBLEM)

        monkeypatch.setattr("hotswap.cli.service._AGAIN", (0.0, 0.0))
        service = Service(url="http://127.0.0.1")
        service._http = httpx.Client(base_url="http://h", transport=httpx.MockTransport(answer))
        return service, seen

    def test_is_sent_with_the_same_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service, seen = self.client(monkeypatch, [httpx.ReadError("broken"), 409, 200])
        service.write("undo", match='"tag"')
        assert len(seen) == 3
        assert len({request.headers["idempotency-key"] for request in seen}) == 1
        assert {request.headers["if-match"] for request in seen} == {'"tag"'}

    def test_a_conflict_at_once_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service, seen = self.client(monkeypatch, [409])
        with pytest.raises(Exception, match="the same request") as refused:
            service.write("undo")
        assert (getattr(refused.value, "exit", None), len(seen)) == (Exit.CONFLICT, 1)

    def test_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service, seen = self.client(monkeypatch, [httpx.ConnectError("x")] * 3)
        with pytest.raises(Exception, match="nobody answers") as refused:
            service.write("undo")
        assert (getattr(refused.value, "exit", None), len(seen)) == (Exit.UNREACHABLE, 3)

    def test_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service, seen = self.client(monkeypatch, [httpx.ReadTimeout("x")])
        with pytest.raises(Exception, match="does not answer") as refused:
            service.write("undo")
        assert (getattr(refused.value, "exit", None), len(seen)) == (Exit.UNKNOWN, 1)


PROBLEM = {"content-type": "application/problem+json"}


class TestTerminal:
    def test_eighty_columns(self, till: Till) -> None:
        till("apply", till.file(), "--version", till.version, "--why", "a long story " * 20)
        shown = self.in_a_terminal("history", "--socket", str(till.socket))
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert "\x1b[" in shown
        assert max(len(line) for line in plain.splitlines()) <= 80
        assert till.version in plain

    def test_no_codes_in_pipes(self, till: Till) -> None:
        till("apply", till.file(), "--why", "\x1b[31mred\x1b[0m")
        with till.start("history", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err, "\x1b" in out) == (0, "", False)
        assert r"\x1b[31mred\x1b[0m" in out  # and nobody else moves the cursor

    def in_a_terminal(self, *arguments: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "hotswap", *arguments]
        told = environment(COLUMNS="80", LINES="24", TERM="xterm")
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=told):
            os.close(theirs)
            parts = []
            try:
                while part := os.read(ours, 65536):
                    parts.append(part)
            except OSError:
                pass  # how Linux says that nobody writes to it any more
        os.close(ours)
        return b"".join(parts).decode()


class TestFront:
    def without(self, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run hotswap where Typer is not installed."""
        (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n")
        told = environment()
        told["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{told['PYTHONPATH']}"
        command = [sys.executable, "-m", "hotswap", *arguments]
        return subprocess.run(command, env=told, capture_output=True, text=True, check=False)

    def test_without_typer(self, tmp_path: Path) -> None:
        assert self.without(tmp_path, "hook").returncode == 0
        done = self.without(tmp_path, "status")
        needs = "hotswap: all commands but run, hook, push, demo need typer: pip install 'hotswap[cli]'\n"
        assert (done.returncode, done.stderr) == (2, needs)
        done = self.without(tmp_path, "status", "--json")
        assert json.loads(done.stdout)["reason"] == needs.removeprefix("hotswap: ").strip()
        assert "pip install 'hotswap[cli]'" in self.without(tmp_path, "--help").stdout

    def test_a_service_is_run_without_what_we_need(self, tmp_path: Path) -> None:
        """Adapters look at what is imported: a command line of ours must not look like one of the service."""
        program = tmp_path / "program.py"
        program.write_text("import sys\nprint({'typer', 'click', 'httpx'} & sys.modules.keys())\n")
        command = [sys.executable, "-m", "hotswap", "run", "--store", str(tmp_path / "store"), str(program)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"

    def test_bench_needs_a_checkout(self, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("hotswap.__file__", str(tmp_path / "hotswap" / "__init__.py"))
        said = command("bench")
        assert (said.status, "need a checkout" in said.err, said.out) == (2, True, "")
        said = command("bench", "--json")
        assert (said.status, said.json["exit"], said.json["reason"]) == (2, 2, said.err.strip())
        (tmp_path / "bench").mkdir()
        (tmp_path / "bench" / "__main__.py").write_text("import sys\nsys.exit(len(sys.argv) + 10)\n")
        assert command("bench", "--quick", "--only", "calls").status == 14


class TestDocumented:
    def test_every_exit_status(self) -> None:
        rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
        assert rows == [(str(status.value), text) for status, text in MEANINGS.items()]
        assert set(MEANINGS) == set(Exit)

    def test_every_command(self) -> None:
        assert re.findall(r"^## hotswap (\S+)$", PAGE.read_text(), re.MULTILINE) == COMMANDS

    @pytest.mark.parametrize("name", COMMANDS)
    def test_help(self, name: str, command: Command) -> None:
        said = command(name, "--help")
        assert said.status == 0
        section = PAGE.read_text().partition(f"## hotswap {name}\n")[2].partition("\n## ")[0]
        if name != "bench":
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", said.out)) - {"--help"}
            assert options - set(re.findall(r"--[a-z][a-z-]+", section)) - COMMON == set()


COMMON = {"--url", "--socket", "--token", "--token-file", "--json"}


def test_a_terminal_that_has_not_all_letters(till: Till) -> None:
    till("plan", till.file(text="raise RuntimeError('größer → kleiner')\n"))
    with till.start("history", stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="ascii") as asked:
        out, err = asked.communicate(timeout=60)
    assert (asked.returncode, err) == (0, "")
    assert r"gr\xf6\xdfer \u2192 kleiner" in out
