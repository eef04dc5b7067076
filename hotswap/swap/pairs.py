"""Pairs: what a walk through two generations has found out, old object by old object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from hotswap.generation import Definitions

__all__ = ["ClassPair", "FunctionPair", "Pairing"]


@dataclass(frozen=True, slots=True)
class FunctionPair:
    """An old function and the callable that it leads to.

    `key` names the definition. `made` is the function of the candidate, which leads to `back` once the swap is taken
    back; it is not always `new`: an `lru_cache` object has its function inside, a class method is called bound.
    """

    key: str
    old: FunctionType
    new: Callable[..., Any]
    made: Any = None
    back: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class ClassPair:
    """An old class, which stays, and its twin of the candidate.

    `bodies` are the definitions of both bodies. `returns` says that no live module has the class: an earlier version
    had it, and somebody may still hold it.
    """

    key: str
    old: type
    new: type
    bodies: tuple[Definitions, Definitions]
    returns: bool = False


@dataclass
class Pairing:
    """What the walk found. Lives as long as a swap is prepared.

    `successors` maps the id of an old object to what names that are bound to it shall be bound to; `places` maps the
    id of every old object that was paired to what is called in its place; `caches` are the `lru_cache` objects,
    (old, new or None), whose function leads to new code; `lost` are old functions without a counterpart; `clashes` are
    pairs that can't be: (key, old object, new object); `replaced` says which functions were replaced at run time;
    `wrappers` maps the id of what decorators have made for modules that stay to what takes its place, under the same
    names.
    """

    functions: list[FunctionPair] = field(default_factory=list)
    classes: list[ClassPair] = field(default_factory=list)
    successors: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    places: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    caches: list[tuple[Any, Any]] = field(default_factory=list)
    lost: list[tuple[str, FunctionType]] = field(default_factory=list)
    clashes: list[tuple[str, Any, Any]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    wrappers: dict[int, tuple[FunctionType, FunctionType]] = field(default_factory=dict)

    @property
    def aims(self) -> dict[int, tuple[Any, Any]]:
        """Return what is called in the place of what functions of earlier generations lead to."""
        return {**self.places, **self.wrappers}

    def unmake(self, pair: ClassPair) -> None:
        """Take back the pair of a class, and those of its members."""
        self.classes = [other for other in self.classes if not f"{other.key}.".startswith(f"{pair.key}.")]
        self.functions = [other for other in self.functions if not other.key.startswith(f"{pair.key}.")]

    def keep(self, twins: Mapping[int, tuple[Any, Any]]) -> None:
        """Note which new objects are dropped: the living object stays what names are bound to.

        Arguments:
            twins: id of a dropped object -> (it, the living one).
        """
        for known in (self.successors, self.places):
            for key, (old, new) in list(known.items()):
                dropped = twins.get(id(new))
                if dropped is not None and dropped[1] is old:
                    del known[key]
                elif dropped is not None:
                    known[key] = (old, dropped[1])
