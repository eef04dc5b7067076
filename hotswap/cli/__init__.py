"""The command line: `python -m hotswap`, or `hotswap` where it is installed.

core        `run`, `hook`, `push` and `demo`: they need no service that answers, and no package but hotswap's own
app         all other commands, by Typer (extra `cli`)
options     what each of these takes: where the service is, `--json`
service     the client of the admin app, over HTTP or a Unix socket
patching    `plan`, `apply`, `rollback`, `confirm`, `abort`
following   a rollout, from its upload to its end
tree        `plan --tree`, in a process of its own
looking     `status`, `history`, `watch`, `doctor`
keys        `keygen`, `sign`, `verify`
output      what people and programs get to see
exits       what a command comes to
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hotswap.cli import core
from hotswap.cli.exits import Exit, tell_end, wants_json

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, a `hotswap.cli.exits.Exit`.

    Arguments:
        argv: the arguments; None: those of the process.

    Raises SystemExit for a command line that makes no sense, and what a program raises that `run` runs.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `run` is the service: it must not find Typer and what that imports in its process.
    if arguments and arguments[0] in (*core.COMMANDS, "--version") and not os.environ.get(core.COMPLETES):
        return core.main(arguments)
    try:
        from hotswap.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "rich", "typer"):
            raise
        if arguments and not arguments[0].startswith("-"):
            # Which commands there are, only Typer knows.
            known = ", ".join(core.COMMANDS)
            reason = f"all commands but {known} need {error.name}: pip install 'hotswap[cli]'"
            sys.stderr.write(f"hotswap: {reason}\n")
            return tell_end(Exit.USAGE, reason, as_json=wants_json(arguments))
        return core.main(arguments)
    return run(arguments)
