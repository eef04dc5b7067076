"""What tests of fakes have in common: a patch for a package that need not exist, and the events of a call."""

from __future__ import annotations

from collections.abc import Callable

import structlog.testing

from hotswap import Patch

__all__ = ["SOON", "events_of", "patch"]

SOON = 20.0
"""Seconds in which whatever is waited for has happened."""


def patch(version: str = "2.0", source: str = "RATE = 7\n") -> Patch:
    """Return a patch of one module."""
    return Patch.from_sources({"shop.tax": source}, version)


def events_of(act: Callable[[], object]) -> list[str]:
    """Return the names of the events that a call emits."""
    with structlog.testing.capture_logs() as logs:
        act()
    return [log["event"] for log in logs]
