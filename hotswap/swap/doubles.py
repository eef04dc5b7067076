"""Doubles: functions that look like another one, and run code of their own."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

from hotswap.swap.forwarding import annotations_of, held_for, holds_weakly
from hotswap.swap.signatures import own_attributes

__all__ = ["copy_outside", "stand_in"]

_OUTSIDE = ("__defaults__", "__kwdefaults__", "__name__", "__qualname__", "__doc__", "__module__")


def copy_outside(function: FunctionType, clone: FunctionType) -> None:
    """Have a clone tell of itself what the function does."""
    clone.__kwdefaults__ = function.__kwdefaults__
    clone.__qualname__ = function.__qualname__
    clone.__module__ = function.__module__
    clone.__doc__ = function.__doc__
    descriptor, annotations = annotations_of(function)
    descriptor.__set__(clone, annotations)
    clone.__dict__.update(own_attributes(function.__dict__))


def stand_in(function: FunctionType, code: CodeType, outside: Mapping[str, Any] | None = None) -> FunctionType:
    """Return a function that runs some code as another one would.

    Arguments:
        function: the other one.
        code: the code.
        outside: what it is to look like, whatever the function looks like at this moment.
    """
    made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    if outside is None:
        copy_outside(function, made)
    else:
        for name in _OUTSIDE:
            setattr(made, name, outside[name])
        descriptor, annotations = outside["__annotations__"]
        descriptor.__set__(made, annotations)
        made.__dict__.update(own_attributes(outside["__dict__"]))
    if holds_weakly(code):  # a closure that was led on: what it leads to is held by whoever has the code
        made.__kwdefaults__ = {**(made.__kwdefaults__ or {}), **held_for(code)}
    return made
