"""Contents: what kept objects hold by keys and attributes, paired with what their twins hold there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hotswap import walk
from hotswap.patch import Place
from hotswap.swap.keys import is_quiet
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["LARGE", "Kept", "inside"]

LARGE = 100_000
"""A kept list, set or dict with more items is a cache, not a registry; what it holds is not walked."""

_NESTED = 3
"""How deep kept objects are looked into for registries: an application, its router, its table of routes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is kept: the dropped twin, and the living one.

    `touched` says that other statements put something into it, ``TABLE["x"] = 1``, and that they differ in the new
    version: then entries of plain data are added too. `place` says where it is, if that is known. `partial` says that
    the twin has only what was not there before, as what was taken out of a live registry; then `layout` is what a list
    was, and what the candidate's import has made of it. `inner` says that it stands in another one.
    """

    twin: Any
    living: Any
    touched: bool = False
    place: Place | None = None
    partial: bool = False
    inner: bool = False
    layout: tuple[list[Any], list[Any]] | None = None

    def placed(self, places: Mapping[int, Place]) -> Kept:
        """Return it with its place."""
        return replace(self, place=self.place or places.get(id(self.living)))


class Translate(Protocol):
    """Gives the living object for a dropped twin."""

    def __call__(self, value: Any, /) -> Any: ...


def inside(kept: Iterable[Kept], translate: Translate) -> Iterator[Kept]:
    """Yield the containers and instances in kept objects.

    Arguments:
        kept: the kept objects.
        translate: gives the living class for a twin.
    """
    level = list(kept)
    for _ in range(_NESTED):
        further: list[Kept] = []
        for pair in level:
            if translate(type(pair.twin)) is not type(pair.living) or walk.is_class(pair.twin):
                continue
            for before, after, by_key in _named(pair.living, pair.twin):
                for twin, value in list(dict.items(after)) if dict.__len__(after) <= LARGE else ():
                    name = translate(twin)
                    if not is_quiet(name):
                        continue
                    held = dict.get(before, name)
                    if held is None or held is value or type(value) in UNIQUE_NEVER:
                        continue
                    if type(held) is dict and translate(held) is value:
                        continue  # the namespace of a module: each generation has its own
                    place = pair.place and (pair.place.at(name) if by_key else pair.place.of(str(name)))
                    further.append(Kept(value, held, pair.touched, place, inner=True))
                    if translate(type(value)) is type(held):
                        yield further[-1]
        level = further


def _named(living: Any, twin: Any) -> Iterator[tuple[dict[Any, Any], dict[Any, Any], bool]]:
    """What two objects hold by key (True) and by attribute (False): those made of a dict may do both."""
    if issubclass(type(living), dict) and issubclass(type(twin), dict):
        yield living, twin, True
    attributes = walk.instance_dict(living), walk.instance_dict(twin)
    if attributes[0] is not None and attributes[1] is not None:
        yield attributes[0], attributes[1], False
