"""A package with one module, in versions of one source, for tests of what runs while it is swapped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, Protocol

import structlog

import hotswap
from hotswap import Patch, Patcher
from hotswap.testing import ManualClock
from tests.races.threads import forks_go, settles
from tests.waiting import until

__all__ = ["Versions", "stays_old"]


class Patched(Protocol):
    """A package that is patched: its live module, and what applies a version of it."""

    @property
    def core(self) -> Any: ...

    def apply(self, version: str, shape: int) -> object: ...


def stays_old(package: Patched, name: str, clock: ManualClock) -> None:
    """Check that a loop which each patch changes sees the version that it began with, before each handover and after.

    Arguments:
        package: is on version 1 and hands calls over; what its loops yield says which versions they have seen.
        name: that of the loop.
        clock: brings the handover.
    """
    loop = getattr(package.core, name)()
    assert next(loop) == {"1"}
    for version, shape in (("2", 1), ("3", 0)):
        package.apply(version, shape)
        for _ in range(3):
            assert next(loop) == {"1"}
            clock.advance(20)
        assert next(getattr(package.core, name)()) == {version}
    loop.close()
    del loop
    assert settles(clock)


class Versions:
    """The package, and the patcher that swaps it.

    A subclass has the source of the module, with places for the version (`v`), for parameters that helpers have more
    (`more`), and for what is passed for these (`pass_`).

    Arguments:
        make: makes the package.
        handover: that of the patcher.
        first: the version that is live at first.
        options: others of the patcher.
    """

    source: ClassVar[str]

    def __init__(
        self, make: Callable[..., ModuleType], handover: float | None, first: object = "1", **options: Any
    ) -> None:
        package = make({"core.py": self.text(first, 0)}).__name__
        self.name = f"{package}.core"
        __import__(self.name)
        self.handover = handover
        self.patcher = Patcher([package], handover=handover, **options)

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """Return the source of a version; the shape says how many parameters its helpers have more."""
        return cls.source.format(v=version, more="".join(f"z{n}, " for n in range(shape)), pass_="0, " * shape)

    @property
    def core(self) -> Any:
        """The live module."""
        return sys.modules[self.name]

    def apply(self, version: object, shape: int = 1, **options: Any) -> hotswap.Rollout:
        """Apply a version."""
        return self.patcher.apply(self.patch_of(version, shape), **options)

    def patch_of(self, version: object, shape: int = 1) -> Patch:
        """Return the patch of a version."""
        return Patch.from_sources({self.name: self.text(version, shape)}, version=str(version))

    def answers_over_a_swap(self, meanwhile: Callable[[], None] = lambda: None) -> tuple[Any, Any, Any]:
        """Return what `answers()` says before a swap, what an old and a new `loop()` yield, and what it says after.

        Arguments:
            meanwhile: called while both loops are suspended.
        """
        before = self.core.answers()
        old = self.core.loop()
        next(old)
        rollout = self.apply("2")
        new = self.core.loop()
        during = next(old), next(new)
        meanwhile()
        old.close()
        new.close()
        del old, new
        assert rollout.drained.wait(20)
        assert forks_go()
        return before, during, self.core.answers()

    def apply_and_hand_over(self, version: object, shape: int = 1) -> hotswap.Rollout:
        """Apply a version, and wait until what is in flight was handed over, if it ever is."""
        with structlog.testing.capture_logs() as told:
            rollout = self.apply(version, shape)
            assert self.handover is None or until(lambda: "rollout.handed_over" in [entry["event"] for entry in told])
        return rollout
