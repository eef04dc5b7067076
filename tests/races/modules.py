"""A package of several modules that are patched one by one, for tests of what goes on over several patches."""

from __future__ import annotations

import builtins
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.testing import ManualClock
from tests.waiting import until

__all__ = ["Modules"]


class Modules:
    """The package, and the patcher that swaps its modules.

    Arguments:
        make: makes a package.
        clock: tells the time to hotswap.
        sources: the text of each module, with places for the version (`v`), for a parameter that helpers have more
            (`more`), and for what is passed for that (`pass_`).
    """

    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock, sources: Mapping[str, str]) -> None:
        self._clock, self._sources = clock, sources
        self.name = make({f"{name}.py": "" for name in sources}).__name__
        folder = Path(str(sys.modules[self.name].__file__)).parent
        for name in sources:
            (folder / f"{name}.py").write_text(self._text(name, "1", ""))
        for name in sources:
            importlib.import_module(f"{self.name}.{name}")
        self.patcher = Patcher([self.name], handover=1.0)
        self._import = builtins.__import__

    def _text(self, name: str, version: str, more: str) -> str:
        return self._sources[name].format(v=version, more=more and f"{more}, ", pass_=more and "0, ")

    def module(self, name: str) -> Any:
        """Return a live module."""
        return sys.modules[f"{self.name}.{name}"]

    def apply(self, *names: str, version: str, more: str = "", **options: Any) -> hotswap.Rollout:
        """Apply a version of some modules.

        Arguments:
            names: theirs.
            version: what they say.
            more: the name of a parameter that their helpers have more.
            options: those of `Patcher.apply`.
        """
        texts = {f"{self.name}.{name}": self._text(name, version, more) for name in names}
        return self.patcher.apply(Patch.from_sources(texts, version=version), **options)

    def settle(self) -> None:
        """Let the time of all handovers pass, and have settled what has drained."""
        for _ in range(3):
            self._clock.advance(2)
            time.sleep(0.02)  # it is settled in a thread

    def is_plain(self) -> bool:
        """Wait until neither a fork nor the import wrapper stands, and return whether it is so."""

        def plain() -> bool:
            self._clock.advance(10)  # what somebody holds is looked for ever more seldom
            return not walk.forked and builtins.__import__ is self._import

        return bool(until(plain))
