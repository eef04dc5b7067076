"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["until"]


def until(holds: Callable[[], Any], within: float = 20.0) -> Any:
    """Ask again and again, and return the first answer that is true, or the last one when the time is over.

    Arguments:
        holds: what is asked.
        within: seconds.
    """
    deadline = time.monotonic() + within
    while not (answer := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer
