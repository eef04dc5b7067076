"""A service in a process of its own, and the command line that speaks to it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

import hotswap
from hotswap.cli import main

READER, WRITER = "a-token-that-reads", "a-token-that-writes"
ROOT = Path(hotswap.__file__).resolve().parent.parent


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command: TypeAlias = Callable[..., Said]
"""What the fixture `command` gives: it runs a command in this process."""


class Process:
    """The service of `tests.cli.till`. Lives as long as the tests of a module."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "s"
        command = [sys.executable, "-m", "tests.cli.till", str(folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=TESTS, env=environment(), stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}/ops"
        self.versions = (f"1.{number}" for number in itertools.count(1))

    def end(self) -> int:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()
            return self.process.wait(20)


class Till:
    """That service, and commands that speak to it. Lives as long as a test."""

    def __init__(self, capsys: pytest.CaptureFixture[str], service: Process, private: Path) -> None:
        self._capsys, self.service, self._private = capsys, service, private
        self.socket, self.url, self.version = service.socket, service.url, next(service.versions)
        self.go = service.folder / "go"
        """Patches with the name `slow` wait for it."""

    def file(self, price: int = 11, name: str = "second", text: str | None = None, module: str = "prices") -> str:
        path = self._private / f"till.{module}.py"
        path.write_text(f"NAME = {name!r}\n\n\ndef price():\n    return {price}\n" if text is None else text)
        return str(path)

    def __call__(self, *arguments: str, where: tuple[str, ...] | None = None) -> Said:
        """Run a command, in this process, against the socket, or elsewhere."""
        where = ("--socket", str(self.socket)) if where is None else where
        return run(self._capsys, *arguments, *where)

    def start(self, *arguments: str, encoding: str = "utf-8", **more: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "hotswap", *arguments, "--socket", str(self.socket)]
        env = environment(PYTHONIOENCODING=encoding)
        return subprocess.Popen(command, env=env, encoding=encoding, **more)


TESTS = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, **more}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(str(ended.code))
    return Said(status, *capsys.readouterr())


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return lambda *arguments: run(capsys, *arguments)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOTSWAP_URL", "HOTSWAP_SOCKET", "HOTSWAP_TOKEN", "HOTSWAP_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def service() -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        made = Process(Path(folder))
        yield made
        assert made.end() == 0


@pytest.fixture
def till(capsys: pytest.CaptureFixture[str], service: Process, tmp_path: Path) -> Iterator[Till]:
    made = Till(capsys, service, tmp_path)
    yield made
    made.go.unlink(missing_ok=True)
