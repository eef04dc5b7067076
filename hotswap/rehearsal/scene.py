"""The steps of a rehearsal, as whoever knows them hands them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from hotswap.verification import Candidate, Check

__all__ = ["Play", "Scene"]


class Play(Protocol):
    """What a step may ask of the rehearsal that it is part of."""

    def judge(self, checks: Sequence[Check], candidate: Candidate, token: object) -> None:
        """Run checks, and tell what each found. Raises if the patch is refused by them, once all have run."""


Scene: TypeAlias = tuple[str, Callable[[Play], object]]
"""A step: what it is called, and what does it. It raises what is wrong with the patch."""
