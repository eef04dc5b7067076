"""All commands, as Typer has them."""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
from collections.abc import Sequence
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

import hotswap
from hotswap.cli import core, keys, looking, patching
from hotswap.cli.exits import MEANINGS, Exit, FailedError, tell_end, wants_json
from hotswap.cli.options import Socket, Token, TokenFile, Url, asking, service_of, speaking
from hotswap.cli.output import Output
from hotswap.cli.tree import plan_by_tree

__all__ = ["app", "run"]

_UsageError: Any = typer.BadParameter.__base__
"""Of click, or of the copy that Typer may have of it: it shows no other name of this."""
_STATUSES = "Exit status: " + "; ".join(f"{status.value} {text}" for status, text in MEANINGS.items()) + "."

app = typer.Typer(
    name="hotswap",
    help="Patch a running Python service.",
    epilog=_STATUSES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

for _name, _function in {
    "apply": asking(patching.apply),
    "status": asking(looking.status),
    "watch": asking(looking.watch),
    "history": asking(looking.history),
    "rollback": asking(patching.rollback),
    "confirm": asking(patching.confirm),
    "abort": asking(patching.abort),
    "doctor": asking(looking.doctor),
    "keygen": speaking(keys.keygen),
    "sign": speaking(keys.sign),
    "verify": speaking(keys.verify),
}.items():
    app.command(_name)(_function)


def _plan(
    out: Output,
    file: patching.File,
    tree: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Ask no service, but the packages in this source tree.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="With --tree: what its service imports, too.")
    ] = None,
    version: patching.Version = None,
    allow_effects: patching.Effects = None,
    rehearse: patching.Rehearse = None,
    undo: patching.Undo = False,
    timeout: patching.Limit = None,
    url: Url = None,
    socket: Socket = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> Exit:
    """Tell what a patch would change, and change nothing.

    In a service, its checks run, too.
    """
    if tree is None:
        if also:
            raise FailedError(Exit.USAGE, "--import goes with --tree: a service has imported what it needs")
        with service_of(url, socket, token, token_file) as service:
            return patching.plan_by_service(service, out, file, version, allow_effects, rehearse, undo, timeout)
    if url or socket or allow_effects or rehearse or undo or timeout:
        raise FailedError(Exit.USAGE, "--tree asks no service: --import and --version are all that goes with it")
    if not file.exists():
        raise FailedError(Exit.USAGE, f"there is no {file}")
    shown = plan_by_tree(tree, file, version, also or [])
    patching.show_plan(shown, out)
    return Exit.OK if shown["fits"] else Exit.REFUSED


app.command("plan")(speaking(_plan))


@app.command("bench", context_settings=_PASSED_ON)
def _bench(context: typer.Context) -> None:
    """Measure hotswap on this machine.

    It needs a checkout, and has the options of python -m bench.
    """
    as_json = "--json" in context.args
    checkout = Path(hotswap.__file__).resolve().parent.parent
    if not (checkout / "bench" / "__main__.py").is_file():
        reason = (
            "the benchmarks are not part of what is installed: they need a checkout of hotswap, "
            "and its python -m hotswap bench"
        )
        sys.stderr.write(f"{reason}\n")
        raise typer.Exit(tell_end(Exit.USAGE, reason, as_json=as_json))
    path = os.pathsep.join(part for part in (str(checkout), os.environ.get("PYTHONPATH")) if part)
    # By its path: `-m bench` would find that of the working directory first.
    command = [sys.executable, str(checkout / "bench"), *context.args]
    try:
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    except KeyboardInterrupt:
        raise typer.Exit(tell_end(Exit.INTERRUPTED, "interrupted", as_json=as_json)) from None
    if ended == Exit.USAGE:
        tell_end(Exit.USAGE, "the benchmarks know no such command line: stderr has more", as_json=as_json)
    raise typer.Exit(ended)


def _elsewhere(name: str, text: str) -> None:
    """List a command that `hotswap.cli.core` has; it gets here behind a `--`, and for the completion of a shell."""

    def run(context: typer.Context, **_: object) -> None:
        raise typer.Exit(core.main([name, *context.args]))

    # Only a shell that asks needs to know them; argparse reads them otherwise.
    parameters = [_declared(action) for action in core.parameters(name)] if os.environ.get(core.COMPLETES) else []
    parameters.insert(0, Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # where `inspect` looks first
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    app.command(name, help=f"{text[0].upper()}{text[1:]}.", add_help_option=False, context_settings=_PASSED_ON)(run)


def _declared(action: argparse.Action) -> Parameter:
    """Return for Typer what argparse knows: which words are options, and which of them have a value."""
    kind: Any = bool if action.nargs == 0 else list[str] if action.nargs == argparse.REMAINDER else str
    declared = typer.Option(*action.option_strings) if action.option_strings else typer.Argument()
    return Parameter(action.dest, Parameter.KEYWORD_ONLY, annotation=Annotated[kind | None, declared], default=None)


for _name, _text in core.COMMANDS.items():
    _elsewhere(_name, _text)


def run(arguments: Sequence[str]) -> int:
    """Run one of these commands; return its exit status. Raises SystemExit where the command line makes no sense."""
    try:
        return int(app(args=list(arguments), prog_name="hotswap", standalone_mode=False) or 0)
    except _UsageError as error:
        error.show()
        raise SystemExit(tell_end(Exit.USAGE, error.format_message(), as_json=wants_json(arguments))) from None
    except SystemExit as ended:
        if ended.code == Exit.USAGE:
            raise
        return int(ended.code or 0)
