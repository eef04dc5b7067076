"""Writing to a stream whose encoding lacks some characters that people are shown, as that of a bare `C` locale."""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Iterator
from typing import TextIO

__all__ = ["any_encoding"]

STAND_INS = {"·": "|", "µ": "u", "…": "...", "✓": "+", "✗": "x"}
"""What is written in place of our own characters; in place of any other it is a question mark."""

_HANDLER = "hotswap.demo.stand-in"


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(STAND_INS.get(character, "?") for character in lacking), error.end


codecs.register_error(_HANDLER, _stand_in)


@contextlib.contextmanager
def any_encoding(stream: TextIO) -> Iterator[None]:
    """Replace what the encoding of a stream lacks, until the block is left; nothing else about it changes."""
    if not isinstance(stream, io.TextIOWrapper):
        yield  # It takes text as it is.
        return
    before = stream.errors
    stream.reconfigure(errors=_HANDLER)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)
