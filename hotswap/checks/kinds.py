"""What all kinds of checks have in common: a name, a turn, and what they need of a candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hotswap.generation import Candidate
from hotswap.verification import Candidate as Given
from hotswap.verification import Inconclusive, Turn

__all__ = ["Kind", "sentence", "staged"]


class Kind(ABC):
    """A check that can be registered: `patcher.check(kind)`. Lives as long as its patcher.

    Arguments:
        name: what reports call it, unless it is registered under another name.
    """

    turn = Turn.SERIAL

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<hotswap check {self.__name__}>"

    @abstractmethod
    def __call__(self, candidate: Given, /) -> object:
        """Judge a candidate."""


def staged(candidate: Given) -> Candidate:
    """Return the candidate, if it is one of a rollout. Raises Inconclusive for a plain mapping of modules."""
    if not isinstance(candidate, Candidate):
        raise Inconclusive(
            f"this check needs the candidate of a rollout, with its patch, not a {type(candidate).__qualname__}"
        )
    return candidate


def sentence(parts: list[str], shown: int = 5) -> str:
    """Return some findings as one line."""
    more = f"; and {len(parts) - shown} more" if len(parts) > shown else ""
    return "; ".join(parts[:shown]) + more
