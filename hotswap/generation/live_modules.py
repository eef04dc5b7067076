"""What is live, as checks see it: a mapping that stays as it was when it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

from hotswap.generation.live import Live

__all__ = ["LiveModules"]


class LiveModules(Mapping[str, ModuleType]):
    """The managed modules that are live. Lives as long as whoever asked for it.

    Attributes:
        sources: the texts that they run, of those of which it is known: name -> text.
        files: where these texts lay when they were imported, of those that have a file: name -> path.

    Arguments:
        live: the managed modules, which may change afterwards.
    """

    def __init__(self, live: Live) -> None:
        entries = [entry for entry in live if issubclass(type(entry.module), ModuleType)]
        self._modules = {entry.name: entry.module for entry in entries}
        self.sources: dict[str, str] = {entry.name: entry.text for entry in entries if entry.text is not None}
        facts = {entry.name: ModuleType.__getattribute__(entry.module, "__dict__") for entry in entries}
        files = {name: space.get("__file__") for name, space in facts.items()}
        self.files: dict[str, str] = {name: file for name, file in files.items() if isinstance(file, str)}

    def __getitem__(self, name: str) -> ModuleType:
        return self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)
