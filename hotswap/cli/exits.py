"""Exit statuses: what a command comes to, for who asks by program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from hotswap.errors import HotswapError

__all__ = ["MEANINGS", "Exit", "FailedError", "exit_of", "tell_end", "wants_json"]


class Exit(IntEnum):
    """The exit status of a command."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNKNOWN = 3
    UNREACHABLE = 4
    DENIED = 5
    CONFLICT = 6
    INTERRUPTED = 130


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done: live, permanent, taken back, told; a plan that nothing refuses",
    Exit.REFUSED: "refused or failed: rejected, rolled back, not signed by one of the keys; the service goes on",
    Exit.USAGE: "the command line makes no sense, or a package that the command needs is not installed",
    Exit.UNKNOWN: "not known in time: it goes on in the service",
    Exit.UNREACHABLE: "nobody answers there, or not the admin app",
    Exit.DENIED: "who asks is not known there, or may not",
    Exit.CONFLICT: "something else is going on, or has happened since one looked: look, and try again",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; what was begun goes on in the service",
}

_OF_STATUS = {400: Exit.USAGE, 401: Exit.DENIED, 403: Exit.DENIED, 409: Exit.CONFLICT, 412: Exit.CONFLICT}


def exit_of(status: int) -> Exit:
    """Return what a problem of that HTTP status comes to."""
    return _OF_STATUS.get(status, Exit.REFUSED)


class FailedError(HotswapError):
    """A command that can't be done.

    Arguments:
        exit: what it comes to.
        reason: a sentence for people.
        problem: what the service said, for programs.
    """

    def __init__(self, exit: Exit, reason: str, problem: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - as the attribute
        super().__init__(reason)
        self.exit, self.problem = exit, problem


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, also one that makes no sense; what follows `run` is a program's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own and own[0] != "run"


def tell_end(end: Exit, reason: str, *, as_json: bool) -> Exit:
    """Write the document for a command that has nothing to tell but how it ended, if one is asked for; return that."""
    if as_json:
        document = {"exit": int(end), "reason": reason, "problem": None, "rollout": None}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return end
