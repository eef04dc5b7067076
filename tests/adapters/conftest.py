"""Programs for the tests of adapters."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.adapters.programs import Make, Program


@pytest.fixture
def start(make_package: Make) -> Iterator[Callable[..., Program]]:
    """Start programs: `start(files, hold=..., look=...)`."""

    def started(files: Mapping[str, str], *, hold: Callable[[Any], Any], look: Callable[[Any], Any]) -> Program:
        return Program(make_package, files, hold, look)

    yield started
    # Errors that a framework has caught hold frames of old code in circles: it has drained once they are collected.
    gc.collect()
