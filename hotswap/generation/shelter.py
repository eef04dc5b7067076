"""Shelters: what keeps the registrations of a candidate out of living registries while its module bodies run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Protocol

from hotswap.generation.definitions import Definitions
from hotswap.generation.live import Live

__all__ = ["Shelter", "opened", "sheltered"]


class Shelter(Protocol):
    """What a candidate is loaded in; `hotswap.swap.Adapter` says what is asked of one."""

    library: str
    """The package of which it looks after what is registered; "" if none."""

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Return the unchanged modules that hold compiled copies of what the changed ones define."""

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note what is about to be loaded: the living modules that go, and those of the candidate as they come."""

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Return the block in which the body of a module runs."""

    def staged(self) -> None:
        """Do what has to be done once all bodies have run."""

    def aside(self) -> Iterable[object]:
        """Return the containers that were filled instead of living ones."""


def opened(shelters: Iterable[Shelter], live: Live, going: Iterable[str], new: Mapping[str, ModuleType]) -> None:
    """Tell all shelters what is about to be loaded.

    Arguments:
        shelters: who is told.
        live: the managed modules.
        going: the names of those that are replaced or removed.
        new: the modules of the candidate, as they come.
    """
    entries = [entry for name in going if (entry := live.get(name)) is not None]
    for shelter in shelters:
        shelter.begin({entry.name: entry.module for entry in entries}, new)


@contextmanager
def sheltered(shelters: Iterable[Shelter], module: str) -> Iterator[None]:
    """Enter the blocks of all shelters for the body of a module."""
    with ExitStack() as blocks:
        for shelter in shelters:
            blocks.enter_context(shelter.staging(module))
        yield
