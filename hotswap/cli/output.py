"""What people and programs get to see: results on stdout, what goes on on stderr, one JSON document if asked for.

Guarantees: no colours, no cursor and no line breaks of ours where nobody looks at a terminal. What others wrote (names,
reasons, sources) can't move the cursor: control characters are shown as such.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

__all__ = ["Output", "clean"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PIPE = 100_000
"""Columns of what is no terminal: nothing is cut off, and nothing folded."""

_COLOURS = {
    "live": "green", "permanent": "green", "passed": "green",
    "rejected": "red", "rolled_back": "red", "died": "red", "failed": "red",
    "timed_out": "red", "crashed": "red",
    "staged": "yellow", "verified": "yellow", "armed": "yellow",
}  # fmt: skip


def clean(text: object) -> str:
    """Return a text in which control characters are visible."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


class Output:
    """Where a command writes. Lives as long as the command.

    Arguments:
        as_json: whether stdout gets one JSON document, and nothing else.

    Attributes:
        going_on: what is said to who interrupts the command.
        rollout: the one that is followed, if any.
        told: what was said of its course.
        written: whether the document was.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json, self.written = as_json, False
        self.going_on = ""
        self.rollout: str | None = None
        self.told: set[str] = set()
        self.out, self.err = _console(sys.stdout), _console(sys.stderr)

    def document(self, document: object) -> None:
        """Write the JSON document."""
        self.written = True
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.stdout.flush()

    def line(self, document: object) -> None:
        """Write one line of JSON."""
        self.written = True
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()

    def say(self, text: str, style: str = "") -> None:
        """Write a line of the result, unless a document is asked for."""
        if not self.as_json:
            self.out.print(Text(clean(text), style), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Write a line about what goes on, for whoever watches."""
        if not self.as_json:
            self.complain(text, style)

    def complain(self, text: str, style: str = "") -> None:
        """Write a line to stderr in any case."""
        self.err.print(Text(clean(text), style), soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Write something that Rich lays out."""
        if not self.as_json:
            self.out.print(what)

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
        """Return a table; a state in it has its colour."""
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell), _COLOURS.get(str(cell), "")) for cell in row))
        return table

    def diff(self, text: str) -> None:
        """Write a unified diff."""
        if not self.as_json and text:
            shown = clean(text.rstrip("\n"))
            if self.out.is_terminal:
                self.out.print(Syntax(shown, "diff", theme="ansi_dark", background_color="default", word_wrap=True))
            else:
                self.out.print(Text(shown), soft_wrap=True)

    def busy(self, text: str) -> AbstractContextManager[Any]:
        """Show that something goes on, where somebody looks."""
        if self.as_json or not self.err.is_terminal:
            return nullcontext()
        return self.err.status(Text(clean(text)))


def _console(stream: TextIO) -> Console:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a terminal that has not all letters shows the others as such
    told = Console(file=stream, highlight=False, markup=False, emoji=False)
    return told if told.is_terminal else Console(file=stream, highlight=False, markup=False, emoji=False, width=_PIPE)
