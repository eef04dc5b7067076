"""One module in several versions: write, import, patch, and go back. Shared by the tests of classes."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import hotswap
from hotswap import Patch, Patcher
from hotswap.swap import Plan

__all__ = ["Code", "refused_codes", "written"]


class Code:
    """A package with one module, `code`, of which `put` makes other texts live.

    Arguments:
        make_package: the fixture.
        source: the first text.
        files: more modules of the package.
    """

    def __init__(self, make_package: Callable[..., ModuleType], source: str, **files: str) -> None:
        texts = {f"{name}.py": text for name, text in files.items()}
        self.package = make_package({"__init__.py": "__version__ = '1.0'\n", "code.py": source, **texts}).__name__
        self.name = f"{self.package}.code"
        __import__(self.name)
        for name in files:
            __import__(f"{self.package}.{name}")
        self.patcher = Patcher(packages=[self.package])
        self.plan = Plan("")
        self.version = 1

    @property
    def live(self) -> Any:
        """The live module."""
        return sys.modules[self.name]

    def patch(self, source: str, **files: str) -> Patch:
        """A patch with another text of the module."""
        self.version += 1
        texts = {"code": source, **files}
        sources = {f"{self.package}.{name}": textwrap.dedent(text) for name, text in texts.items()}
        return Patch.from_sources(sources, version=f"1.{self.version}")

    def put(self, source: str, **files: str) -> Any:
        """Make another text live, and return the live module."""
        rollout = self.patcher.apply(self.patch(source, **files))
        assert rollout.plan is not None
        self.plan = rollout.plan
        return self.live

    def back(self) -> Any:
        """Roll back, and return the live module."""
        self.patcher.rollback()
        return self.live


def refused_codes(code: Code, source: str, **files: str) -> list[str]:
    """The codes of what stands in the way of a text."""
    try:
        code.patcher.stage(code.patch(source, **files)).abort()
    except hotswap.UnsupportedChangeError as error:
        return [change.code for change in error.changes]  # type: ignore[attr-defined]
    return []


def written(source: str) -> Any:
    """A namespace in which a text was executed: what a fresh process has."""
    module = ModuleType("fresh")
    module.__dict__["__name__"] = "fresh"
    sys.modules["fresh"] = module
    try:
        exec(textwrap.dedent(source), module.__dict__)
    finally:
        del sys.modules["fresh"]
    return module
