"""Given: what a swap changes, in one direction, as those are told who make its forks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

from hotswap.swap.adrift import Stray
from hotswap.swap.nested import NestedCode
from hotswap.swap.ways import Changed

__all__ = ["Given", "Led"]


class Led(NamedTuple):
    """A function that leads to a successor.

    Attributes:
        function: the function.
        was: that of the generation that goes: it is the same, or what a function of an earlier one leads to.
        successor: what it leads to.
        shown: the code that the successor has then, if it is a function: the forwarder looks like it.
        own: the code that it runs.
        outside: what the successor looks like then, if it is a function: its defaults, say.
        is_cached: whether a cache calls it, or its successor, and would remember for everybody what one session got.
    """

    function: FunctionType
    was: FunctionType
    successor: Any
    shown: CodeType | None
    own: CodeType | None
    outside: Mapping[str, Any] | None
    is_cached: bool


class Given(Protocol):
    """What a swap changes, in one direction."""

    def attributes(self) -> Iterable[Changed]:
        """Attributes of classes: what they were, and what they will be."""

    def members(self) -> Iterable[Changed]:
        """The same of enumerations: their members, and what these are found by."""

    def functions(self) -> Iterable[Led]:
        """Functions that lead to successors."""

    def waiting(self) -> Iterable[tuple[FunctionType, Any, CodeType, Mapping[str, Any]]]:
        """Functions of the candidate that lead to what is live, each with that, and its own code and outside."""

    def successor(self, value: Any) -> Any:
        """What a wrapped function (a cache, a partial object) leads to: itself, if nothing takes its place."""

    def same(self) -> frozenset[int]:
        """The ids of the code that goes and is the same in the generation that comes."""

    def strays(self) -> list[Stray]:
        """The code that calls of what goes run, and that none of its functions has."""

    nested: tuple[NestedCode, NestedCode]  # of what goes, and of what comes
