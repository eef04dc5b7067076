"""Ways: what somebody gets by who asks, while calls of several generations are in flight."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Changed", "Junction", "Ways", "caller", "looked_through"]

_frame = sys._getframe


looked_through: set[int] = set()
"""The ids of the globals of our own code that stands between a caller and what it calls."""


def caller(frame: FrameType) -> FrameType:
    """Return the frame that calls: our own are looked through.

    What a fork has given may have been superseded when it is called: then the code of it asks again.
    """
    while id(frame.f_globals) in looked_through and frame.f_back is not None:
        frame = frame.f_back
    return frame


class Junction:
    """One generation that has calls in flight, or had.

    Arguments:
        spaces: the ids of the globals of its modules.
    """

    __slots__ = ("over", "spaces")

    def __init__(self, spaces: Iterable[int]) -> None:
        self.spaces = frozenset(spaces)
        self.over = False

    def has(self, frame: FrameType) -> bool:
        """Whether a frame runs code of that generation."""
        return id(frame.f_globals) in self.spaces


class Ways:
    """What somebody gets by who asks: old generations, the newest first, and what everybody else gets.

    As a constant of a forwarder it is called, and gives what is to be called then.
    """

    __slots__ = ("new", "old")

    def __init__(self, old: Iterable[tuple[Junction, Any]], new: Any) -> None:
        self.old = [(junction, value) for junction, value in old if not junction.over]
        self.new = new

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets."""
        for junction, value in self.old:
            if junction.has(frame):
                return value
        return self.new

    def __call__(self) -> Any:
        """Return what the caller of a forwarder gets."""
        return self.of(caller(_frame(2)))

    @property
    def lasting(self) -> list[tuple[Junction, Any]]:
        """The old generations that have calls in flight."""
        return [(junction, value) for junction, value in self.old if not junction.over]


class Changed(NamedTuple):
    """An attribute of a class that a swap changes: what it was, and what the candidate has; `walk.MISSING`: nothing."""

    cls: type
    name: str
    was: Any
    will: Any
