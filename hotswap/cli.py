"""The command line: `python -m hotswap`, or `hotswap` where it is installed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import hotswap

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 is success, 2 is a command line that makes no sense.

    What a program raises that `run` runs goes through.
    """
    parser = argparse.ArgumentParser(prog="hotswap", description="Patch a running Python service.")
    parser.add_argument("--version", action="version", version=f"hotswap {hotswap.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="patch an example service under load, and count what fails",
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

    run = commands.add_parser(
        "run",
        help="run a program on what is permanent in a store",
        description="Do what `python PROGRAM` does, after hotswap.boot(): imports load what is permanent in the store.",
    )
    run.add_argument("--store", metavar="DIR", help="the store (default: the environment variable HOTSWAP_STORE)")
    run.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as after `python -m`")
    run.add_argument("program", metavar="PROGRAM", help="a script, or a folder or archive with a __main__.py")
    run.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="for the program")
    options = parser.parse_args(argv)

    if options.command == "run":
        from hotswap.launch import launch

        if not options.module and not Path(options.program).exists():
            parser.error(f"there is no {options.program}")
        launch(options.program, options.arguments, module=options.module, store=options.store)
        return 0

    from hotswap import demo as demonstration

    return demonstration.run(
        as_json=options.json,
        seconds_per_step=options.seconds_per_step,
        connections=options.connections,
    )


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
