"""What the shells are told of what may come next, and what a real one makes of it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotswap.cli import core
from tests.cli.conftest import environment

pytestmark = pytest.mark.threads

HOTSWAP = """#!/bin/sh
if [ -n "$_HOTSWAP_COMPLETE" ]; then exec {python} -m hotswap "$@"; fi
printf 'ran'; printf ' <%s>' "$@"; echo .
"""


def told(words: str, shell: str = "bash", **more: str) -> subprocess.CompletedProcess[str]:
    """What Typer answers a shell whose last word is not complete yet."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": words, **more}
    env = environment(_HOTSWAP_COMPLETE=f"complete_{shell}", **asked)
    return subprocess.run([sys.executable, "-m", "hotswap"], env=env, capture_output=True, text=True, check=False)


class TestAnswers:
    def test_commands(self) -> None:
        assert told("hotswap ro").stdout.split() == ["rollback"]
        assert told("hotswap p").stdout.split() == ["plan", "push"]

    @pytest.mark.parametrize("command", core.COMMANDS)
    def test_options(self, command: str) -> None:
        known = [name for one in core.parameters(command) for name in one.option_strings]
        assert known
        assert told(f"hotswap {command} -").stdout.split() == known

    @pytest.mark.parametrize("words", ["push --wait 5 a.whl ", "run --store ", "apply "])
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_files_are_for_the_shell(self, words: str, shell: str) -> None:
        """It has nothing of its own to offer, each in its own words."""
        said = told(f"hotswap {words}", shell, _TYPER_COMPLETE_FISH_ACTION="is-args")
        expected = {"bash": (0, ""), "zsh": (0, "_files"), "fish": (1, "")}
        assert (said.returncode, said.stdout.strip()) == expected[shell], said


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
class TestBash:
    """Keys are typed into a bash with a terminal; what it would run is printed."""

    @pytest.mark.parametrize(
        ("keys", "ran"),
        [
            ("hotswap pus\t fir\t dr\t --wa\t 5", "<push> <first.whl> <drops/> <--wait> <5>"),
            ("hotswap run --st\t dr\t serv\t --port 1", "<run> <--store> <drops/> <service.py> <--port> <1>"),
            ("hotswap dem\t --sec\t 1", "<demo> <--seconds-per-step> <1>"),
            ("hotswap app\t fir\t --bake-\t", "<apply> <first.whl> <--bake-wait>"),
        ],
    )
    def test_keys(self, keys: str, ran: str, tmp_path: Path) -> None:
        commands, work = tmp_path / "bin", tmp_path / "work"
        commands.mkdir()
        program = commands / "hotswap"
        program.write_text(HOTSWAP.format(python=sys.executable))
        program.chmod(0o755)
        (work / "drops").mkdir(parents=True)
        (work / "first.whl").touch()
        (work / "service.py").touch()
        env = environment(_HOTSWAP_COMPLETE="source_bash")
        script = subprocess.run([sys.executable, "-m", "hotswap"], env=env, capture_output=True, text=True, check=True)
        (tmp_path / "complete.bash").write_text(script.stdout)
        path = os.pathsep.join([str(commands), os.environ["PATH"]])
        env = environment(PATH=path, PS1="", TERM="dumb", INPUTRC="/dev/null")
        master, terminal = pty.openpty()
        command = ["bash", "--noprofile", "--norc", "-i"]
        with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=work, env=env) as bash:
            os.close(terminal)
            os.write(master, f". {tmp_path}/complete.bash\n{keys}\nexit\n".encode())
            seen = read_to_end(master)
            bash.kill()
        os.close(master)
        assert f"ran {ran}." in seen


def read_to_end(terminal: int) -> str:
    seen = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # nobody is at the other end any more
            break
    return seen.decode()
