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
def hotswap_apply() -> Iterator[Applying]:
    """Apply a patch: `hotswap_apply({"shop.tax": source})`. All is taken back at the end of the test.

    The test fails if the process is not as it was then.
    """
    from hotswap.testing import apply_and_restore

    with apply_and_restore() as applying:
        yield applying


@pytest.fixture
def hotswap_clock() -> Iterator[ManualClock]:
    """A clock that stands still for hotswap until the test advances it."""
    from hotswap.testing import ManualClock

    with ManualClock() as clock:
        yield clock
