"""Callers: whose frame it is that asks, beneath code that only stands between."""

from __future__ import annotations

import sys
from collections.abc import Container
from types import FrameType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import between, managed

__all__ = ["caller", "is_first", "looked_through", "on_behalf"]

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


_LOOPS = frozenset(
    (
        *("__main__", "_pyrepl", "asyncio", "asyncore", "bdb", "cProfile", "cmd", "code", "concurrent", "doctest"),
        *("http", "idlelib", "importlib", "multiprocessing", "pdb", "profile", "runpy", "sched", "selectors"),
        *("signal", "smtpd", "socketserver", "threading", "timeit", "tkinter", "trace", "turtle", "unittest"),
        *("wsgiref", "xmlrpc"),
    )
)
"""What the standard library has that calls others in a loop, a thread or a process of its own, or for whoever comes."""
_ATTRS = frozenset(f"attr.{name}" for name in ("_funcs", "_make", "_next_gen", "converters", "setters", "validators"))
_DECORATORS = frozenset(
    ("backoff", "cachetools", "decorator", "deprecated", "retrying", "stamina", "tenacity", "wrapt")
)
"""Packages of decorators whose wrappers are objects, or call others by such."""
_known: dict[str, bool] = {}
"""The name of a module -> whether it is of the standard library or the like, and calls others there and then."""
_GENERATED = "<attrs generated "
"""So the file is called of methods that attrs has made: they have globals of their own."""


def on_behalf(frame: FrameType) -> bool:
    """Whether the code in a frame is of the standard library or the like, and calls others there and then."""
    name = frame.f_globals.get("__name__")
    if type(name) is not str:
        return False
    known = _known.get(name)
    if known is None:
        top = name.partition(".")[0]
        of_library = top in sys.stdlib_module_names and top not in _LOOPS
        known = _known[name] = of_library or name in _ATTRS or top in _DECORATORS
    return known or frame.f_code.co_filename.startswith(_GENERATED)


def is_first(facts: dict[str, Any], packages: tuple[str, ...], changed: Container[str]) -> bool:
    """Whether these are the globals of a live module of some packages in the version in which it was imported.

    Arguments:
        facts: the globals.
        packages: the packages.
        changed: the names of modules that were changed.
    """
    name = facts.get("__name__")
    if type(name) is not str or name in changed or not managed(name, packages):
        return False
    module = sys.modules.get(name)
    return type(module) is ModuleType and module.__dict__ is facts
