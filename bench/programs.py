"""Throw-away packages to measure on, and the patches for them."""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import hotswap

__all__ = ["Program", "programs"]

_numbers = itertools.count(1)


class Program:
    """A package with a module `core`, whose source is made from a template with ``{n}`` for the version.

    Arguments:
        root: the folder to write it into; it has to be on `sys.path`.
        template: the source of `core`, and of as many more modules as `modules` says.
        modules: how many modules there are in all.
        others: modules beside the package that use it, under the name PROGRAM.
    """

    def __init__(self, root: Path, template: str, *, modules: int = 1, **others: str) -> None:
        self.name = f"measured{next(_numbers)}"
        self.template = template
        self.version = 1
        self.folder = root / self.name
        self.folder.mkdir()
        (self.folder / "__init__.py").write_text("")
        self.modules = ["core", *(f"part{number}" for number in range(1, modules))]
        for module in self.modules:
            (self.folder / f"{module}.py").write_text(self.source(1))
        for module, source in others.items():
            (root / f"{self.name}_{module}.py").write_text(source.replace("PROGRAM", self.name))
        importlib.invalidate_caches()
        loaded = [importlib.import_module(f"{self.name}.{module}") for module in self.modules]
        self.core: ModuleType = loaded[0]

    def source(self, version: int) -> str:
        """The source of one version."""
        return self.template.replace("{n}", str(version))

    def outside(self, module: str) -> ModuleType:
        """Import the module beside the package that uses it."""
        return importlib.import_module(f"{self.name}_{module}")

    def next_patch(self) -> hotswap.Patch:
        """The patch to the next version."""
        self.version += 1
        source = self.source(self.version)
        sources: dict[str, str | bytes] = {f"{self.name}.{module}": source for module in self.modules}
        return hotswap.Patch.from_sources(sources, version=str(self.version), name=self.name)


@contextmanager
def programs() -> Iterator[Path]:
    """A folder for programs, on `sys.path` for as long as the block lasts."""
    folder = tempfile.mkdtemp(prefix="hotswap-bench-")
    sys.path.insert(0, folder)
    try:
        yield Path(folder)
    finally:
        sys.path.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)
