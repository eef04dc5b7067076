"""Calling: how a successor of another kind is called with the arguments that the old object was called with.

Who holds the function of a static method calls it without a class; who holds a bound class method passes the class.
When a method changes its kind, both must go on: the successor is bound, or called without its first argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["called_as", "called_by_nobody", "followed"]


class _Called:
    """Calls a member of a class with the arguments that it took when it was of another kind.

    Arguments:
        before: what the member was when somebody took it: a function (a method), a staticmethod or a classmethod.
        after: what it is now.
        function: the function in it.
        cls: the class, which a class method is bound to.
    """

    __slots__ = ("__weakref__", "after", "before", "cls", "function")

    def __init__(self, before: type, after: type, function: Callable[..., Any], cls: type) -> None:
        self.before, self.after, self.function, self.cls = before, after, function, cls

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.before is not staticmethod:
            args = args[1:]  # the instance or class that it was bound to
        if self.after is classmethod:
            args = (self.cls, *args)
        return self.function(*args, **kwargs)


def called_as(before: type, after: type, function: Callable[..., Any], cls: type) -> Callable[..., Any]:
    """Return a callable that takes what the old member took, and calls the new one; see `_Called`."""
    return function if before is after else _Called(before, after, function, cls)


def called_by_nobody(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call something from a frame that is of no generation: who is asked for what it leads to gives the newest."""
    return function(*args, **kwargs)


def followed(target: Any, places: Mapping[int, tuple[Any, Any]]) -> Any:
    """Return what takes the place of a target, which may be a member that is called as another kind.

    Arguments:
        target: what a function leads to.
        places: id of an old object -> (it, what takes its place).
    """
    found = places.get(id(target))
    if found is not None and found[0] is target:
        return found[1]
    if type(target) is _Called:
        then = followed(target.function, places)
        if type(then) is _Called:
            return called_as(target.before, then.after, then.function, then.cls)
        if then is not target.function:
            return called_as(target.before, target.after, then, target.cls)
    return target
