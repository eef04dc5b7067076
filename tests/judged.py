"""A small service whose patches are judged by one check; for the tests of `hotswap.checks`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import hotswap
from hotswap.verification import CheckResult

LONG = 60.0  # seconds for what is expected to happen soon: only a broken test waits that long


class Service:
    """A package that is imported, and a patcher for it.

    Arguments:
        make: the fixture `make_package`.
        files: of the package.
        more: of `make`.
    """

    def __init__(self, make: Callable[..., ModuleType], files: Mapping[str, str | bytes], **more: Any) -> None:
        self.package = make(files, **more)
        self.name = self.package.__name__
        self.modules = [
            importlib.import_module(f"{self.name}.{path.removesuffix('.py').replace('/', '.')}")
            for path in files
            if path.endswith(".py") and "__init__" not in path
        ]
        self.patcher = hotswap.Patcher([self.name])
        self._version = 0

    @property
    def root(self) -> Path:
        return Path(self.package.__path__[0])

    def patch(self, sources: Mapping[str, str]) -> hotswap.Patch:
        self._version += 1
        named = {f"{self.name}.{module}" if module else f"{self.name}.__init__": t for module, t in sources.items()}
        return hotswap.Patch.from_sources(named, version=f"{self._version}.0")

    def judge(
        self, check: Callable[..., object], sources: Mapping[str, str] | hotswap.Patch, *, timeout: float = LONG
    ) -> CheckResult:
        """The result of one check on a patch, which is given up afterwards."""
        self.patcher._checks.clear()
        self.patcher.check(check, timeout=timeout)
        patch = sources if isinstance(sources, hotswap.Patch) else self.patch(sources)
        with self.patcher.stage(patch) as rollout:
            with suppress(hotswap.CheckFailedError):
                rollout.verify()
        (result,) = rollout.report
        return result
