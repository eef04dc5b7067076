"""What commands take: where the service is, `--json`; and what becomes of what they raise."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from hotswap.cli.exits import Exit, FailedError
from hotswap.cli.output import Output
from hotswap.cli.service import Service
from hotswap.errors import HotswapError

__all__ = ["Json", "Socket", "Token", "TokenFile", "Url", "asking", "finite", "service_of", "speaking"]

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where the admin app is mounted. [env: HOTSWAP_URL]")
]
Socket = Annotated[
    str | None, typer.Option("--socket", metavar="PATH", help="Its control socket instead. [env: HOTSWAP_SOCKET]")
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="For --url; others may see it in ps. [env: HOTSWAP_TOKEN]"),
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="A file with the token, - for stdin.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]

_WHERE = {"url": Url, "socket": Socket, "token": Token, "token_file": TokenFile}


def speaking(command: Callable[..., Exit | None]) -> Callable[..., None]:
    """Give a command `--json`; it gets an `Output` as `out`, and what it raises becomes its exit status."""

    def run(**options: Any) -> None:
        out = Output(as_json=options.pop("json"))
        with _told(out):
            _end(command(out=out, **options))

    return _with_options(run, command, {"json": Json})


def asking(command: Callable[..., Exit | None]) -> Callable[..., None]:
    """Give a command also what says where the service is; it gets a `Service` as `service`."""

    def run(**options: Any) -> None:
        out = Output(as_json=options.pop("json"))
        given = {name: options.pop(name) for name in _WHERE}
        with _told(out), service_of(**given) as service:
            _end(command(service=service, out=out, **options))

    return _with_options(run, command, {**_WHERE, "json": Json})


def service_of(url: str | None, socket: str | None, token: str | None, token_file: Path | None) -> Service:
    """Return the service that options and the environment name. Raises FailedError where they do not name one."""
    if url is not None and socket is not None:
        raise FailedError(Exit.USAGE, "--url or --socket, not both")
    if url is None and socket is None:
        url, socket = os.environ.get("HOTSWAP_URL") or None, os.environ.get("HOTSWAP_SOCKET") or None
        if url is not None and socket is not None:
            raise FailedError(Exit.USAGE, "HOTSWAP_URL and HOTSWAP_SOCKET are both set: say --url or --socket")
    if socket is not None:
        if token is not None or token_file is not None:
            raise FailedError(Exit.USAGE, "a socket takes no token: the service knows who asks")
        return Service(socket=socket)
    if url is None:
        raise FailedError(
            Exit.USAGE, "where is the service? --socket PATH, --url URL, or HOTSWAP_SOCKET or HOTSWAP_URL"
        )
    if token is not None and token_file is not None:
        raise FailedError(Exit.USAGE, "--token or --token-file, not both")
    if token_file is not None:
        try:
            token = (sys.stdin.read() if str(token_file) == "-" else token_file.read_text("utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise FailedError(Exit.USAGE, f"--token-file: {token_file} can't be read: {error}") from None
    return Service(url=url, token=os.environ.get("HOTSWAP_TOKEN") or None if token is None else token)


def finite(seconds: float | None) -> float | None:
    """Check a time. Raises typer.BadParameter for what is none."""
    if seconds is not None and not 0 < seconds < float("inf"):
        raise typer.BadParameter("seconds are needed, more than 0")
    return seconds


def _with_options(
    run: Callable[..., None], command: Callable[..., Any], options: dict[str, Any]
) -> Callable[..., None]:
    """Have Typer see the parameters of a command, and some more."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for name, one in signature.parameters.items() if name not in ("out", "service")]
    defaults: dict[str, Any] = {"json": False}
    more = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=defaults.get(name))
        for name, kind in options.items()
    ]
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in own] + more
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # where `inspect` looks first
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


@contextmanager
def _told(out: Output) -> Iterator[None]:
    try:
        yield
    except FailedError as error:
        found, reason, problem = error.exit, error.reason, error.problem
    except HotswapError as error:
        found, reason, problem = Exit.REFUSED, str(error), None
    except KeyboardInterrupt:
        found, reason, problem = Exit.INTERRUPTED, out.going_on or "interrupted", None
    else:
        return
    out.complain(reason, "red")
    if out.as_json and not out.written:
        out.document({"exit": int(found), "reason": reason, "problem": problem, "rollout": out.rollout})
    raise typer.Exit(found)


def _end(found: Exit | None) -> None:
    if found:
        raise typer.Exit(found)
