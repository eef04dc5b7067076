"""Commands that do without other packages: `run`, `hook`, `push`, and `demo`, which says itself what it needs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hotswap
from hotswap.cli.exits import Exit, tell_end, wants_json
from hotswap.errors import HotswapError

__all__ = ["COMMANDS", "COMPLETES", "main", "parameters"]

COMPLETES = "_HOTSWAP_COMPLETE"
"""Set by a shell that asks what may come next."""

COMMANDS = {
    "run": "run a program on what is permanent in a store",
    "hook": "print the folder that makes any program boot",
    "push": "drop a patch into a watched directory, safely",
    "demo": "patch an example service under load, and count what fails",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 is success, 2 is a command line that makes no sense.

    Of a push: 1 if it failed, or the drop did somewhere; 3 if not everybody said in time what became of it.
    What a program raises that `run` runs goes through.
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser, _ = _parser()
    try:
        options = parser.parse_args(arguments)
    except _UsageError as error:
        error.parser.print_usage(sys.stderr)
        sys.stderr.write(f"{error.parser.prog}: error: {error.reason}\n")
        raise SystemExit(tell_end(Exit.USAGE, error.reason, as_json=wants_json(arguments))) from None
    if options.command == "hook":
        from hotswap.launch import HOOK

        sys.stdout.write(json.dumps({"path": str(HOOK)}) + "\n" if options.json else f"{HOOK}\n")
        return 0
    if options.command == "push":
        return push(options.source, options.directory, options.wait, as_json=options.json)

    if options.command == "run":
        from hotswap.launch import launch

        if not options.module and not Path(options.program).exists():
            sys.stderr.write(f"hotswap run: there is no {options.program}\n")
            raise SystemExit(Exit.USAGE)
        launch(options.program, options.arguments, module=options.module, store=options.store)
        return 0

    from hotswap import demo as demonstration

    return demonstration.run(
        as_json=options.json,
        seconds_per_step=options.seconds_per_step,
        connections=options.connections,
    )


class _Parser(argparse.ArgumentParser):
    """One that leaves it to its caller to tell the reason, which may be asked for as JSON."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(self, message)


class _UsageError(HotswapError):
    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser


def parameters(command: str) -> list[argparse.Action]:
    """Return the options and arguments of one of these commands, without `--help`."""
    _, commands = _parser()
    return [one for one in commands[command]._actions if one.dest != "help"]


def _parser() -> tuple[_Parser, Mapping[str, _Parser]]:
    parser = _Parser(
        prog="hotswap",
        description="Patch a running Python service.",
        epilog="All other commands need: pip install 'hotswap[cli]'",
    )
    parser.add_argument("--version", action="version", version=f"hotswap {hotswap.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help=COMMANDS["demo"],
        description="Start an example service, put it under load, drop good and bad patches, roll back, and count. "
        "The exit status is 0 only if no request failed and each patch had the expected outcome.",
    )
    demo.add_argument("--json", action="store_true", help="write one JSON object instead of a table")
    demo.add_argument(
        "--seconds-per-step",
        type=seconds,
        default=2.5,
        metavar="N",
        help="how long each of the seven steps lasts at least (default: %(default)s)",
    )
    demo.add_argument(
        "--connections",
        type=positive,
        default=16,
        metavar="N",
        help="how many keep-alive connections ask at once (default: %(default)s)",
    )
    pushing = commands.add_parser(
        "push",
        help=COMMANDS["push"],
        description="Write a patch aside in a watched directory and rename it into its place; its signature and its "
        "manifest go with it. The exit status is 0 if it was dropped, and, with --wait, is live in all processes that "
        "watch; 1 if that failed; 3 if not all of them said in time what became of it.",
    )
    pushing.add_argument("source", metavar="FILE", help="a wheel, a .py file, or a folder with a hotswap.toml")
    pushing.add_argument("directory", metavar="DIR", help="the directory that is watched")
    pushing.add_argument("--json", action="store_true", help="write one JSON object")
    pushing.add_argument(
        "--wait", type=seconds, metavar="SECONDS", help="wait until it is known what became of it, and print that"
    )

    run = commands.add_parser(
        "run",
        help=COMMANDS["run"],
        description="Do what `python PROGRAM` does, after hotswap.boot(): imports load what is permanent in the store.",
    )
    run.add_argument("--store", metavar="DIR", help="the store (default: the environment variable HOTSWAP_STORE)")
    run.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as after `python -m`")
    run.add_argument("program", metavar="PROGRAM", help="a script, or a folder or archive with a __main__.py")
    run.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="for the program")
    hook = commands.add_parser(
        "hook",
        help=COMMANDS["hook"],
        description="Print a folder for PYTHONPATH: a Python that is started with it, and with HOTSWAP_STORE, imports "
        "what is permanent in that store, and needs no line in the program.",
    )
    hook.add_argument("--json", action="store_true", help="write one JSON object")
    return parser, commands.choices


def push(source: str, directory: str, wait: float | None, *, as_json: bool = False) -> int:
    """Drop a patch, and say what became of it if somebody waits for that."""
    from hotswap import watching

    told: dict[str, Any] = {"path": None, "outcomes": [], "complete": None, "reason": ""}

    def end(status: Exit) -> int:
        if as_json:
            sys.stdout.write(json.dumps({**told, "exit": int(status)}, indent=2) + "\n")
        return status

    def say(text: str) -> None:
        if not as_json:
            sys.stdout.write(f"{text}\n")

    try:
        pushed = watching.push(source, directory)
    except hotswap.HotswapError as error:
        sys.stderr.write(f"{error}\n")
        told["reason"] = error.reason
        return end(Exit.REFUSED)
    told["path"] = str(pushed.path)
    say(f"dropped {pushed.path}")
    if wait is None:
        return end(Exit.OK)
    outcomes, told["complete"] = pushed.wait(wait)
    for outcome in outcomes:
        say(f"{outcome.name or outcome.process}: {outcome.reason}")
        facts = ("name", "process", "version", "rollout", "state", "applied", "reason", "error", "code")
        told["outcomes"].append({fact: getattr(outcome, fact) for fact in facts})
    if not all(outcome.applied and outcome.code != watching.SUPERSEDED for outcome in outcomes):
        return end(Exit.REFUSED)
    if told["complete"]:
        return end(Exit.OK)
    lacks = pushed.waits_for()
    who = "not everybody has" if outcomes else "nobody has"
    told["reason"] = f"{who} said in {wait:g} s what became of it{f': {lacks}' if lacks else ''}"
    say(told["reason"])
    return end(Exit.UNKNOWN)


def positive(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def seconds(text: str) -> float:
    """A finite time in seconds, zero included."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds")
    return number
