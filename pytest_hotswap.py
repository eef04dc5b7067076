"""The pytest plugin of hotswap: fixtures for tests of patches, and of services while they are patched.

It lies beside the package `hotswap`, and imports nothing of it before a test asks for a fixture: pytest loads it in
every run of whoever has hotswap installed. `-p no:pytest_hotswap` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hotswap.testing import Applying, ManualClock

__all__ = ["hotswap_apply", "hotswap_clock"]


@pytest.fixture
def hotswap_apply(monkeypatch: pytest.MonkeyPatch) -> Iterator[Applying]:
    """Apply a patch: `hotswap_apply({"shop.tax": source})`. All is taken back at the end of the test.

    The test fails if the process is not as it was then. What `monkeypatch` has set is undone in the reverse order: what
    was set after the patch before it is taken back, and what was set before it afterwards.
    """
    from hotswap.testing import apply_and_restore

    before: list[tuple[object, str, object]] = []
    with apply_and_restore() as applying:
        applying.on_first_patch = lambda: before.extend(monkeypatch._setattr)
        yield applying
        _undo(monkeypatch, [entry for entry in monkeypatch._setattr if not _has(before, entry)])
    # The test may have undone these itself, while the patch was live: with it, the mocks came back.
    _undo(monkeypatch, [entry for entry in before if not _has(monkeypatch._setattr, entry)])


def _has(entries: list[tuple[object, str, object]], one: tuple[object, str, object]) -> bool:
    return any(entry is one for entry in entries)  # `==` would ask the objects


def _undo(monkeypatch: pytest.MonkeyPatch, entries: list[tuple[object, str, object]]) -> None:
    monkeypatch._setattr[:] = [entry for entry in monkeypatch._setattr if not _has(entries, entry)]
    some = pytest.MonkeyPatch()
    some._setattr[:] = entries
    some.undo()


@pytest.fixture
def hotswap_clock() -> Iterator[ManualClock]:
    """A clock that stands still for hotswap until the test advances it."""
    from hotswap.testing import ManualClock

    with ManualClock() as clock:
        yield clock
