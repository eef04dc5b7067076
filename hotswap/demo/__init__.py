"""`python -m hotswap demo`: a real service under real load takes patches, refuses bad ones, and goes back when told to.

`scenario` is the walk; `steps` says what is dropped and what is expected of it; `patches` builds the drops; `load` is
the process that asks for quotes and `tariffs` what it must be answered; `clients` and `processes` are the demo's hands;
`screen` and `summary` are what people and machines see of it, and `streams` lets any terminal show it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hotswap.demo.screen import Screen
    from hotswap.demo.summary import Summary

__all__ = ["missing_packages", "run"]

NEEDED = ("httpx", "rich", "starlette", "uvicorn", "websockets")
INTERRUPTED = 130


def missing_packages() -> list[str]:
    """The packages of the extra `demo` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(*, as_json: bool, seconds_per_step: float, connections: int) -> int:
    """Play the demo, show it, and return the exit status.

    Arguments:
        as_json: write exactly one JSON object to standard output, and nothing else.
        seconds_per_step: how long each step lasts at least.
        connections: how many keep-alive connections ask at once.

    Returns 0 if no request failed and everything came as expected, 1 if not, 2 if a package is missing, 130 after
    Ctrl-C. No process, port or temporary file is left in any case.
    """
    missing = missing_packages()
    if missing:
        them = "it" if len(missing) == 1 else "them"
        needs = f"the demo needs {', '.join(missing)}; install {them} with: python -m pip install 'hotswap[demo]'"
        return give_up(needs, 2, as_json=as_json)

    from hotswap.demo.scenario import BrokenError, play
    from hotswap.demo.streams import any_encoding

    try:
        with any_encoding(sys.stdout):
            playing = play(chosen_screen(as_json), seconds_per_step=seconds_per_step, connections=connections)
            summary = asyncio.run(ended_by_sigterm(playing))
            print(json.dumps(summary.as_json(), indent=2) if as_json else summary.line())
    except BrokenError as error:
        return give_up(str(error), 1, as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return give_up("interrupted; everything that was started has been ended", INTERRUPTED, as_json=as_json)
    for problem in summary.problems:
        print(problem, file=sys.stderr)
    return 0 if summary.ok else 1


def chosen_screen(as_json: bool) -> Screen:
    """A table on a terminal, plain lines elsewhere, nothing for machines."""
    from rich.console import Console

    from hotswap.demo.screen import Lines, LiveTable, Nothing

    console = Console()
    if as_json:
        return Nothing()
    return LiveTable(console) if console.is_terminal else Lines(console)


async def ended_by_sigterm(playing: Coroutine[None, None, Summary]) -> Summary:
    """Play so that SIGTERM ends it as Ctrl-C does, with every block left in order."""
    task = asyncio.ensure_future(playing)
    with contextlib.suppress(NotImplementedError, AttributeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def give_up(reason: str, status: int, *, as_json: bool) -> int:
    """Say why there is no summary, and return the exit status."""
    print(reason, file=sys.stderr)
    if as_json:
        print(json.dumps({"ok": False, "problems": [reason]}, indent=2))
    return status
