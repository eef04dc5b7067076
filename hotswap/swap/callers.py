"""Callers: whose frame it is that asks, beneath code that only stands between."""

from __future__ import annotations

from types import FrameType

from hotswap import walk
from hotswap.generation import between

__all__ = ["caller", "looked_through", "on_behalf"]

looked_through: set[int] = {*between}
"""The ids of the globals of our own code that stands between a caller and what it calls, or a module that it asks."""


def caller(frame: FrameType) -> FrameType:
    """Return the frame that calls: our own, and those of forwarders, are looked through.

    What a fork has given may have been superseded when it is called: then the code of it asks again.
    """
    while frame.f_back is not None:
        if id(frame.f_globals) not in looked_through and not walk.is_forwarder(frame.f_code):
            break
        frame = frame.f_back
    return frame


_ON_BEHALF = frozenset(
    (
        *(
            "_collections_abc",
            "_weakrefset",
            "abc",
            "ast",
            "bisect",
            "codecs",
            "collections",
            "collections.abc",
            "configparser",
            "contextlib",
        ),
        *("copy", "copyreg", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions", "functools"),
        *("graphlib", "heapq", "inspect", "json", "json.decoder", "json.encoder", "logging", "numbers", "operator"),
        *("pickle", "pprint", "random", "re", "reprlib", "shelve", "statistics", "string", "textwrap", "traceback"),
        *("types", "typing", "warnings", "weakref"),
        *("attr._funcs", "attr._make", "attr._next_gen", "attr.converters", "attr.setters", "attr.validators"),
    )
)
"""Modules of the standard library, and of attrs, that call others there and then, and never in a loop of their own."""
_GENERATED = "<attrs generated "
"""So the file is called of methods that attrs has made: they have globals of their own."""


def on_behalf(frame: FrameType) -> bool:
    """Whether the code in a frame is of the standard library or the like, and calls others there and then."""
    return frame.f_globals.get("__name__") in _ON_BEHALF or frame.f_code.co_filename.startswith(_GENERATED)
