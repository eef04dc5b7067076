"""A page of the documentation, followed word by word by somebody who has a shell and an editor.

Two kinds of blocks are followed, in their order, and a page has no other:

- `{code-block} LANGUAGE` with a caption is a file, which is written where the first terminal stands;
- `console` is typed into a terminal: the one that its caption names, or the first. What stands behind `$` is a command,
  what stands below is all that it prints. In a terminal with a name the last command goes on, and prints what is shown
  among other things; a block there that begins without `$` shows what it has printed since, and `^C` ends it.

`…` stands for what differs from run to run: within a line for some of it, as a line for some lines. A command has to
end with 0, but where the next one is `echo $?`. The ports 8000 to 8009 are free ones here, so that pages may be
followed at the same time.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent

FOLLOWED = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in ("tutorial/signed-patch", "how-to/configmap", "how-to/django", "how-to/pipeline", "how-to/workers")
)
"""The pages that are followed by `test_followed.py`, and not run by `test_docs.py`."""

PATIENCE = 150.0
"""Seconds until a command counts as one that does not do what the page says; no measure of speed."""

_FENCE = re.compile(r"^(`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^\1$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"\A:caption: (?P<caption>.+)\n\n?")
_STATUS = "the status is"
_ENDED = re.compile(rb"^%b (\d+) in (.+)\n" % _STATUS.encode(), re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    """A file that the page has written."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """What is typed into a terminal, and what is printed then; None for what a command prints that goes on."""

    terminal: str
    command: str | None
    printed: tuple[str, ...]
    goes_on: bool = False


def steps(text: str) -> Iterator[File | Typed]:
    """What a page says to do, in its order; ValueError for a block that nobody could follow."""
    for block in _FENCE.finditer(text):
        info, body = block["info"].strip(), block["body"]
        caption = _CAPTION.match(body)
        name = caption["caption"] if caption else ""
        if info in ("console", "{code-block} console"):
            yield from _typed(name, body[caption.end() if caption else 0 :].splitlines())
        elif info.startswith("{code-block}") and caption:
            yield File(name, body[caption.end() :])
        else:
            raise ValueError(f"a block that can't be followed: {block[0]}")


def _typed(terminal: str, lines: Sequence[str]) -> Iterator[Typed]:
    found: list[tuple[str | None, list[str]]] = []
    for line in lines:
        if line.startswith("$ ") or line == "^C":
            found.append((line.removeprefix("$ "), []))
        else:
            if not found:
                found.append((None, []))
            found[-1][1].append(line)
    for number, (command, printed) in enumerate(found, 1):
        goes_on = bool(terminal) and number == len(found) and command != "^C"
        yield Typed(terminal, command, tuple(printed), goes_on)


def matches(expected: Sequence[str], printed: str, *, whole: bool) -> bool:
    """Whether lines were printed, as all there is or among others, in their order."""
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(r".*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"\n")
    between = "" if whole else r"(?:.*\n)*?"
    tidy = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    pattern = between + between.join(parts)
    return bool((re.fullmatch if whole else re.match)(pattern, tidy))


@dataclass(slots=True)
class Terminal:
    """A shell of its own session. Lives as long as the page is followed."""

    folder: Path
    env: Mapping[str, str]
    log: Path
    shell: subprocess.Popen[bytes] = field(init=False)
    seen: int = 0

    def __post_init__(self) -> None:
        with self.log.open("wb") as log:
            self.shell = subprocess.Popen(
                ["bash", "--norc", "--noprofile"],
                cwd=self.folder,
                env=dict(self.env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._write("trap : INT\n")  # as at a terminal, Ctrl-C ends the command and not the shell

    def _write(self, text: str) -> None:
        assert self.shell.stdin
        self.shell.stdin.write(text.encode())
        self.shell.stdin.flush()

    def type(self, command: str) -> None:
        """Type a command; what it leaves in `$?` is there for the next."""
        told = f"__status=$?; printf '%s\\n' \"{_STATUS} $__status in $PWD\"; (exit $__status)"
        self._write(f"{{\n{command}\n}} </dev/null\n{told}\n")

    def new(self) -> tuple[str, int | None]:
        """What was printed since the last command that ended, and the status of one that has ended."""
        printed = self.log.read_bytes()[self.seen :]
        ended = _ENDED.search(printed)
        text = printed[: ended.start() if ended else None].decode(errors="replace")
        return text, int(ended[1]) if ended else None

    def done(self) -> None:
        """What was printed by the command that has ended belongs to the past."""
        ended = _ENDED.search(self.log.read_bytes(), self.seen)
        assert ended
        self.seen = ended.end()
        self.folder = Path(ended[2].decode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.shell.pid, signal.SIGINT)

    def close(self) -> None:
        """End the shell, and what it has started."""
        assert self.shell.stdin
        self.shell.stdin.close()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.shell.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.shell.wait(10)
                break
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)  # those that outlive their shell


class Follower:
    """Somebody who follows a page. Lives as long as a test.

    Arguments:
        folder: where the terminals begin.
        env: the environment of the shells.

    Attributes:
        done: how many steps were.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env, self.done = folder, env, 0
        self.terminals: dict[str, Terminal] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="hotswap-following-")

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self.terminals.values():
            terminal.close()
        self._logs.cleanup()

    def terminal(self, name: str) -> Terminal:
        """The terminal of that name; a new one begins where the first one began."""
        if name not in self.terminals:
            log = Path(self._logs.name) / f"{len(self.terminals)}.log"
            self.terminals[name] = Terminal(self.folder, self.env, log)
        return self.terminals[name]

    def follow(self, page: Path) -> None:
        """Do what a page says; AssertionError where something else happens."""
        todo = list(steps(with_free_ports(page.read_text(encoding="utf-8"))))
        for step, later in zip(todo, [*todo[1:], None], strict=True):
            if isinstance(step, File):
                path = self.terminal("").folder / step.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text, encoding="utf-8")
            else:
                may_fail = isinstance(later, Typed) and later.command == "echo $?"
                self._type(step, may_fail=may_fail or step.command == "^C")
            self.done += 1
        busy = [
            name for name, terminal in self.terminals.items() if name and terminal.log.stat().st_size > terminal.seen
        ]
        assert not busy, f"the page does not end what it has begun in {busy}"

    def _type(self, step: Typed, *, may_fail: bool) -> None:
        terminal = self.terminal(step.terminal)
        if step.command == "^C":
            terminal.interrupt()
        elif step.command is not None:
            terminal.type(step.command)
        whole = not step.goes_on and step.command != "^C"

        def is_over() -> bool:
            printed, status = terminal.new()
            return status is not None or (step.goes_on and matches(step.printed, printed, whole=whole))

        until(is_over, PATIENCE)
        printed, status = terminal.new()
        as_told = matches(step.printed, printed, whole=whole)
        what = (
            f"{step}\n--- printed, and the status was {status}:\n{printed}\n--- elsewhere:\n{self.elsewhere(terminal)}"
        )
        assert as_told, what
        if step.goes_on:
            assert status is None, what
        else:
            assert status == 0 or (may_fail and status is not None), what
            terminal.done()

    def elsewhere(self, terminal: Terminal) -> str:
        """What was printed in the other terminals, for who has to find out why something failed."""
        others = [other for other in self.terminals.values() if other is not terminal]
        return "\n".join(other.new()[0] for other in others)


def with_free_ports(text: str) -> str:
    """The text of a page with ports that are free."""
    ports: dict[str, str] = {}
    for name in sorted(set(re.findall(r"\b800\d\b", text))):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            ports[name] = str(listener.getsockname()[1])
    return re.sub(r"\b800\d\b", lambda found: ports[found[0]], text)
